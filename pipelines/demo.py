"""All of it in one go, on real data: train, evaluate, serve, replay the following weeks, monitor, retrain.

The clock is the data's. With T the training cut, the bundle is tested on the two weeks from T on, served from
T + 14 days on with features of that day, and the two weeks after that are replayed through the running server.
Nothing reads what lies after its own moment.

Groceries are steady: those weeks move nothing, and the monitor says so. Then comes a drill: the next week is replayed
as if a campaign had brought a crowd of new households (the baskets are real, most ids are new). That is a shift, and
it starts a retraining run.

Five candidates are then rolled out in a shop of its own, through the same weeks: what is better, equal, too slow, failing and
worse is known here, and the gate and the verdicts have to find it out.
"""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import httpx

from components.artifacts.bundle import load_bundle
from components.artifacts.cuts import Cuts, parse_moment
from components.artifacts.errors import GateRefusedError
from components.compute_features.compute import compute_features
from components.evaluate_bundle.config import NEW_TO_USER
from components.ingest_events.ingest import ingest_events
from components.materialize_features.materialize import materialize_features
from feature_repo.store import apply
from monitoring.console.page import write_console
from monitoring.kpi_page import kpi_page_path
from monitoring.run import Judged
from pipelines.config import PipelineConfig, load_config
from pipelines.demo_rollouts import demo_rollouts, shop_home
from pipelines.local_runner import Progress
from pipelines.monitoring import monitor_champion
from pipelines.readiness import verification
from pipelines.replay import Replayed, Visit, as_newcomers, replay, visits, wait_until_logged
from pipelines.retraining import Retraining, retrain_if_advised
from pipelines.run import TrainingRun, run_training
from pipelines.server_process import RunningServer, server, wait_for_items
from pipelines.trials import Ended

WEEK = timedelta(days=7)
REPLAYED_WEEKS = 2
FLUSH_SECONDS = 0.5
"""A replay's days pass in seconds, so impressions must not wait in the server's memory for long."""
NEWCOMERS = 0.6
"""Share of the households that the drill takes for new ones."""
HOUSEHOLDS = 3
METRICS, OF_NEW = ("ndcg_at_10", "recall_at_20"), "ndcg_at_10_of_new_items"
CONSOLE = "console.html"
VOLATILE = ("logs", "monitoring", "registry", "shop")
"""Folders of the state that each demo begins without; features, artifacts and KFP's cache are kept."""


class DemoProgress(Progress, Protocol):
    """Who is told how the demo goes."""

    def stage(self, title: str) -> None:
        """A stage began."""

    def note(self, text: str) -> None:
        """Something to know."""

    def recommended(self, answer: Mapping[str, Any], about: str) -> None:
        """A household was answered."""

    def replayed(self, done: int, total: int) -> None:
        """So many visits of so many."""


@dataclass
class Demo:
    """What the demo did.

    Attributes:
        dataset: Name of the data set.
        interactions: Interactions that were read, training and replay.
        seconds: Wall time of each stage.
        trained: The first training.
        replays: The replayed weeks together.
        judged: The verdict of the replayed weeks.
        drill: The week with a crowd of new households.
        drilled: The verdict of that week.
        retraining: What came of it.
        rollouts: How each of the five ended.
        home: State folder.
    """

    dataset: str
    home: Path
    interactions: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    trained: TrainingRun | None = None
    replays: Replayed = field(default_factory=Replayed)
    judged: Judged | None = None
    drill: Replayed = field(default_factory=Replayed)
    drilled: Judged | None = None
    retraining: Retraining[TrainingRun] | None = None
    rollouts: list[Ended] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 1)

    def to_dict(self) -> dict[str, Any]:
        """For `recsys demo --json`."""
        assert self.trained is not None
        assert self.judged is not None
        assert self.drilled is not None
        assert self.retraining is not None
        return {
            "dataset": self.dataset,
            "interactions": self.interactions,
            "seconds": round(sum(self.seconds.values()), 1),
            "stages": {**self.seconds, "training_steps": {k: round(v, 1) for k, v in self.trained.run.seconds.items()}},
            "metrics": metrics(self.trained),
            "gate": dict(self.trained.gate),
            "bundle_id": self.trained.bundle_id,
            "replay": self.replays.to_dict(),
            "drill": self.drill.to_dict(),
            "monitoring": {"replay": _facts(self.judged), "drill": _facts(self.drilled)},
            "reports": {name: str(path) for name, path in self.reports().items()},
            "retraining": self.retraining.to_dict(),
            "rollouts": {one.trial.name: one.to_dict() for one in self.rollouts},
        }

    def reports(self) -> dict[str, Path]:
        """Name to page."""
        assert self.trained is not None
        assert self.judged is not None
        assert self.drilled is not None
        pages = {
            "evaluation": self.trained.report,
            "monitoring": self.judged.report,
            "business figures": kpi_page_path(self.home, self.judged.verdict.model),
            "monitoring of the drill": self.drilled.report,
            "evidently of the drill": self.drilled.evidently,
        }
        if self.retraining and self.retraining.run:
            pages["retraining"] = self.retraining.run.report
        pages |= {f"rollout {one.trial.name}": one.page for one in self.rollouts}
        pages["console"] = self.home / CONSOLE
        return {name: path for name, path in pages.items() if path.exists()}


