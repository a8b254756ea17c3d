"""Finds the sources that the machine code of a kernel module depends on.

Numba compiles the functions and constants that a module imports into the module's own machine
code. So that code depends on the module's source, and on the source of every module of this
package that it imports, directly or indirectly. Imports are `import` statements anywhere in a
module; a kernel module must not import in another way.
"""

import ast
import hashlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

_PACKAGE = __name__.partition(".")[0]


def _read_package() -> dict[str, tuple[Path, bytes]]:
    """Return path and source by module name; nothing if the package is no folder of `.py` files."""
    folder = Path(__file__).parent
    sources = {}
    for path in folder.rglob("*.py"):
        name = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
        with suppress(OSError):
            sources[name.removesuffix(".__init__")] = path, path.read_bytes()
    return sources


# The package's `__init__` imports this module, so all are read before any kernel module runs.
_SOURCES = _read_package()


def _statements(block: ast.AST) -> Iterator[ast.AST]:
    """Yield every statement inside `block`, in a tenth of the time of `ast.walk`."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for statement in getattr(block, field, ()):
            yield statement
            yield from _statements(statement)


@cache
def _imported_names(module: str) -> frozenset[str]:
    """Return the absolute names, of modules or members, that a module imports from this package."""
    path, source = _SOURCES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names = set()
    for node in _statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            # Without `as` it binds the outermost package, and with it every module.
            names |= {a.name if a.asname else a.name.partition(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package)
            names |= {origin if a.name == "*" else f"{origin}.{a.name}" for a in node.names}
    return frozenset(name for name in names if name.partition(".")[0] == _PACKAGE)


def _contains(outer: str, inner: str) -> bool:
    return f"{inner}.".startswith(f"{outer}.")


def find_dependencies(module: str) -> set[str] | None:
    """Return the names of the modules whose sources determine the machine code of `module`.

    An import runs the packages around its target, so these count. All modules of an imported
    package count. None if the source of one of them is not a readable file.
    """
    dependencies: set[str] = set()
    waiting = {module}
    while waiting:
        name = waiting.pop()
        outer = {name.rsplit(".", n)[0] for n in range(name.count(".") + 1)}
        if any(m in sys.modules and m not in _SOURCES for m in outer):
            return None
        modules = {m for m in _SOURCES if _contains(m, name) or _contains(name, m)} - dependencies
        dependencies |= modules
        for m in modules:
            waiting |= _imported_names(m)
    return dependencies


def fingerprint(module: str) -> str | None:
    """Return a hash of the sources that determine the machine code of `module`.

    None if one of them cannot be read, or has changed since this process read the package: the
    running code may then differ from the file.
    """
    names = find_dependencies(module)
    if not names:
        return None
    digest = hashlib.sha256()
    for name in sorted(names):
        path, source = _SOURCES[name]
        try:
            if path.read_bytes() != source:
                return None
        except OSError:
            return None
        digest.update(f"{name} {len(source)}\n".encode() + source)
    return digest.hexdigest()
