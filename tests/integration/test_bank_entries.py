"""Entries over gRPC: searches by distance, withdrawals by source, comparisons, rollbacks."""

from typing import Any

import grpc
import pytest
from featsvc_client import Client, explain
from featsvc_client.v1 import banks_pb2, matching_pb2, types_pb2

from tests.integration.running import Running, featsvc


def value(number: int) -> str:
    return f"{number:064x}"


def bank(client: Client, bank_id: str, *entries: banks_pb2.Entry) -> str:
    """Create a bank with entries; return its name."""
    client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id=bank_id))
    name = f"banks/{bank_id}"
    if entries:
        client.banks.AddEntries(banks_pb2.AddEntriesRequest(parent=name, entries=entries))
    return name


def entry(number: int, external_id: str = "", **fields: Any) -> banks_pb2.Entry:
    signal = banks_pb2.EntrySignal(algorithm="pdq", value=value(number))
    return banks_pb2.Entry(signals=[signal], external_id=external_id, **fields)


def test_entries_near_a_signal_come_with_their_distances(server: Running, client: Client) -> None:
    name = bank(client, "entries-near", *(entry(n) for n in (0b1, 0b111, 0b11111, 0xFFFF)))
    request = banks_pb2.ListEntriesRequest(
        parent=name,
        near=types_pb2.Signal(algorithm="pdq", value=value(0b11)),
        max_distance=3,
        page_size=2,
    )
    first = client.banks.ListEntries(request)
    assert (list(first.distances), first.total_entries) == ([1, 1], 3)
    request.page_token = first.next_page_token
    second = client.banks.ListEntries(request)
    assert (list(second.distances), len(second.entries)) == ([3], 1)
    request.Clear()
    request.parent = name
    assert not client.banks.ListEntries(request).distances
    options = ("--signal", f"pdq:{value(3)}", "--distance", "3", "--bank", "entries-near")
    result = featsvc("bank", "find", *options, "--json", server=server.address)
    distances = [line.rpartition('"distance":')[2] for line in result.stdout.splitlines()]
    assert distances == ["1}", "1}", "3}"]


def test_a_withdrawal_with_a_source_leaves_other_sources(client: Client) -> None:
    name = bank(client, "entries-source", entry(1, "a", source="x"), entry(2, "b", source="y"))
    request = banks_pb2.WithdrawEntriesRequest(parent=name, external_ids=["a", "b"], source="x")
    with pytest.raises(grpc.RpcError) as caught:
        client.banks.WithdrawEntries(request)
    assert explain(caught.value).code() is grpc.StatusCode.NOT_FOUND
    request.external_ids[:] = ["a"]
    assert client.banks.WithdrawEntries(request).withdrawn_entries == 1
    rest = client.banks.ListEntries(banks_pb2.ListEntriesRequest(parent=name)).entries
    assert [e.external_id for e in rest] == ["b"]


def test_signals_have_a_version_and_no_time(client: Client) -> None:
    name = bank(client, "entries-version", entry(1))
    (listed,) = client.banks.ListEntries(banks_pb2.ListEntriesRequest(parent=name)).entries
    (signal,) = client.banks.GetEntry(banks_pb2.GetEntryRequest(name=listed.name)).signals
    assert (signal.algorithm_version, signal.HasField("time_us")) == (1, False)
    of_a_frame = entry(2)
    of_a_frame.signals[0].time_us = 40_000
    with pytest.raises(grpc.RpcError) as caught:
        client.banks.AddEntries(banks_pb2.AddEntriesRequest(parent=name, entries=[of_a_frame]))
    assert explain(caught.value).path == "entries[0].signals[0].time_us"


def test_a_match_names_bank_and_entry_as_other_calls_take_them(client: Client) -> None:
    name = bank(client, "entries-names", entry(2**255 - 2**60, "a"))
    for bank_name in (name, "entries-names"):
        request = matching_pb2.MatchRequest(
            signal=types_pb2.Signal(algorithm="pdq", value=value(2**255 - 2**60)),
            options=types_pb2.MatchOptions(banks=[bank_name]),
        )
        (match,) = client.matching.Match(request).matches
        assert match.bank == name
        assert client.banks.GetBank(banks_pb2.GetBankRequest(name=match.bank)).entry_count == 1
        stored = client.banks.GetEntry(banks_pb2.GetEntryRequest(name=match.entry))
        assert (stored.name, stored.external_id) == (match.entry, "a")