def _facts(judged: Judged) -> dict[str, str]:
    verdict = judged.verdict
    return {
        "window": f"{verdict.start.date()} to {verdict.end.date()}",
        "state": str(verdict.state),
        "sentence": verdict.sentence,
    }


def metrics(trained: TrainingRun) -> dict[str, dict[str, Any]]:
    """System to NDCG@10, recall@20, and NDCG@10 of items new to the user, each with mean, low and high."""
    new = trained.evaluation["slices"][NEW_TO_USER]["systems"]
    return {
        system: {name: values[name] for name in METRICS} | {OF_NEW: new[system][METRICS[0]]}
        for system, values in trained.evaluation["systems"].items()
    }


def run_demo(home: Path, *, sample: float, progress: DemoProgress) -> Demo:
    """Do everything.

    Args:
        home: State folder of the demo; logs, registry and verdicts of an earlier demo in it are removed.
        sample: Share of the households; 1 is all.
        progress: Told of everything.

    Raises:
        GateRefusedError: The trained bundle is not good enough to be served.
    """
    config = demo_config(sample)
    demo = Demo(config.dataset.name, home)
    _reset(home)
    with demo.stage("train"):
        progress.stage("Train, evaluate and register a bundle: the KFP pipeline, with kfp.local")
        demo.trained = run_training(config, home, progress=progress)
    if not demo.trained.gate["passed"]:
        raise GateRefusedError(f"bundle {demo.trained.bundle_id}: {demo.trained.gate['sentence']}")
    cuts = Cuts(parse_moment(config.as_of), config.resolved_split())
    moments = [cuts.end + WEEK * week for week in range(REPLAYED_WEEKS + 2)]
    with demo.stage("features"):
        progress.stage(f"Features as of {moments[0].date()}, into the online store")
        events = _refresh(demo, config, moments)
        materialize_features(home, end=moments[0])
        shop = shop_home(home, moments[0])  # before anything is replayed: the rollouts begin on the same day
    with ExitStack() as stack:
        with demo.stage("serve"):
            progress.stage("Serve: a KServe ModelServer with the champion")
            model = config.registry.model_name
            running = stack.enter_context(
                server(home, accept_request_time=True, model_name=model, flush_seconds=FLUSH_SECONDS)
            )
        _ask(demo, running, moments[0], progress)
        _replay(demo, running, events, moments[:-1], progress)
        with demo.stage("monitor"):
            progress.stage(f"Monitor {moments[0].date()} to {moments[-2].date()}: Evidently and our own verdict")
            demo.judged = _judge(demo, config, moments[0], moments[-2], progress)
        _drill(demo, running, events, moments[-2:], progress)
    now = moments[-1]
    with demo.stage("monitor the drill"):
        progress.stage(f"Monitor {moments[-2].date()} to {now.date()}")
        demo.drilled = _judge(demo, config, moments[-2], now, progress)
    with demo.stage("retrain"):
        progress.stage("Retrain, where the verdict advises it")
        demo.retraining = retrain_if_advised(
            config,
            home,
            demo.drilled.verdict,
            now=now,
            train=lambda retraining: run_training(retraining, home, progress=progress),
        )
        progress.note(demo.retraining.sentence)
    write_console(home, home / CONSOLE, now=now)
    with demo.stage("rollouts"):
        progress.stage(f"Roll out five candidates from {moments[0].date()} on, by the gate and the verdict alone")
        demo.rollouts = demo_rollouts(
            shop, config.registry.model_name, events, moments[0], sample=sample, note=progress.note
        )
    return demo


