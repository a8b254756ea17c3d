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
from collections.abc import Callable
from dataclasses import dataclass

from featsvc_kernels.fold_codes import MAX_STACK, Op

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
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        column = f" at column {exc.offset}" if isinstance(exc, SyntaxError) and exc.offset else ""
        raise ExpressionError(f"cannot be parsed{column}: {text!r}") from exc
    compiler = _Compiler(text, explain_unknown)
    compiler.visit(tree.body)
    if compiler.deepest > MAX_STACK:
        raise ExpressionError(
            f"is nested too deeply: it needs a stack of {compiler.deepest}, at most {MAX_STACK}"
        )
    return Expression(
        text, tuple(compiler.ops), tuple(compiler.arguments), tuple(compiler.features)
    )


class _Compiler:
    def __init__(self, text: str, explain_unknown: Callable[[str], str | None]) -> None:
        self.text = text
        self.explain_unknown = explain_unknown
        self.ops: list[Op] = []
        self.arguments: list[float] = []
        self.features: dict[str, int] = {}
        self.depth = 0
        self.deepest = 0

    def visit(self, node: ast.expr) -> None:
        match node:
            case ast.Constant(value=bool()):
                self._refuse(node)
            case ast.Constant(value=int() | float() as number) if math.isfinite(number):
                self._emit(Op.CONSTANT, float(number), pops=0)
            case ast.Name(id=name):
                self._feature(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                self.visit(operand)
                self._emit(Op.NEGATE, pops=1)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                self.visit(left)
                self.visit(right)
                self._emit(_BINARY[type(op)], pops=2)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
                self.visit(left)
                self.visit(right)
                self._emit(_COMPARE[type(op)], pops=2)
            case ast.Call(func=ast.Name(id=name), args=[first, second, *rest], keywords=[]) if (
                name in _FUNCTIONS
            ):
                self.visit(first)
                for argument in (second, *rest):
                    self.visit(argument)
                    self._emit(_FUNCTIONS[name], pops=2)
            case _:
                self._refuse(node)

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

    def _refuse(self, node: ast.expr) -> None:
        part = ast.get_source_segment(self.text.strip(), node) or self.text
        raise ExpressionError(
            f"{part!r} is not allowed; use + - * /, < <= > >= == !=, numbers, feature names, and "
            "min(a, b), max(a, b), coalesce(a, b)"
        )
