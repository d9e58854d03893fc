"""The strength is chosen by what new users took."""

import logging
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.ranking.blend import Blend
from components.ranking.config import BlendConfig
from components.ranking.ranker import Ranker
from components.ranking.stages import Stage
from components.ranking.training import DEFAULT_PARAMS, RankingRows, fit_ranker
from components.train_ranker.choose_blend import NewUser, choose_blend
from feature_repo.schema import RANKER_FEATURE_NAMES, RETRIEVERS

CONFIG = BlendConfig(until_items=10, strengths=(1.0, 0.0, 8.0), sources={"popular_in_context": 1.0})


def asked(user_id: str, relevant: int, known_items: int = 0) -> NewUser:
    """Twenty candidates that the ranker puts in their order, a tenth of log-odds apart, and the list in the reverse one."""
    ranks = np.full((20, len(RETRIEVERS)), np.nan, np.float32)
    ranks[:, RETRIEVERS.index("popular_in_context")] = np.arange(20, 0, -1)
    is_relevant = np.arange(20) == relevant
    return NewUser(user_id, -0.1 * np.arange(20), ranks, np.zeros(20, bool), is_relevant, known_items)


def some(relevant: list[int]) -> list[NewUser]:
    """One user of each number."""
    return [asked(f"u{place}", item) for place, item in enumerate(relevant)]


def test_list_that_is_right_gets_the_largest_strength():
    blend, found = choose_blend(CONFIG, some([19, 19, 18]))
    assert (blend.strength, blend.until_items) == (8.0, 10)
    assert found[0.0] == 0  # the twentieth of the score's order
    assert found[8.0] == pytest.approx((1 + 1 + 1 / np.log2(3)) / 3)  # the first and the second of the list


def test_score_that_is_right_needs_no_blend():
    config = CONFIG.model_copy(update={"strengths": (8.0, 0.0)})
    blend, found = choose_blend(config, some([0, 0, 1]))
    assert blend is None
    assert found[0.0] == pytest.approx((1 + 1 + 1 / np.log2(3)) / 3)


def test_declared_strength_stays_where_users_disagree_and_the_log_says_why(caplog):
    """Gains of the list over the declared score: 1 for two of them, -1 for one: mean 1 / 3, standard error 2 / 3."""
    config = CONFIG.model_copy(update={"strengths": (0.0, 8.0)})
    with caplog.at_level(logging.INFO):
        blend, found = choose_blend(config, some([19, 19, 0]))
    assert blend is None
    said = (
        "strength 0, as declared, for no other is better by over a standard error: NDCG@10 0.3333 with 0, 0.6667 with 8"
    )
    assert said in caplog.text
    assert found == pytest.approx({0.0: 1 / 3, 8.0: 2 / 3})


def test_queries_of_one_user_are_one_piece_of_evidence():
    config = CONFIG.model_copy(update={"strengths": (0.0, 8.0)})
    assert choose_blend(config, [asked("u0", 19), asked("u0", 18)])[0] is None
    assert choose_blend(config, [asked("u0", 19), asked("u1", 18)])[0].strength == 8.0


def test_declared_strength_stays_without_anybody_to_judge_by():
    assert choose_blend(CONFIG, []) == (Blend.of(CONFIG, 1.0), {})
    assert choose_blend(CONFIG, [asked("u0", 0, known_items=10)]) == (Blend.of(CONFIG, 1.0), {})
    assert choose_blend(CONFIG.model_copy(update={"until_items": 0}), some([19, 19])) == (None, {})


def test_items_that_are_known_are_neither_shown_nor_right():
    """The score's first and second are known, the third is the only one that counts."""
    is_known = np.arange(20) < 2
    one = replace(asked("u0", 2, known_items=1), is_known=is_known, is_relevant=np.arange(20) < 3)
    assert choose_blend(CONFIG, [one])[1][0.0] == 1


def rows(queries: int) -> pa.Table:
    """Three candidates of each query, the first of them known; what the sources say of the second is a rank of 1."""
    columns = {name: np.full(3 * queries, np.nan, np.float32) for name in RANKER_FEATURE_NAMES}
    columns["user_item_count"] = np.tile([1.0, 0.0, 0.0], queries).astype(np.float32)
    columns["rp3beta_rank"] = np.tile([np.nan, 1.0, np.nan], queries).astype(np.float32)
    return pa.table(
        {
            "user_id": np.repeat([f"u{num}" for num in range(queries)], 3),
            "query_id": np.repeat([f"u{num}#new1" for num in range(queries)], 3),
            "known_items": pa.array(np.full(3 * queries, 1), pa.int32()),
            "label": np.tile([0.0, 0.0, 1.0], queries).astype(np.float32),
            **columns,
        }
    )


def test_new_users_are_read_as_the_ranker_orders_them(tmp_path):
    """A ranker that was given nothing to learn scores all alike, so the rows keep their order."""
    matrix = np.zeros((4, len(RANKER_FEATURE_NAMES)), np.float32)
    nothing = RankingRows(matrix, np.array([0, 1, 0, 1], np.float32), np.array([0, 0, 1, 1]))
    ranker = Ranker(fit_ranker(nothing, None, DEFAULT_PARAMS, stages=[Stage("binary:logistic", 1)], seed=0).booster)
    pq.write_table(rows(2), tmp_path / "two.parquet")
    first, second = NewUser.read(tmp_path / "two.parquet", ranker)
    assert first.is_known.tolist() == second.is_known.tolist() == [True, False, False]
    assert first.is_relevant.tolist() == [False, False, True]
    assert first.ranks[1, RETRIEVERS.index("rp3beta")] == 1
    assert (first.user_id, second.user_id, first.known_items) == ("u0", "u1", 1)
    pq.write_table(rows(0), tmp_path / "none.parquet")
    assert NewUser.read(tmp_path / "none.parquet", ranker) == []
