"""Ablations on the toy world, with the bundle that the other tests trained."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from benchmarks.quality.ablation_tables import write
from benchmarks.quality.ablations import measure, shuffled
from benchmarks.quality.feature_groups import (
    FULL,
    GROUPS,
    TOGETHER,
    Variant,
    check_groups,
    without_groups,
    without_sources,
)
from benchmarks.quality.moments import TrainedCut, read_interactions
from benchmarks.quality.objectives import CALIBRATORS, objectives
from benchmarks.quality.pools import build_pools
from components.artifacts.bundle import load_bundle
from components.artifacts.errors import ContractError
from components.point_in_time.queries import queries_at
from components.ranking.config import RankerConfig
from components.ranking.labels import relevant_items
from components.ranking.metrics import Judged, ndcg_at_k
from components.ranking.training import RankingRows
from components.retrieval.candidates import generate_candidates
from feature_repo.schema import RANKER_FEATURE_NAMES, RETRIEVERS

RANK, SCORE = (RANKER_FEATURE_NAMES.index(f"rp3beta_{kind}") for kind in ("rank", "score"))


@pytest.fixture(scope="module")
def cut(trained) -> TrainedCut:
    short = trained.config.model_copy(update={"ranker": RankerConfig(max_rounds=6, refine_rounds=3)})
    return TrainedCut(short, trained.home, load_bundle(trained.run.bundle), 1.0)


@pytest.fixture(scope="module")
def pools(cut):
    return build_pools(cut, read_interactions(cut))


def test_every_feature_is_in_exactly_one_group():
    check_groups()


def test_feature_in_no_group_or_in_two_is_refused_and_named():
    twice = {**GROUPS, "again": ("user_item_count",)}
    with pytest.raises(ContractError, match=r"feature groups: user_item_count; .*exactly one group"):
        check_groups(twice)
    with pytest.raises(ContractError, match="feature groups: user_item_category_share_90d;"):
        check_groups({name: features for name, features in GROUPS.items() if name != "category affinity"})


def test_union_of_groups_leaves_out_the_features_of_all_its_parts():
    by_name = {one.name: one for one in without_groups()}
    for name, parts in TOGETHER.items():
        assert sorted(by_name[name].missing) == sorted(feature for part in parts for feature in by_name[part].missing)


def matrix(*ranks: dict[str, float]) -> np.ndarray:
    """Rows that the given sources named."""
    rows = np.ones((len(ranks), len(RANKER_FEATURE_NAMES)), np.float32)
    for row, named in zip(rows, ranks, strict=True):
        for source in RETRIEVERS:
            row[RANKER_FEATURE_NAMES.index(f"{source}_rank")] = named.get(source, np.nan)
    return rows


def test_source_that_is_left_out_takes_its_own_rows_and_queries_along():
    [variant] = [one for one in without_sources({"rp3beta": 8}) if one.source == "rp3beta"]
    both, alone, other = {"rp3beta": 1, "content": 2}, {"rp3beta": 1}, {"content": 1}
    full = RankingRows(
        matrix(both, alone, alone, other), np.array([1, 0, 1, 0], np.float32), np.array([0, 0, 1, 1], np.int64)
    )
    found = variant.rows(full)  # the only relevant row of the second query goes, and the query with it
    assert found.groups.tolist() == [0]
    assert found.labels.tolist() == [1]
    assert np.isnan(found.matrix[0, [RANK, SCORE]]).all()
    assert full.matrix[0, RANK] == 1  # the original is left alone


def test_pools_without_a_source_are_those_of_quota_0(cut, pools):
    model, moment = cut.bundle.model, cut.cuts.test[0]
    users = sorted(relevant_items(read_interactions(cut), moment, cut.cuts.horizon, ("purchase",)))
    queries = queries_at(cut.home, users, model.items, cut=moment)
    for variant in without_sources(model.quotas):
        left = pools.without(variant)
        sizes = np.bincount(left.queries, minlength=len(pools.users))[: len(queries)]
        quotas = {**model.quotas, variant.source: 0}
        assert sizes.tolist() == [len(generate_candidates(query, model.retrievers, quotas)) for query in queries]


def test_figures_of_the_pools_are_those_of_the_lists(cut, pools, trained):
    """Of the lists by the score alone: the blend for users of whom little is known is no part of the ranker."""
    model, split = replace(cut.bundle.model, blend=None), cut.config.resolved_split()
    lists, relevant, known = [], [], []
    for moment in cut.cuts.test:
        answers = relevant_items(read_interactions(cut), moment, cut.cuts.horizon, split.label_types)
        for query in queries_at(cut.home, sorted(answers), model.items, cut=moment):
            lists.append(model.rank(query).item_nums)
            relevant.append(np.array([model.items.num_of[item] for item in answers[query.user_id]]))
            known.append(query.history.item_nums)
    scores, ids = model.ranker.score(pools.matrix), [str(row) for row in range(len(lists))]
    expected = ndcg_at_k(Judged.of_lists(ids, lists, relevant), k=10)
    assert np.nanmean(pools.ndcg(scores, new=False)) == pytest.approx(expected.mean())
    fresh = [[one[~np.isin(one, own)] for one, own in zip(part, known, strict=True)] for part in (lists, relevant)]
    expected = ndcg_at_k(Judged.of_lists(ids, *fresh), k=10)
    assert np.nanmean(pools.ndcg(scores, new=True)) == pytest.approx(expected.mean())
    pool = trained.run.evaluation["pool"]
    assert np.nanmean(pools.recall(new=False)) == pytest.approx(pool["recall"])
    assert np.nanmean(pools.recall(new=True)) == pytest.approx(pool["recall_new_to_user"])


def test_shuffled_labels_stay_in_their_query():
    rows = RankingRows(np.zeros((6, 1), np.float32), np.array([1, 1, 0, 0, 0, 1], np.float32), np.repeat([0, 1], 3))
    found = {tuple(shuffled(rows, np.random.default_rng(seed)).labels) for seed in range(50)}
    assert {(sum(one[:3]), sum(one[3:])) for one in found} == {(2, 1)}
    assert len(found) == 9  # three places of a 0 times three places of a 1


def test_every_objective_has_the_same_most_rounds():
    config = RankerConfig(max_rounds=7, refine_rounds=4)
    assert {sum(stage.rounds for stage in one.stages()) for one in objectives(config).values()} == {11}
    assert objectives(config)["binary:logistic, then rank:ndcg"] == config


def test_figures_are_written_as_data_and_words(cut, tmp_path):
    found = measure(cut, read_interactions(cut), Console(quiet=True))
    assert found.full.ndcg_gap.mean == 0
    assert set(found.groups) == {*GROUPS, *TOGETHER}
    assert set(found.sources) == set(RETRIEVERS)
    assert set(found.calibrators) == set(CALIBRATORS)
    assert all(cell.recall_gap.mean == 0 for cell in found.groups.values())
    assert min(cell.recall_gap.mean for cell in found.sources.values()) < 0
    write(found, tmp_path)
    text, content = (tmp_path / "ABLATIONS.md").read_text(), json.loads((tmp_path / "ablations.json").read_text())
    assert f"| nothing | 0 | {found.full.ndcg.mean:.4f} [" in text
    assert "| binary:logistic, as it is |" in text
    assert content["feature_groups"]["context"] == list(GROUPS["context"])
    assert content["chance"]["low"] <= content["chance"]["random"] <= content["chance"]["high"]


def test_nothing_is_left_out_of_the_full_model():
    rows = matrix({"rp3beta": 1}, {})
    assert FULL.keeps(rows).all()
    assert np.array_equal(FULL.blanked(rows), rows, equal_nan=True)
    assert np.isnan(Variant("one", ("rp3beta_rank",)).blanked(rows)[:, RANK]).all()
