from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts.cuts import Cuts, SplitConfig, parse_moment, stamp
from components.artifacts.errors import ConfigError

AS_OF = datetime(2017, 10, 30, tzinfo=UTC)


def day(month: int, number: int) -> datetime:
    return datetime(2017, month, number, tzinfo=UTC)


def test_training_cuts_end_before_validation_and_test_begins_at_as_of():
    cuts = Cuts(AS_OF, SplitConfig(training_cuts=2, test_cuts=2))
    assert cuts.training == [day(10, 9), day(10, 16)]
    assert cuts.validation == day(10, 23)
    assert cuts.test == [day(10, 30), day(11, 6)]
    assert cuts.end == day(11, 13)


def test_retrievers_are_fitted_at_all_cuts_but_the_later_test_cuts():
    cuts = Cuts(AS_OF, SplitConfig(training_cuts=1, test_cuts=3))
    assert cuts.fitted == [day(10, 16), day(10, 23), day(10, 30)]


@given(horizon=st.integers(1, 30), extra=st.integers(0, 10), training=st.integers(1, 8), test=st.integers(1, 4))
def test_no_answer_before_as_of_reaches_into_the_test(horizon, extra, training, test):
    split = SplitConfig(horizon_days=horizon, every_days=horizon + extra, training_cuts=training, test_cuts=test)
    cuts = Cuts(AS_OF, split)
    for cut in [*cuts.training, cuts.validation]:
        assert cut + cuts.horizon <= AS_OF
    for earlier, later in zip(cuts.all, cuts.all[1:], strict=False):
        assert earlier + cuts.horizon <= later


def test_overlapping_answers_are_refused():
    with pytest.raises(ConfigError, match="every_days=6 is under horizon_days=7"):
        SplitConfig(horizon_days=7, every_days=6)


def test_a_date_is_midnight_utc_and_an_offset_is_converted():
    assert parse_moment("2017-10-30") == AS_OF
    assert parse_moment("2017-10-30T02:00:00+02:00") == AS_OF


def test_something_else_than_a_date_is_refused():
    with pytest.raises(ConfigError, match="'last week' is not a date"):
        parse_moment("last week")


def test_stamp_is_utc():
    assert stamp(AS_OF + timedelta(hours=5)) == "20171030T050000Z"
