"""What belongs to a window, and how old its sources may be."""

from datetime import timedelta

import pyarrow.parquet as pq
import pytest

from monitoring.freshness import newest_snapshot
from monitoring.history import distance, read_history
from monitoring.verdict import State
from monitoring.windows import Window, read_window
from tests.monitoring.conftest import END, NOW, START, USERS, World


def read(world: World, *, deepest: int = 4) -> Window:
    return read_window(
        world.home, world.bundle_id, start=START, end=END, now=NOW, deepest=deepest, config=world.config.quality
    )


def test_the_start_belongs_to_a_window_and_the_end_does_not(world: World) -> None:
    world.serve(seed=1, moment=START, users=2)
    world.serve(seed=2, moment=END, users=3)
    assert read(world).users == 2


def test_rows_below_the_reference_s_last_position_are_counted_and_left_out(world: World) -> None:
    world.serve(users=5)
    window = read(world, deepest=3)
    assert (len(window.frame), window.deeper) == (5 * 3, 5 * 1)


def test_lists_without_a_user_id_are_a_user_each(world: World) -> None:
    world.serve(users=3)
    path = next((world.home / "logs" / "impressions").rglob("*.parquet"))
    table = pq.read_table(path, partitioning=None)
    nobody = table.set_column(
        table.schema.get_field_index("user_id"), table.schema.field("user_id"), [[""] * len(table)]
    )
    pq.write_table(nobody, path)
    assert read(world).users == 3


def test_purchases_of_other_users_and_items_are_no_success(world: World) -> None:
    world.serve(users=2)
    world.answer({"u0": "i9", "u7": "i0"})
    assert read(world).frame["label"].sum() == 0


@pytest.mark.parametrize(("hours", "expected"), [(12, State.OK), (11.9, State.STALE)])
def test_impressions_are_stale_beyond_their_limit(served: World, hours: float, expected: State) -> None:
    """The last list was shown twelve hours before the window's end."""
    freshness = served.config.freshness.model_copy(update={"impressions_hours": hours})
    assert served.judge(freshness=freshness).check("freshness:impressions").state is expected


def test_snapshots_of_the_future_and_other_files_do_not_count(world: World) -> None:
    folder = world.home / "offline" / "user_stats"
    (folder / "20990101T000000Z.parquet").touch()
    (folder / "notes.parquet").touch()
    assert newest_snapshot(world.home, "user_stats", NOW) == NOW - timedelta(days=1)


def test_an_old_bundle_is_worth_a_look_and_blocks_nothing(served: World) -> None:
    freshness = served.config.freshness.model_copy(update={"bundle_days": 13.9})  # it is fourteen days old
    verdict = served.judge(freshness=freshness)
    assert verdict.check("freshness:bundle").state is State.WARN
    assert verdict.blockers == ()
    assert verdict.users == USERS


def judged_before(world: World, every: timedelta, count: int) -> tuple[timedelta, float]:
    """Judge so many windows of a week before the last one; how far windows are apart, and from when on the bundle is old."""
    for back in range(count, 0, -1):
        world.judge(start=START - back * every, end=END - back * every)
    limit = world.judge().check("freshness:bundle").threshold
    assert limit is not None
    history = read_history(world.home, "recommender")
    return distance(history, reference_id=history[0].reference_id, start=START, end=END), limit


@pytest.mark.parametrize(
    ("every", "count", "expected"),
    [
        (7, 2, 7),  # a window a week
        (1, 2, 1),  # the week of every night
        (30, 1, 7),  # once a month: at most the window itself counts
        (7, 0, 0),  # the first one
    ],
)
def test_a_bundle_is_old_later_where_windows_are_rare(served: World, every: int, count: int, expected: int) -> None:
    apart, limit = judged_before(served, timedelta(days=every), count)
    assert apart == timedelta(days=expected)
    assert limit == 35 + 8 * expected


def test_a_break_in_a_nightly_schedule_makes_no_bundle_young(served: World) -> None:
    for back in (40, 39, 38):
        served.judge(start=START - timedelta(days=back), end=END - timedelta(days=back))
    assert served.judge().check("freshness:bundle").threshold == 35 + 8 * 1


@pytest.mark.parametrize(("hours", "expected"), [(47, State.OK), (49, State.STALE)])
def test_impressions_that_had_stopped_are_not_stale_once_they_come_again(
    world: World, hours: float, expected: State
) -> None:
    """Nothing was shown in the last three days of the window, which is judged a week after its end; 48 hours are allowed."""
    world.serve(moment=END - timedelta(days=3))
    world.serve(seed=2, moment=NOW - timedelta(hours=hours))
    check = world.judge().check("freshness:impressions")
    assert check.state is expected
    assert ("it comes again: the newest is 47 h old" in check.reason) == (expected is State.OK)
    assert "the newest impression is 72 h old" in check.reason or "3 days" in check.reason


def test_feedback_of_a_window_long_ago_is_held_against_now_where_it_had_stopped(world: World) -> None:
    world.serve()
    late = NOW + timedelta(days=30)
    assert world.judge(now=late).check("freshness:feedback").state is State.STALE
    world.answer({"u0": "i0"}, moment=late - timedelta(hours=1))
    assert world.judge(now=late).check("freshness:feedback").state is State.OK


def test_impressions_of_another_bundle_are_no_sign_that_this_one_answers_again(world: World) -> None:
    World(world.home, world.bundle, "b-other", world.config).serve(moment=NOW - timedelta(hours=1))
    assert world.judge().check("freshness:impressions").state is State.STALE


def test_what_is_stale_says_what_to_look_at(world: World) -> None:
    for path in (world.home / "offline" / "user_stats").glob("*.parquet"):
        path.unlink()
    verdict = world.judge()
    assert verdict.check("freshness:impressions").reason == (
        "there is no impression at all: look whether a server answers with this bundle, and whether its log of impressions "
        "reaches the state folder"
    )
    assert "no snapshot of user_stats at all: `recsys features compute`" in verdict.check("freshness:user_stats").reason
