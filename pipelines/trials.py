"""Rollouts whose end is known, played through days that really happened: does each end as it should, by itself?

Everything is the product's own: the gate, the door, the servers, the logs, the verdict, the book. Users come when they
really came and take what they really bought; a click is a shown item that was bought on that visit. The champion and the
candidate differ in what they show, so what is compared is how much of the baskets each had foreseen.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx

from components.artifacts.registry import CHAMPION, open_registry, require_champion
from components.deploy_canary.book import RolloutBook
from components.deploy_canary.rollout import Cause, Phase, Record, Rollout, aborted, started
from monitoring.experiments.config import ExperimentConfig
from monitoring.experiments.replay_comparison import ReplayConfig
from pipelines.experiments import show_experiment
from pipelines.known_candidates import Change, publish_candidate, unchanged
from pipelines.local_canary import LocalTarget, wait_for_bundle
from pipelines.readiness import verification
from pipelines.replay import BEFORE, Replayed, Visit, is_drawn, replay, visits, wait_for_logs, wait_until_logged
from pipelines.rollout_gate import Check, check_candidate, evidence, reason_to_start
from pipelines.rollouts import VERDICT, plan_of, step_by_verdict
from pipelines.server_process import free_ports
from pipelines.stack import CANARY, down, running, stop_part, up
from serving.exposures import read_exposures
from serving.prediction_log import read_impressions
from serving.shadows import read_shadows

DAY = timedelta(days=1)
Day = tuple[datetime, Sequence[Visit]]
"""Midnight that a day begins with, and its visits by time."""
SERVER: Mapping[str, str | int] = {
    "accept_request_time": "true",
    "flush_seconds": "0.2",
    "refresh_seconds": "0.2",
    "grpc_port": 0,
    "queue_seconds": 10,
}
"""Of both servers: a replay's days pass in seconds, and nobody is turned away by a machine that is busy with other things."""
DOOR: Mapping[str, str | int] = {
    "accept_request_time": "true",
    "rate_per_second": "100000",
    "rate_burst": 100_000,
    "shadow_share": "1",
    "queue_seconds": 10,
    "fallback_after_seconds": 20,
    "deadline_seconds": 25,
}
"""What is slow is for the verdict to say, so the door waits for it; a client gives up after 30 s."""
ASKED_AGAIN = ReplayConfig(lists=100, least_lists=50)
"""By the gate, of each candidate: one that is clearly worse is known by that many, and one that is slow takes a while."""
BY = "trial"
COPIES = re.compile(r'recsys_api_shadows_total\{outcome="(\w+)"\} (\S+)')


def unharmed(_home: Path) -> None:
    """Nothing happens to the candidate's server."""


def end_candidate(home: Path) -> None:
    """The candidate's server ends, as one does that has a fault; the next look at the rollout starts it again."""
    for part in running(home, (CANARY,)):
        stop_part(part)


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate, and how its rollout should end.

    Attributes:
        name: Of the rollout.
        about: What is known of the candidate.
        champion: Makes what the candidate is compared with from the shop's best bundle.
        candidate: Makes the candidate from it.
        expected: Act that ends the rollout: promote, stop or rollback.
        daily: What happens to its server each day after the first visits.
        force: Why it is started though the gate refuses it; None of one that the gate has to pass.
    """

    name: str
    about: str
    champion: Change
    candidate: Change
    expected: str
    daily: Callable[[Path], None] = unharmed
    force: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a trial ended.

    Attributes:
        trial: Which.
        checks: What the gate found before it started.
        rollout: With its records.
        until: Midnight after the last day that was replayed.
        days: Replayed.
        visits: Replayed.
        page: The experiment's.
    """

    trial: Trial
    checks: Sequence[Check]
    rollout: Rollout
    until: datetime
    days: int
    visits: int
    page: Path

    @property
    def last(self) -> Record:
        """The verdict's last act: it ended the rollout, or held it to the end of the days."""
        return [record for record in self.rollout.records if record.cause.by == VERDICT][-1]

    @property
    def act(self) -> str | None:
        """By which the verdict ended it; None where the days were too few."""
        return self.last.act if self.last == self.rollout.records[-1] else None

    @property
    def is_as_expected(self) -> bool:
        """Whether it ended, and so."""
        return self.act == self.trial.expected

    @property
    def sentence(self) -> str:
        """For a terminal."""
        end = f"{self.act or 'undecided'} on day {self.days} after {self.visits:,} visits: {self.last.cause.reason}"
        refusals = "; ".join(f"{check.name}: {check.sentence}" for check in self.checks if not check.is_passed)
        return f"refused ({refusals}), {self.started}; {end}" if refusals else end

    @property
    def started(self) -> str:
        """Why it was, as it is on record."""
        return self.rollout.records[0].cause.reason

    def to_dict(self) -> dict[str, object]:
        """As JSON."""
        return {
            "about": self.trial.about,
            "gate": {check.name: {"passed": check.is_passed, "found": check.sentence} for check in self.checks},
            "started": self.started,
            "expected": self.trial.expected,
            "ended": self.act,
            "reason": self.last.cause.reason,
            "days": self.days,
            "visits": self.visits,
            "page": str(self.page),
        }


