"""The step itself on the toy world's bundle: the champion, unknown items, the files, and what it refuses."""

import json
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.artifacts.bundle import load_bundle, write_bundle
from components.artifacts.cuts import SplitConfig
from components.artifacts.errors import ConfigError, ContractError
from components.artifacts.registry import open_registry
from components.evaluate_bundle.config import EvaluationConfig, GateConfig
from components.evaluate_bundle.evaluate import evaluate_bundle
from components.retrieval.items import ItemTable
from tests.toy_world import USERS, moment, write_toy_events

AS_OF = moment(15)
CONFIG = EvaluationConfig(ks=(5, 10, 20), list_length=20, draws=100)
GATE = GateConfig(min_queries=50)


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    return write_toy_events(tmp_path_factory.mktemp("events"))


@pytest.fixture
def evaluate(trained, events, tmp_path):
    """The step, with the answers as JSON beside what it returns."""

    def run(model_name: str = "nobody", **changes):
        arguments = {
            "as_of": AS_OF,
            "split": SplitConfig(training_cuts=3, test_cuts=1),
            "config": CONFIG,
            "gate_config": GATE,
            **changes,
        }
        out = tmp_path / "out"
        gate, figures = evaluate_bundle(
            events, trained.home, trained.run.bundle, out, model_name=model_name, **arguments
        )
        return gate, figures, json.loads((out / "evaluation.json").read_text())["evaluation"], out

    return run


@pytest.fixture
def enthrone(trained, tmp_path):
    """Publish a variant of the trained bundle as champion of a model of its own."""

    def publish(model_name: str, *, rename: str = "", as_of: str = "", quotas: dict[str, int] | None = None) -> str:
        bundle = load_bundle(trained.run.bundle)
        model = replace(bundle.model, quotas=quotas or {**bundle.model.quotas, "content": 3})
        if rename:
            ids = [f"{rename}{item_id}" for item_id in model.items.item_ids]
            model = replace(model, items=ItemTable(model.items.table.set_column(0, "item_id", [ids])))
        facts = replace(bundle.manifest.facts, as_of=as_of or bundle.manifest.facts.as_of)
        folder = tmp_path / "variant"
        reference = {"reference.parquet": trained.run.bundle / "reference.parquet"}
        manifest = write_bundle(
            folder, model=model, policy=bundle.policy.config, golden=[], facts=facts, extra_files=reference
        )
        registry = open_registry(trained.home)
        registry.publish(model_name, folder, None, now=AS_OF)
        registry.point(model_name, "champion", manifest.bundle_id, reason="a test", now=AS_OF)
        return manifest.bundle_id

    return publish


