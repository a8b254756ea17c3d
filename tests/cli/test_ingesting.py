"""Files of events: what is sent, what is said, and how a back-fill continues."""

import io
import json
from collections.abc import Sequence

import click
import grpc
import pytest
from featsvc_client import ServiceError
from featsvc_client.v1 import features_pb2

from featsvc.cli.ingesting import Ingestion

Status = features_pb2.EventResult.Status
TIME_MS = 1_767_268_800_000


def line(number: int, **attributes: object) -> bytes:
    event = {"event_id": f"e{number}", "type": "upload", "time": TIME_MS + number}
    return json.dumps(event | {"entities": {"account": "a"}, "attributes": attributes}).encode()


class Service:
    """Records requests, and answers every event with the status of its id, or APPLIED."""

    def __init__(self, **statuses: str) -> None:
        self.requests: list[features_pb2.IngestEventsRequest] = []
        self.statuses = statuses

    def __call__(
        self, request: features_pb2.IngestEventsRequest
    ) -> features_pb2.IngestEventsResponse:
        self.requests.append(request)
        ids = [event.event_id for event in request.events]
        if "down" in (self.statuses.get(name) for name in ids):
            raise ServiceError(grpc.StatusCode.UNAVAILABLE)
        results = [
            features_pb2.EventResult(status=f"STATUS_{self.statuses.get(name, 'APPLIED')}")
            for name in ids
        ]
        return features_pb2.IngestEventsResponse(results=results)

    @property
    def sent(self) -> list[list[str]]:
        return [[event.event_id for event in request.events] for request in self.requests]

    @property
    def ids(self) -> list[str]:
        return [name for names in self.sent for name in names]

    @property
    def positions(self) -> list[int]:
        return [p for request in self.requests for p in request.backfill.positions]


def ingest(
    service: Service,
    lines: Sequence[bytes] | bytes,
    *,
    skip_bad: bool = False,
    backfill: bool = False,
) -> tuple[dict[str, int], str]:
    """Counts by status, and the failure, empty if there is none."""
    file = io.BytesIO(lines if isinstance(lines, bytes) else b"\n".join(lines))
    file.name = "f"
    ingestion = Ingestion(service, file, skip_bad=skip_bad, backfill=backfill)
    ingestion.run()
    failure = ingestion.failure()
    assert failure is None or isinstance(failure, click.ClickException)
    return dict(ingestion.counts), failure.message if failure else ""


def test_byte_order_marks_blank_lines_and_line_ends_are_fine() -> None:
    service = Service()
    text = b"\xef\xbb\xbf" + line(1) + b"\r\n\r\n  \n" + line(2) + b"\r\n" + line(3)
    assert ingest(service, text) == ({"APPLIED": 3}, "")
    assert service.sent == [["e1", "e2", "e3"]]
    assert not service.requests[0].HasField("backfill")


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (b"oops", "not an event"),
        (b"\xff", "not an event"),
        (b'{"event_id": "\xff"}', "not an event"),
        (b"\xff\xfe{\x00", "not an event"),
        (b"[" * 100_000, "not an event"),
        (b'"' + b"x" * 2**21 + b'"', "longer than"),
        (line(9).replace(str(TIME_MS + 9).encode(), b"1e300"), "time: '1e+300' is neither"),
        (line(9, n=2**63), "attributes.n: the integer is beyond 64 bits"),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("backfill", [False, True])
def test_what_was_read_before_a_bad_line_is_sent(bad: bytes, told: str, backfill: bool) -> None:
    service = Service()
    counts, failure = ingest(service, [line(1), line(2), bad, line(4)], backfill=backfill)
    assert service.ids == ["e1", "e2"]
    assert counts == {"APPLIED": 2}
    assert failure.startswith("f:3: ")
    assert told in failure
    assert "; 2 events before it were sent; correct it and run again" in failure
    service = Service()
    given = [line(1), line(2), bad, line(4)]
    counts, failure = ingest(service, given, skip_bad=True, backfill=backfill)
    assert service.ids == ["e1", "e2", "e4"]
    assert counts == {"APPLIED": 3, "BAD": 1}
    assert failure == "1 event was not applied; see the lines above"
    assert service.positions == ([1, 2, 4] if backfill else [])