@dataclass(frozen=True)
class Shop:
    """A running door with the champion behind it.

    Attributes:
        home: State folder.
        model: Registered model.
        best: Bundle that candidates are made from.
        door: URL.
        config: How rollouts are judged.
    """

    home: Path
    model: str
    best: str
    door: str
    config: ExperimentConfig

    @property
    def book(self) -> RolloutBook:
        """Its rollouts."""
        return RolloutBook(self.home, LocalTarget(self.home, self.model, SERVER))


@contextmanager
def shop(home: Path, model: str, config: ExperimentConfig) -> Iterator[Shop]:
    """Start door and server for a replay; both stop at the end of the block.

    Args:
        home: State folder with a champion: the shop's best bundle.
        model: Registered model.
        config: How rollouts are judged.

    Raises:
        ServerFailedError: One does not become ready.
    """
    best = require_champion(home, model).bundle_id
    front, behind = free_ports(2)
    try:
        parts = up(home, {**SERVER, "http_port": behind, "model_name": model}, {**DOOR, "port": front})
        yield Shop(home, model, best, parts[-1].url, config)
    finally:
        down(home)


def open_shop(shop: Shop, midnight: datetime, baskets: Sequence[Visit]) -> Replayed:
    """A day before the first trial: the best bundle alone answers, so the gate has questions to ask again.

    Raises:
        RecsysError: A request was refused.
    """
    done = replay(shop.door, list(baskets), progress=lambda _done, _of: None)
    wait_until_logged(shop.home, midnight, midnight + DAY, queries=done.requests)
    return done


def run_trial(shop: Shop, trial: Trial, days: Sequence[Day]) -> Ended:
    """Ask the gate, play days through the door, judge after each, until the rollout is over or the days are: an abort.

    Args:
        shop: Where.
        trial: What.
        days: In their order.

    Raises:
        RecsysError: A server did not start, the gate refused a candidate that it should not, or a request was refused.
    """
    rollout, checks = _started(shop, trial, days[0][0])
    asked = played = 0
    for midnight, baskets in days:
        before = _Copies.counted(shop.door) if rollout.phase is Phase.DARK else None
        _play_day(shop, trial, list(baskets))
        _wait_until_logged(shop, trial.name, midnight, len(baskets), before)
        played, asked = played + 1, asked + len(baskets)
        rollout = step_by_verdict(shop.book, shop.home, trial.name, now=midnight + DAY)
        if rollout.is_over:
            break
    if not rollout.is_over:  # one canary at a time: the next trial could not begin
        cause = Cause(BY, midnight + DAY, "the days are over", {})
        rollout = shop.book.act(trial.name, lambda one: aborted(one, cause))
    page = show_experiment(shop.home, rollout, now=midnight + DAY).page
    return Ended(trial, checks, rollout, midnight + DAY, played, asked, page)