def demo_config(sample: float) -> PipelineConfig:
    """The shipped configuration; a sample of the households gets limits that fit its size."""
    if sample >= 1:
        return load_config("complete_journey")
    return load_config(
        "complete_journey",
        {
            "dataset.sample_users": sample,
            "tuning.trials": 2,
            "split.training_cuts": 2,
            "gate.min_queries": 20,
            "retrievers.rp3beta.min_users": 3,
            "monitoring.min_users": max(20, round(500 * sample)),
        },
    )


def _reset(home: Path) -> None:
    for name in VOLATILE:
        shutil.rmtree(home / name, ignore_errors=True)
    (home / "feast" / "online.db").unlink(missing_ok=True)
    home.mkdir(parents=True, exist_ok=True)
    apply(home)


def _refresh(demo: Demo, config: PipelineConfig, moments: list[datetime]) -> Path:
    """Events until the end of the replay, and one snapshot per replayed week."""
    events = demo.home / "replay" / "events"
    summary = ingest_events(config.dataset, config.ingest, events, end=moments[-1], home=demo.home)
    demo.interactions = summary.rows["interactions"]
    compute_features(events, demo.home / "offline", moments[:-1], config=config.features)
    return events


def _ask(demo: Demo, running: RunningServer, moment: datetime, progress: DemoProgress) -> None:
    with demo.stage("ask"):
        progress.stage("Ask for a few households")
        for user_id, about in _households(demo):
            progress.recommended(
                _get(running.url, {"user_id": user_id, "k": "5", "request_time": moment.isoformat()}), about
            )


def _replay(demo: Demo, running: RunningServer, events: Path, moments: list[datetime], progress: DemoProgress) -> None:
    """Each week begins with fresh batch features; within it, every event updates its user's history."""
    with demo.stage("replay"):
        progress.stage(f"Replay {moments[0].date()} to {moments[-1].date()} through the server")
        weeks = [list(visits(events, start, end)) for start, end in pairwise(moments)]
        total = sum(map(len, weeks))
        for week, baskets in enumerate(weeks):
            if week:
                materialize_features(demo.home, end=moments[week])
                wait_for_items(running, moments[week])
            demo.replays.add(_replay_week(running, baskets, total, progress, before=demo.replays.requests))
        wait_until_logged(demo.home, moments[0], moments[-1], queries=demo.replays.requests)
        progress.note(demo.replays.sentence)


def _drill(demo: Demo, running: RunningServer, events: Path, week: list[datetime], progress: DemoProgress) -> None:
    with demo.stage("drill"):
        progress.stage(f"Drill: {week[0].date()} to {week[1].date()}, as if {NEWCOMERS:.0%} of the households were new")
        materialize_features(demo.home, end=week[0])
        wait_for_items(running, week[0])
        baskets = as_newcomers(list(visits(events, *week)), NEWCOMERS)
        demo.drill = _replay_week(running, baskets, len(baskets), progress, before=0)
        wait_until_logged(demo.home, *week, queries=demo.drill.requests)
        progress.note(demo.drill.sentence)


def _judge(demo: Demo, config: PipelineConfig, start: datetime, end: datetime, progress: DemoProgress) -> Judged:
    judged = monitor_champion(config, demo.home, start=start, end=end, now=end)
    progress.note(f"{judged.verdict.state}: {judged.verdict.sentence}")
    return judged


def _replay_week(
    running: RunningServer, baskets: list[Visit], total: int, progress: DemoProgress, *, before: int
) -> Replayed:
    return replay(running.url, baskets, progress=lambda done, _of: progress.replayed(before + done, total))


def _households(demo: Demo) -> list[tuple[str, str]]:
    """Households with a long, a middling and a short history, and somebody unknown."""
    assert demo.trained is not None
    golden = load_bundle(demo.trained.bundle).golden
    known = sorted(
        ((len(one.row.get("user_history_item_ids") or ()), one.user_id) for one in golden if one.user_id), reverse=True
    )
    step = max(1, (len(known) - 1) // max(1, HOUSEHOLDS - 1))
    chosen = [(user_id, f"{size} different items so far") for size, user_id in known[::step][:HOUSEHOLDS]]
    return [*chosen, ("somebody-new", "unknown")]


def _get(url: str, question: dict[str, str]) -> Any:  # decoded JSON
    response = httpx.get(f"{url}/v1/recommendations", params=question, timeout=30.0, verify=verification(url))
    response.raise_for_status()
    return response.json()
