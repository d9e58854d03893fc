"""What the portrait of one user holds: what they did, what they would be shown now and why, and what was kept from them."""

from datetime import datetime

from pydantic import BaseModel, Field

from serving.protocol import ID_LENGTH, STRICT, CheckedRequest, Moment, RecommendedItem, UserStatus


class PortraitRequest(CheckedRequest):
    """Who is looked at."""

    user_id: str = Field(min_length=1, max_length=ID_LENGTH, description="Who")
    request_time: Moment | None = Field(None, description="As of when, in a replay of the past only")


class KnownItem(BaseModel):
    """An item of the user's history; `count` sums the weights of what was done with it."""

    model_config = STRICT

    item_id: str
    title: str | None
    department: str | None
    count: float
    last_timestamp: datetime


class LeftOutItem(BaseModel):
    """A candidate that ranked above the last item of the list and is not in it; `rank` among all candidates, 1 is best."""

    model_config = STRICT

    item_id: str
    title: str | None
    rank: int
    reason: str


class PortraitResponse(BaseModel):
    """One user as the stable server sees them now. It is no answer: nothing of it is logged as shown."""

    model_config = STRICT

    user_id: str
    user_status: UserStatus
    bundle_id: str
    variant: str
    event_timestamp: datetime
    known_items: int = Field(description="Different items of the history; `known` holds the latest of them")
    known: tuple[KnownItem, ...]
    recommended: tuple[RecommendedItem, ...]
    candidates: int = Field(description="Items that the sources named")
    left_out: tuple[LeftOutItem, ...]