def test_banks_are_compared_diffed_and_rolled_back(client: Client) -> None:
    first = bank(client, "entries-mine", entry(1), entry(2))
    other = bank(client, "entries-other", entry(2), entry(3), entry(4))
    banks = client.banks.ListBanks(banks_pb2.ListBanksRequest(page_size=1000)).banks
    assert {first, other} <= {b.name for b in banks}
    shared = client.banks.CompareBanks(banks_pb2.CompareBanksRequest(name=first, other=other))
    assert (shared.entries, shared.shared_entries, shared.other_entries) == (2, 1, 3)
    ((entry_of_first, entry_of_other),) = [(p.entry, p.other) for p in shared.pairs]
    assert entry_of_first.signals == entry_of_other.signals
    before = client.banks.GetBank(banks_pb2.GetBankRequest(name=first)).revision
    client.banks.AddEntries(banks_pb2.AddEntriesRequest(parent=first, entries=[entry(9)]))
    update = banks_pb2.UpdateBankRequest(
        bank=banks_pb2.Bank(name=first, mode=types_pb2.BANK_MODE_SHADOW)
    )
    update.update_mask.paths.append("mode")
    client.banks.UpdateBank(update)
    diff = client.banks.DiffRevisions(
        banks_pb2.DiffRevisionsRequest(parent=first, from_revision=before)
    )
    ((kind, signals),) = [(c.kind, [s.value for s in c.entry.signals]) for c in diff.changes]
    assert (kind, signals) == (banks_pb2.DiffRevisionsResponse.Change.KIND_ADDED, [value(9)])
    to_shadow = banks_pb2.SettingChange(name="mode", old="enforce", new="shadow")
    assert list(diff.setting_changes) == [to_shadow]
    result = client.banks.RollbackBank(banks_pb2.RollbackBankRequest(name=first, revision=before))
    assert (result.withdrawn_entries, result.restored_entries) == (1, 0)
    to_enforce = banks_pb2.SettingChange(name="mode", old="shadow", new="enforce")
    assert list(result.setting_changes) == [to_enforce]
    restored = client.banks.GetBank(banks_pb2.GetBankRequest(name=first))
    assert (restored.entry_count, restored.mode) == (2, types_pb2.BANK_MODE_ENFORCE)
    log = client.banks.ListRevisions(banks_pb2.ListRevisionsRequest(parent="banks/-", page_size=1))
    assert [(r.bank, r.revision, r.action) for r in log.revisions] == [
        (first, result.revision, "rollback")
    ]
    assert list(log.revisions[0].setting_changes) == [to_enforce]


def test_decisions_outlive_imports_until_they_are_taken_back(
    server: Running, client: Client
) -> None:
    name = bank(client, "entries-decided")
    rows = f"algorithm,signal,external_id,note\npdq,{value(1)},a,n\npdq,{value(2)},b,n\n"

    def import_list() -> banks_pb2.ImportSummary:
        options = banks_pb2.ImportOptions(parent=name, source="feed")
        requests = [
            banks_pb2.ImportEntriesRequest(options=options),
            banks_pb2.ImportEntriesRequest(chunk=rows.encode()),
        ]
        *_, last = client.banks.ImportEntries(iter(requests))
        return last.summary

    def decided() -> dict[str, list[str]]:
        request = banks_pb2.ListEntriesRequest(parent=name, decided=True)
        entries = client.banks.ListEntries(request).entries
        return {entry.external_id: list(entry.decided_fields) for entry in entries}

    import_list()
    first, second = client.banks.ListEntries(banks_pb2.ListEntriesRequest(parent=name)).entries
    edit = banks_pb2.EditEntriesRequest(
        parent=name,
        names=[first.name],
        note="mine",
        opinion=banks_pb2.OPINION_DISPUTED,
        never_expires=True,
        add_labels=["x"],
    )
    assert client.banks.EditEntries(edit).edited_entries == 1
    withdraw = banks_pb2.WithdrawEntriesRequest(parent=name, names=[second.name])
    assert client.banks.WithdrawEntries(withdraw).withdrawn_entries == 1
    summary = import_list()
    assert (summary.unchanged_entries, summary.kept_withdrawn) == (1, 1)
    assert decided() == {"a": ["labels", "note", "opinion", "expire_time"], "b": ["withdrawn"]}
    shown = client.banks.GetEntry(banks_pb2.GetEntryRequest(name=first.name))
    assert (shown.note, shown.listed.note) == ("mine", "n")
    assert (shown.opinion, shown.listed.opinion) == (
        banks_pb2.OPINION_DISPUTED,
        banks_pb2.OPINION_UNSPECIFIED,
    )
    query = matching_pb2.MatchRequest(
        signal=types_pb2.Signal(algorithm="pdq", value=value(2)),
        options=types_pb2.MatchOptions(banks=[name]),
    )
    assert {m.external_id for m in client.matching.Match(query).matches} == {"a"}
    restore = banks_pb2.RestoreEntriesRequest(parent=name, names=[second.name])
    restored = client.banks.RestoreEntries(restore)
    assert (restored.restored_entries, restored.unlisted_entries) == (1, 0)
    assert {m.external_id for m in client.matching.Match(query).matches} == {"a", "b"}
    edit.Clear()
    edit.parent = name
    edit.names.append(first.name)
    edit.reset.extend(["labels", "note", "opinion", "expire_time"])
    assert client.banks.EditEntries(edit).revision > restored.revision
    assert decided() == {}
    edit.reset.append("signals")
    with pytest.raises(grpc.RpcError) as caught:
        client.banks.EditEntries(edit)
    assert explain(caught.value).code() is grpc.StatusCode.INVALID_ARGUMENT
