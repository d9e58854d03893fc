"""A rollout's acts: what each changes, what each refuses, and that none is lost or done twice by a crash."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from components.artifacts.errors import ConfigError, ContractError, NotFoundError
from components.deploy_canary.book import RolloutBook
from components.deploy_canary.rollout import (
    Cause,
    Phase,
    Rollout,
    aborted,
    advanced,
    judged,
    paused,
    promoted,
    resumed,
    started,
)

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def because(reason: str = "told to", day: int = 0) -> Cause:
    return Cause("ann", MONDAY + timedelta(days=day), reason, {"ctr": 0.05})


def fresh(name: str = "spring") -> Rollout:
    return started(name, stable="b1", candidate="b2", cause=because())


class Servers:
    """What a rollout wants, done in calls of which any may be the last one before a crash."""

    def __init__(self) -> None:
        self.candidate: str | None = None
        self.stable, self.share = "b1", 0.0
        self.calls, self.dies_at = count(1), 0

    def apply(self, rollout: Rollout) -> None:
        share = rollout.share if rollout.phase is Phase.RAMP else 0.0
        if rollout.phase is Phase.PROMOTED:
            self._set(stable=rollout.candidate)
        elif rollout.phase is not Phase.ABORTED:
            self._set(candidate=rollout.candidate)
        self._set(share=share)
        if rollout.is_over:
            self._set(candidate=None)

    def _set(self, **values) -> None:
        number = next(self.calls)
        if number == self.dies_at:
            raise KeyboardInterrupt
        vars(self).update(values)

    @property
    def state(self):
        return self.candidate, self.stable, self.share


@pytest.fixture
def servers() -> Servers:
    return Servers()


@pytest.fixture
def book(tmp_path, servers) -> RolloutBook:
    return RolloutBook(tmp_path, servers)


def test_candidate_begins_in_the_dark_and_its_share_grows_by_the_plan():
    rollout, shares = fresh(), []
    for day in range(1, 4):
        shares.append(rollout.share)
        rollout = advanced(rollout, because(day=day))
    assert [*shares, rollout.share] == [0.0, 0.05, 0.25, 0.5]
    assert rollout.since == MONDAY + timedelta(days=3)
    with pytest.raises(ConfigError, match=r"spring: ramp 50% is its last step\. Promote it or abort it"):
        advanced(rollout, because())


def test_each_act_leaves_who_when_why_and_the_figures():
    rollout = promoted(advanced(fresh(), because("no harm seen", 1)), because("ctr is better: +4.0%", 9))
    assert [(one.act, one.before, one.after) for one in rollout.records] == [
        ("start", "none", "dark 0%"),
        ("advance", "dark 0%", "ramp 5%"),
        ("promote", "ramp 5%", "promoted 100%"),
    ]
    last = rollout.records[-1].cause
    assert (last.by, last.at, last.reason, last.figures) == (
        "ann",
        MONDAY + timedelta(days=9),
        "ctr is better: +4.0%",
        {"ctr": 0.05},
    )


@pytest.mark.parametrize("act", [promoted, aborted, paused], ids=["promote", "abort", "pause"])
def test_act_that_is_repeated_changes_nothing(act):
    once = act(fresh(), because())
    assert act(once, because("again", 1)) == once


def test_what_is_over_stays_over():
    with pytest.raises(ConfigError, match=r"spring: aborted, so there is nothing to promote\. Start a new one"):
        promoted(aborted(fresh(), because()), because())
    with pytest.raises(ConfigError, match=r"spring: promoted, so there is nothing to abort"):
        aborted(promoted(fresh(), because()), because())


@pytest.mark.parametrize(
    ("decision", "share", "phase"),
    [
        ("hold", 0.05, Phase.RAMP),
        ("advance", 0.25, Phase.RAMP),
        ("promote", 1.0, Phase.PROMOTED),
        ("rollback", 0.0, Phase.ABORTED),
        ("stop", 0.0, Phase.ABORTED),
        ("invalid", 0.0, Phase.ABORTED),
    ],
)
def test_verdict_moves_the_rollout(decision, share, phase):
    after = judged(advanced(fresh(), because()), decision, because())
    assert (after.share, after.phase) == (share, phase)
    assert after.records[-1].act == decision  # the record tells a rollback from a rollout that found nothing


def test_verdict_that_holds_is_on_record_once_and_belongs_to_its_step():
    ramp = advanced(fresh(), because(day=1))
    held = judged(judged(ramp, "hold", because("too few users", 2)), "hold", because("too few users", 3))
    assert [record.cause.at for record in held.of_step] == [MONDAY + timedelta(days=2)]
    assert judged(held, "hold", because("day 3", 3)).of_step[-1].cause.reason == "day 3"
    assert advanced(held, because(day=4)).of_step == ()


def test_verdicts_leave_a_paused_rollout_alone_until_it_goes_on():
    held = paused(fresh(), because())
    assert judged(held, "rollback", because()) == held
    with pytest.raises(ConfigError, match="spring: paused"):
        advanced(held, because())
    assert judged(resumed(held, because()), "advance", because()).share == 0.05


def test_wrong_plans_are_refused():
    with pytest.raises(ConfigError, match=r"steps \[0.5, 0.25\], expected growing shares"):
        started("x", stable="b1", candidate="b2", cause=because(), steps=(0.5, 0.25))
    with pytest.raises(ConfigError, match="bundle b1 is stable already"):
        started("x", stable="b1", candidate="b1", cause=because())
    with pytest.raises(ConfigError, match="decision 'maybe', expected hold, advance, promote"):
        judged(fresh(), "maybe", because())


def test_rollout_is_found_again_as_it_was_written(book):
    book.start(fresh())
    after = book.act("spring", lambda rollout: advanced(rollout, because(day=1)))
    assert after.is_done
    assert book.get("spring") == after
    assert book.all() == [after]


def test_one_candidate_at_a_time_and_one_name_once(book, servers):
    first = book.start(fresh())
    assert book.start(fresh()) == first
    with pytest.raises(ConfigError, match=r"rollout spring: dark 0%, and one canary at a time"):
        book.start(fresh("summer"))
    book.act("spring", lambda rollout: aborted(rollout, because()))
    with pytest.raises(ConfigError, match=r"rollout spring: aborted 0% already\. Give this one a name of its own"):
        book.start(fresh())
    assert book.start(fresh("summer")).phase is Phase.DARK


@pytest.mark.parametrize(
    ("other", "differing"),
    [
        ({"steps": (0.5,)}, r"steps \(0.05, 0.25, 0.5\), not \(0.5,\)"),
        ({"target": "knative://shop/recommender"}, "target local, not knative"),
        ({"judging": {"lift": 0.1}}, "lift None, not 0.1"),
    ],
)
def test_second_start_with_another_plan_is_refused(book, other, differing):
    first = book.start(fresh())
    with pytest.raises(ConfigError, match=f"spring: dark 0% already, with {differing}"):
        book.start(replace(fresh(), **other))
    assert book.get("spring") == first


ACTS = (
    ("advance", lambda rollout: advanced(rollout, because(day=1))),
    ("promote", lambda rollout: promoted(rollout, because(day=1))),
    ("abort", lambda rollout: aborted(rollout, because(day=1))),
)


@pytest.mark.parametrize(("name", "act"), ACTS, ids=[name for name, _ in ACTS])
@pytest.mark.parametrize("dies_at", [1, 2, 3])
def test_crash_between_any_two_calls_is_completed_by_the_next_command(tmp_path, name, act, dies_at):
    whole, broken = Servers(), Servers()
    for servers, folder in ((whole, tmp_path / "whole"), (broken, tmp_path / "broken")):
        RolloutBook(folder, servers).start(fresh())
    expected = RolloutBook(tmp_path / "whole", whole).act("spring", act)
    broken.calls, broken.dies_at = count(1), dies_at
    calls = 2 if name in {"advance", "abort"} else 3
    if dies_at <= calls:
        with pytest.raises(KeyboardInterrupt):
            RolloutBook(tmp_path / "broken", broken).act("spring", act)
    else:
        RolloutBook(tmp_path / "broken", broken).act("spring", act)
    broken.dies_at = 0
    again = RolloutBook(tmp_path / "broken", broken).act("spring", lambda rollout: rollout)
    assert broken.state == whole.state
    assert again == expected
    assert len(again.records) == 2  # start and the act, once


def test_crash_after_the_target_was_made_so_and_before_it_is_marked_repeats_it_harmlessly(book, servers, tmp_path):
    done = book.start(fresh())
    book._written(replace(done, is_done=False))
    assert book.act("spring", lambda rollout: rollout) == done
    assert servers.state == ("b2", "b1", 0.0)


def test_unknown_and_unreadable_rollouts_are_named(book, tmp_path):
    with pytest.raises(NotFoundError, match=r"rollout winter: not in .*; there are none"):
        book.get("winter")
    (tmp_path / "rollouts").mkdir()
    (tmp_path / "rollouts" / "old.json").write_text('{"format_version": 0}')
    with pytest.raises(ContractError, match=r"old.json: not as this version writes it \(format_version is not 1\)"):
        book.get("old")
