"""The value of a list, and what counts as a sure loss."""

import math

import pandas as pd
import pytest

from components.ranking.bootstrap import Interval
from monitoring.quality import list_values, relative_loss


def lists(*labels: tuple[float, ...]) -> pd.DataFrame:
    """One list per argument, each of a user of its own."""
    rows = [
        {"query_id": f"q{query}", "user_id": f"u{query}", "position": place, "label": label}
        for query, one in enumerate(labels)
        for place, label in enumerate(one, start=1)
    ]
    return pd.DataFrame(rows)


BEST_OF_TWO = 1 / math.log2(2) + 1 / math.log2(3)


def test_a_list_of_successes_is_one() -> None:
    assert list_values(lists((1.0, 1.0)), k=2).loc["q0", ["ndcg", "hit_share"]].tolist() == pytest.approx([1.0, 1.0])


def test_a_success_counts_by_its_position() -> None:
    values = list_values(lists((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)), k=2)
    assert values["ndcg"].tolist() == pytest.approx([1 / BEST_OF_TWO, (1 / math.log2(3)) / BEST_OF_TWO, 0.0])
    assert values["hit_share"].tolist() == [1 / 2, 1 / 2, 0.0]


def test_positions_below_k_do_not_count() -> None:
    assert list_values(lists((0.0, 0.0, 1.0)), k=2)["ndcg"].tolist() == [0.0]


def test_a_short_list_is_not_forgiven() -> None:
    assert list_values(lists((1.0,)), k=2)["hit_share"].tolist() == [1 / 2]


def test_the_sure_loss_takes_both_intervals_at_their_ends() -> None:
    loss = relative_loss(Interval(0.5, 0.4, 0.6), Interval(0.25, 0.2, 0.3))
    assert (loss.mean, loss.low, loss.high) == pytest.approx((1 - 0.25 / 0.5, 1 - 0.3 / 0.4, 1 - 0.2 / 0.6))


def test_nothing_is_surely_lost_of_a_reference_that_may_be_zero() -> None:
    assert relative_loss(Interval(0.1, 0.0, 0.2), Interval(0.0, 0.0, 0.0)).low == -math.inf
