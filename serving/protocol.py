"""Requests, responses and errors of the API, checked at the border.

A request that is not understood is an InvalidRequestError (HTTP 400) that says which field, what was given and
what is expected; an item or a user that is unknown is no error.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self, TypeAlias, cast

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from components.artifacts.errors import RecsysError
from feature_repo.schema import SECONDS_PER_DAY
from serving.event_types import OWN_WEIGHT, TYPES, EventType, weight_of

STRICT = ConfigDict(frozen=True, extra="forbid")
DEFAULT_K = 10
POPULAR_PATH = "/internal/popular"
"""Where a server tells the door what is popular."""
SHADOW_PATH = "/internal/shadow/recommendations"
"""Asked as /v1/recommendations is; nobody is shown the answer, so it is not logged as impressions."""
ID_LENGTH = 256
"""Longest id that is accepted, characters."""
LIST_FILTERS = {
    "departments": "department",
    "categories": "category",
    "brands": "brand",
    "exclude_item_ids": "exclude_item_id",
}
"""Filters that are lists, to the parameter of a query string that may repeat."""


MOST_AHEAD = timedelta(days=1)
"""How far an event may lie after now: a phone's clock, or a zone that was taken for UTC."""
SECONDS_AS_TEXT = re.compile(r"\s*[-+]?[0-9.eE_]+\s*", re.ASCII)


def _written_out(value: object) -> object:
    """Pydantic takes a number for seconds since 1970, and the text of one too."""
    if isinstance(value, datetime) or (isinstance(value, str) and SECONDS_AS_TEXT.fullmatch(value) is None):
        return value
    raise ValueError("expected a time as ISO 8601 writes it, for example 2017-10-30T12:00:00Z")


Moment: TypeAlias = Annotated[datetime, BeforeValidator(_written_out)]


class InvalidRequestError(RecsysError):
    """A request is malformed (HTTP 400)."""

    http_status = 400


class UnknownError(InvalidRequestError):
    """What a path names is not known (HTTP 404)."""

    http_status = 404


class BusyError(RecsysError):
    """More waits than this server takes on (HTTP 503)."""

    http_status = 503


class CheckedRequest(BaseModel):
    """What a client asks."""

    model_config = STRICT

    @classmethod
    def parse(cls, values: Any, *, where: str) -> Self:  # decoded JSON or query string
        """A checked request.

        Raises:
            InvalidRequestError: A field is missing, unknown or of the wrong kind.
        """
        return cast("Self", parse_model(cls, values, where=where))


class Filters(BaseModel):
    """What may be shown. Lists are alternatives; the conditions hold together."""

    model_config = STRICT

    departments: tuple[str, ...] = Field((), max_length=100, description="Only these departments")
    categories: tuple[str, ...] = Field((), max_length=100, description="Only these categories")
    brands: tuple[str, ...] = Field((), max_length=100, description="Only these brands")
    exclude_item_ids: tuple[str, ...] = Field((), max_length=1000, description="Not these items")
    exclude_known: bool = Field(False, strict=True, description="Nothing that is in the user's history")


class RecommendationRequest(CheckedRequest):
    """One question."""

    user_id: str = Field(max_length=ID_LENGTH, description="Who; an unknown or empty id gets what is popular")
    k: int = Field(DEFAULT_K, ge=1, strict=True, description="Number of items")
    store_id: str | None = Field(None, max_length=ID_LENGTH, description="Where from; the usual store where left out")
    filters: Filters = Field(default_factory=Filters, description="What may be shown")
    explain: bool = Field(
        False, strict=True, description="Say of each item which sources named it and what moved its score"
    )
    request_time: Moment | None = Field(None, description="The time of the question, in a replay of the past only")

    @field_validator("request_time")
    @classmethod
    def _utc(cls, moment: datetime | None) -> datetime | None:
        if moment is None:
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else _in_utc(moment)


class SimilarRequest(CheckedRequest):
    """Which items go with an item."""

    item_id: str = Field(min_length=1, max_length=ID_LENGTH, description="The item")
    k: int = Field(DEFAULT_K, ge=1, strict=True, description="Items of one page")
    cursor: str | None = Field(None, max_length=ID_LENGTH, description="`next_cursor` of the page before")


class Source(BaseModel):
    """A retriever that named the item, and at which rank, 1 is best."""

    model_config = STRICT

    retriever: str
    rank: int


class Contribution(BaseModel):
    """What a topic or a feature adds to the ranker's margin (log-odds, where its rounds are logistic)."""

    model_config = STRICT

    name: str
    contribution: float
    value: float | None = None
    sentence: str | None = None


