"""What Prometheus reads of the server: rate, errors, duration by stage, in flight, users' states, what answers."""

import time
from collections.abc import Mapping
from datetime import datetime
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values

from components.ranking.two_stage import Lap

values.ValueClass = values.MutexValue
# Feast's import turns prometheus_client to values in files that all processes and registries of a process share: two
# registries would add into one value. One server is one process.

BUCKETS = (0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1)
"""Upper bounds in seconds: close together where a recommendation's time lies. KServe's own begin at 5 ms."""
STAGE_BUCKETS = (0.00005, 0.0001, 0.00025, *BUCKETS)
"""A stage takes a part of that."""
AGE_BUCKETS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
USER_STATUSES = ("ok", "new", "missing", "expired", "store_error")
ROW_AGES = (60, 600, 3600, 6 * 3600, 86_400, 2 * 86_400, 7 * 86_400, 30 * 86_400)
"""Upper bounds in seconds, from what events have just written to a snapshot of last month."""
STAGES = ("user_row", "cache", "query", "candidates", "matrix", "ranking", "policy", "reasons", "answer", "log")
"""In the order in which a request meets them."""


class ServerMetrics:
    """The metrics of one server, in one registry. An observation costs a microsecond, a recommendation makes a dozen.

    Args:
        registry: Of the process in the server, where KServe's /metrics finds it; a fresh one else, so that two
            recommenders in one process do not meet.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.in_flight = Gauge(
            "recsys_server_requests_in_flight", "HTTP requests and gRPC calls being answered", registry=self.registry
        )
        self._items_as_of = Gauge(
            "recsys_server_items_as_of_timestamp_seconds",
            "Unix time that the items' features are as of; time() minus this is their age",
            registry=self.registry,
        )
        self._bundle = Gauge(
            "recsys_server_bundle_info",
            "1 for the bundle that answers, 0 for those that did; its scorer is `compiled`, or `xgboost` as a fallback",
            ["bundle_id", "variant", "scorer"],
            registry=self.registry,
        )
        self._served: set[tuple[str, str, str]] = set()
        self.events_waiting = Gauge(
            "recsys_server_events_waiting",
            "Acknowledged events that the online store does not have yet",
            registry=self.registry,
        )
        self._counters()
        self._histograms()

    def _counters(self) -> None:
        requests = Counter(
            "recsys_server_requests_total",
            "HTTP requests and gRPC calls answered, by HTTP's status",
            ["route", "status"],
            registry=self.registry,
        )
        users = Counter(
            "recsys_server_users_total",
            "Recommendations by what is known of the user",
            ["user_status"],
            registry=self.registry,
        )
        swaps = Counter(
            "recsys_server_bundle_swaps_total",
            "Other bundles that the alias pointed at: swapped, refused",
            ["outcome"],
            registry=self.registry,
        )
        self._swaps = {outcome: swaps.labels(outcome) for outcome in ("swapped", "refused")}
        events = Counter(
            "recsys_server_events_total", "Events by what came of them", ["outcome"], registry=self.registry
        )
        self._events = {outcome: events.labels(outcome) for outcome in ("accepted", "duplicate")}
        self._requests = cache(lambda route, status: requests.labels(route, str(status)))
        looked_up = Counter(
            "recsys_server_cache_requests_total",
            "Questions that an answer was looked for, by whether one could be given again",
            ["result"],
            registry=self.registry,
        )
        self._hits, self._misses = looked_up.labels("hit"), looked_up.labels("miss")
        self._users = {status: users.labels(status) for status in USER_STATUSES}

    def _histograms(self) -> None:
        durations = Histogram(
            "recsys_server_request_duration_seconds",
            "From a request's head to its answer",
            ["route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        stages = Histogram(
            "recsys_server_stage_duration_seconds",
            "Stages of a recommendation",
            ["stage"],
            buckets=STAGE_BUCKETS,
            registry=self.registry,
        )
        self._row_ages = Histogram(
            "recsys_server_user_row_age_seconds",
            "From the newest value of a user's row, a snapshot's or an event's, to the request that read it",
            buckets=ROW_AGES,
            registry=self.registry,
        )
        self._ages = Histogram(
            "recsys_server_cache_age_seconds",
            "How old an answer was when it was given again",
            buckets=AGE_BUCKETS,
            registry=self.registry,
        )
        self._durations = cache(durations.labels)
        self._stages: Mapping[str, Histogram] = {stage: stages.labels(stage) for stage in STAGES}

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests(route, status).inc()
        self._durations(route).observe(seconds)

    def user(self, status: str, age_seconds: float | None = None) -> None:
        """Count what was known of a user, and how old it was."""
        self._users[status].inc()
        if age_seconds is not None:
            self._row_ages.observe(max(age_seconds, 0.0))

    def events(self, *, accepted: int, duplicates: int) -> None:
        """Count the events of a request."""
        self._events["accepted"].inc(accepted)
        self._events["duplicate"].inc(duplicates)

    def swapped(self) -> None:
        """Count a bundle that answers in another's place."""
        self._swaps["swapped"].inc()

    def refused_bundle(self) -> None:
        """Count a bundle that should answer and cannot."""
        self._swaps["refused"].inc()

    def cached(self, age_seconds: float | None) -> None:
        """Count an answer that was given again, by its age; None: there was none to give."""
        if age_seconds is None:
            self._misses.inc()
            return
        self._hits.inc()
        self._ages.observe(age_seconds)

    def stages(self) -> Lap:
        """A clock that starts now and is told when each stage ends."""
        last = time.perf_counter()

        def ended(stage: str) -> None:
            nonlocal last
            now = time.perf_counter()
            self._stages[stage].observe(now - last)
            last = now

        return ended

    def serves(self, bundle_id: str, *, variant: str, scorer: str, items_as_of: datetime) -> None:
        """Say what answers from now on."""
        for labels in self._served:
            self._bundle.labels(*labels).set(0)  # a label cannot be taken back where Feast was imported first
        self._served.add((bundle_id, variant, scorer))
        self._bundle.labels(bundle_id, variant, scorer).set(1)
        self._items_as_of.set(items_as_of.timestamp())