def test_integers_are_sent_so_that_every_service_reads_them() -> None:
    service = Service()
    attributes = {
        "a": 2**53,
        "b": 2**53 - 1,
        "c": -(2**53),
        "d": 1.5,
        "e": True,
        "f": "x",
        "g": 2.0**60,
    }
    ingest(service, [line(1, **attributes)])
    (event,) = service.requests[0].events
    sent = {name: value.WhichOneof("kind") for name, value in event.attributes.items()}
    assert sent == {
        "a": "integer", "b": "number", "c": "integer", "d": "number", "e": "flag", "f": "text",
        "g": "number",
    }  # fmt: skip
    assert event.attributes["a"].integer == 2**53
    assert event.attributes["b"].number == 2**53 - 1


def test_events_beyond_the_horizon_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    service = Service(e1="BEYOND_HORIZON", e2="BEYOND_HORIZON", e3="DUPLICATE", e4="TOO_LATE")
    counts, failure = ingest(service, [line(n) for n in range(1, 6)])
    assert counts == {"BEYOND_HORIZON": 2, "DUPLICATE": 1, "TOO_LATE": 1, "APPLIED": 1}
    assert failure == "2 events were not applied; see the lines above"
    told = capsys.readouterr().err
    assert told.startswith("f:1: 2 events from here on are beyond the horizon")
    assert "--backfill" in told


def test_a_backfill_names_its_source_and_lines() -> None:
    service = Service()
    lines = [b"", *(line(n) for n in range(2, 1203))]
    assert ingest(service, lines, backfill=True) == ({"APPLIED": 1201}, "")
    # The first line goes alone, before any other counts under the name that it gives.
    assert [len(names) for names in service.sent] == [1, 500, 500, 200]
    assert service.positions == list(range(2, 1203))
    sources = {request.backfill.source for request in service.requests}
    assert len(sources) == 1
    same, other = Service(), Service()
    ingest(same, b"\xef\xbb\xbf" + line(2) + b"\r\n" + line(7), backfill=True)
    ingest(other, line(3), backfill=True)
    assert {request.backfill.source for request in same.requests} == sources
    assert {request.backfill.source for request in other.requests} != sources


@pytest.mark.parametrize("status", ["INCOMPLETE", "BEYOND_HORIZON", "UNSPECIFIED", "REJECTED"])
def test_a_backfill_stops_at_the_first_batch_that_is_not_applied(status: str) -> None:
    lines = [line(n) for n in range(1, 1200)]
    service = Service(e700=status)
    _, failure = ingest(service, lines, backfill=True)
    assert [len(names) for names in service.sent] == [1, 500, 500]
    assert failure.startswith(f"f:700: {status}; ")
    assert "run again" in failure
    # Without --backfill the run goes on.
    service = Service(e700=status)
    ingest(service, lines)
    assert [len(names) for names in service.sent] == [500, 500, 199]


def test_a_rejected_event_of_a_backfill_is_skipped_on_request() -> None:
    service = Service(e2="REJECTED")
    counts, failure = ingest(service, [line(n) for n in range(1, 4)], skip_bad=True, backfill=True)
    assert counts == {"APPLIED": 2, "REJECTED": 1}
    assert failure == "1 event was not applied; see the lines above"


def test_a_backfill_begins_with_an_event() -> None:
    service = Service()
    _, failure = ingest(service, [b"oops", line(2)], skip_bad=True, backfill=True)
    assert failure.startswith("f:1: ")
    assert service.sent == []
    service = Service(e1="REJECTED")
    _, failure = ingest(service, [line(1), line(2)], backfill=True)
    assert service.sent == [["e1"]]


def test_what_the_service_would_refuse_is_found_before_later_lines_are_sent() -> None:
    service = Service()
    early = line(2).replace(str(TIME_MS + 2).encode(), b"5")
    _, failure = ingest(service, [line(1), early, line(3)], backfill=True)
    assert "f:2: time: 5 ms is before 2000-01-01" in failure
    assert service.sent == [["e1"]]


def test_a_call_that_fails_says_how_far_the_run_came(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ServiceError):
        ingest(Service(e501="down"), [line(n) for n in range(1, 502)])
    told = capsys.readouterr().err
    assert told == "f:501: the service failed here; 500 events before it were sent; run again\n"
    with pytest.raises(ServiceError):
        ingest(Service(e1="down"), [line(1)])
    assert capsys.readouterr().err == ""
