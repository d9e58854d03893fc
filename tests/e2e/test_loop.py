"""The loop closes by itself: drift is found and explained, one run retrains, the canary is judged by what users do, the
candidate is promoted, and the drift's verdict clears. A window of broken data trains nothing.

The shop's files end where serving begins; from then on the platform learns of its users by what the door is told alone.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import mmh3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from components.artifacts.cuts import stamp
from components.artifacts.registry import open_registry
from components.compute_features.compute import compute_features
from components.deploy_canary.book import RolloutBook
from components.deploy_canary.rollout import Cause, Phase, Rollout, started
from components.ingest_events.ingest import ingest_events
from components.materialize_features.materialize import materialize_features
from feature_repo.store import apply
from monitoring.config import RetrainingPolicy
from monitoring.explain import explain
from monitoring.history import read_history
from monitoring.outcome import Help, outcomes
from monitoring.retraining_policy import Action, read_decisions, read_launches
from monitoring.run import Judged
from monitoring.verdict import State
from pipelines.config import PipelineConfig, load_config
from pipelines.local_canary import LocalTarget
from pipelines.local_runner import SilentProgress
from pipelines.monitoring import monitor_champion
from pipelines.replay import Visit, as_newcomers, replay, visits, wait_until_logged
from pipelines.retraining import Retraining, retrain_if_advised
from pipelines.rollouts import experiment_config, step_by_verdict
from pipelines.run import TrainingRun, run_training
from pipelines.server_process import RunningServer, free_ports, wait_for_items
from pipelines.stack import down, up
from tests.conftest import Trained
from tests.serving.bundles import MODEL, own_home
from tests.toy_world import moment, toy_config, write_toy_events

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # `up` outlives its handle
]
CALM, FIRST, SECOND, AFTER, LEARNT = 17, 18, 19, 20, 22
"""Weeks: as trained, two with a crowd of newcomers, and three more when the new champion serves."""
USERS, CROWD = 150, 0.4
VISITORS = 300
EXPERIMENT = experiment_config(
    {"step_hours": 0, "step_users": 30, "least_days": 1, "pre_days": 0, "lift": 1.0, "feature_hours": 1e6}
)


@dataclass
class Shop:
    """A running shop on its own state folder."""

    home: Path
    config: PipelineConfig
    events: Path
    door: str
    server: RunningServer

    def open_week(self, week: int) -> None:
        """The jobs of the night before: features of all that is known, into the store."""
        ingested = self.home / "ingested"
        ingest_events(self.config.dataset, self.config.ingest, ingested, end=moment(week), home=self.home)
        compute_features(ingested, self.home / "offline", [moment(week)], config=self.config.features)
        self.publish(week)

    def publish(self, week: int) -> None:
        materialize_features(self.home, end=moment(week))
        wait_for_items(self.server, moment(week))

    def baskets(self, week: int) -> list[Visit]:
        return list(visits(self.events, moment(week), moment(week + 1)))

    def play(self, week: int, baskets: list[Visit]) -> None:
        done = replay(self.door, baskets, progress=lambda _done, _of: None)
        wait_until_logged(self.home, moment(week), moment(week + 1), queries=done.requests)

    def judge(self, end: datetime) -> Judged:
        """The week until then."""
        return monitor_champion(self.config, self.home, start=end - timedelta(days=7), end=end, now=end)

    def live_through(self, week: int, baskets: list[Visit]) -> Judged:
        self.open_week(week)
        self.play(week, baskets)
        return self.judge(moment(week + 1))

    def decide(self, judged: Judged) -> Retraining[TrainingRun]:
        now = judged.verdict.judged_at
        return retrain_if_advised(
            self.config,
            self.home,
            judged.verdict,
            now=now,
            train=lambda config: run_training(config, self.home, progress=SilentProgress()),
        )


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Trained:
    """A champion of the steady world, by the real pipeline; the shop's files end where serving begins."""
    folder = tmp_path_factory.mktemp("loop")
    path = toy_config(folder / "shop", users=USERS)
    events = folder / "shop" / "events.parquet"
    table = steady(pq.read_table(events), "customer")
    pq.write_table(table.filter(pc.less(table["at"], pa.scalar(moment(CALM)))), events)
    config, home = load_config(str(path), SETTINGS), folder / "home"
    return Trained(home, path, config, run_training(config, home, progress=SilentProgress()))


SETTINGS = {
    "as_of": moment(CALM - 1).date().isoformat(),
    "ingest.feedback": True,
    "split.training_cuts": 2,
    "split.test_cuts": 1,
    "gate.min_queries": 20,
    "monitoring.drift.importance_to_fail": 0.5,
    "monitoring.report.with_evidently": False,
    "retraining.need": 2,
    "retraining.of": 2,
}
"""Feedback is all that training learns of after the files' end. Two failing windows start a run, which tests on one week.

Windows are many, and Evidently's page costs fifteen seconds of CPU each.
"""


