"""A verdict starts one run of Kubeflow, and what came of it is known by the registry."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from components.artifacts.cuts import parse_moment
from components.artifacts.registry import CHALLENGER, open_registry
from monitoring.outcome import Help, outcomes
from monitoring.retraining_policy import Action, read_launches
from monitoring.verdict import Check, Group, State, Verdict
from pipelines.config import load_config
from pipelines.kubeflow.client import connect
from pipelines.kubeflow.endpoint import down
from pipelines.kubeflow.retraining import train_on_kubeflow
from pipelines.kubeflow.submission import Target
from pipelines.kubeflow.training import Shape
from pipelines.retraining import retrain_if_advised
from pipelines.server_process import free_ports
from tests.pipelines.kubeflow.clients import start_endpoint
from tests.pipelines.test_cli import recsys
from tests.serving.bundles import MODEL, own_home

WEEK = timedelta(days=7)


@pytest.fixture
def shop(trained, tmp_path):
    """A state folder of its own, and Kubeflow's API on it."""
    home = own_home(trained, tmp_path)
    part = start_endpoint(home, free_ports(1)[0])
    yield home, connect(part.url, home / "kfp.token")
    down(home)


def test_drift_starts_one_run_however_many_monitors_judge_and_its_bundle_is_the_outcome(trained, shop):
    """At first the gate refuses what was trained; a week later, with the same steps in the cache, it does not."""
    home, client = shop
    for refusals, least in ((1, 10**6), (0, 1)):
        retrained, run = retrain(trained, home, client, least=least, weeks=2 - refusals)
        challenger = open_registry(home).aliases(MODEL).get(CHALLENGER)
        launch, outcome = read_launches(home, MODEL)[-1], outcomes(home, MODEL)[-1]
        if refusals:
            assert challenger is None
            assert launch.outcome == f"refused by the gate: {run.display_name}"
            assert outcome.help is Help.NO_BUNDLE
        else:
            assert challenger == retrained.run.bundle_id == launch.outcome != trained.run.bundle_id
            assert "now challenger: " in retrained.sentence
            assert outcome.help is Help.NOT_SERVING


def retrain(trained, home, client, *, least: int, weeks: int):
    """Two monitors judge the same window; the retraining of one of them, and its run."""
    changes = {
        "seed": 1,
        "gate.min_queries": least,
        "retraining.need": 1,
        "retraining.of": 1,
        "retraining.cooldown_days": 0,
    }
    config = load_config(str(trained.config_path), changes)
    now = parse_moment(config.as_of) + config.split.test_cuts * WEEK + timedelta(days=weeks)
    drifted = (Check("drift:features", Group.DRIFT, State.FAIL, "prices moved"),)
    verdict = Verdict(MODEL, trained.run.bundle_id, "ref", now - WEEK, now, now, 900, 9000, drifted)

    def judge(_number: int):
        return retrain_if_advised(
            config,
            home,
            verdict,
            now=now,
            train=lambda wanted: train_on_kubeflow(client, wanted, home, Target("toys"), Shape()),
        )

    before = {run.run_id for run in client.list_runs(page_size=100).runs or []}
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(judge, range(2)))
    (retrained,) = [one for one in done if one.run is not None]
    assert sorted(one.action for one in done) == [Action.LAUNCH, Action.SKIP]
    (run,) = [one for one in client.list_runs(page_size=100).runs if one.run_id not in before]
    assert run.state == "SUCCEEDED"
    return retrained, run


def test_monitor_that_should_train_on_kubeflow_names_its_api(trained, tmp_path):
    done = recsys("monitor", "run", "--on-kubeflow", str(trained.config_path), home=tmp_path, status=2)
    assert "--on-kubeflow: name the API with --endpoint or KF_PIPELINES_ENDPOINT" in done.stderr
