"""Whether data still arrives: the age of the newest of everything."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc

from components.artifacts.cuts import parse_moment
from components.artifacts.feedback import read_feedback
from components.artifacts.item_snapshot import published_items, read_items
from feature_repo.schema import EVENT_TIMESTAMP
from monitoring.config import FreshnessConfig
from monitoring.verdict import Check, Group, State
from monitoring.windows import Window
from serving.prediction_log import read_impressions

SNAPSHOT = "snapshot of {}"
REMEDIES: Mapping[str, str] = {
    "impression": "look whether a server answers with this bundle, and whether its log of impressions reaches the state folder",
    "event of feedback": "look whether the shop's events reach /v1/events",
    "item published to servers": "`recsys features materialize` publishes them",
}
"""What to look at where something has stopped; a view has the remedy of all views."""
REMEDY_OF_VIEWS = "`recsys features compute` makes one, `recsys features materialize` brings it to the servers"


def freshness_checks(
    home: Path,
    window: Window,
    bundle_id: str,
    as_of: datetime,
    now: datetime,
    config: FreshnessConfig,
    *,
    learning: timedelta,
) -> list[Check]:
    """Impressions, feedback, each named view's snapshots, the bundle.

    The logs are held against the end of what was read of them, so that a window can be judged long afterwards. Where they had
    stopped there and fill again by now, nothing is stale: what was down is back.

    Args:
        home: State folder.
        window: What is judged.
        bundle_id: Whose impressions.
        as_of: The bundle's training cut.
        now: Time of the judgement.
        config: Limits.
        learning: How long windows as often as these take to say what is usual of a bundle: it is old by so much later.
    """
    newest_shown = window.frame["event_timestamp"].max().to_pydatetime() if len(window.frame) else None
    newest_event = pc.max(window.feedback["event_timestamp"]).as_py()
    views = [
        _age(view, SNAPSHOT.format(view), newest_snapshot(home, view, now), now, timedelta(hours=config.features_hours))
        for view in config.views
    ]
    return [
        _again(
            _age("impressions", "impression", newest_shown, window.end, timedelta(hours=config.impressions_hours)),
            now,
            lambda start: _newest_impression(home, bundle_id, start, now),
        ),
        _again(
            _age(
                "feedback",
                "event of feedback",
                newest_event,
                window.feedback_until,
                timedelta(hours=config.feedback_hours),
            ),
            now,
            lambda start: pc.max(read_feedback(home, start, now)[EVENT_TIMESTAMP]).as_py(),
        ),
        *views,
        _age(
            "published_items",
            "item published to servers",
            _published(home),
            now,
            timedelta(hours=config.published_hours),
        ),
        _bundle(as_of, now, timedelta(days=config.bundle_days) + learning),
    ]


def _again(check: Check, now: datetime, newest_since: Callable[[datetime], datetime | None]) -> Check:
    """A log that had stopped by the end of what was read of it, and is no older than allowed now."""
    if check.state is not State.STALE or check.threshold is None:
        return check
    newest = newest_since(now - timedelta(hours=check.threshold))
    if newest is None:
        return check
    age = now - newest.astimezone(UTC)
    stopped = check.reason.partition(":")[0]
    reason = f"{stopped} at the end of the window, but it comes again: the newest is {_hours(age)} old"
    return replace(check, state=State.OK, reason=reason, observed=_as_hours(age))


def _newest_impression(home: Path, bundle_id: str, start: datetime, now: datetime) -> datetime | None:
    shown = read_impressions(home, start, now, columns=["bundle_id", EVENT_TIMESTAMP])
    newest: datetime | None = pc.max(shown.filter(pc.equal(shown["bundle_id"], bundle_id))[EVENT_TIMESTAMP]).as_py()
    return newest


def newest_snapshot(home: Path, view: str, now: datetime) -> datetime | None:
    """Moment of the newest snapshot of a view that is not from the future."""
    moments = (parse_moment(path.stem) for path in (home / "offline" / view).glob("[0-9]*T[0-9]*Z.parquet"))
    return max((moment for moment in moments if moment <= now), default=None)


def _published(home: Path) -> datetime | None:
    """Moment of the item features that servers read; None where there are none that can be read."""
    path = published_items(home)
    return read_items(path)[1] if path.exists() else None


def _age(name: str, what: str, newest: datetime | None, now: datetime, limit: timedelta) -> Check:
    """Of one of `what`; where it is missing or too old, with what to look at."""
    check, most, remedy = f"freshness:{name}", _as_hours(limit), REMEDIES.get(what, REMEDY_OF_VIEWS)
    if newest is None:
        reason = f"there is no {what} at all: {remedy}"
        return Check(check, Group.FRESHNESS, State.STALE, reason, threshold=most, unit="h")
    age = now - newest.astimezone(UTC)
    is_old = age > limit
    told = f"the newest {what} is {_hours(age)} old"
    reason = f"{told}, at most {_hours(limit)} is allowed: {remedy}" if is_old else told
    state = State.STALE if is_old else State.OK
    return Check(check, Group.FRESHNESS, state, reason, _as_hours(age), most, "h")


def _bundle(as_of: datetime, now: datetime, limit: timedelta) -> Check:
    """An old bundle is no fault of the data, so it warns and does not block."""
    age, most = now - as_of, limit / timedelta(days=1)
    state = State.WARN if age > limit else State.OK
    reason = f"the bundle was trained {age.days} days ago" + (f", over {most:g}" if age > limit else "")
    return Check("freshness:bundle", Group.WINDOW, state, reason, age.days, most, "d")


def _as_hours(span: timedelta) -> float:
    return round(span.total_seconds() / 3600, 2)


def _hours(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"
