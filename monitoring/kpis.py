"""What the recommendations earn, period by period: the experiments' metrics over all users who were shown a list.

A period is of whole days, weeks from Monday on. A user belongs to it from the first list that he was shown in it, for the
metric's window, as in an experiment; a period counts when the window of its last user is over, so its figures never change,
and are kept in `monitoring/kpis/<model>.json` beyond the logs that they were made of.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock
from scipy import stats

from components.artifacts.errors import ContractError
from components.artifacts.feedback import read_feedback
from components.artifacts.whole_file import write_whole
from feature_repo.schema import EVENT_TIMESTAMP, ITEM_ID, USER_ID
from monitoring.config import KpiConfig
from monitoring.experiments.effects import value_of
from monitoring.experiments.metrics import EVERYBODY, Logs, Span, everybody_exposed, user_values
from monitoring.experiments.moments import Moments
from monitoring.metric_config import MetricConfig
from monitoring.verdict import Check, Group, State, Verdict, days
from serving.prediction_log import read_impressions

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
FOLDER = Path("monitoring") / "kpis"
SHOWN = ["query_id", USER_ID, ITEM_ID, "bundle_id", EVENT_TIMESTAMP]
FIRST_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
LEAST_SHARE = 0.05
"""Of a period's impressions, for a bundle to be named with it."""


@dataclass(frozen=True, slots=True)
class Kpi:
    """One metric in one period.

    Attributes:
        name: Of the metric.
        definition: Twelve hex digits of how it was computed: figures of different ones are not compared.
        start: First day.
        end: Day after the last.
        users: Who were shown a list.
        value: Numerator over denominator, summed over them.
        low: Lower end of the interval over users.
        high: Upper end.
        bundles: That made the lists, most impressions first.
    """

    name: str
    definition: str
    start: datetime
    end: datetime
    users: int
    value: float
    low: float
    high: float
    bundles: tuple[str, ...]

    def __str__(self) -> str:
        """As `conversion 0.0412 (0.0389 to 0.0436) of 2,310 users in 2024-06-03 to 2024-06-09`."""
        return f"{self.name} {self.figure} of {self.users:,} users in {days(self.start, self.end)}"

    @property
    def figure(self) -> str:
        """Value and interval, for people."""
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


def record_kpis(home: Path, model: str, config: KpiConfig, *, now: datetime) -> list[Kpi]:
    """Compute the periods that are over and missing, keep them, and give all that are of today's definitions, the oldest first.

    Args:
        home: State folder with the logs.
        model: Registered model, whose file it is.
        config: Metrics, periods and goals.
        now: Nothing from here on is read.

    Raises:
        ContractError: What was kept cannot be read.
    """
    with locked(home, model):
        kept = read_kpis(home, model)
        found = list(_missing(home, kept, config, now))
        if found:
            newest = max(found, key=_order)
            log.info("business: %s, and figures kept beside it: %d", newest, len(found) - 1)
            _write(_path(home, model), [*kept, *found])
    return of_today([*kept, *found], config)


def read_kpis(home: Path, model: str) -> list[Kpi]:
    """All that were kept; empty where none were.

    Raises:
        ContractError: The file is not what this version writes.
    """
    path = _path(home, model)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format_version is not {FORMAT_VERSION}")
        return [_kpi(one) for one in content["kpis"]]
    except FileNotFoundError:
        return []
    except (KeyError, TypeError, ValueError) as error:
        raise ContractError(
            f"business figures {path}: not as this version writes them ({error}). Move the file away: what the logs still "
            "hold is computed again."
        ) from error


