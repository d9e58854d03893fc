import json
from datetime import UTC, datetime, timedelta

from components.artifacts.cuts import SplitConfig
from components.choose_dates.choose import choose

SPLIT = SplitConfig(horizon_days=7, every_days=7, test_cuts=2)


def test_test_weeks_are_over_by_now_and_the_configuration_says_the_date():
    dates = choose(
        SPLIT, json.dumps({"seed": 3, "as_of": "2017-10-30"}), now=datetime(2024, 6, 17, 4, 0, 5, tzinfo=UTC)
    )
    assert dates.as_of == "2024-06-03T00:00:00+00:00"  # 17 June less two weeks, at midnight
    assert dates.end == "2024-06-17T00:00:00+00:00"
    assert json.loads(dates.resolved) == {"seed": 3, "as_of": "2024-06-03"}


def test_moment_before_midnight_belongs_to_the_day_before():
    midnight = datetime(2024, 6, 17, tzinfo=UTC)
    before, at = (choose(SPLIT, "{}", now=now).as_of[:10] for now in (midnight - timedelta(seconds=1), midnight))
    assert (before, at) == ("2024-06-02", "2024-06-03")