def _started(shop: Shop, trial: Trial, begin: datetime) -> tuple[Rollout, list[Check]]:
    stable, candidate = (_published(shop, change, begin) for change in (trial.champion, trial.candidate))
    registry = open_registry(shop.home)
    if registry.aliases(shop.model).get(CHAMPION) != stable:
        registry.point(shop.model, CHAMPION, stable, reason=f"trial {trial.name} begins with it", now=begin)
        wait_for_bundle(shop.home, stable)
    checks = check_candidate(shop.home, shop.model, candidate, stable, now=begin, config=ASKED_AGAIN)
    reason = reason_to_start(trial.name, checks, trial.about, force=trial.force)
    cause = Cause(BY, begin, reason, evidence(checks))
    begun = started(trial.name, stable=stable, candidate=candidate, cause=cause, **plan_of(shop.config))
    return shop.book.start(begun), checks


def _published(shop: Shop, change: Change, now: datetime) -> str:
    if change is unchanged:
        return shop.best
    return publish_candidate(shop.home, shop.model, shop.best, change, now=now).bundle_id


def _play_day(shop: Shop, trial: Trial, baskets: list[Visit]) -> None:
    first = baskets[:1] if trial.daily is not unharmed else []
    for part in (first, baskets[len(first) :]):
        replay(shop.door, part, progress=lambda _done, _of: None)
        if part is first:
            trial.daily(shop.home)


@dataclass(frozen=True, slots=True)
class _Copies:
    """What became of the requests that the door offered to candidates in the dark: asked of one, or dropped."""

    made: int
    dropped: int

    @classmethod
    def counted(cls, door: str) -> "_Copies":
        metrics = httpx.get(f"{door}/metrics", verify=verification(door)).text
        counts = {outcome: int(float(count)) for outcome, count in COPIES.findall(metrics)}
        return cls(counts.get("answered", 0) + counts.get("failed", 0), counts.get("dropped", 0))


def _wait_until_logged(shop: Shop, experiment: str, midnight: datetime, requests: int, before: _Copies | None) -> None:
    """Until door and servers have written all that a look at the day reads; copies too, where `before` was the day.

    Raises:
        ContractError: They have not in a minute.
    """

    def missing() -> str | None:
        exposed = read_exposures(shop.home, midnight, midnight + DAY)["experiment"].to_pylist().count(experiment)
        shown = len(read_impressions(shop.home, midnight, midnight + DAY, columns=["query_id"])["query_id"].unique())
        if min(exposed, shown) >= requests and (before is None or _has_copied(shop, midnight, requests, before)):
            return None
        return (
            f"{exposed:,} exposures and {shown:,} lists of {midnight.date()}, {requests:,} requests were answered, or a "
            "copy of them is not logged"
        )

    wait_for_logs(shop.home, missing)


def _has_copied(shop: Shop, midnight: datetime, requests: int, before: _Copies) -> bool:
    """Whether each of the day's requests was copied or dropped, and each copy is logged."""
    now = _Copies.counted(shop.door)
    made, dropped = now.made - before.made, now.dropped - before.dropped
    return made + dropped >= requests and read_shadows(shop.home, midnight, midnight + DAY).num_rows >= made


def days_of(events: Path, start: datetime, count: int, *, share: float) -> list[Day]:
    """Days with the visits whose question falls on them.

    Args:
        events: Canonical tables.
        start: Midnight of the first day.
        count: Of days.
        share: Of the households, drawn by a hash of the id.
    """
    found: dict[datetime, list[Visit]] = {start + day * DAY: [] for day in range(count)}
    for visit in visits(events, start + BEFORE, start + count * DAY + BEFORE):
        if is_drawn(visit.user_id, share):
            found[start + (visit.start - BEFORE - start) // DAY * DAY].append(visit)
    return list(found.items())
