"""BankService over gRPC: masks, etags, retries, streams, samples."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from featsvc_client import Client, explain
from featsvc_client.v1 import banks_pb2, matching_pb2, types_pb2

from tests.integration.running import Running, featsvc, patient_client
from tests.patience import PATIENCE_S, until
from tests.photographs import edited, photograph


def name(bank: str) -> str:
    return f"banks/{bank}"


def create(client: Client, bank: str, **settings: Any) -> banks_pb2.Bank:
    created: banks_pb2.Bank = client.banks.CreateBank(
        banks_pb2.CreateBankRequest(bank_id=bank, bank=banks_pb2.Bank(**settings))
    )
    return created


def import_chunks(
    client: Client, options: banks_pb2.ImportOptions, chunks: list[bytes]
) -> list[banks_pb2.ImportEntriesResponse]:
    def requests() -> Iterator[banks_pb2.ImportEntriesRequest]:
        yield banks_pb2.ImportEntriesRequest(options=options)
        for chunk in chunks:
            yield banks_pb2.ImportEntriesRequest(chunk=chunk)

    return list(client.banks.ImportEntries(requests(), timeout=PATIENCE_S))


def test_an_update_needs_a_mask_and_a_current_etag(client: Client) -> None:
    created = create(client, "service-mask", description="old", thresholds={"pdq": 20})
    update = banks_pb2.UpdateBankRequest(
        bank=banks_pb2.Bank(name=created.name, mode=types_pb2.BANK_MODE_SHADOW, etag=created.etag)
    )
    update.update_mask.paths.append("mode")
    changed = client.banks.UpdateBank(update)
    assert (changed.mode, changed.description) == (types_pb2.BANK_MODE_SHADOW, "old")
    assert dict(changed.thresholds) == {"pdq": 20}
    with pytest.raises(grpc.RpcError) as caught:
        client.banks.UpdateBank(update)
    assert explain(caught.value).code() is grpc.StatusCode.ABORTED
    for paths in ([], ["entry_count"]):
        update.update_mask.paths[:] = paths
        with pytest.raises(grpc.RpcError) as caught:
            client.banks.UpdateBank(update)
        assert explain(caught.value).path == "update_mask"


def test_a_retried_import_gets_the_answer_of_the_first(client: Client) -> None:
    create(client, "service-retry")
    options = banks_pb2.ImportOptions(
        parent=name("service-retry"), context=banks_pb2.ChangeContext(request_id="service-retry-1")
    )
    first = import_chunks(client, options, [b"%064x,\n" % 1])[-1]
    client.banks.DeleteBank(banks_pb2.DeleteBankRequest(name=name("service-retry"), force=True))
    create(client, "service-retry")
    again = import_chunks(client, options, [b"%064x,\n" % 1])[-1]
    assert again.summary == first.summary
    assert again.revision == first.revision
    bank = client.banks.GetBank(banks_pb2.GetBankRequest(name=name("service-retry")))
    assert bank.entry_count == 0


def test_every_bad_row_is_streamed(client: Client) -> None:
    create(client, "service-bad")
    options = banks_pb2.ImportOptions(parent=name("service-bad"), format="pdq-text")
    answers = import_chunks(client, options, [b"nonsense\n" * 2500, b"%064x,\n" % 1])
    bad = [row for answer in answers for row in answer.bad]
    assert [row.line for row in bad] == list(range(1, 2501))
    assert max(len(answer.bad) for answer in answers) <= 1000
    assert (answers[-1].summary.bad_rows, len(answers[-1].summary.bad)) == (2500, 1000)
    assert answers[-1].revision == 0


@pytest.mark.parametrize("file_bytes", [0, 65 * 1000])
def test_an_import_whose_sender_goes_away_leaves_nothing(client: Client, file_bytes: int) -> None:
    bank = f"service-gone-{file_bytes}"
    create(client, bank)
    done = threading.Event()
    options = banks_pb2.ImportOptions(parent=name(bank), skip_bad=True, file_bytes=file_bytes)
    with patient_client(client.target) as other:

        def requests() -> Iterator[banks_pb2.ImportEntriesRequest]:
            yield banks_pb2.ImportEntriesRequest(options=options)
            yield banks_pb2.ImportEntriesRequest(chunk=b"%064x,\n" % 1 + b"%064x,\n" % 2)
            done.wait(PATIENCE_S)

        call = other.banks.ImportEntries(requests())
        while next(call).bytes_read < 130:
            pass
        call.cancel()
        done.set()
    # The server does not report that it gave up; a mistaken import would end within milliseconds.
    time.sleep(1)
    log = client.banks.ListRevisions(banks_pb2.ListRevisionsRequest(parent=name(bank))).revisions
    assert [line.action for line in log] == ["create"]


@pytest.mark.parametrize("file_bytes", [65, 67])
def test_a_file_of_another_size_than_announced_is_refused(client: Client, file_bytes: int) -> None:
    bank = f"service-size-{file_bytes}"
    create(client, bank)
    options = banks_pb2.ImportOptions(parent=name(bank), file_bytes=file_bytes)
    with pytest.raises(grpc.RpcError) as caught:
        import_chunks(client, options, [b"%064x,\n" % 1])
    error = explain(caught.value)
    assert (error.code(), error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FILE_BROKE_OFF")
    assert f"66 of {file_bytes}" in error.message


def test_an_export_equals_the_import(client: Client) -> None:
    create(client, "service-export")
    options = banks_pb2.ImportOptions(parent=name("service-export"), format="pdq-text")
    lines = b"".join(b"%064x\n" % (n << 100) for n in range(20_000))
    import_chunks(client, options, [lines[i : i + 2**20] for i in range(0, len(lines), 2**20)])
    request = banks_pb2.ExportEntriesRequest(parent=name("service-export"), format="pdq-text")
    answers = list(client.banks.ExportEntries(request))
    assert b"".join(answer.chunk for answer in answers) == lines
    assert len(answers) > 3
    call = client.banks.ExportEntries(request)
    next(call)
    call.cancel()
    assert b"".join(answer.chunk for answer in client.banks.ExportEntries(request)) == lines


def test_an_added_picture_matches_until_it_is_quarantined(client: Client) -> None:
    create(client, "service-add", mode=types_pb2.BANK_MODE_SHADOW)
    added = client.banks.AddEntries(
        banks_pb2.AddEntriesRequest(
            parent=name("service-add"),
            entries=[banks_pb2.Entry(external_id="rocket")],
            contents=[types_pb2.Content(data=photograph("rocket.jpg").read_bytes())],
        )
    )
    (entry,) = added.entries
    assert {s.algorithm for s in entry.signals} == {"pdq", "md5", "sha256"}

    def matches() -> list[str]:
        request = matching_pb2.MatchRequest(
            content=types_pb2.Content(data=edited("rocket.jpg")),
            options=types_pb2.MatchOptions(banks=["service-add"]),
        )
        return [m.external_id for m in client.matching.Match(request).matches]

    assert matches() == ["rocket"]
    counts = banks_pb2.ListMatchCountsRequest(parent=name("service-add"))
    until(lambda: client.banks.ListMatchCounts(counts).matched_entries)
    answer = client.banks.ListMatchCounts(counts)
    assert dict(answer.matches) == {"SHADOW": 1}
    assert [(c.entry.name, c.total) for c in answer.entries] == [(entry.name, 1)]
    quarantine = banks_pb2.QuarantineEntriesRequest(parent=name("service-add"), names=[entry.name])
    assert client.banks.QuarantineEntries(quarantine).changed_entries == 1
    assert matches() == []
    release = banks_pb2.ReleaseEntriesRequest(parent=name("service-add"), names=[entry.name])
    assert client.banks.ReleaseEntries(release).changed_entries == 1
    assert client.banks.ReleaseEntries(release).changed_entries == 0
    assert matches() == ["rocket"]


def test_an_evaluation_takes_pictures_and_signals(client: Client) -> None:
    create(client, "service-evaluate")
    rocket = photograph("rocket.jpg").read_bytes()
    client.banks.AddEntries(
        banks_pb2.AddEntriesRequest(
            parent=name("service-evaluate"),
            entries=[banks_pb2.Entry()],
            contents=[types_pb2.Content(data=rocket)],
        )
    )
    samples = [
        banks_pb2.Sample(content=types_pb2.Content(data=edited("rocket.jpg")), positive=True),
        banks_pb2.Sample(content=types_pb2.Content(data=edited("coffee.png"))),
        banks_pb2.Sample(content=types_pb2.Content(data=b"no picture")),
        banks_pb2.Sample(signal=types_pb2.Signal(algorithm="pdq", value="01" * 32)),
    ]

    def requests() -> Iterator[banks_pb2.EvaluateBankRequest]:
        options = banks_pb2.EvaluateOptions(
            name=name("service-evaluate"), max_false_match_rate=0.01
        )
        yield banks_pb2.EvaluateBankRequest(options=options)
        for sample in samples:
            yield banks_pb2.EvaluateBankRequest(sample=sample)

    result = client.banks.EvaluateBank(requests(), timeout=PATIENCE_S)
    assert (sum(result.positive_histogram), sum(result.negative_histogram)) == (1, 2)
    assert result.unreadable_samples == 1
    assert result.thresholds[31].recall == 1
    assert result.suggested_threshold == len(result.positive_histogram) - 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("withdraw", "command-day", "--external-id", "a"), "withdraws 1 entry"),
        (("rollback", "command-day", "1"), "withdraws 1"),
        (("delete", "command-day"), "withdraws its 1 entry"),
    ],
)
def test_destructive_commands_ask_first(
    server: Running, client: Client, arguments: tuple[str, ...], message: str
) -> None:
    bank = f"day-{arguments[0]}"
    create(client, bank)
    created = client.banks.GetBank(banks_pb2.GetBankRequest(name=name(bank))).revision
    options = (bank, f"pdq:{'ab' * 32}", "--external-id", "a")
    assert featsvc("bank", "add", *options, server=server.address).returncode == 0
    changed = [bank if a == "command-day" else str(created) if a == "1" else a for a in arguments]
    for answer, code in (("", 1), ("n\n", 1)):
        result = featsvc("bank", *changed, server=server.address, stdin=answer)
        assert result.returncode == code
        assert message in result.stderr
        assert "nothing was changed" in result.stderr
    shown = client.banks.GetBank(banks_pb2.GetBankRequest(name=name(bank)))
    assert shown.entry_count == 1
    result = featsvc("bank", *changed, server=server.address, stdin="y\n")
    assert result.returncode == 0, result.stderr


def test_every_change_with_a_request_id_happens_once(client: Client) -> None:
    bank = name("service-once")
    entry = banks_pb2.Entry(
        external_id="a", signals=[banks_pb2.EntrySignal(algorithm="pdq", value="ab" * 32)]
    )

    def context(step: str) -> banks_pb2.ChangeContext:
        return banks_pb2.ChangeContext(actor="ann", reason=step, request_id=f"once-{step}")

    def newest() -> int:
        log = banks_pb2.ListRevisionsRequest(parent="banks/-", page_size=1)
        return int(client.banks.ListRevisions(log).revisions[0].revision)

    update = banks_pb2.UpdateBankRequest(
        bank=banks_pb2.Bank(name=bank, description="new"), context=context("update")
    )
    update.update_mask.paths.append("description")
    calls: list[tuple[Any, Any]] = [
        (
            client.banks.CreateBank,
            banks_pb2.CreateBankRequest(bank_id="service-once", context=context("create")),
        ),
        (client.banks.UpdateBank, update),
        (
            client.banks.AddEntries,
            banks_pb2.AddEntriesRequest(parent=bank, entries=[entry], context=context("add")),
        ),
        (
            client.banks.WithdrawEntries,
            banks_pb2.WithdrawEntriesRequest(
                parent=bank, external_ids=["a"], context=context("withdraw")
            ),
        ),
        (
            client.banks.RollbackBank,
            banks_pb2.RollbackBankRequest(name=bank, context=context("rollback")),
        ),
        (
            client.banks.DeleteBank,
            banks_pb2.DeleteBankRequest(name=bank, force=True, context=context("delete")),
        ),
    ]
    added = 0
    for call, request in calls:
        if isinstance(request, banks_pb2.RollbackBankRequest):
            request.revision = added
        first = call(request)
        revision = newest()
        assert call(request) == first
        assert newest() == revision
        if isinstance(request, banks_pb2.AddEntriesRequest):
            added = first.revision
    reused = banks_pb2.CreateBankRequest(bank_id="service-twice", context=context("create"))
    with pytest.raises(grpc.RpcError) as caught:
        client.banks.CreateBank(reused)
    assert explain(caught.value).path == "context.request_id"


def test_pages_hold_every_row_once(client: Client) -> None:
    create(client, "service-pages")
    parent = name("service-pages")
    options = banks_pb2.ImportOptions(parent=parent)
    import_chunks(client, options, [b"".join(b"%064x,\n" % n for n in range(250))])

    def walk(call: Any, request: Any, field: str) -> list[int]:
        sizes = []
        while True:
            page = call(request)
            sizes.append(len(getattr(page, field)))
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return sizes

    entries = banks_pb2.ListEntriesRequest(parent=parent)
    assert walk(client.banks.ListEntries, entries, "entries") == [100, 100, 50]
    changes = banks_pb2.DiffRevisionsRequest(parent=parent, page_size=125)
    assert walk(client.banks.DiffRevisions, changes, "changes") == [125, 125]
    log = banks_pb2.ListRevisionsRequest(parent=parent, page_size=1)
    assert walk(client.banks.ListRevisions, log, "revisions") == [1, 1]
    assert sum(walk(client.banks.ListBanks, banks_pb2.ListBanksRequest(page_size=2), "banks")) >= 1
    for wrong in (
        banks_pb2.ListEntriesRequest(parent=parent, page_size=1001),
        banks_pb2.ListEntriesRequest(parent=parent, page_token="!"),  # noqa: S106 (no password)
    ):
        with pytest.raises(grpc.RpcError) as caught:
            client.banks.ListEntries(wrong)
        assert explain(caught.value).path in ("page_size", "page_token")


def test_an_import_with_an_old_etag_is_refused(client: Client) -> None:
    created = create(client, "service-etag")
    lines = [b"%064x,\n" % 1]
    import_chunks(client, banks_pb2.ImportOptions(parent=created.name, etag=created.etag), lines)
    options = banks_pb2.ImportOptions(parent=created.name, etag=created.etag, replace=True)
    with pytest.raises(grpc.RpcError) as caught:
        import_chunks(client, options, [b"%064x,\n" % 2])
    assert explain(caught.value).code() is grpc.StatusCode.ABORTED
    assert client.banks.GetBank(banks_pb2.GetBankRequest(name=created.name)).entry_count == 1


def test_the_result_is_sent_at_the_commit_and_again_when_served(client: Client) -> None:
    create(client, "service-served")
    options = banks_pb2.ImportOptions(parent=name("service-served"))
    *_, committed, served = import_chunks(client, options, [b"%064x,\n" % 1])
    assert (committed.revision, committed.summary.new_entries) == (served.revision, 1)
    assert (committed.served, served.served) == (False, True)
