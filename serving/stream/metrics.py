"""What Prometheus reads of a stream's consumer: what came of the records, how far behind it is."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

DELAY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0, 3600.0)
OUTCOMES = ("accepted", "duplicate", "dead_lettered")


class StreamMetrics:
    """The metrics of one consumer, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        records = Counter(
            "recsys_stream_records_total", "Records by what came of them", ["outcome"], registry=self.registry
        )
        self._records = {outcome: records.labels(outcome) for outcome in OUTCOMES}
        self.lag = Gauge(
            "recsys_stream_lag_records",
            "Records of this consumer's partitions that are not committed yet",
            registry=self.registry,
        )
        self.partitions = Gauge(
            "recsys_stream_partitions", "Partitions that this consumer reads", registry=self.registry
        )
        self.events_waiting = Gauge(
            "recsys_stream_events_waiting",
            "Events of the log that the online store does not have yet",
            registry=self.registry,
        )
        self.commit_failures = Counter(
            "recsys_stream_commit_failures_total",
            "Commits that failed; what they would have committed goes with the next",
            registry=self.registry,
        )
        self._delay = Histogram(
            "recsys_stream_delay_seconds",
            "From a record's time in Kafka to the moment that its event is on the disk and, where the store answers, in the rows",
            buckets=DELAY_BUCKETS,
            registry=self.registry,
        )

    def events(self, *, accepted: int, duplicates: int) -> None:
        """Count the events of a batch."""
        self._records["accepted"].inc(accepted)
        self._records["duplicate"].inc(duplicates)

    def dead_lettered(self, count: int) -> None:
        """Count records that are no event."""
        self._records["dead_lettered"].inc(count)

    def took(self, seconds: float) -> None:
        """Count how long an event was on its way."""
        self._delay.observe(max(seconds, 0.0))
