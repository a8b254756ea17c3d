"""The import rule finds what it is there to find; `make lint` runs it on the project."""

import pytest

from tests.arrows import find_faults, module_of, read_table
from tests.photographs import ROOT

TABLE = read_table(
    """
| `featsvc/low` | is low | none |
| `featsvc/mid/a.py`, `featsvc/mid/b` | two rooms of one row | `low`, `grpc` |
"""
)
KEPT = {
    "featsvc.low": set[str](),
    "featsvc.mid": set[str](),
    "featsvc.mid.a": {"featsvc.low", "featsvc.errors", "grpc", "json"},
    "featsvc.mid.b.deep": {"featsvc.low.deep", "featsvc.mid.b", "grpc"},
}


def test_a_path_names_its_module() -> None:
    assert module_of("featsvc/banks/sql") == "featsvc.banks.sql"
    assert module_of("featsvc/errors.py") == "featsvc.errors"
    assert module_of("kernels/featsvc_kernels") == "featsvc_kernels"


def test_the_table_is_read() -> None:
    assert {
        "featsvc.low": frozenset(),
        "featsvc.mid.a": {"featsvc.low", "grpc"},
        "featsvc.mid.b": {"featsvc.low", "grpc"},
    } == TABLE
    assert find_faults(TABLE, KEPT) == []


def test_an_arrow_that_is_not_in_the_table_is_a_fault() -> None:
    (fault,) = find_faults(TABLE, KEPT | {"featsvc.low": {"featsvc.mid.a"}})
    assert fault == "featsvc.low imports featsvc.mid.a: featsvc.low does not know featsvc.mid.a"


def test_a_library_is_an_arrow() -> None:
    (fault,) = find_faults(TABLE, KEPT | {"featsvc.low": {"sqlalchemy"}})
    assert "featsvc.low does not know sqlalchemy" in fault


def test_an_arrow_that_nothing_uses_is_a_fault() -> None:
    (fault,) = find_faults(TABLE, KEPT | {"featsvc.mid.a": {"featsvc.low"}})
    assert fault.startswith("featsvc.mid.a: knows grpc in the table")


def test_a_module_without_a_room_is_a_fault() -> None:
    assert find_faults(TABLE, KEPT | {"featsvc.new": set()}) == [
        "featsvc.new: lies in no room of the table"
    ]


@pytest.mark.parametrize("package", ["featsvc", "featsvc.mid"])
@pytest.mark.parametrize("imported", ["featsvc.low.deep", "sqlalchemy"])
def test_a_package_of_rooms_hands_nothing_on(package: str, imported: str) -> None:
    (fault,) = find_faults(TABLE, KEPT | {package: {imported, "json"}})
    assert fault.startswith(f"{package} imports {imported}: it is a package of rooms")


def test_a_name_that_is_no_room_is_a_fault() -> None:
    table = dict(TABLE) | {"featsvc.low": frozenset({"hihg"})}
    assert "hihg, which is no room" in find_faults(table, KEPT)[0]


def test_a_circle_is_a_fault() -> None:
    table = dict(TABLE) | {"featsvc.low": frozenset({"featsvc.mid.a"})}
    faults = find_faults(table, KEPT | {"featsvc.low": {"featsvc.mid.a"}})
    assert len(faults) == 1
    assert faults[0].startswith("a circle: ")


def test_an_arrow_down_the_table_is_a_fault() -> None:
    upside_down = dict(reversed(TABLE.items()))
    faults = find_faults(upside_down, KEPT)
    assert faults == [
        f"featsvc.mid.{room}: knows featsvc.low, which stands below it; move its row up"
        for room in "ba"
    ]


def test_the_table_of_the_project_is_not_empty() -> None:
    assert len(read_table((ROOT / "ARCHITECTURE.md").read_text())) > 20
