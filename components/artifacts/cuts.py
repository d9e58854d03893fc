"""The split in time: which moments are asked about, and what counts as the answer.

A *cut* t is the moment of a query: everything before t may be known, and what happens in [t, t + horizon)
is the answer. Training cuts lie before the validation cut, and that before `as_of`, the first test cut:

    ... training, training | validation | as_of = test, test ...

so that no answer of an earlier cut is seen after `as_of`, and no answer of a test cut before it.
"""

from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from components.artifacts.errors import ConfigError

STAMP = "%Y%m%dT%H%M%SZ"


class SplitConfig(BaseModel):
    """How a data set is cut in time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon_days: int = Field(7, ge=1, description="Length of the window that holds a query's relevant items, days")
    every_days: int = Field(7, ge=1, description="Distance of neighbouring cuts, days; not under horizon_days")
    training_cuts: int = Field(4, ge=1, description="Cuts to train the ranker on")
    test_cuts: int = Field(2, ge=1, description="Cuts to evaluate on, from as_of on")
    label_types: tuple[str, ...] = Field(("purchase",), min_length=1, description="Interaction types that are relevant")

    def model_post_init(self, _context: object) -> None:
        """Refuse windows that overlap: an answer would be seen twice, once as a feature."""
        if self.every_days < self.horizon_days:
            raise ConfigError(
                f"split: every_days={self.every_days} is under horizon_days={self.horizon_days}, "
                "so the answer of one cut would be known at the next. Set every_days >= horizon_days."
            )


class Cuts:
    """The moments of one split. All are UTC, ascending."""

    def __init__(self, as_of: datetime, config: SplitConfig) -> None:
        self.as_of = as_of
        self.horizon = timedelta(days=config.horizon_days)
        step = timedelta(days=config.every_days)
        self.validation = as_of - step
        self.training = [as_of - step * (back + 1) for back in range(config.training_cuts, 0, -1)]
        self.test = [as_of + step * ahead for ahead in range(config.test_cuts)]

    @property
    def fitted(self) -> list[datetime]:
        """Cuts that the retrievers are fitted at: all but the later test cuts, which the bundle of as_of serves."""
        return [*self.training, self.validation, self.as_of]

    @property
    def all(self) -> list[datetime]:
        """Cuts that features are needed at."""
        return [*self.training, self.validation, *self.test]

    @property
    def end(self) -> datetime:
        """End of the last answer: no event from here on is read."""
        return self.test[-1] + self.horizon


def newest_as_of(now: datetime, config: SplitConfig) -> datetime:
    """The newest midnight whose test weeks are over by now."""
    tested = timedelta(days=config.every_days * (config.test_cuts - 1) + config.horizon_days)
    return (now - tested).replace(hour=0, minute=0, second=0, microsecond=0)


def stamp(moment: datetime) -> str:
    """A moment as it stands in file names, e.g. 20171030T000000Z."""
    return moment.astimezone(UTC).strftime(STAMP)


def parse_moment(text: str) -> datetime:
    """A date (midnight UTC) or an ISO timestamp.

    Raises:
        ConfigError: It is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is not a date; expected for example 2017-10-30 or 2017-10-30T05:00:00Z."
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def seconds(moment: datetime) -> int:
    """Unix time."""
    return int(moment.timestamp())
