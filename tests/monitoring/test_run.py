"""Whole runs over a small world."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from components.artifacts.errors import ConfigError, ContractError
from monitoring.config import FreshnessConfig, QualityConfig, ReportConfig
from monitoring.history import read_history
from monitoring.moved_values import moved_values
from monitoring.verdict import State, Verdict, percent
from monitoring.workspace import FOLDER
from tests.monitoring.conftest import AGE, CATEGORY, END, NOW, PRICE, RANK, START, USERS, World, lost, refresh, times

DAY = timedelta(days=1)


def states(verdict: Verdict) -> dict[str, State]:
    return {check.name: check.state for check in verdict.checks}


def test_an_unchanged_window_is_ok_in_every_check(served: World) -> None:
    verdict = served.judge()
    assert set(states(verdict).values()) - {State.NOT_APPLICABLE} == {State.OK}
    assert (verdict.state, verdict.exit_code, verdict.users, verdict.rows) == (State.OK, 0, USERS, 4 * USERS)
    assert verdict.sentence.endswith("all is well.")


def test_unchanged_windows_of_other_draws_do_not_alarm(world: World) -> None:
    for seed in range(2, 8):
        world.serve(seed=seed, moment=START + timedelta(days=seed - 2, hours=9))
    alarms = [
        world.judge(start=START + day * DAY, end=START + (day + 1) * DAY).check("drift:features").state
        for day in range(6)
    ]
    assert alarms == [State.OK] * 6


def test_a_threefold_category_share_fails_because_the_ranker_depends_on_it(served: World) -> None:
    served.serve(times(CATEGORY, 3), seed=1)
    verdict = served.judge()
    assert states(verdict)["drift:features"] is State.FAIL
    assert [finding.name for finding in verdict.moved] == [CATEGORY]
    assert verdict.moved[0].direction == "up"
    assert verdict.moved[0].importance > 0.9
    assert verdict.exit_code == 3
    said = f"1 of 67 features moved, {percent(verdict.moved_importance)} of the ranker's importance ({CATEGORY})"
    assert verdict.sentence.startswith(f"{said}; retraining is advised for that")
    assert verdict.sentence.count("importance") == 1


def test_a_moved_feature_without_importance_is_only_worth_a_look(served: World) -> None:
    served.serve(times("item_users_7d", 3))
    verdict = served.judge()
    assert states(verdict)["drift:features"] is State.WARN
    assert "(item_users_7d); worth a look for that; what is usual is known after 8 windows" in verdict.sentence


def test_moved_scores_are_worth_a_look(served: World) -> None:
    served.serve(times(CATEGORY, 3))
    assert states(served.judge())["prediction:score"] is State.WARN


def test_calendar_features_are_not_judged(served: World) -> None:
    served.serve(times("user_tenure_days", 10))
    finding = {finding.name: finding for finding in served.judge().features}["user_tenure_days"]
    assert finding.state is State.NOT_APPLICABLE


def test_lost_values_block_retraining(served: World) -> None:
    served.serve(lost(AGE, 0.8))
    verdict = served.judge()
    assert [check.name for check in verdict.blockers] == ["nulls:features"]
    assert "retraining is blocked" in verdict.sentence


def test_a_retriever_that_names_nothing_any_more_blocks_though_missing_is_its_normal_state(served: World) -> None:
    served.serve(lost(RANK, 1.0))
    assert states(served.judge())["nulls:features"] is State.FAIL


@pytest.mark.parametrize(("bad", "expected"), [(0, State.OK), (1, State.WARN), (2, State.FAIL)])
def test_impossible_values_warn_and_block_above_their_share(served: World, bad: int, expected: State) -> None:
    def change(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        prices = values["item_price_usd_90d"].copy()
        prices[:bad] = (-1.0, np.inf)[:bad]
        return values | {"item_price_usd_90d": prices}

    served.serve(change)
    drift = served.config.drift.model_copy(update={"range_share": 1.5 / (4 * USERS)})  # one of 1,200 is under it
    assert states(served.judge(drift=drift))["range:features"] is expected


def test_no_impressions_is_stale_and_never_green(world: World) -> None:
    world.answer({"u0": "i0"})
    verdict = world.judge()
    assert states(verdict)["freshness:impressions"] is State.STALE
    assert states(verdict)["window:users"] is State.INSUFFICIENT
    assert (
        "monitoring.min_users asks for 100" in verdict.check("window:users").reason
    )  # what to change, in a shop of fewer users
    assert (verdict.state, verdict.exit_code) == (State.STALE, 4)


def test_no_feedback_is_stale_and_judges_no_quality(world: World) -> None:
    world.serve()
    verdict = world.judge()
    assert states(verdict)["freshness:feedback"] is State.STALE
    assert states(verdict)["quality:ndcg"] is State.INSUFFICIENT


def test_no_snapshots_is_stale(served: World) -> None:
    for path in (served.home / "offline" / "item_stats").glob("*"):
        path.unlink()
    assert states(served.judge())["freshness:item_stats"] is State.STALE


def test_too_few_users_is_no_verdict(world: World) -> None:
    world.serve(users=99)  # 100 are needed
    world.answer({f"u{user}": "i0" for user in range(99)})
    verdict = world.judge()
    assert {
        states(verdict)[name] for name in ("window:users", "drift:features", "prediction:score", "quality:ndcg")
    } == {State.INSUFFICIENT}
    assert verdict.exit_code == 5


def test_impressions_of_another_bundle_are_counted_and_left_out(served: World) -> None:
    World(served.home, served.bundle, "b-other", served.config).serve(seed=5)
    verdict = served.judge()
    assert verdict.rows == 4 * USERS
    assert verdict.notes == ("1,200 impressions of other bundles were left out",)


def test_unknown_outcomes_are_learning(served: World) -> None:
    verdict = served.judge(now=END)
    assert states(verdict)["quality:ndcg"] is State.LEARNING


def test_an_outcome_is_known_at_the_horizon_and_not_a_moment_before(served: World) -> None:
    shown = END - timedelta(hours=12)
    known = shown + timedelta(days=7)
    assert states(served.judge(now=known - timedelta(microseconds=1)))["quality:ndcg"] is State.LEARNING
    assert states(served.judge(now=known))["quality:ndcg"] is State.OK


def test_window_that_ends_today_is_judged_by_the_newest_days_whose_outcomes_are_known(served: World) -> None:
    """As every night: with a horizon as long as the window, none of its own lists has an outcome yet."""
    week = timedelta(days=7)
    served.serve(seed=2, moment=END + week - timedelta(hours=12))
    verdict = served.judge(start=END, end=END + week, now=END + week)
    assert states(verdict)["quality:ndcg"] is State.OK
    assert verdict.check("quality:ndcg").reason.endswith(
        "lists of 2017-10-30 to 2017-11-05, the newest whose outcomes are known"
    )
    alone = served.judge(now=END + week)
    assert alone.check("quality:ndcg").observed == verdict.check("quality:ndcg").observed
    assert "the newest whose outcomes are known" not in alone.check("quality:ndcg").reason


def test_quality_of_lists_that_were_lost_is_found_in_the_window_of_a_later_night(world: World) -> None:
    world.serve()
    world.answer({f"u{user}": "i0" for user in range(USERS // 2)})
    for day in range(7):
        world.serve(seed=3 + day, moment=END + timedelta(days=day, hours=12))
    check = world.judge(start=END, end=END + timedelta(days=7), now=END + timedelta(days=7)).check("quality:hit_share")
    assert check.state is State.FAIL
    assert check.observed == pytest.approx(0.5)


def test_a_purchase_at_the_horizon_s_end_does_not_count(world: World) -> None:
    world.serve()
    world.answer({f"u{user}": "i0" for user in range(USERS)}, moment=END - timedelta(hours=12) + timedelta(days=7))
    assert world.judge().check("quality:hit_share").observed == 1.0  # all of it was lost


def test_a_sure_loss_over_the_tolerance_fails(world: World) -> None:
    world.serve()
    world.answer({f"u{user}": "i0" for user in range(USERS // 2)})  # at the training all of them took it
    check = world.judge().check("quality:hit_share")
    assert check.state is State.FAIL
    assert check.observed == pytest.approx(1 - 0.5)


def test_users_who_did_nothing_can_be_left_out(world: World) -> None:
    world.serve()
    world.answer({f"u{user}": "i0" for user in range(USERS // 2)})
    quality = QualityConfig(k=4, draws=100, users="active")
    assert world.judge(quality=quality).check("quality:hit_share").state is State.OK


def test_lower_positions_cost_ndcg_but_no_hit(world: World) -> None:
    world.serve()
    world.answer({f"u{user}": "i2" for user in range(USERS)})
    verdict = world.judge()
    assert verdict.check("quality:hit_share").state is State.OK
    assert verdict.check("quality:ndcg").observed == pytest.approx(1 - 1 / np.log2(3 + 1))  # position 3 after 1


def test_a_log_that_cannot_be_read_is_an_error_verdict(world: World) -> None:
    world.serve()
    path = next((world.home / "logs" / "impressions").rglob("*.parquet"))
    path.write_bytes(b"no parquet")
    verdict = world.judge()
    assert (verdict.state, verdict.exit_code) == (State.ERROR, 4)
    assert (world.home / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("start", "end", "now", "message"),
    [
        (START + timedelta(hours=1), END, NOW, "not a UTC midnight"),
        (START.replace(tzinfo=None), END, NOW, "not a UTC midnight"),
        (END, START, NOW, "is not before end"),
        (START, START, NOW, "is not before end"),
        (START, END, END - DAY, "Judge days that are over"),
    ],
)
def test_a_window_that_is_none_is_refused(
    world: World, start: datetime, end: datetime, now: datetime, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        world.judge(start=start, end=end, now=now)


def test_a_damaged_bundle_is_refused(world: World, tmp_path: Path) -> None:
    damaged = copytree(world.bundle, tmp_path / "damaged")
    (damaged / "reference.parquet").write_bytes(b"other")
    with pytest.raises(ContractError, match="damaged"):
        World(world.home, damaged, world.bundle_id, world.config).judge()


def test_verdict_and_report_are_written_and_the_history_keeps_one_per_window(served: World) -> None:
    verdict = served.judge()
    served.judge()
    assert Verdict.read(served.home / "out" / "verdict.json") == verdict
    assert read_history(served.home, "recommender") == (verdict,)


def test_the_same_window_gives_the_same_bytes(served: World) -> None:
    served.judge()
    first = {path.name: path.read_bytes() for path in (served.home / "out").iterdir()}
    served.judge()
    assert {path.name: path.read_bytes() for path in (served.home / "out").iterdir()} == first


def test_the_report_says_the_sentence_and_shows_what_moved_without_loading_anything(served: World) -> None:
    served.serve(times(CATEGORY, 3))
    verdict = served.judge()
    page = (served.home / "out" / "report.html").read_text()
    assert "retraining is advised" in page
    assert page.index("retraining is advised") < page.index("Checks")
    assert verdict.reference_id in page
    assert "2017-10-30 to 2017-11-05" in page
    assert page.count("<svg") == len(verdict.moved) == 1
    assert f"now: {moved_values(verdict.moved[0])}</p>" in page
    assert "http" not in page
    assert "<script" not in page


def test_thresholds_come_from_the_history_once_it_is_long_enough(served: World) -> None:
    drift = served.config.drift.model_copy(update={"history_needed": 2})
    for week in (1, 2):
        served.serve(seed=10 + week, moment=START - timedelta(days=7 * week - 1))
        served.judge(start=START - timedelta(days=7 * week), end=END - timedelta(days=7 * week), drift=drift)
    finding = served.judge(drift=drift).features[0]
    past = [verdict.features[0].score for verdict in read_history(served.home, "recommender")[:2]]
    assert finding.threshold_source == "2 windows without drift"
    assert finding.threshold == pytest.approx(max(0.03, 1.5 * max(score for score in past if score is not None)))


def test_without_history_the_thresholds_can_wait(served: World) -> None:
    drift = served.config.drift.model_copy(update={"alarms_while_learning": False})
    verdict = served.judge(drift=drift)
    assert states(verdict)["drift:features"] is State.LEARNING
    assert verdict.exit_code == 0


@pytest.mark.slow
def test_evidently_renders_a_page_that_names_our_verdict_and_survives_an_empty_column(served: World) -> None:
    served.serve(lambda values: lost("item_price_usd_90d", 1.0)(times(CATEGORY, 3)(values)))
    verdict = served.judge(report=ReportConfig(features=6))
    page = (served.home / "out" / "evidently.html").read_text()
    assert verdict.sentence.replace("'", "&#x27;") in page
    assert "Left out, without a value on one side: item_price_usd_90d" in page
    (snapshot,) = (served.home / FOLDER).glob("*/snapshots/*.json")
    assert "quantile_psi" in snapshot.read_text()
    facts = json.loads(snapshot.read_text())
    assert (facts["tags"], facts["timestamp"][:10]) == ([verdict.state, verdict.bundle_id], "2017-11-06")
    assert facts["metadata"]["sentence"] == verdict.sentence
    assert CATEGORY in facts["metadata"]["moved"]
    assert moved_values(next(one for one in verdict.moved if one.name == CATEGORY)) in page
    assert 'href="evidently.html"' in (served.home / "out" / "report.html").read_text()


def test_first_windows_teach_a_feature_its_own_level_though_they_alarmed(served: World) -> None:
    """One that never was as the reference would alarm for ever, were only quiet windows its history."""
    drift = served.config.drift.model_copy(update={"history_needed": 2})
    for day in range(4):
        served.serve(times(PRICE, 3), seed=20 + day, moment=START + timedelta(days=day, hours=9))
    judged = [served.judge(start=START + day * DAY, end=START + (day + 1) * DAY, drift=drift) for day in range(4)]
    found = [{one.name: one.state for one in verdict.features}[PRICE] for verdict in judged]
    assert found == [State.WARN, State.WARN, State.OK, State.OK]
    checks = [verdict.check("drift:features") for verdict in judged]
    for known, check in enumerate(checks[:2]):  # what it waits for is said while it waits
        assert check.reason.endswith(
            f"; what is usual is known after 2 windows of this bundle, {known} were judged before"
        )
    assert "what is usual" not in checks[2].reason


def test_first_windows_teach_the_score_its_own_level_too(served: World) -> None:
    """It would be held against the sampling noise of one moment for ever."""
    drift = served.config.drift.model_copy(update={"history_needed": 2})
    for day in range(3):
        served.serve(times(CATEGORY, 3), seed=20 + day, moment=START + timedelta(days=day, hours=9))
    judged = [served.judge(start=START + day * DAY, end=START + (day + 1) * DAY, drift=drift) for day in range(3)]
    checks = [verdict.check("prediction:score") for verdict in judged]
    assert [check.state for check in checks] == [State.WARN, State.WARN, State.OK]
    assert "known after 2 windows of this bundle, 1 were judged before" in checks[1].reason
    known = [check.observed for check in checks[:2] if check.observed is not None]
    assert checks[2].threshold == pytest.approx(1.5 * max(known))


def test_a_schedule_of_weeks_alone_comes_to_ok_before_its_bundle_is_old(served: World) -> None:
    """Windows that are all further from the reference than the floor of learning: the first four are WARN, the fifth is well."""
    states_of_weeks = []
    for week in range(5):
        end = END + timedelta(days=7 * (week + 1))
        served.serve(times(PRICE, 3), seed=40 + week, moment=end - timedelta(hours=12))
        served.answer({f"u{user}": "i0" for user in range(USERS)}, moment=end - timedelta(hours=1))
        now = end + timedelta(hours=3)
        refresh(served.home, now)
        states_of_weeks.append(served.judge(start=end - timedelta(days=7), end=end, now=now))
    newest = states_of_weeks[-1]
    assert [one.state for one in states_of_weeks] == [State.WARN] * 4 + [State.OK]
    assert newest.check("freshness:bundle").observed == 42 > FreshnessConfig().bundle_days