def test_no_more_users_are_asked_than_configured_and_the_same_ones_each_time(evaluate):
    half = CONFIG.model_copy(update={"max_users_per_cut": USERS // 2})
    gate, figures = GATE.model_copy(update={"min_queries": 1}), {}
    for run in ("first", "second"):
        _, figures[run], written, _ = evaluate(config=half, gate_config=gate)
        assert written["queries"] == USERS // 2  # one test cut
    assert figures["first"] == figures["second"]


def test_bundle_beats_popularity_on_the_toy_world_and_both_files_are_written(evaluate):
    gate, figures, written, out = evaluate()
    assert gate.passed
    assert figures["two_stage_ndcg_at_10"] == pytest.approx(written["systems"]["two_stage"]["ndcg_at_10"]["mean"])
    assert figures["two_stage_ndcg_at_10"] > figures["popularity_ndcg_at_10"]
    assert figures["queries"] == written["queries"] == USERS
    assert written["champion"] == "no champion yet"
    assert f"{figures['two_stage_ndcg_at_10']:.4f}" in (out / "report.html").read_text(encoding="utf-8")


def test_progress_names_each_cut(evaluate, caplog):
    with caplog.at_level("INFO"):
        evaluate(split=SplitConfig(training_cuts=3, test_cuts=2))
    messages = [record.getMessage() for record in caplog.records if "queries ranked" in record.getMessage()]
    assert [message.partition(":")[0] for message in messages] == [
        f"test cut {(AS_OF + timedelta(days=7 * ahead)).date()}" for ahead in (0, 1)
    ]


def test_another_champion_is_asked_the_same(evaluate, enthrone):
    bundle_id = enthrone("rival")
    gate, _, written, _ = evaluate("rival")
    assert written["champion"] == f"{bundle_id}, asked the same"
    assert 0 < written["systems"]["champion"]["ndcg_at_10"]["mean"] <= 1
    assert "holds_against_champion" in [check.name for check in gate.checks]


def test_champion_of_an_earlier_catalogue_misses_the_items_that_it_lacks(evaluate, enthrone):
    enthrone("foreign", rename="x")
    gate, _, written, _ = evaluate("foreign")
    assert written["systems"]["champion"]["hit_rate_at_10"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert written["beyond"]["champion"]["coverage"] == 0.0
    assert gate.passed


def test_champion_that_is_this_bundle_is_no_rival(evaluate, trained):
    _, _, written, _ = evaluate("recommender")
    assert written["champion"] == f"{trained.run.bundle_id}, which is this bundle"
    assert "champion" not in written["systems"]


def test_champion_that_saw_the_answers_is_not_compared(evaluate, enthrone, caplog):
    bundle_id = enthrone("later", as_of=moment(17).isoformat())
    _, _, written, _ = evaluate("later")
    assert written["champion"] == f"{bundle_id}, not compared: trained as of {moment(17).date()}, it saw the answers"
    assert "champion" not in written["systems"]
    assert f"the champion {bundle_id} is not compared" in caplog.text


def test_damaged_champion_does_not_stand_in_its_successors_way(evaluate, enthrone, trained):
    enthrone("broken")
    (open_registry(trained.home).champion("broken") / "ranker.ubj").write_bytes(b"no model")
    gate, _, written, _ = evaluate("broken")
    assert gate.passed
    assert "not compared: bundle" in written["champion"]
    assert "changed ['ranker.ubj']" in written["champion"]


def test_same_inputs_give_the_same_files(evaluate):
    texts = []
    for _ in range(2):
        out = evaluate()[3]
        texts.append([(out / name).read_text(encoding="utf-8") for name in ("evaluation.json", "report.html")])
    assert texts[0] == texts[1]


def test_relevant_item_of_no_item_table_counts_against_the_bundle(evaluate, events):
    plain = evaluate()[2]["systems"]["two_stage"]["recall_at_20"]["mean"]

    path = events / "interactions.parquet"
    before = pq.read_table(path)
    strange = before.slice(0, USERS)
    columns = {
        "user_id": [f"u{num}" for num in range(USERS)],
        "item_id": ["in no catalogue"] * USERS,
        "event_timestamp": pa.array([AS_OF] * USERS, before.schema.field("event_timestamp").type),
    }
    for name, values in columns.items():
        strange = strange.set_column(strange.column_names.index(name), before.schema.field(name), [values])
    try:
        pq.write_table(pa.concat_tables([before, strange]), path)
        found = evaluate()[2]["systems"]["two_stage"]["recall_at_20"]["mean"]
    finally:
        pq.write_table(before, path)
    assert found < plain  # h / n becomes h / (n + 1)
    assert found / plain == pytest.approx(4 / 5, abs=0.05)  # most users take four items


def test_test_window_without_interactions_is_refused(evaluate):
    with pytest.raises(
        ContractError, match=r"nobody has an interaction of type purchase in \[2030-01-01, 2030-01-08\)"
    ):
        evaluate(as_of=AS_OF.replace(year=2030, month=1, day=1))


def test_gate_metric_that_is_not_measured_is_refused_before_anything_is_read(evaluate, tmp_path):
    with pytest.raises(ConfigError, match=r"gate\.metric: ndcg_at_7 is not measured"):
        evaluate(gate_config=GateConfig(metric="ndcg_at_7"))
    assert not (tmp_path / "out").exists()
