"""Kubeflow's cron expressions: six fields, seconds first, in UTC.

A day has to be in the fields of the month and of the week; where both are restricted, one of them is enough.
Source: https://pkg.go.dev/github.com/robfig/cron, which Kubeflow's controller uses.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from components.artifacts.errors import ConfigError

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
SHORTHANDS = {
    "@yearly": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
EXPECTED = (
    "expected six fields, second minute hour day month weekday, for example '0 0 4 * * MON' for Mondays at 4:00 UTC"
)
MAX_DAYS = 5 * 366
"""A date that does not come within five years does not exist."""


@dataclass(frozen=True, slots=True)
class Field:
    """One of the six.

    Attributes:
        name: For messages.
        low: Smallest value.
        high: Largest value.
        words: Names of values.
    """

    name: str
    low: int
    high: int
    words: Mapping[str, int]


FIELDS = (
    Field("second", 0, 59, {}),
    Field("minute", 0, 59, {}),
    Field("hour", 0, 23, {}),
    Field("day", 1, 31, {}),
    Field("month", 1, 12, {word: place + 1 for place, word in enumerate(MONTHS)}),
    Field("weekday", 0, 6, {word: place for place, word in enumerate(WEEKDAYS)}),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """A set of moments.

    Attributes:
        text: As it was written.
        times: Times of a day, ascending.
        days: Days of the month; None where all are meant.
        months: Months.
        weekdays: Days of the week, Sunday is 0; None where all are meant.
    """

    text: str
    times: tuple[time, ...]
    days: frozenset[int] | None
    months: frozenset[int]
    weekdays: frozenset[int] | None

    def after(self, moment: datetime) -> datetime | None:
        """The first moment after this one; None where there is none within five years."""
        for ahead in range(MAX_DAYS):
            day = (moment + timedelta(days=ahead)).date()
            first = 0 if ahead else bisect_right(self.times, moment.time())
            if first < len(self.times) and self._holds(day):
                return datetime.combine(day, self.times[first], tzinfo=moment.tzinfo)
        return None

    def _holds(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        weekday = day.isoweekday() % 7
        asked = [
            value in among for value, among in ((day.day, self.days), (weekday, self.weekdays)) if among is not None
        ]
        return any(asked) or not asked


def parse_cron(text: str) -> Cron:
    """Read an expression.

    Raises:
        ConfigError: It is none.
    """
    parts = SHORTHANDS.get(text.strip(), text).split()
    if len(parts) != len(FIELDS):
        raise ConfigError(f"cron {text!r}: has {len(parts)} fields; {EXPECTED}.")
    try:
        seconds, minutes, hours, days, months, weekdays = map(_values, parts, FIELDS)
    except ValueError as error:
        raise ConfigError(f"cron {text!r}: {error}; {EXPECTED}.") from error
    times = tuple(time(h, m, s) for h in sorted(hours) for m in sorted(minutes) for s in sorted(seconds))
    return Cron(text, times, _unless_all(parts[3], days), months, _unless_all(parts[5], weekdays))


def _unless_all(part: str, values: frozenset[int]) -> frozenset[int] | None:
    return None if part[0] in "*?" else values


def _values(part: str, field: Field) -> frozenset[int]:
    return frozenset(value for one in part.split(",") for value in _range(one, field))


def _range(part: str, field: Field) -> range:
    given, slash, step = part.partition("/")
    low, dash, high = given.partition("-")
    if low in {"*", "?"}:
        first, last = field.low, field.high
    else:
        first = _value(low, field)
        last = _value(high, field) if dash else field.high if slash else first
    width = int(step) if slash else 1
    if width < 1 or first > last:
        raise ValueError(f"{field.name} {part!r} is empty")
    return range(first, last + 1, width)


def _value(text: str, field: Field) -> int:
    value = field.words.get(text.upper())
    if value is None:
        value = int(text) if text.isdecimal() else -1
    if not field.low <= value <= field.high:
        raise ValueError(f"{field.name} {text!r} is not in {field.low} to {field.high}")
    return value