@contextmanager
def locked(home: Path, model: str) -> Iterator[None]:
    """For who writes the figures or their page: monitors of one moment take turns."""
    path = _path(home, model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        yield


def of_today(kpis: Sequence[Kpi], config: KpiConfig) -> list[Kpi]:
    """Those that today's definitions give, the oldest first: others are not compared with them."""
    today = definitions_of(config)
    return [one for one in sorted(kpis, key=_order) if one.definition == today.get(one.name)]


def goal_checks(kpis: Sequence[Kpi], config: KpiConfig) -> list[Check]:
    """One for each goal: WARN where the newest period surely missed it. No reason to train: more of the same is no remedy."""
    return [_goal_check(name, goal, kpis, config) for name, goal in config.goals.items()]


def of_metric(kpis: Sequence[Kpi], name: str) -> list[Kpi]:
    """Its periods as the newest of them was defined, the oldest first."""
    own = [one for one in kpis if one.name == name]
    return [one for one in own if one.definition == own[-1].definition]


def newest_of(kpis: Sequence[Kpi]) -> dict[str, Kpi]:
    """Of each metric its newest period; `kpis` has the oldest first."""
    return {one.name: one for one in kpis}


def goals_of(verdict: Verdict) -> dict[str, float]:
    """Metric to the goal that the verdict held it against."""
    return {
        check.name.partition(":")[2]: check.threshold
        for check in verdict.checks
        if check.group is Group.BUSINESS and check.threshold is not None
    }


def definitions_of(config: KpiConfig) -> dict[str, str]:
    """Metric to twelve hex digits of all that its figures depend on beside the logs."""
    shared = config.model_dump(mode="json", exclude={"metrics", "goals", "periods", "min_users"})
    facts = {name: [metric.model_dump(mode="json"), shared] for name, metric in config.countable.items()}
    return {
        name: hashlib.sha256(json.dumps(one, sort_keys=True).encode()).hexdigest()[:12] for name, one in facts.items()
    }


def _goal_check(name: str, goal: float, kpis: Sequence[Kpi], config: KpiConfig) -> Check:
    own = of_metric(kpis, name)
    if not own:
        return _check(name, State.LEARNING, f"no period of {config.days} days is over yet", None, goal)
    newest = own[-1]
    if newest.users < config.min_users:
        return _check(name, State.LEARNING, f"{newest}; {config.min_users:,} users are needed", newest.value, goal)
    if newest.high < goal:
        return _check(name, State.WARN, f"{newest}: surely below the goal of {goal:g}", newest.value, goal)
    reached = (
        "reached" if newest.low >= goal else "within the interval" if newest.value < goal else "reached, not surely"
    )
    return _check(name, State.OK, f"{newest}: the goal of {goal:g} is {reached}", newest.value, goal)


def _check(name: str, state: State, reason: str, value: float | None, goal: float) -> Check:
    return Check(f"kpi:{name}", Group.BUSINESS, state, reason, value, goal)


def _missing(home: Path, kept: Sequence[Kpi], config: KpiConfig, now: datetime) -> Iterator[Kpi]:
    done, today = {(one.name, one.definition, one.end) for one in kept}, definitions_of(config)
    for start, end in _periods(config, now):
        wanted = {
            name: metric
            for name, metric in config.countable.items()
            if (name, today[name], end) not in done and _known_from(end, metric, config) <= now
        }
        if wanted:
            yield from _kpis_of(home, start, end, wanted, today, config)


def _periods(config: KpiConfig, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The newest that are over, the oldest first."""
    length = timedelta(days=config.days)
    last = (now - FIRST_MONDAY) // length
    for place in range(max(0, last - config.periods), last):
        yield FIRST_MONDAY + place * length, FIRST_MONDAY + (place + 1) * length


def _known_from(end: datetime, metric: MetricConfig, config: KpiConfig) -> datetime:
    return end + timedelta(hours=metric.window_hours, minutes=config.late_minutes)


def _kpis_of(
    home: Path,
    start: datetime,
    end: datetime,
    metrics: Mapping[str, MetricConfig],
    definitions: Mapping[str, str],
    config: KpiConfig,
) -> list[Kpi]:
    """Of one period; none where fewer than two users were shown a list."""
    until = max(_known_from(end, metric, config) for metric in metrics.values())
    shown = read_impressions(home, start, until, columns=SHOWN)
    if shown.num_rows == 0:
        return []
    asked = shown.filter(pc.less(shown[EVENT_TIMESTAMP], pa.scalar(end, shown[EVENT_TIMESTAMP].type)))
    logs = Logs(everybody_exposed(asked), shown, read_feedback(home, start, until))
    span, bundles = Span(EVERYBODY, start, start, until), _bundles(asked)
    found = []
    for name, metric in metrics.items():
        values = user_values(logs, metric, span, config).of_arm(EVERYBODY)
        if len(values) > 1:
            value, low, high = _estimate(values, config.confidence)
            high = min(high, metric.most)
            found.append(Kpi(name, definitions[name], start, end, len(values), value, low, high, bundles))
    return found


def _bundles(asked: pa.Table) -> tuple[str, ...]:
    counted = asked.group_by("bundle_id").aggregate([("bundle_id", "count")]).to_pylist()
    ordered = sorted(counted, key=lambda row: (-row["bundle_id_count"], row["bundle_id"]))
    return tuple(row["bundle_id"] for row in ordered if row["bundle_id_count"] >= LEAST_SHARE * len(asked))


def _estimate(values: np.ndarray, confidence: float) -> tuple[float, float, float]:
    """Value and interval over users by the delta method; nothing that is counted is below 0."""
    value, variance = value_of(Moments.of_users(values))
    reach = float(stats.norm.ppf((1 + confidence) / 2)) * float(np.sqrt(variance))
    return float(value), max(0.0, float(value) - reach), float(value) + reach


def _order(one: Kpi) -> tuple[datetime, str]:
    return one.end, one.name


def _path(home: Path, model: str) -> Path:
    return home / FOLDER / f"{model}.json"


def _write(path: Path, kpis: Sequence[Kpi]) -> None:
    content = {"format_version": FORMAT_VERSION, "kpis": [asdict(one) for one in sorted(kpis, key=_order)]}
    write_whole(path, json.dumps(content, indent=1, default=datetime.isoformat))


def _kpi(content: Mapping[str, Any]) -> Kpi:
    moments = {name: datetime.fromisoformat(content[name]) for name in ("start", "end")}
    return Kpi(**{**content, **moments, "bundles": tuple(content["bundles"])})