def steady(events: pa.Table, user: str) -> pa.Table:
    """Users who come in every fourth week to every week: what is counted of them differs more than it grows in a week."""
    baskets = zip(events[user].to_pylist(), events["session_id"].to_pylist(), strict=True)
    return events.filter(pa.array([mmh3.hash(basket, signed=False) % 100 < often(one) for one, basket in baskets]))


def often(user: str) -> int:
    """Share of the weeks in which a user comes, %."""
    return 25 + 25 * (mmh3.hash(user, signed=False) % 4)


@pytest.fixture
def shop(trained, tmp_path) -> Iterator[Shop]:
    home = own_home(trained, tmp_path)
    apply(home)  # the copy's feature store still names the snapshots of the folder that it was copied from
    events = write_toy_events(tmp_path / "truth", users=USERS, weeks=LEARNT + 1)
    path = events / "interactions.parquet"
    pq.write_table(steady(pq.read_table(path), "user_id"), path)
    front, behind = free_ports(2)
    server = {"http_port": behind, "grpc_port": 0, "refresh_seconds": 0.2, "flush_seconds": 0.2}
    try:
        parts = up(home, {**server, "accept_request_time": True}, {"port": front, "rate_burst": 10_000})
        running = RunningServer(parts[0].url, 0, parts[0].pid, Path(parts[0].log))
        yield Shop(home, trained.config, events, f"http://127.0.0.1:{front}", running)
    finally:
        down(home)


def with_crowd(shop: Shop, week: int) -> list[Visit]:
    """Each week a campaign brings people whom nobody has seen before."""
    return as_newcomers(shop.baskets(week), CROWD, crowd=f"week{week}")


def test_drift_is_explained_and_retrained_once_and_its_verdict_clears_after_the_canary_is_promoted(shop, trained):
    calm = shop.live_through(CALM, shop.baskets(CALM))
    assert drift_of(calm) is State.WARN  # a young shop's counts grow from week to week
    assert shop.decide(calm).action is Action.SKIP

    first = shop.live_through(FIRST, with_crowd(shop, FIRST))
    assert drift_of(first) is State.FAIL
    assert "failed in 1 of the last 2 windows, 2 are needed" in shop.decide(first).reason
    second = shop.live_through(SECOND, with_crowd(shop, SECOND))
    told = "\n".join(explain(read_history(shop.home, MODEL), "drift:features"))
    assert "FAIL" in told
    assert "repeat_purchase_rank" in told  # the crowd has never bought anything before

    retrained = retrain_by_several_monitors(shop, second)
    assert retrained.run.gate["passed"], retrained.sentence
    assert open_registry(shop.home).aliases(MODEL) == {
        "champion": trained.run.bundle_id,
        "challenger": retrained.run.bundle_id,
    }
    rollout = roll_out(shop, retrained.run.bundle_id)
    assert rollout.phase is Phase.PROMOTED, rollout.records[-1]
    assert rollout.records[-1].cause.reason.startswith("better: ctr ")

    after = shop.live_through(AFTER, with_crowd(shop, AFTER))
    assert after.verdict.bundle_id == retrained.run.bundle_id
    assert after.verdict.moved_importance < 0.5 < second.verdict.moved_importance
    assert shop.decide(after).action is Action.SKIP
    (outcome,) = outcomes(shop.home, MODEL)
    assert outcome.help is Help.TOO_EARLY, (
        outcome.sentence
    )  # quality failed as well, and nobody knows it of the new lists
    assert "what became of quality:" in outcome.sentence

    assert (
        after.verdict.state is drift_of(after) is State.WARN
    )  # one moment's reference, and nothing known of its weeks
    assert "known after 8 windows of this bundle, 0 were judged before" in after.verdict.check("drift:features").reason
    learnt = after_two_weeks_of_nights(shop)
    assert drift_of(learnt) is State.OK, learnt.verdict.sentence
    assert not learnt.verdict.moved
    found = {check.name for check in learnt.verdict.checks if check.state in {State.WARN, State.FAIL}}
    assert "audience:new_users" in found  # the campaign goes on
    assert found <= {"audience:new_users", "embedding:shown"}, learnt.verdict.sentence
    (outcome,) = outcomes(shop.home, MODEL)
    assert outcome.help is Help.HELPED, outcome.sentence


