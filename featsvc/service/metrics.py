"""Prometheus metrics. No label ever contains content, an id or a URL."""

from functools import partial

from featsvc_client.v1 import screening_pb2, types_pb2
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """The metrics of one worker, in their own registry."""

    def __init__(self, worker: int = 0) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        gauge("featsvc_worker", "Number of this worker, from 0").set(worker)
        self.requests = counter(
            "featsvc_requests", "Requests by method and gRPC code", ["method", "code"]
        )
        self.seconds = Histogram(
            "featsvc_request_seconds",
            "Wall time of a request",
            ["method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.outcomes = counter(
            "featsvc_screen_outcomes", "Screens by part and outcome", ["part", "outcome"]
        )
        self.matches = counter(
            "featsvc_matches", "Matches returned, by bank and mode", ["bank", "mode"]
        )
        self.pending = gauge("featsvc_work_pending", "Requests that run or wait for a thread")
        self.served_revision = gauge("featsvc_served_revision", "Bank revision that is served")
        self.staleness = gauge(
            "featsvc_staleness_seconds",
            "Age of the oldest unserved bank change, or time since the store was last reached",
        )
        self.set_aside = gauge(
            "featsvc_set_aside_signals", "Live signals that cannot be compared and are not searched"
        )

    def count_screen(self, response: screening_pb2.ScreenResponse) -> None:
        """Count the outcomes and matches of one Screen."""
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
