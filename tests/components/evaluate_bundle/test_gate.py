"""Both sides of every condition."""

from dataclasses import replace

import pytest

from components.artifacts.errors import ConfigError
from components.evaluate_bundle.config import EvaluationConfig, GateConfig
from components.evaluate_bundle.evaluation import Evaluation
from components.evaluate_bundle.gate import check_metric, decide_gate
from components.ranking.bootstrap import Interval
from tests.components.evaluate_bundle.judged_world import made_up_evaluation


def evaluation(*, popularity: Interval, champion: Interval | None = None, queries: int = 100) -> Evaluation:
    """The bundle's NDCG@10 is 0.3, popularity's 0.2, the champion's 0.5; the differences are given."""
    differences = {"popularity": popularity} | ({"champion": champion} if champion else {})
    means = {"two_stage": 0.3, "popularity": 0.2} | ({"champion": 0.5} if champion else {})
    return replace(
        made_up_evaluation(),
        queries=queries,
        systems={name: {"ndcg_at_10": Interval(mean, mean, mean)} for name, mean in means.items()},
        differences={name: {"ndcg_at_10": gap} for name, gap in differences.items()},
    )


BETTER = Interval(0.1, 0.08, 0.12)


def verdicts(found: Evaluation, **config: object) -> dict[str, bool]:
    return {check.name: check.passed for check in decide_gate(found, GateConfig(**config)).checks}


def test_bundle_that_surely_beats_popularity_passes():
    gate = decide_gate(evaluation(popularity=BETTER), GateConfig())
    assert gate.passed
    assert gate.sentence == (
        "100 queries are enough; NDCG@10 0.3000 beats popularity's 0.2000 "
        "(difference +0.1000, interval +0.0800 to +0.1200); champion: no champion yet"
    )


@pytest.mark.parametrize(("low", "passed"), [(1e-6, True), (0.0, False), (-0.01, False)])
def test_lower_end_of_the_interval_must_be_above_zero(low, passed):
    found = evaluation(popularity=Interval(0.1, low, 0.2))
    assert verdicts(found)["beats_popularity"] is passed
    assert decide_gate(found, GateConfig()).passed is passed


def test_refusal_says_why_first():
    gate = decide_gate(evaluation(popularity=Interval(0.1, -0.01, 0.21)), GateConfig())
    assert gate.sentence.startswith("NDCG@10 0.3000 does not surely beat popularity's 0.2000")
    assert "interval -0.0100 to +0.2100" in gate.sentence


def test_unknown_difference_is_no_win():
    nan = float("nan")
    assert verdicts(evaluation(popularity=Interval(nan, nan, nan)))["beats_popularity"] is False


@pytest.mark.parametrize(
    ("high", "passed"),
    [(0.1, True), (-0.005, True), (-0.01, True), (-0.011, False)],  # 2 % of the champion's 0.5 are 0.01
)
def test_bundle_may_not_surely_lose_more_than_the_tolerance_to_the_champion(high, passed):
    found = evaluation(popularity=BETTER, champion=Interval(-0.02, -0.05, high))
    assert verdicts(found, champion_tolerance=0.02)["holds_against_champion"] is passed


def test_without_tolerance_any_sure_loss_to_the_champion_is_refused():
    gate = decide_gate(
        evaluation(popularity=BETTER, champion=Interval(-0.02, -0.05, -0.001)), GateConfig(champion_tolerance=0)
    )
    assert not gate.passed
    assert gate.sentence.startswith("surely worse than the champion's 0.5000")


@pytest.mark.parametrize("remark", ["no champion yet", "b-0001, not compared: its manifest.json is damaged"])
def test_champion_that_was_not_compared_refuses_nothing_and_is_named(remark):
    gate = decide_gate(replace(evaluation(popularity=BETTER), champion=remark), GateConfig())
    assert gate.passed
    assert gate.sentence.endswith(f"champion: {remark}")


@pytest.mark.parametrize(("queries", "passed"), [(99, False), (100, True)])
def test_too_few_queries_are_no_verdict(queries, passed):
    gate = decide_gate(evaluation(popularity=BETTER, queries=queries), GateConfig(min_queries=100))
    assert gate.passed is passed
    assert f"{queries} queries {'are enough' if passed else 'are under the 100 that a verdict needs'}" in gate.sentence


def test_dictionary_has_verdict_sentence_and_checks():
    content = decide_gate(evaluation(popularity=BETTER), GateConfig()).to_dict()
    assert content["passed"] is True
    assert [sorted(check) for check in content["checks"]] == [["name", "passed", "reason"]] * 3


def test_real_figures_are_decided_on_the_metric_that_is_configured():
    gate = decide_gate(made_up_evaluation(), GateConfig(metric="hit_rate_at_5", min_queries=1))
    assert gate.passed
    assert "Hit rate@5 1.0000 beats popularity's 0.0000" in gate.sentence


def test_metric_that_was_not_measured_is_refused():
    with pytest.raises(ConfigError, match=r"gate.metric: ndcg_at_7 is not measured; there are .*ndcg_at_10.*ks"):
        decide_gate(made_up_evaluation(), GateConfig(metric="ndcg_at_7"))


def test_metric_that_will_not_be_measured_is_refused_before_any_work():
    check_metric(GateConfig(), EvaluationConfig())
    with pytest.raises(ConfigError, match=r"gate\.metric: ndcg_at_7 is not measured"):
        check_metric(GateConfig(metric="ndcg_at_7"), EvaluationConfig())
