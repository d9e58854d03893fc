"""What Prometheus reads of the verdicts.

A job that ends cannot be scraped, so each run leaves `monitoring/metrics/<model>.prom`, which node-exporter's textfile
collector picks up, and hands the same to a Pushgateway where one is named. They are always of the newest window, whatever
window was judged last, and derived from what is kept on disk: another run writes them again.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path

from prometheus_client import CollectorRegistry, push_to_gateway, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from monitoring.history import read_history
from monitoring.kpis import Kpi, goals_of, newest_of, read_kpis
from monitoring.retraining_policy import Action, DecisionRecord, read_decisions
from monitoring.unread import Unread
from monitoring.verdict import SEVERITY, Verdict

log = logging.getLogger(__name__)

PUSHGATEWAY_URL = "RECSYS_PUSHGATEWAY_URL"
"""Variable: `http://pushgateway:9091`. Never logged: it may hold a password."""
PUSHGATEWAY_NAMESPACE = "RECSYS_PUSHGATEWAY_NAMESPACE"
"""Variable: the namespace that is judged, for a Pushgateway that has the verdicts of several."""
JOB = "recsys-monitor"
PUSH_SECONDS = 5.0


class MonitorMetrics(Collector):
    """The newest verdict of a model and what was decided, as values: nothing is counted in this process.

    Args:
        verdicts: At least one, the newest window last.
        decisions: Oldest first; may be empty.
        kpis: Oldest first; may be empty.
    """

    def __init__(
        self, verdicts: tuple[Verdict, ...], decisions: tuple[DecisionRecord, ...], kpis: Sequence[Kpi] = ()
    ) -> None:
        self._verdicts, self._decisions, self._kpis = verdicts, decisions, kpis
        self._newest = verdicts[-1]

    def collect(self) -> Iterator[Metric]:
        """All metrics, each labelled with the model."""
        yield from self._run()
        yield from self._states()
        yield from self._features()
        yield from self._retraining()
        yield from self._business()

    def _run(self) -> Iterator[Metric]:
        newest = self._newest
        last_run = max(verdict.judged_at for verdict in self._verdicts).timestamp()
        yield self._one("last_run_timestamp_seconds", "Unix time of the last judgement", last_run)
        end = newest.end.timestamp()
        yield self._one("window_end_timestamp_seconds", "Unix time at which the newest judged window ends", end)
        yield self._one("window_users", "Distinct users of the newest window", newest.users)
        yield self._one("window_impressions", "Impressions of the newest window", newest.rows)

    def _states(self) -> Iterator[Metric]:
        labels = ["model", "state"]
        worst = GaugeMetricFamily("recsys_monitor_state", "1 for the state of the newest verdict", labels=labels)
        each = GaugeMetricFamily(
            "recsys_monitor_check_state", "1 for the state of a check", labels=["model", "check", "group", "state"]
        )
        for state in SEVERITY:
            worst.add_metric([self._newest.model, state], state is self._newest.state)
            for check in self._newest.checks:
                each.add_metric([self._newest.model, check.name, check.group, state], state is check.state)
        yield from (worst, each)

    def _features(self) -> Iterator[Metric]:
        moved = self._newest.moved_importance
        yield self._one(
            "drift_importance_ratio", "Share of the ranker's gain in the features that moved, from 0 to 1", moved
        )
        labels = ["model", "feature"]
        score = GaugeMetricFamily("recsys_monitor_feature_drift_psi", "A feature's PSI against training", labels=labels)
        share = GaugeMetricFamily(
            "recsys_monitor_feature_importance_ratio", "A feature's share of the ranker's gain", labels=labels
        )
        for finding in self._newest.features:
            share.add_metric([self._newest.model, finding.name], finding.importance)
            if finding.score is not None:
                score.add_metric([self._newest.model, finding.name], finding.score)
        yield from (score, share)

    def _retraining(self) -> Iterator[Metric]:
        labels = ["model", "action"]
        total = CounterMetricFamily(
            "recsys_monitor_retraining_decisions", "What was decided after verdicts, since the beginning", labels=labels
        )
        last = GaugeMetricFamily(
            "recsys_monitor_retraining_last_decision", "1 for what was decided last", labels=labels
        )
        taken = [decision.action for decision in self._decisions]
        for action in Action:
            total.add_metric([self._newest.model, action], taken.count(action))
            last.add_metric([self._newest.model, action], taken[-1:] == [action])
        yield from (total, last)

    def _business(self) -> Iterator[Metric]:
        labels = ["model", "kpi"]
        value = GaugeMetricFamily("recsys_monitor_kpi", "A business figure of its newest period", labels=labels)
        goal = GaugeMetricFamily("recsys_monitor_kpi_goal", "The least that it should be", labels=labels)
        for name, newest in newest_of(self._kpis).items():
            value.add_metric([self._newest.model, name], newest.value)
        for name, least in goals_of(self._newest).items():
            goal.add_metric([self._newest.model, name], least)
        yield from (value, goal)

    def _one(self, name: str, documentation: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"recsys_monitor_{name}", documentation, labels=["model"])
        family.add_metric([self._newest.model], value)
        return family


def publish(home: Path, model: str) -> Path:
    """Write the metrics of a model, and push them where `RECSYS_PUSHGATEWAY_URL` says so; the file that holds them.

    Decisions or business figures that cannot be read are left out and logged, and a Pushgateway that does not answer is
    logged: the verdict's metrics are there. Where `RECSYS_PUSHGATEWAY_NAMESPACE` names
    one, the pushed metrics have it as a label and replace those of the same namespace alone.

    Args:
        home: State folder.
        model: One that was judged at least once.
    """
    registry = CollectorRegistry()
    unread = Unread()
    decisions: tuple[DecisionRecord, ...] = unread.read("decisions", lambda: read_decisions(home, model), ())
    kpis: list[Kpi] = unread.read("business figures", lambda: read_kpis(home, model), [])
    registry.register(MonitorMetrics(read_history(home, model), decisions, kpis))
    path = home / "monitoring" / "metrics" / f"{model}.prom"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry)
    url = os.environ.get(PUSHGATEWAY_URL)
    if url:
        _push(url, model, registry)
    return path


def _push(url: str, model: str, registry: CollectorRegistry) -> None:
    try:
        push_to_gateway(url, JOB, registry, grouping_key=_group(model), timeout=PUSH_SECONDS)
    except (OSError, ValueError, HTTPException) as error:
        log.warning("metrics of %s: %s did not take them (%s)", model, PUSHGATEWAY_URL, type(error).__name__)


def _group(model: str) -> dict[str, str]:
    """Labels of what is pushed together; the next push of the same labels takes its place."""
    namespace = os.environ.get(PUSHGATEWAY_NAMESPACE)
    return {"model": model, **({"namespace": namespace} if namespace else {})}
