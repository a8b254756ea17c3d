"""The import rule of this project: the table in ARCHITECTURE.md, held by `lint-imports`.

Each row is a room (a folder or a file), and its last column names what the room may import: other
rooms, and the libraries of `LIBRARIES`. An import that the table does not allow breaks the
contract, and so does an arrow that nothing uses, a module without a room, a circle, and an arrow
down the table.
"""

import re
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
from importlinter import Contract, ContractCheck, fields, output

LIBRARIES = frozenset({"PIL", "alembic", "grpc", "numba", "redis", "rich", "sqlalchemy"})
"""Those whose users are counted; FAISS and onnxruntime are imported where they are used."""
_ENTRY = frozenset({"featsvc.__main__"})
_FOR_ALL = frozenset({"featsvc", "featsvc.errors"})
_ROW = re.compile(r"^\| (?P<rooms>`[^|]+) \|[^|]+\|(?P<knows>[^|]+)\|$", re.MULTILINE)
_NAME = re.compile(r"`([^`]+)`")


def module_of(path: str) -> str:
    """`featsvc/banks/sql` or `kernels/featsvc_kernels` as the dotted name of its module."""
    parts = path.removesuffix(".py").rstrip("/").split("/")
    return ".".join(parts[1:] if parts[0] in ("client", "kernels") else parts)


def read_table(text: str) -> dict[str, frozenset[str]]:
    """Room -> what it may import, from the table's rows. Short names are below `featsvc`."""
    rooms: dict[str, frozenset[str]] = {}
    for row in _ROW.finditer(text):
        knows = _NAME.findall(row["knows"])
        for path in _NAME.findall(row["rooms"]):
            rooms[module_of(path)] = frozenset(knows)
    short = {name.removeprefix("featsvc."): name for name in rooms}
    return {
        room: frozenset(short.get(name.replace("/", "."), name) for name in knows)
        for room, knows in rooms.items()
    }


def room_of(module: str, rooms: Iterable[str]) -> str:
    """The innermost room that a module lies in; empty where none is."""
    found = [room for room in rooms if module == room or module.startswith(f"{room}.")]
    return max(found, key=len, default="")


def find_faults(table: Mapping[str, frozenset[str]], imports: Mapping[str, set[str]]) -> list[str]:
    """What is wrong, one line each; `imports` says what each module imports."""
    known = {*table, *LIBRARIES}
    faults = [
        f"{room}: the table names {name}, which is no room and no watched library"
        for room, knows in table.items()
        for name in sorted(knows - known)
    ]
    used: dict[str, set[str]] = {room: set() for room in table}
    for module in sorted(imports.keys() - _ENTRY):
        room = room_of(module, table)
        if not room and any(other.startswith(f"{module}.") for other in table):
            # A package of rooms has nothing of its own: what it imported, all could take from it.
            faults += [
                f"{module} imports {imported}: it is a package of rooms, which imports none"
                for imported in sorted(imports[module])
                if imported in LIBRARIES or room_of(imported, table)
            ]
            continue
        if not room:
            faults.append(f"{module}: lies in no room of the table")
            continue
        for imported in sorted(imports[module] - _FOR_ALL):
            other = imported if imported in LIBRARIES else room_of(imported, table)
            if other in ("", room):
                continue
            used[room].add(other)
            if other not in table[room]:
                faults.append(f"{module} imports {imported}: {room} does not know {other}")
    faults += [
        f"{room}: knows {name} in the table, and nothing in it uses that"
        for room, knows in table.items()
        for name in sorted(knows & known - used[room])
    ]
    try:
        TopologicalSorter(table).prepare()
    except CycleError as exc:
        faults.append("a circle: " + " -> ".join(exc.args[1]))
    else:
        faults += find_arrows_down(table)
    return faults


def find_arrows_down(table: Mapping[str, frozenset[str]]) -> list[str]:
    """Rooms that know one which stands below them: whoever reads down meets it too early."""
    rooms = list(table)
    return [
        f"{room}: knows {other}, which stands below it; move its row up"
        for place, room in enumerate(rooms)
        for other in rooms[place + 1 :]
        if other in table[room]
    ]


class TableContract(Contract):
    """Every arrow of the table in `table`, and no other."""

    type_name = "table"
    table = fields.StringField()

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        table = read_table(Path(str(self.table)).read_text())
        inside = {m for m in graph.modules if m.split(".")[0].startswith("featsvc")}
        imports = {m: set(graph.find_modules_directly_imported_by(m)) for m in inside}
        faults = find_faults(table, imports)
        return ContractCheck(kept=not faults, metadata={"faults": faults})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for fault in check.metadata["faults"]:
            output.print_error(fault)
        output.print(f"Change the import, or, where the arrow is meant, the table in {self.table}.")
