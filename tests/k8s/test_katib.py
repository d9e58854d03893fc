"""The Katib Experiment: what it searches, what its trials run, and what Katib's collector reads of them."""

import copy
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from components.artifacts.errors import ConfigError
from components.ranking.training import DEFAULT_PARAMS, SEARCH_SPACE
from components.tune_ranker.tune import score_params
from components.tuning.search_space import Choice, Float, Int
from components.tuning.study import distribution
from pipelines.config import PipelineConfig, load_config
from pipelines.kubeflow.katib import METRIC, Place, _parameter, command, experiment, metric_line
from tests.components.tune_ranker.training_sets import write_training_set
from tests.k8s.manifests import ROOT, Resource, containers, resources
from tests.k8s.validation import mistakes
from tests.pipelines.test_cli import recsys
from tests.toy_world import toy_config

GOLDEN = ROOT / "tests" / "golden" / "ranker-experiment.yaml"
PLACE = Place("recsys-pipeline:golden", "/var/lib/recsys/artifacts/train-1/build-training-set/training_set")
UPDATE = f"recsys train katib --image {PLACE.image} --training-set {PLACE.training_set} > {GOLDEN.relative_to(ROOT)}"
COLLECTORS = (r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)", r"([\w|-]+)\s*=\s*((-?\d+)(\.\d+)?)")
"""What Katib's collector finds in a line, in its newer and its older versions."""


@pytest.fixture(scope="module")
def rendered() -> list[Resource]:
    return resources(GOLDEN.read_text())


@pytest.fixture(scope="module")
def job(rendered) -> Resource:
    """The job of a trial, as Katib makes it: the parameters filled in, with a name."""
    template = rendered[1]["spec"]["trialTemplate"]
    text = yaml.safe_dump(template["trialSpec"])
    for parameter in template["trialParameters"]:
        text = text.replace(f"${{trialParameters.{parameter['name']}}}", str(DEFAULT_PARAMS[parameter["reference"]]))
    assert "${" not in text
    return {**yaml.safe_load(text), "metadata": {"name": "ranker-trial-1"}}


def test_experiment_is_the_golden_one(rendered):
    text = experiment(load_config("complete_journey"), PLACE)
    assert text == GOLDEN.read_text(), f"if the change is meant: {UPDATE}"


def test_experiment_its_configuration_and_its_trials_are_valid(rendered, job):
    assert [mistake for one in (*rendered, job) for mistake in mistakes(one)] == []
    broken = copy.deepcopy(rendered[1])
    broken["spec"]["parameters"][0]["feasibleSpace"]["log"] = "true"
    assert any("log" in mistake for mistake in mistakes(broken))


def test_each_parameter_of_the_search_is_one_of_katibs_with_the_same_range(rendered):
    parameters = {one["name"]: one for one in rendered[1]["spec"]["parameters"]}
    assert list(parameters) == list(SEARCH_SPACE)
    for name, domain in SEARCH_SPACE.items():
        space, ours = parameters[name]["feasibleSpace"], distribution(domain)
        assert (float(space["min"]), float(space["max"])) == (ours.low, ours.high)
        assert (space.get("distribution") == "logUniform") == ours.log
        assert parameters[name]["parameterType"] == ("int" if isinstance(domain, Int) else "double")


def test_every_kind_of_domain_has_its_words():
    assert _parameter("a", Choice(("x", "y")))["feasibleSpace"] == {"list": ["x", "y"]}
    assert _parameter("b", Float(0.1, 1.0))["feasibleSpace"] == {"min": "0.1", "max": "1.0"}
    assert _parameter("c", Int(1, 64, log=True)) == {
        "name": "c",
        "parameterType": "int",
        "feasibleSpace": {"min": "1", "max": "64", "distribution": "logUniform"},
    }


def test_trial_is_a_restricted_pod_that_reads_the_state_folder_and_the_configuration_beside_it(rendered, job):
    pod = job["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in containers(pod):
        own = container["securityContext"]
        assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    [config_map] = [one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one]
    assert config_map == rendered[0]["metadata"]["name"] == rendered[1]["metadata"]["name"]
    config = PipelineConfig.model_validate(yaml.safe_load(rendered[0]["data"]["pipeline.yaml"]))
    whole = load_config("complete_journey")
    assert (config.tuning, config.ranker, config.seed) == (whole.tuning, whole.ranker, whole.seed)


def test_other_budget_is_another_experiment_for_katib_takes_no_edit():
    def name(**overrides: object) -> str:
        text = experiment(load_config("complete_journey", dict(overrides)), PLACE)
        return resources(text)[1]["metadata"]["name"]

    assert name() == name(**{"monitoring.drift.bins": 10})  # of which no trial reads
    assert len({name(), name(**{"tuning.trials": 30}), name(seed=1)}) == 3


def test_counts_fit_a_small_budget():
    spec = resources(experiment(load_config("complete_journey", {"tuning.trials": 1}), PLACE))[1]["spec"]
    assert (spec["maxTrialCount"], spec["parallelTrialCount"], spec["maxFailedTrialCount"]) == (1, 1, 1)


def test_no_trial_and_a_path_that_a_shell_would_cut_are_refused():
    with pytest.raises(ConfigError, match=r"tuning\.trials: 0, so there is nothing to search"):
        experiment(load_config("complete_journey", {"tuning.trials": 0}), PLACE)
    with pytest.raises(ConfigError, match="expected a path without quotes"):
        experiment(load_config("complete_journey"), Place(PLACE.image, "/my data"))


@pytest.mark.parametrize("score", [0.32641, 1e-7, 1.0, 0.0])
def test_line_is_read_by_katibs_collector_with_its_time(score):
    line = metric_line(score, datetime(2024, 6, 17, 12, 30, tzinfo=UTC))
    assert line.startswith("2024-06-17T12:30:00.000Z ")
    for pattern in COLLECTORS:
        assert [(one[0], float(one[1])) for one in re.findall(pattern, line)] == [(METRIC, round(score, 6))]


def test_trial_prints_the_score_that_the_search_would_have_as_katib_wraps_its_command(tmp_path):
    data = tmp_path / "set"
    write_training_set(data)
    small = {"ranker": {"max_rounds": 12, "refine_rounds": 6, "early_stopping_rounds": 5}, "seed": 3}
    config = toy_config(tmp_path / "shop")
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | small))
    asked = " ".join(command(str(data), {name: str(value) for name, value in DEFAULT_PARAMS.items()}))
    line = f"{asked.replace('/etc/recsys/pipeline.yaml', str(config))} 1>{tmp_path}/metrics.log 2>&1 && echo completed"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, check=False, env=os.environ | {"PATH": path}
    )
    log = (tmp_path / "metrics.log").read_text()
    assert done.stdout == "completed\n", log
    [(_, value, *_)] = re.findall(COLLECTORS[0], log)
    chosen = load_config(str(config))
    expected = score_params(data, DEFAULT_PARAMS, config=chosen.tuning, ranker=chosen.ranker, seed=3)
    assert float(value) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("given", ["max_depth=99", "max_depth=deep", "depth=3", "max_depth"])
def test_parameter_that_the_space_does_not_have_is_refused(given, tmp_path):
    done = recsys("train", "trial", "--training-set", str(tmp_path), "--param", given, home=tmp_path, status=2)
    assert "parameters" in done.stderr
    assert "max_depth=Int(low=3, high=8" in done.stderr