class Explanation(BaseModel):
    """Why an item has its score: `base` and the contributions of all topics sum to the ranker's margin.

    Topics come with the largest contribution first; `features` are the single ones that moved it most.
    """

    model_config = STRICT

    base: float
    sources: tuple[Source, ...]
    topics: tuple[Contribution, ...]
    features: tuple[Contribution, ...]


class RecommendedItem(BaseModel):
    """One line of an answer.

    `score` orders the items of one answer. `probability` is how likely the user takes the item within the horizon that
    the bundle was trained for (7 days), if the user takes anything in it; null where the bundle cannot say.
    """

    model_config = STRICT

    item_id: str
    position: int
    score: float
    probability: float | None = None
    title: str | None
    department: str | None
    category: str | None
    brand: str | None
    retriever: str
    reason: str
    explanation: Explanation | None = None


UserStatus = Literal["ok", "new", "missing", "expired", "store_error", "fallback"]


class RecommendationResponse(BaseModel):
    """The answer.

    `user_status` says what the features are: `ok`, `new` (only what happened since the last snapshot), `missing`
    (nothing is known of the user), `expired` (what is known is too old), `store_error` (the store did not answer; the
    items are what is popular) or `fallback` (no server answered: the door's own list of what is popular, which obeys the
    request's filters but `exclude_known`, and which no log of impressions and no explanation knows).
    """

    model_config = STRICT

    query_id: str
    user_id: str
    user_status: UserStatus
    bundle_id: str
    variant: str
    event_timestamp: datetime
    items: tuple[RecommendedItem, ...]


class ListedItem(BaseModel):
    """An item of the popular lists."""

    model_config = STRICT

    item_id: str
    title: str | None
    department: str | None
    category: str | None
    brand: str | None


class PopularLists(BaseModel):
    """What is popular as of `event_timestamp`, best first, for a door to answer from while no server does.

    `everywhere` and `stores` hold places in `items`; `max_k` is the server's limit of a request.
    """

    model_config = STRICT

    bundle_id: str
    event_timestamp: datetime
    max_k: int
    items: tuple[ListedItem, ...]
    everywhere: tuple[int, ...]
    stores: dict[str, tuple[int, ...]]


class SimilarItem(BaseModel):
    """An item that goes with the one asked about, and the lists that name it."""

    model_config = STRICT

    item_id: str
    position: int
    title: str | None
    department: str | None
    category: str | None
    brand: str | None
    sources: tuple[Source, ...]


class SimilarResponse(BaseModel):
    """One page; `next_cursor` is null on the last."""

    model_config = STRICT

    item_id: str
    bundle_id: str
    items: tuple[SimilarItem, ...]
    next_cursor: str | None


class ShownItem(BaseModel):
    """One line of an answer that was given; `score` as it was, `explanation` from the features that it had then."""

    model_config = STRICT

    item_id: str
    position: int
    score: float
    retriever: str
    title: str | None
    department: str | None
    category: str | None
    brand: str | None
    explanation: Explanation


class ShownResponse(BaseModel):
    """What was answered to a query, from the log of what was shown."""

    model_config = STRICT

    query_id: str
    user_id: str
    user_status: UserStatus
    bundle_id: str
    variant: str
    policy: str | None
    event_timestamp: datetime
    items: tuple[ShownItem, ...]


class FeedbackEvent(BaseModel):
    """What a user did. Posting an event_id again changes nothing.

    Known by name: purchase, add_to_cart, click, rating, thumbs_up, thumbs_down, hide, unhide, impression, dwell; other names
    are interactions too. Those that do not speak for an item (thumbs_down, hide, unhide, impression, dwell) have no weight.
    """

    model_config = STRICT

    event_id: str = Field(min_length=1, max_length=ID_LENGTH, description="Unique; a repeated one is ignored")
    user_id: str = Field(min_length=1, max_length=ID_LENGTH)
    item_id: str = Field(min_length=1, max_length=ID_LENGTH)
    interaction_type: str = Field(min_length=1, max_length=64, description="purchase, click, rating, hide ...")
    event_timestamp: Moment
    weight: float = Field(
        1.0,
        ge=0,
        le=1e6,
        strict=True,
        description="How strongly it speaks for the item; 0 does not. Left out: as the training data weigh the type",
    )
    rating: float | None = Field(
        None, ge=0.5, le=5, allow_inf_nan=False, strict=True, description="Stars of five, of a rating"
    )
    dwell_seconds: float | None = Field(
        None,
        ge=0,
        le=SECONDS_PER_DAY,
        allow_inf_nan=False,
        strict=True,
        description="Time spent with the item, of a dwell",
    )
    position: int | None = Field(
        None, ge=1, le=10_000, strict=True, description="Of the item in the answer, 1 is the top"
    )
    value_usd: float | None = Field(None, ge=0, allow_inf_nan=False, strict=True)
    query_id: str | None = Field(None, max_length=ID_LENGTH, description="The answer that it follows, where known")
    store_id: str | None = Field(None, max_length=ID_LENGTH)

    @field_validator("event_timestamp")
    @classmethod
    def _aware(cls, moment: datetime) -> datetime:
        if moment.tzinfo is None:
            raise ValueError("expected an offset, for example 2017-10-30T12:00:00Z")
        return _in_utc(moment)

    @model_validator(mode="after")
    def _as_its_type(self) -> Self:
        known = TYPES.get(self.interaction_type, EventType(OWN_WEIGHT))
        if known.needs is not None and getattr(self, known.needs) is None:
            raise ValueError(f"a {self.interaction_type} needs {known.needs}")
        if known.weight == 0 and "weight" in self.model_fields_set and self.weight > 0:
            raise ValueError(f"a {self.interaction_type} does not speak for its item: weight is 0, or left out")
        if "weight" not in self.model_fields_set:
            object.__setattr__(self, "weight", weight_of(self.interaction_type, self.rating, {}))  # it is frozen
        return self


