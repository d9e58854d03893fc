"""A rollout judged by logs of known users: it advances, is held, is promoted and is taken back by itself."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.artifacts.errors import ConfigError
from components.deploy_canary.book import RolloutBook
from components.deploy_canary.rollout import Cause, Phase, Rollout, advanced, paused, started
from pipelines.local_canary import divide_users
from pipelines.rollouts import experiment_config, judging_of, other_than_default, plan_of, step_by_verdict
from serving.api.assignment import CANARY, Experiment, Experiments, assign, read_experiments
from serving.api.exposures import Exposure, ExposureLog
from serving.feedback import FeedbackLog
from serving.prediction_log import FOLDER, IMPRESSIONS
from serving.protocol import FeedbackEvent
from tests.pipelines.test_cli import recsys

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
LIST = 10
CONFIG = experiment_config(
    {"least_days": 2, "longest_days": 3, "step_users": 100, "lift": 0.3, "harm_hours": 1, "pre_days": 0}
)
JUDGING = CONFIG.model_dump(mode="json")


class Nowhere:
    """A target of a test that is about the verdict."""

    def apply(self, rollout: Rollout) -> None:
        self.share = rollout.share


@pytest.fixture
def book(tmp_path) -> RolloutBook:
    return RolloutBook(tmp_path, Nowhere())


def at(hours: float) -> datetime:
    return MONDAY + timedelta(hours=hours)


def begin(book: RolloutBook, *steps: float) -> None:
    cause = Cause("test", MONDAY, "try", {})
    book.start(started("spring", stable="b1", candidate="b2", cause=cause, steps=steps, judging=JUDGING))


def visit(
    home: Path, hours: float, *, share: float, canary_rate: float, users: int = 1500, failing: float = 0.0
) -> None:
    """Users come, each sees a list of ten and clicks items of it; the door's, the server's and the events' logs."""
    rng = np.random.default_rng(int(hours))
    running = Experiments(experiments=(Experiment(name="spring", canary_share=share),))
    exposures, events, rows = ExposureLog(home), [], []
    for number in range(users):
        user, query = f"u{hours:g}-{number}", f"{int(hours):04x}{number:028x}"
        (assignment,) = assign(running, user, {})
        is_treated = assignment.arm == CANARY
        is_own = not (is_treated and rng.random() < failing)
        moment = at(hours + 0.1)
        exposures.add(
            Exposure.of(
                assignment,
                user,
                answered_by=assignment.upstream if is_own else "stable",
                status=200,
                seconds=0.01,
                query_id=query,
                event_timestamp=moment,
            )
        )
        clicked = rng.random(LIST) < (canary_rate if is_treated else 0.10)
        for place in range(LIST):
            rows.append({"query_id": query, "user_id": user, "item_id": f"i{(number + place) % 50}", "event_timestamp": moment,
                         "position": place + 1, "score": 1.0 - place / 10, "propensity": 1.0, "retriever": "x",
                         "variant": assignment.arm, "bundle_id": "b", "user_status": "known"})  # fmt: skip
            if clicked[place]:
                events.append(
                    FeedbackEvent(
                        event_id=f"{query}-{place}",
                        user_id=user,
                        item_id=rows[-1]["item_id"],
                        event_timestamp=moment + timedelta(minutes=1),
                        interaction_type="click",
                        query_id=query,
                    )
                )
    exposures.close()
    FeedbackLog(home).append(events)
    folder = home / FOLDER / f"date={at(hours).date()}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=IMPRESSIONS), folder / f"1-1-{int(hours)}.parquet")


def look(book: RolloutBook, home: Path, hours: float) -> Rollout:
    return step_by_verdict(book, home, "spring", now=at(hours))


def test_better_candidate_is_promoted_by_the_logs_alone(book, tmp_path):
    begin(book, 0.5)
    assert look(book, tmp_path, 1).records[-1].act == "hold"
    assert look(book, tmp_path, 24).share == 0.5  # dark for a day, no guardrail broken
    visit(tmp_path, 25, share=0.5, canary_rate=0.14)
    held = look(book, tmp_path, 50)
    assert held.records[-1].cause.reason == "day 1 of at least 2: every weekday counts alike"
    assert look(book, tmp_path, 50) == held  # the same look again is no other one
    after = look(book, tmp_path, 24 + 49)
    assert (after.phase, after.records[-1].cause.by) == (Phase.PROMOTED, "verdict")
    assert after.records[-1].cause.reason.startswith("better: ctr ")
    assert after.records[-1].cause.figures["users_canary"] == pytest.approx(750, abs=60)
    assert look(book, tmp_path, 100) == after


def test_worse_candidate_is_taken_back(book, tmp_path):
    begin(book, 0.5)
    look(book, tmp_path, 24)
    visit(tmp_path, 25, share=0.5, canary_rate=0.04)
    after = look(book, tmp_path, 27)
    assert (after.phase, after.share) == (Phase.ABORTED, 0.0)
    assert after.records[-1].cause.reason.startswith("ctr is surely lower: ")


