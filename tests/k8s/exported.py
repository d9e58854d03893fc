"""What the product tells Prometheus, to hold queries to."""

import re
from datetime import UTC, datetime, timedelta
from functools import cache

from prometheus_client import CollectorRegistry, generate_latest

from monitoring.kpis import Kpi
from monitoring.metrics import MonitorMetrics
from monitoring.verdict import Check, FeatureFinding, Group, State, Verdict
from serving.api.metrics import DoorMetrics
from serving.metrics import ServerMetrics
from serving.stream.metrics import StreamMetrics
from serving.stream.mirror.mirror import MirrorMetrics

NOW = datetime(2024, 6, 17, tzinfo=UTC)
ADDED_BY_PROMETHEUS = {"namespace", "pod", "le"}


@cache
def exported() -> dict[str, set[str]]:
    """Series to the names of its labels, of everything that the product exports."""
    found: dict[str, set[str]] = {}
    for registry in registries():
        for family in registry.collect():
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def as_scraped() -> str:
    """The same as text."""
    return "".join(generate_latest(registry).decode() for registry in registries())


def registries() -> tuple[CollectorRegistry, ...]:
    """Of door, server, monitor, stream and mirror; each metric is made to say something."""
    door, server, monitor = DoorMetrics(), ServerMetrics(CollectorRegistry()), CollectorRegistry()
    door.answered("/v1/recommendations", 200, 0.01)
    door.rate_limited.labels("shop").inc()
    door.fallbacks.labels("gone").inc()
    door.upstream_errors.labels("stable", "gone").inc()
    door.breakers.labels("stable").set(0)
    server.answered("/v1/models/{name}:predict", 200, 0.01)
    server.user("ok", 60.0)
    server.serves("b-1", variant="stable", scorer="compiled", items_as_of=NOW)
    earned = Kpi("ctr", "d", NOW - timedelta(days=7), NOW, 900, 0.05, 0.04, 0.06, ("b-1",))
    monitor.register(MonitorMetrics((verdict(),), (), (earned,)))
    return door.registry, server.registry, monitor, StreamMetrics().registry, MirrorMetrics().registry


def verdict() -> Verdict:
    checks = (
        Check("drift:features", Group.DRIFT, State.OK, "nothing moved"),
        Check("kpi:ctr", Group.BUSINESS, State.OK, "reached", 0.05, 0.04),
    )
    price = FeatureFinding("price", State.OK, 0.3, 0.01, 0.1, "", "", 1.0, 1.0, 0.0, 0.0, None, 0.0, 900, "")
    return Verdict("recommender", "b-1", "ref", NOW - timedelta(days=7), NOW, NOW, 900, 9000, checks, (price,))


def assert_exported(expression: str) -> None:
    """Every series of ours in a query exists, and has the labels that it is asked by."""
    known = exported()
    asked = re.findall(r"(recsys_[a-z_]+)(?:\{([^}]*)\})?", re.sub(r'"[^"]*"', '""', expression))
    for name, matchers in asked:
        assert name in known, f"{name} in {expression}"
        labels = set(re.findall(r"(\w+)\s*=", matchers.replace("!", "")))
        assert labels <= known[name] | ADDED_BY_PROMETHEUS, f"{name} has no {labels - known[name]}: {expression}"
