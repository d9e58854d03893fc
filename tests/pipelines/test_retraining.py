"""What a retraining run begins with, and how it is reported."""

from datetime import timedelta

from typer.testing import CliRunner

from components.artifacts.cuts import parse_moment
from components.artifacts.registry import open_registry
from pipelines.cli.monitor import app
from pipelines.config import load_config
from pipelines.retraining import retraining_config
from tests.monitoring.console.homes import eventful


def begun(trained, **overrides):
    config = load_config(str(trained.config_path), {"retrievers.rp3beta.neighbours": 7, **overrides})
    return retraining_config(config, trained.home, parse_moment(trained.config.as_of) + timedelta(days=21))


def test_searched_generators_begin_as_the_champions_and_others_as_configured(trained):
    champion = open_registry(trained.home).version("recommender", "champion").manifest.facts.config["retrievers"]
    assert begun(trained).retrievers.rp3beta.neighbours == 7
    assert begun(trained, **{"retriever_tuning.trials": 3}).retrievers.model_dump() == champion


def test_trials_of_a_retraining_run_are_those_of_both_searches(trained):
    assert begun(trained, **{"retriever_tuning.trials": 3}).retriever_tuning.trials == 0
    config = begun(trained, **{"retriever_tuning.trials": 3, "retraining_trials": None})
    assert (config.retriever_tuning.trials, config.tuning.trials) == (3, trained.config.tuning.trials)


def test_command_reports_each_retraining_fact_by_fact(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    assert CliRunner().invoke(app, ["outcomes"]).output == "no run was launched for recommender yet\n"
    eventful(tmp_path)
    head, *facts = CliRunner().invoke(app, ["outcomes"]).output.splitlines()
    assert head.endswith(": not serving. No window of b-new was judged: is it promoted?")
    assert facts[0].startswith("  decided: 2026-03-09 00:00 launch: drift:features failed: 1 feature with 40 %")
    assert facts[-1].startswith("  report: monitoring/reports/20260302T000000Z-20260309T000000Z-b-old/report.html")
