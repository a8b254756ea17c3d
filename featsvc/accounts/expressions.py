"""The language of derived features: arithmetic, comparison, `min`, `max`, `coalesce`.

    match_ratio = "matches_24h / max(uploads_24h, 1)"

`+ - * /`, unary `-`, `< <= > >= == !=` (1 or 0), parentheses, numbers, names of windowed features.
A missing operand makes the result missing, except in `coalesce(a, b, ...)`, which returns its first
operand that is not missing. Division by zero and a result that is not finite are missing too.

Python's own parser reads an expression but never evaluates it: the compiler accepts a dozen kinds
of nodes and turns the tree into a postfix program for a kernel.
"""

import ast
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from featsvc_kernels.fold_codes import MAX_STACK, Op

from featsvc.accounts.names import quoted

MAX_EXPRESSION_CHARS = 1000

_BINARY: dict[type[ast.operator], Op] = {
    ast.Add: Op.ADD,
    ast.Sub: Op.SUBTRACT,
    ast.Mult: Op.MULTIPLY,
    ast.Div: Op.DIVIDE,
}
_COMPARE: dict[type[ast.cmpop], Op] = {
    ast.Lt: Op.LESS,
    ast.LtE: Op.LESS_EQUAL,
    ast.Gt: Op.GREATER,
    ast.GtE: Op.GREATER_EQUAL,
    ast.Eq: Op.EQUAL,
    ast.NotEq: Op.NOT_EQUAL,
}
_FUNCTIONS = {"min": Op.MINIMUM, "max": Op.MAXIMUM, "coalesce": Op.COALESCE}


class ExpressionError(ValueError):
    """An expression that does not compile; the caller adds file and line."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A postfix program. `arguments[i]` is a constant, or an index into `features`."""

    text: str
    ops: tuple[Op, ...]
    arguments: tuple[float, ...]
    features: tuple[str, ...]


def parse_expression(text: str, explain_unknown: Callable[[str], str | None]) -> Expression:
    """Compile an expression. Raises ExpressionError.

    `explain_unknown(name)` returns the error for a feature name, or None if the name is known.
    """
    if len(text) > MAX_EXPRESSION_CHARS:
        raise ExpressionError(
            f"has {len(text)} characters, at most {MAX_EXPRESSION_CHARS} are allowed"
        )
    try:
        with warnings.catch_warnings():  # of doubtful Python, which is refused below
            warnings.simplefilter("ignore")
            tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        column = f" at column {exc.offset}" if isinstance(exc, SyntaxError) and exc.offset else ""
        raise ExpressionError(f"cannot be parsed{column}: {quoted(text)}") from exc
    compiler = _Compiler(text, explain_unknown)
    compiler.compile(tree.body)
    if compiler.deepest > MAX_STACK:
        raise ExpressionError(
            f"is nested too deeply: it needs a stack of {compiler.deepest}, at most {MAX_STACK}"
        )
    return Expression(
        text, tuple(compiler.ops), tuple(compiler.arguments), tuple(compiler.features)
    )


class _Step(NamedTuple):
    """An operation to emit after its operands; it takes `pops` values and leaves one."""

    op: Op
    pops: int


class _Compiler:
    def __init__(self, text: str, explain_unknown: Callable[[str], str | None]) -> None:
        self.text = text
        self.explain_unknown = explain_unknown
        self.ops: list[Op] = []
        self.arguments: list[float] = []
        self.features: dict[str, int] = {}
        self.depth = 0
        self.deepest = 0

    def compile(self, body: ast.expr) -> None:
        """Emit the program of a tree of any depth: a thousand signs are a thousand levels."""
        pending: list[ast.expr | _Step] = [body]
        while pending:
            item = pending.pop()
            if isinstance(item, _Step):
                self._emit(item.op, pops=item.pops)
            else:
                pending += reversed(self._steps(item))

    def _steps(self, node: ast.expr) -> list["ast.expr | _Step"]:
        """Return what is to be compiled for a node, in order; emit a leaf at once."""
        match node:
            case ast.Constant(value=bool()):
                self._refuse(node)
            case ast.Constant(value=int() | float() as number):
                self._constant(node, number)
            case ast.Name(id=name):
                self._feature(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return [operand, _Step(Op.NEGATE, 1)]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return [left, right, _Step(_BINARY[type(op)], 2)]
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
                return [left, right, _Step(_COMPARE[type(op)], 2)]
            case ast.Call(func=ast.Name(id=name), args=[first, second, *rest], keywords=[]) if (
                name in _FUNCTIONS
            ):
                step = _Step(_FUNCTIONS[name], 2)
                return [first, *(part for a in (second, *rest) for part in (a, step))]
            case _:
                self._refuse(node)
        return []

    def _constant(self, node: ast.expr, number: float) -> None:
        try:
            value = float(number)
        except OverflowError:  # an integer of more than 308 digits
            value = math.inf
        if not math.isfinite(value):
            self._refuse(node)
        self._emit(Op.CONSTANT, value, pops=0)

    def _feature(self, name: str) -> None:
        if problem := self.explain_unknown(name):
            raise ExpressionError(problem)
        index = self.features.setdefault(name, len(self.features))
        self._emit(Op.FEATURE, float(index), pops=0)

    def _emit(self, op: Op, argument: float = 0.0, *, pops: int) -> None:
        self.ops.append(op)
        self.arguments.append(argument)
        self.depth += 1 - pops
        self.deepest = max(self.deepest, self.depth)

    def _refuse(self, node: ast.expr) -> NoReturn:
        part = ast.get_source_segment(self.text.strip(), node) or self.text
        raise ExpressionError(
            f"{quoted(part)} is not allowed; use + - * /, < <= > >= == !=, numbers, feature "
            "names, and min(a, b), max(a, b), coalesce(a, b)"
        )
