"""Kubeflow's cron expressions."""

from datetime import UTC, datetime

import pytest

from components.artifacts.errors import ConfigError
from pipelines.kubeflow.cron import parse_cron

MONDAY = datetime(2024, 6, 17, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "following"),
    [
        ("0 0 4 * * MON", "2024-06-24T04:00:00"),
        ("0 0 4 ? * 1", "2024-06-24T04:00:00"),
        ("0 0 3 * * *", "2024-06-18T03:00:00"),
        ("0 */15 * * * *", "2024-06-17T12:45:00"),
        ("30 30 12 * * *", "2024-06-17T12:30:30"),
        ("0 30 12 * * *", "2024-06-18T12:30:00"),  # after, not at
        ("0 0 0 1 JAN,jul *", "2024-07-01T00:00:00"),
        ("0 0 9-17/4 * * 2-6", "2024-06-18T09:00:00"),
        ("0 40/10 * * * *", "2024-06-17T12:40:00"),
        ("0 0 0 29 2 *", "2028-02-29T00:00:00"),
        ("0 0 0 13 * FRI", "2024-06-21T00:00:00"),  # both restricted: one is enough
        ("@weekly", "2024-06-23T00:00:00"),
    ],
)
def test_next_moment(text, following):
    assert parse_cron(text).after(MONDAY) == datetime.fromisoformat(following).replace(tzinfo=UTC)


def test_date_that_does_not_exist_never_comes():
    assert parse_cron("0 0 0 30 2 *").after(MONDAY) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 4 * * 1", "has 5 fields; expected six fields, second minute hour day month weekday"),
        ("", "has 0 fields"),
        ("0 0 24 * * *", "hour '24' is not in 0 to 23"),
        ("0 0 4 * * 7", "weekday '7' is not in 0 to 6"),
        ("0 0 4 * * MONDAY", "weekday 'MONDAY' is not in"),
        ("0 0 5-3 * * *", "hour '5-3' is empty"),
        ("*/0 * * * * *", "second '[*]/0' is empty"),
        ("*/x * * * * *", "invalid literal"),
    ],
)
def test_expression_that_is_none_says_what_was_expected(text, said):
    with pytest.raises(ConfigError, match=said):
        parse_cron(text)
