"""The blend by arithmetic, and what it leaves alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts.errors import ConfigError
from components.ranking.blend import Blend, listed
from components.ranking.config import BlendConfig
from feature_repo.schema import RETRIEVERS

POPULAR, ALIKE = RETRIEVERS.index("popular_in_context"), RETRIEVERS.index("user_neighbours")
BLEND = Blend(until_items=10, strength=2.0, sources={"popular_in_context": 0.75, "user_neighbours": 0.25})


def ranks(**of: list[float]) -> np.ndarray:
    """Ranks in some sources, the others name nothing."""
    rows = np.full((len(next(iter(of.values()))), len(RETRIEVERS)), np.nan, np.float32)
    for name, values in of.items():
        rows[:, RETRIEVERS.index(name)] = values
    return rows


def test_weight_falls_by_the_item_and_is_zero_from_the_bound_on():
    assert [BLEND.weight(known) for known in (0, 1, 3, 9)] == pytest.approx([2.0, 2.0 * 0.9, 2.0 * 0.7, 2.0 * 0.1])
    assert BLEND.weight(10) == BLEND.weight(500) == 0


def test_list_is_the_fusion_of_the_sources_by_their_shares():
    """(20 + 1) / (20 + rank), which is 1 for the first."""
    found = listed(ranks(popular_in_context=[1, 22, np.nan], user_neighbours=[1, np.nan, np.nan]), BLEND.sources)
    assert found == pytest.approx([0.75 + 0.25, 0.75 * 21 / 42, 0.0])


def test_source_that_names_nothing_has_no_share():
    assert listed(ranks(popular_in_context=[1, 22]), BLEND.sources) == pytest.approx([1.0, 21 / 42])
    assert listed(ranks(covisitation=[1, 2]), BLEND.sources).tolist() == [0, 0]


def test_best_of_the_list_passes_what_the_score_puts_less_than_its_weight_ahead():
    rows = ranks(popular_in_context=[np.nan, 1, np.nan])
    margins = np.array([1.5, 0.0, -1.0])
    nobody = np.zeros(3, bool)
    assert BLEND.order(margins, rows, nobody, known_items=0).tolist() == [1, 0, 2]  # 0 + 2.0 > 1.5
    assert BLEND.order(margins, rows, nobody, known_items=4).tolist() == [0, 1, 2]  # 0 + 2.0 * 0.6 = 1.2 < 1.5


def test_known_items_keep_their_places():
    rows = ranks(popular_in_context=[np.nan, 1, 22, 1])
    is_known = np.array([False, True, False, False])
    order = BLEND.order(np.array([0.3, 0.2, 0.1, 0.0]), rows, is_known, known_items=1)
    assert order.tolist() == [3, 1, 2, 0]  # 0 + 1.8 > 0.1 + 1.8 * 21 / 42 = 1.0 > 0.3


@given(
    margins=st.lists(st.floats(-5, 5), min_size=1, max_size=20),
    known_items=st.integers(0, 30),
    seed=st.integers(0, 5),
)
def test_order_is_one_of_the_same_rows_and_the_scores_own_from_the_bound_on(margins, known_items, seed):
    rng = np.random.default_rng(seed)
    n, falling = len(margins), np.sort(margins)[::-1]
    is_known = rng.random(n) < 0.3
    order = BLEND.order(falling, ranks(popular_in_context=rng.permutation(n) + 1.0), is_known, known_items=known_items)
    assert sorted(order.tolist()) == list(range(n))
    assert order[is_known].tolist() == np.flatnonzero(is_known).tolist()
    if known_items >= BLEND.until_items:
        assert order.tolist() == list(range(n))


def test_configured_shares_are_made_to_sum_to_one():
    blend = Blend.of(BlendConfig(sources={"popular_in_context": 3.0, "rp3beta": 1.0}), 0.5)
    assert blend == Blend(20, 0.5, {"popular_in_context": 3 / 4, "rp3beta": 1 / 4})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"sources": {"oracle": 1.0}}, r"ranker.blend.sources: .*oracle.* one of them positive, for repeat_purchase"),
        ({"sources": {"rp3beta": 0.0}}, r"ranker.blend.sources: .* expected numbers >= 0, one of them positive"),
        ({"strengths": [-1.0]}, r"ranker.blend.strengths: \(-1.0,\) is not usable; expected numbers >= 0"),
    ],
)
def test_section_that_cannot_be_meant_is_refused(section, message):
    with pytest.raises(ConfigError, match=message):
        BlendConfig.model_validate(section)