class FeedbackRequest(BaseModel):
    """Some events."""

    model_config = STRICT

    events: tuple[FeedbackEvent, ...] = Field(min_length=1)

    @classmethod
    def parse(cls, values: Any) -> Self:  # decoded JSON
        """Checked events.

        Raises:
            InvalidRequestError: A field is missing, unknown or of the wrong kind.
        """
        return cast("Self", parse_model(cls, values, where="body"))


def refuse_future(events: Sequence[FeedbackEvent], now: datetime) -> None:
    """Refuse events of a clock that is wrong: what one has made of a user's row is newer than every snapshot until its day.

    Raises:
        InvalidRequestError: An event lies more than MOST_AHEAD after now.
    """
    for event in events:
        if event.event_timestamp > now + MOST_AHEAD:
            raise InvalidRequestError(
                f"event {event.event_id!r}: event_timestamp {event.event_timestamp.isoformat()} lies after now, "
                f"{now.isoformat(timespec='seconds')}. Send the time at which it happened."
            )


class FeedbackResponse(BaseModel):
    """How many events are on the disk now, and how many were there before."""

    model_config = STRICT

    accepted: int
    duplicates: int


class ErrorResponse(BaseModel):
    """What is wrong, where, and what was expected."""

    model_config = STRICT

    error: str


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:  # the first and the last hours of the calendar have no UTC
        raise ValueError("expected a time between the years 1 and 9999 in UTC") from error


def decode_json(text: bytes, *, where: str) -> Any:  # decoded JSON of any shape
    """Decoded JSON. Unlike json: no NaN, no endless depth, no lone surrogates.

    Raises:
        InvalidRequestError: It is none; `where` says what.
    """
    try:
        return orjson.loads(text)
    except ValueError as error:
        raise InvalidRequestError(f"{where}: not JSON ({error}).") from error


def parse_model(model: type[Any], values: Any, *, where: str) -> Any:
    """A checked model of decoded JSON; a mistake names its place, which begins with `where`.

    Raises:
        InvalidRequestError: It is no object, or a field is missing, unknown or of the wrong kind.
    """
    if not isinstance(values, Mapping):
        raise InvalidRequestError(f"{where}: expected an object, got {type(values).__name__}.")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        mistakes = [dict(one) for one in error.errors()]
        told = "; ".join(_mistake(where, one) for one in mistakes if not _follows(one, mistakes))
        raise InvalidRequestError(f"{told}.") from error


def _follows(mistake: Mapping[str, Any], mistakes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether it is a list's that is too short because an entry is wrong, which is told by itself."""
    place = mistake["loc"]
    return mistake["type"] == "too_short" and any(one["loc"][:-1][: len(place)] == place for one in mistakes)


def _mistake(where: str, mistake: Mapping[str, Any]) -> str:
    place = ".".join([where, *(str(part) for part in mistake["loc"])])
    if mistake["type"] == "missing":
        return f"{place}: missing"
    if mistake["type"] == "extra_forbidden":
        return f"{place}: there is no such field"
    if mistake["type"] == "too_short":
        return f"{place}: expected at least {mistake['ctx']['min_length']}"
    said = mistake["msg"].removeprefix("Value error, ")
    given = mistake["input"]
    return f"{place}: {said}" if isinstance(given, Mapping) else f"{place}: {said} (given: {repr(given)[:80]})"
