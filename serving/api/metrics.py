"""What Prometheus reads of the door: rate, errors, duration, in flight."""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds in seconds: close together where a recommendation's time lies."""


class DoorMetrics:
    """One registry per application, so that two in one process do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.in_flight = Gauge("recsys_api_requests_in_flight", "Requests being answered", registry=self.registry)
        self.rate_limited = Counter(
            "recsys_api_rate_limited_total",
            "Requests refused because a key asked too often",
            ["key"],
            registry=self.registry,
        )
        self.upstream_errors = Counter(
            "recsys_api_upstream_errors_total",
            "Requests that a server behind failed: gone, timeout, status, overloaded",
            ["upstream", "reason"],
            registry=self.registry,
        )
        self.breakers = Gauge(
            "recsys_api_breaker_open",
            "1 while a server behind is not asked because it failed time after time",
            ["upstream"],
            registry=self.registry,
        )
        self.fallbacks = Counter(
            "recsys_api_fallbacks_total",
            "Recommendations that the door's popular list answered: server gone, timeout, status",
            ["reason"],
            registry=self.registry,
        )
        self.fallback_age = Gauge(
            "recsys_api_fallback_age_seconds",
            "Age of the popular list; NaN where there is none",
            registry=self.registry,
        )
        self.admission_limit = Gauge(
            "recsys_api_admission_limit",
            "Recommendations that are let through at once, by what one takes now",
            registry=self.registry,
        )
        self.shed = Counter(
            "recsys_api_shed_total", "Recommendations refused because too many were waiting", registry=self.registry
        )
        self.shadows = Counter(
            "recsys_api_shadows_total",
            "Requests copied to a candidate in the dark: answered, failed, dropped for want of room",
            ["outcome"],
            registry=self.registry,
        )
        requests = Counter(
            "recsys_api_requests_total", "Requests answered", ["route", "status"], registry=self.registry
        )
        durations = Histogram(
            "recsys_api_request_duration_seconds",
            "From a request's head to its answer",
            ["route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._requests = cache(lambda route, status: requests.labels(route, str(status)))
        self._durations = cache(durations.labels)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests(route, status).inc()
        self._durations(route).observe(seconds)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
