"""Cuts that the data cannot answer."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest

from components.artifacts.answers import refuse_silent_cuts
from components.artifacts.cuts import Cuts, SplitConfig
from components.artifacts.errors import ConfigError
from components.artifacts.tables import TIMESTAMP

START = datetime(2024, 1, 1, tzinfo=UTC)
SPLIT = SplitConfig(training_cuts=2, test_cuts=2)


def check(days: Sequence[float], as_of: int, *, label: str = "purchase") -> None:
    """One purchase on each of these days after START; the cut of as_of as well counts from START."""
    times = pa.array([START + timedelta(days=day) for day in days], TIMESTAMP)
    events = pa.table({"event_timestamp": times, "interaction_type": ["purchase"] * len(days)})
    refuse_silent_cuts(duckdb.from_arrow(events), Cuts(START + timedelta(days=as_of), SPLIT), [label])


def test_a_year_of_answers_is_taken():
    check(range(365), as_of=100)


def test_one_silent_test_cut_of_two_is_taken():
    check(range(105), as_of=100)  # the second asks for days 107 to 113


@pytest.mark.parametrize("as_of", [-1000, 0, 13, 105, 5000])
def test_a_date_outside_the_data_is_refused_with_those_that_do(as_of: int):
    """Days 0 to 104 (2024-04-14): two training cuts, a validation and a horizon of history are 28 days; two test weeks 14."""
    with pytest.raises(ConfigError, match=r"Choose as_of from 2024-01-30 to 2024-03-31, or fewer split.training_cuts"):
        check(range(105), as_of=as_of)


def test_dates_that_are_advised_are_taken():
    for day in (datetime(2024, 1, 30, tzinfo=UTC), datetime(2024, 3, 31, tzinfo=UTC)):
        check(range(105), as_of=(day - START).days)


def test_silent_cuts_of_a_gap_are_named():
    """As of day 100 the training cuts are 79 and 86, the validation 93."""
    days = [day for day in range(200) if not 86 <= day < 93]
    gap = r"as_of 2024-04-10: no purchase in the 7 days from 2024-03-27 on, .* beside the gap"
    with pytest.raises(ConfigError, match=gap):
        check(days, as_of=100)
    check([*days, 86], as_of=100)  # [cut, cut + 7 d)
    with pytest.raises(ConfigError, match="2024-03-27"):
        check([*days, 93], as_of=100)


def test_three_weeks_are_too_few():
    with pytest.raises(
        ConfigError, match=r"from 2024-01-01 to 2024-01-21\. Bring older events, or lower split.training_cuts"
    ):
        check(range(21), as_of=14)


def test_a_label_that_nobody_made_is_refused():
    with pytest.raises(ConfigError, match=r"there is none at all. Set dataset.label_types"):
        check(range(365), as_of=100, label="rating")