def test_candidate_that_fails_is_taken_back_though_stable_answered_in_its_place(book, tmp_path):
    begin(book, 0.5)
    look(book, tmp_path, 24)
    visit(tmp_path, 25, share=0.5, canary_rate=0.10, failing=0.2)
    after = look(book, tmp_path, 25.2)  # before the window of any user is over
    assert after.phase is Phase.ABORTED
    assert after.records[-1].cause.reason.startswith("fallbacks: ")


def test_equal_candidate_is_stopped_at_the_longest_duration(book, tmp_path):
    begin(book, 0.5)
    look(book, tmp_path, 24)
    visit(tmp_path, 25, share=0.5, canary_rate=0.10)
    look(book, tmp_path, 24 + 49)
    after = look(book, tmp_path, 24 + 73)
    assert after.phase is Phase.ABORTED
    assert "the champion stays" in after.records[-1].cause.reason


def test_paused_rollout_is_not_judged(book, tmp_path):
    begin(book, 0.5)
    book.act("spring", lambda one: paused(one, Cause("ann", at(1), "holiday", {})))
    assert look(book, tmp_path, 48).phase is Phase.DARK


def test_how_it_is_judged_stands_from_its_start(book, tmp_path):
    """Whoever may choose the metric after the figures finds what he likes."""
    begin(book, 0.5)
    assert judging_of(RolloutBook(tmp_path, Nowhere()).get("spring")) == CONFIG.model_copy(update={"steps": (0.0, 0.5)})
    said = recsys("rollout", "step", "spring", "--set", "lift=0.01", home=tmp_path, status=2).stderr
    assert "--set: how a rollout is judged is decided at its start" in said
    shown = recsys("experiment", "show", "spring", home=tmp_path).stdout
    assert "judged: pre_days=0 lift=0.3 step_users=100 least_days=2 longest_days=3" in shown


def test_rollout_that_says_nothing_of_its_judging_is_judged_as_by_default(book):
    bare = started("spring", stable="b1", candidate="b2", cause=Cause("test", MONDAY, "try", {}))
    assert other_than_default(judging_of(bare)) == ""
    unknown = replace(bare, judging={"longest": 3})
    with pytest.raises(ConfigError, match="longest"):
        judging_of(unknown)


def test_wrong_configuration_and_a_look_into_the_past_are_refused(book, tmp_path):
    with pytest.raises(ConfigError, match=r"experiment: longest: .*ExperimentConfig lists what there is"):
        experiment_config({"longest": 3})
    begin(book, 0.5)
    with pytest.raises(ConfigError, match="before its step began"):
        look(book, tmp_path, -1)


def test_users_who_came_before_the_doors_knew_of_a_step_are_not_of_it(book, tmp_path):
    """A crash between the record of a step and the doors leaves the share before to them until the next command."""
    begin(book, 0.05, 0.5)
    assert look(book, tmp_path, 24).share == 0.05
    visit(tmp_path, 25, share=0.05, canary_rate=0.10, users=3_000)
    assert look(book, tmp_path, 49).share == 0.5
    visit(tmp_path, 50, share=0.05, canary_rate=0.10)  # by the share of the step before
    visit(tmp_path, 51, share=0.5, canary_rate=0.10, users=600)
    after = look(book, tmp_path, 54).records[-1]
    assert after.act == "hold"
    assert after.cause.figures["users_stable"] + after.cause.figures["users_canary"] == 600


def test_rollout_of_some_stores_takes_their_users_alone_at_every_step(tmp_path):
    config = CONFIG.model_copy(update={"targeting": {"store_id": ("7",)}})
    begun = started("spring", stable="b1", candidate="b2", cause=Cause("test", MONDAY, "try", {}), **plan_of(config))
    for rollout in (begun, advanced(begun, Cause("test", at(1), "no harm", {}))):
        divide_users(tmp_path, rollout, url="http://127.0.0.1:9")
        running = read_experiments(tmp_path)
        assert len(assign(running, "anna", {"store_id": "7"})) == 1
        assert assign(running, "anna", {"store_id": "8"}) == assign(running, "anna", {}) == ()


def test_second_of_two_looks_at_once_leaves_the_step_of_the_first_alone(book, tmp_path):
    begin(book, 0.05, 0.5)
    first = look(book, tmp_path, 24)
    assert look(book, tmp_path, 24 - 0.001) == first  # its clock was read while it waited for its turn


def test_status_shows_the_record_where_servers_cannot_be_made_so(book, tmp_path):
    begin(book, 0.5)
    done = recsys("rollout", "status", "spring", home=tmp_path, status=2)
    assert "try" in done.stdout
    assert "compares with bundle b1, and the champion is None by now" in done.stderr


def test_commands_show_what_is_there_and_name_what_is_not(book, tmp_path):
    begin(book, 0.25, 0.5)
    assert "dark 0%" in recsys("rollout", "status", home=tmp_path).stdout
    said = recsys("rollout", "promote", "summer", home=tmp_path, status=2).stderr
    assert "rollout summer: not in" in said
    assert "there are spring" in said
    recsys("rollout", "start", "summer", "b-1", home=tmp_path, status=2)  # no such bundle
