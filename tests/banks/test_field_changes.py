"""The report of an import says which fields change: the preview, the import and the diff agree."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.banks.results import ChangeKind, ImportOptions
from featsvc.banks.store import BankStore
from tests.banks.lists import list_file

signals: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        algorithm=st.just("pdq"),
        signal=st.sampled_from([f"{n:064x}" for n in (1, 2, 3)]),
        variant=st.sampled_from(["original", "crop"]),
        quality=st.sampled_from([None, 7]),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda s: (s["signal"], s["variant"]),
)
entry_fields = st.fixed_dictionaries(
    {
        "signals": signals,
        "labels": st.lists(st.sampled_from("xyz"), unique=True),
        "opinion": st.sampled_from(["", "positive"]),
        "note": st.sampled_from(["", "n", "m"]),
        "expire_time": st.sampled_from(["", "2020-01-01T00:00:00Z", "2990-01-01T00:00:00Z"]),
    }
)
lists = st.dictionaries(st.sampled_from("abcde"), entry_fields, min_size=1)


def document(entries: dict[str, Any]) -> str:
    return "".join(
        json.dumps({"external_id": name, "source": "s", **values}) + "\n"
        for name, values in entries.items()
    )


def differ(old: dict[str, Any], new: dict[str, Any]) -> set[str]:
    def plain(values: dict[str, Any]) -> dict[str, Any]:
        unordered = {key: {json.dumps(v) for v in values[key]} for key in ("signals", "labels")}
        return {**values, **unordered}

    return {name for name in old if plain(old)[name] != plain(new)[name]}


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(old=lists, new=lists)
def test_changed_fields_are_counted(
    store: BankStore, old: dict[str, Any], new: dict[str, Any]
) -> None:
    if store.list_banks().banks:
        store.delete_bank("b", force=True)
    store.create_bank("b")
    first = store.import_entries("b", list_file(document(old)))
    expired = sum(values["expire_time"].startswith("2020") for values in old.values())
    assert (first.summary.changed_fields, first.summary.expired_entries) == ({}, expired)
    options = ImportOptions(allow_replaced=True)
    dry = replace(options, dry_run=True)
    preview = store.import_entries("b", list_file(document(new)), dry)
    done = store.import_entries("b", list_file(document(new)), options)
    assert preview.summary == done.summary
    expected = Counter(field for name in {*old} & {*new} for field in differ(old[name], new[name]))
    assert dict(done.summary.changed_fields) == expected
    changes = store.diff_revisions("b", first.revision).changes
    changed = [change for change in changes if change.kind is ChangeKind.CHANGED]
    assert Counter(field for change in changed for field in change.changed_fields) == expected


def test_an_order_is_no_change_but_a_source_is(store: BankStore) -> None:
    store.create_bank("b")
    header = "algorithm,signal,external_id,labels,note\n"
    store.import_entries("b", list_file(f"{header}pdq,{1:064x},a,x;y,old\n"))
    new = list_file(f"{header}pdq,{1:064x},a,y;x,new\n")
    summary = store.import_entries("b", new, ImportOptions(dry_run=True)).summary
    assert (summary.changed_entries, summary.changed_fields) == (1, {"note": 1})
