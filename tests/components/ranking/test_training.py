import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.artifacts.errors import ContractError
from components.ranking.ranker import Ranker
from components.ranking.stages import Stage
from components.ranking.training import DEFAULT_PARAMS, SEARCH_SPACE, RankingRows, fit_ranker
from components.tuning.search_space import contains
from feature_repo.schema import RANKER_FEATURE_NAMES

FEATURES = len(RANKER_FEATURE_NAMES)


def rows(queries: int, seed: int, *, shuffled: bool = False) -> RankingRows:
    """Queries of 20 candidates, one relevant: the one whose first feature is largest."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(queries * 20, FEATURES)).astype(np.float32)
    labels = np.zeros((queries, 20), np.float32)
    labels[np.arange(queries), matrix[:, 0].reshape(queries, 20).argmax(axis=1)] = 1
    if shuffled:
        labels = rng.permuted(labels, axis=1)
    return RankingRows(matrix, labels.ravel(), np.repeat(np.arange(queries), 20))


def fit(training: RankingRows, validation: RankingRows | None, params=DEFAULT_PARAMS, **options):
    stages = (Stage("binary:logistic", 20), Stage("rank:ndcg", 10))
    return fit_ranker(training, validation, params, **{"stages": stages, "seed": 1} | options)


def test_a_rule_that_the_features_hold_is_learnt():
    assert fit(rows(200, 1), rows(100, 2)).ndcg > 0.9


def test_shuffled_labels_land_at_chance():
    """One relevant among 20: the expected NDCG@10 of a random order is sum(1/log2(r+1) for r in 1..10) / 20 = 0.227."""
    chance = sum(1 / np.log2(rank + 1) for rank in range(1, 11)) / 20
    ndcg = fit(rows(300, 1, shuffled=True), rows(300, 2, shuffled=True)).history[-1]
    assert abs(ndcg - chance) < 0.07


def test_booster_is_cut_to_its_best_round():
    fitted = fit(rows(100, 1), rows(50, 2), early_stopping_rounds=5, stages=[Stage("rank:ndcg", 30)])
    assert fitted.booster.num_boosted_rounds() == fitted.rounds == int(np.argmax(fitted.history)) + 1
    assert fitted.ndcg == max(fitted.history)


def test_logistic_stage_ends_where_its_loss_on_thinned_rows_does_and_is_judged_on_whole_lists():
    training, whole, thinned = rows(60, 1), rows(50, 2), rows(50, 3)
    stages = [Stage("binary:logistic", 60)]
    params = DEFAULT_PARAMS | {"eta": 0.3}
    fitted = fit_ranker(training, whole, params, stages=stages, early_stopping_rounds=10, seed=1, thinned=thinned)

    def loss(kept: int) -> float:
        p = fitted_further[:kept].inplace_predict(thinned.matrix)
        return float(-np.mean(np.log(np.where(thinned.labels > 0, p, 1 - p))))

    fitted_further = fit_ranker(training, None, params, stages=stages, seed=1).booster
    losses = [loss(kept) for kept in range(1, fitted.rounds + 11)]
    assert int(np.argmin(losses)) + 1 == fitted.rounds < 60
    shown = fitted.booster.inplace_predict(whole.matrix)
    assert fitted.ndcg == pytest.approx(mean_ndcg(shown, whole), abs=1e-5)


def mean_ndcg(scores: np.ndarray, data: RankingRows) -> float:
    """NDCG@10 of one relevant item among 20: 1 / log2(rank + 1), 0 beyond rank 10."""
    by_query, relevant = scores.reshape(-1, 20), data.labels.reshape(-1, 20).argmax(axis=1)
    own = by_query[np.arange(len(by_query)), relevant]
    ranks = 1 + (by_query > own[:, None]).sum(axis=1)
    return float(np.mean(np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0.0)))


def test_second_stage_goes_on_from_the_best_round_of_the_first():
    training, validation = rows(200, 1), rows(100, 2)
    first = fit(training, validation, stages=[Stage("binary:logistic", 5)])
    both = fit(training, validation, stages=[Stage("binary:logistic", 5), Stage("rank:ndcg", 5)])
    assert both.ndcg > first.ndcg
    assert both.history[:5] == first.history
    assert both.stages[0] == first.stages[0]
    assert both.booster.num_boosted_rounds() == both.stages[0].rounds + both.stages[1].rounds


def test_second_stage_that_does_not_help_is_left_out():
    """With one feature that says all, the first stage orders the validation rows rightly and nothing can be better."""
    training, validation = (
        RankingRows(np.repeat(data.labels[:, None], FEATURES, axis=1), data.labels, data.groups)
        for data in (rows(200, 1), rows(50, 2))
    )
    fitted = fit(training, validation)
    assert fitted.ndcg == 1.0
    assert [stage.objective for stage in fitted.stages] == ["binary:logistic"]
    assert fitted.booster.num_boosted_rounds() == fitted.rounds


def test_refit_repeats_the_stages_that_were_found():
    found = fit(rows(100, 1), rows(50, 2)).stages
    assert fit(rows(150, 1), None, stages=found).stages == found


def test_rounds_are_reported_once_each_over_all_stages():
    steps = []
    fit(rows(50, 1), rows(50, 2), report=lambda step, _value: steps.append(step))
    assert steps == list(range(30))


def test_a_stage_is_reported_from_the_same_round_on_however_early_the_one_before_ended():
    """A pruner compares trainings round by round, and the thinned rows of one stage are not the whole lists of the next."""
    steps = []
    fit(
        rows(60, 1),
        rows(50, 2),
        DEFAULT_PARAMS | {"eta": 0.3},
        stages=(Stage("binary:logistic", 60), Stage("rank:ndcg", 10)),
        early_stopping_rounds=5,
        thinned=rows(50, 3),
        report=lambda step, _value: steps.append(step),
    )
    first = [step for step in steps if step < 60]
    assert first == list(range(len(first)))
    assert len(first) < 60
    assert steps[len(first)] == 60


def test_same_seed_gives_the_same_model():
    first, second = fit(rows(50, 1), None), fit(rows(50, 1), None)
    assert first.booster.save_raw("ubj") == second.booster.save_raw("ubj")


def test_report_may_stop_the_training():
    def stop(step: int, _value: float) -> None:
        if step == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(rows(50, 1), rows(50, 2), report=stop)


def test_a_share_of_the_queries_keeps_whole_queries():
    drawn = rows(10, 1).take_queries(0.3, np.random.default_rng(0))
    assert drawn.queries == 3
    assert np.bincount(drawn.groups).tolist() == [20, 20, 20]


def test_joined_queries_stay_apart():
    joined = rows(2, 1).joined(rows(3, 2))
    assert np.bincount(joined.groups).tolist() == [20] * 5


def table(query_ids: list[str], **columns: list[float]) -> pa.Table:
    features = {
        name: pa.array(columns.get(name, [0.0] * len(query_ids)), pa.float32()) for name in RANKER_FEATURE_NAMES
    }
    labels = pa.array([0.0] * len(query_ids), pa.float32())
    return pa.table({"query_id": query_ids, "label": labels, **features})


def test_rows_are_numbered_by_query(tmp_path):
    pq.write_table(table(["q2", "q2", "q1"]), tmp_path / "rows.parquet")
    assert RankingRows.read(tmp_path / "rows.parquet").groups.tolist() == [0, 0, 1]


def test_scattered_query_is_refused(tmp_path):
    pq.write_table(table(["q1", "q2", "q1"]), tmp_path / "rows.parquet")
    with pytest.raises(ContractError, match="not side by side"):
        RankingRows.read(tmp_path / "rows.parquet")


def test_rows_without_a_feature_are_refused(tmp_path):
    pq.write_table(table(["q1"]).drop_columns(["user_item_count"]), tmp_path / "rows.parquet")
    with pytest.raises(ContractError, match="user_item_count missing"):
        RankingRows.read(tmp_path / "rows.parquet")


def test_ranker_of_other_width_is_refused():
    booster = fit(rows(20, 1), None).booster
    with pytest.raises(ContractError, match=f"trained on {FEATURES} features, this code builds 2"):
        Ranker(booster, feature_names=("one", "two"))


def test_ranker_survives_the_disk_and_explains_itself(tmp_path):
    data = rows(30, 1)
    ranker = Ranker(fit(data, None).booster)
    ranker.save(tmp_path / "ranker.ubj")
    again = Ranker.load(tmp_path / "ranker.ubj")
    assert np.array_equal(ranker.score(data.matrix), again.score(data.matrix))
    assert np.allclose(again.contributions(data.matrix).sum(axis=1), again.score(data.matrix), atol=1e-4)


def test_broken_model_file_is_refused(tmp_path):
    (tmp_path / "ranker.ubj").write_bytes(b"not a model")
    with pytest.raises(ContractError, match=r"ranker\.ubj: not an XGBoost model"):
        Ranker.load(tmp_path / "ranker.ubj")


def test_no_candidate_has_no_score():
    ranker = Ranker(fit(rows(20, 1), None).booster)
    assert ranker.score(np.empty((0, FEATURES), np.float32)).shape == (0,)


def test_default_parameters_lie_inside_the_search_space():
    assert contains(SEARCH_SPACE, DEFAULT_PARAMS)
    assert not contains(SEARCH_SPACE, DEFAULT_PARAMS | {"eta": 3.0})
