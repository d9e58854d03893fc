"""The step of Kubeflow that judges a window: the real package, by kfp.local."""

from datetime import datetime, timedelta
from html import escape

import pytest

from components.artifacts.registry import open_registry
from monitoring.config import MonitoringConfig
from monitoring.history import read_history, report_folder
from pipelines.local_runner import SilentProgress, run_package
from pipelines.monitoring import monitoring_pipeline
from pipelines.package import local_image, package
from tests.monitoring.conftest import END, NOW, START, World, bundle, world

__all__ = ["bundle", "world"]  # fixtures


class Said(SilentProgress):
    """Keeps the steps' own words."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def said(self, step: str, line: str) -> None:
        self.lines.append(line)


def judge(world: World, progress: SilentProgress, *, config: MonitoringConfig, end: datetime = END) -> str:
    arguments = {
        "start": (end - (END - START)).isoformat(),
        "end": end.isoformat(),
        "now": NOW.isoformat(),
    }
    text = package(monitoring_pipeline(config), local_image())
    return str(run_package(text, arguments, world.home, f"judge-{end.date()}", progress=progress).outputs["Output"])


@pytest.fixture
def champion(world: World) -> World:
    """Its bundle serves."""
    registry = open_registry(world.home)
    registry.publish("recommender", world.bundle, None, now=START)
    registry.point("recommender", "champion", world.bundle_id, reason="test", now=START)
    return world


def test_pages_are_files_which_kubeflows_ui_shows_and_the_console_finds_them_in_the_state_folder(champion: World):
    champion.serve()
    told = Said()
    with_pages = champion.config.report.model_copy(update={"with_evidently": True})
    state = judge(champion, told, config=champion.config.model_copy(update={"report": with_pages}))
    (verdict,) = read_history(champion.home, "recommender")
    assert state == str(verdict.state)
    assert told.lines.count(f"{verdict.state}: {verdict.sentence}") == 1
    (step,) = champion.home.glob("artifacts/*/monitor-window")
    pages = {path.name: path.read_text() for path in step.iterdir() if path.name in {"report", "evidently"}}
    assert escape(verdict.sentence) in pages["report"]
    assert "href=" not in pages["report"]  # nothing lies beside an artifact
    kept = report_folder(champion.home, verdict)
    assert (kept / "evidently.html").read_text() == pages["evidently"]
    assert (kept / "report.html").exists()


def test_window_in_which_nothing_was_shown_has_no_page_of_evidently(champion: World):
    champion.serve()
    judge(champion, SilentProgress(), config=champion.config, end=START - timedelta(days=1))
    (step,) = champion.home.glob("artifacts/*/monitor-window")
    assert (step / "report").is_file()
    assert not (step / "evidently").exists()
