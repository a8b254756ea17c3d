"""What is counted, for Prometheus. No label ever holds content, an id or a URL."""

from featsvc_client.v1 import screening_pb2, types_pb2
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """The metrics of one worker, in a registry of their own."""

    def __init__(self, worker: int = 0) -> None:
        self.registry = CollectorRegistry()
        Gauge("featsvc_worker", "Number of this worker, from 0", registry=self.registry).set(worker)
        self.requests = Counter(
            "featsvc_requests", "Requests by method and gRPC code", ["method", "code"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "featsvc_request_seconds", "Wall time of a request", ["method"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.outcomes = Counter(
            "featsvc_screen_outcomes", "Screens by part and outcome", ["part", "outcome"],
            registry=self.registry,
        )  # fmt: skip
        self.matches = Counter(
            "featsvc_matches", "Matches returned, by bank and mode", ["bank", "mode"],
            registry=self.registry,
        )  # fmt: skip
        self.pending = Gauge(
            "featsvc_work_pending", "Requests that run or wait for a thread",
            registry=self.registry,
        )  # fmt: skip
        self.served_revision = Gauge(
            "featsvc_served_revision", "Bank revision that is served", registry=self.registry
        )
        self.staleness = Gauge(
            "featsvc_staleness_seconds",
            "Age of the oldest bank change, or of the last contact with the store, not served yet",
            registry=self.registry,
        )

    def screened(self, response: screening_pb2.ScreenResponse) -> None:
        """Count one answered screen."""
        for part, outcome in (
            ("content", response.content_outcome),
            ("features", response.features_outcome),
        ):
            if outcome:
                name = types_pb2.Outcome.Name(outcome).removeprefix("OUTCOME_")
                self.outcomes.labels(part, name).inc()
        for match in response.matches:
            mode = types_pb2.BankMode.Name(match.mode).removeprefix("BANK_MODE_")
            self.matches.labels(match.bank.removeprefix("banks/"), mode).inc()