def after_two_weeks_of_nights(shop: Shop) -> Judged:
    """The monitor of each night looks at the seven days before it: eight teach what is usual, the others are held to it."""
    for week in range(AFTER + 1, LEARNT + 1):
        shop.open_week(week)
        shop.play(week, with_crowd(shop, week))
    nights = [shop.judge(moment(AFTER + 1) + timedelta(days=night)) for night in range(1, 15)]
    return nights[-1]


def drift_of(judged: Judged) -> State:
    return judged.verdict.check("drift:features").state


def retrain_by_several_monitors(shop: Shop, judged: Judged) -> Retraining[TrainingRun]:
    """Three monitors judge the same window at once; the one that trained."""
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(shop.decide, [judged] * 3))
    (retrained,) = [one for one in done if one.run is not None]
    assert sorted(one.action for one in done) == [Action.LAUNCH, Action.SKIP, Action.SKIP]
    (launch,) = read_launches(shop.home, MODEL)
    assert (launch.state, launch.outcome) == ("launched", retrained.run.bundle_id)
    return retrained


def roll_out(shop: Shop, candidate: str) -> Rollout:
    """The canary by the verdict alone: half of the users meet the candidate, and click more often on its items."""
    book, begun = RolloutBook(shop.home, LocalTarget(shop.home, MODEL)), datetime.now(UTC)
    stable = open_registry(shop.home).aliases(MODEL)["champion"]
    cause = Cause("loop", begun, "retrained", {})
    judging = EXPERIMENT.model_dump(mode="json")
    book.start(started("loop", stable=stable, candidate=candidate, cause=cause, steps=(0.5,), judging=judging))
    step_by_verdict(book, shop.home, "loop", now=datetime.now(UTC))
    visit(shop.door, candidate)
    wait_until_logged(shop.home, begun, datetime.now(UTC), queries=VISITORS)
    return step_by_verdict(book, shop.home, "loop", now=datetime.now(UTC) + timedelta(hours=26))


def visit(door: str, candidate: str) -> None:
    """People of today, so that their time is the door's; they click on half of the candidate's items, on a fifth of others."""
    rng = np.random.default_rng(0)
    with httpx.Client(base_url=door, timeout=30.0) as client:
        for number in range(VISITORS):
            user = {"user_id": f"today{number}"}
            answer = client.get("/v1/recommendations", params=user | {"k": 10}).raise_for_status().json()
            rate = 0.5 if answer["bundle_id"] == candidate else 0.2
            clicked = [item["item_id"] for item in answer["items"] if rng.random() < rate]
            now = datetime.now(UTC).isoformat()
            events = [
                {"event_id": f"{user['user_id']}-{item}", **user, "item_id": item, "interaction_type": "click",
                 "event_timestamp": now, "query_id": answer["query_id"]} for item in clicked
            ]  # fmt: skip
            if events:
                client.post("/v1/events", json={"events": events}).raise_for_status()


def lose_ages(shop: Shop) -> None:
    """A job of the night lost a column on its way into the store."""
    path = shop.home / "offline" / "user_profile" / f"{stamp(moment(CALM))}.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("user_age_years")
    pq.write_table(table.set_column(place, table.field(place), pa.nulls(len(table), table.field(place).type)), path)
    shop.publish(CALM)


def stuck(baskets: list[Visit]) -> list[Visit]:
    """The till's clock stands still since the week before."""
    at = {"event_timestamp": (moment(CALM) - timedelta(days=1)).isoformat()}
    return [Visit(one.user_id, one.store_id, one.start, [event | at for event in one.events]) for one in baskets]


@pytest.mark.parametrize(
    ("poison", "blocker"), [("nulls", "nulls:features is FAIL"), ("clock", "freshness:feedback is STALE")]
)
def test_poisoned_window_trains_nothing_though_it_drifted_and_the_reason_is_on_record(shop, trained, poison, blocker):
    shop.config = shop.config.model_copy(update={"retraining": RetrainingPolicy(need=1, of=1)})
    shop.open_week(CALM)
    if poison == "nulls":
        lose_ages(shop)
    baskets = with_crowd(shop, CALM)
    shop.play(CALM, stuck(baskets) if poison == "clock" else baskets)
    judged = shop.judge(moment(CALM + 1))
    assert drift_of(judged) is State.FAIL  # alone it would start a run
    decided = shop.decide(judged)
    assert (decided.action, decided.run) == (Action.BLOCKED, None)
    (record,) = read_decisions(shop.home, MODEL)
    assert record.action is Action.BLOCKED
    assert record.reason.startswith(blocker)
    assert read_launches(shop.home, MODEL) == ()
    assert [one.bundle_id for one in open_registry(shop.home).versions(MODEL)] == [trained.run.bundle_id]
