"""The language of derived features."""

import pytest
from featsvc_kernels.fold_codes import MAX_STACK, Op
from hypothesis import given
from hypothesis import strategies as st

from featsvc.accounts.expressions import Expression, ExpressionError, parse_expression


def parse(text: str) -> Expression:
    return parse_expression(text, lambda name: None if name in "abc" else f"unknown {name}")


def test_an_expression_becomes_a_postfix_program() -> None:
    expression = parse("a * 2 + min(b, -a, 1)")
    assert expression.features == ("a", "b")
    assert list(zip(expression.ops, expression.arguments, strict=True)) == [
        (Op.FEATURE, 0),
        (Op.CONSTANT, 2),
        (Op.MULTIPLY, 0),
        (Op.FEATURE, 1),
        (Op.FEATURE, 0),
        (Op.NEGATE, 0),
        (Op.MINIMUM, 0),
        (Op.CONSTANT, 1),
        (Op.MINIMUM, 0),
        (Op.ADD, 0),
    ]


def test_a_thousand_terms_or_signs_are_compiled() -> None:
    assert len(parse("+".join("a" * 400)).ops) == 799
    assert len(parse("-" * 900 + "a").ops) == 901
    assert len(parse(f"min({','.join('a' * 400)})").ops) == 799


@given(st.text("ab1.e()+-*/<>=!,minaxcole \n\0'\\[]{}:@", max_size=60))
def test_any_text_compiles_or_is_refused(text: str) -> None:
    problem = ""
    try:
        parse(text)
    except ExpressionError as exc:
        problem = str(exc)
    assert "\n" not in problem


@pytest.mark.parametrize(
    "text",
    [
        "a.b",
        "a[0]",
        "a if b else c",
        "a < b < c",
        "lambda: a",
        "print(a, b)",
        "min(a)",
        "'x'",
        "True",
        "a and b",
        "not a",
        "a // b",
        "a % b",
        "min(a, key=b)",
        "[a, b]",
        "(yield)",
        "a := 1",
        "",
        "a b",
        "1e999",
        "f'{a}'",
        "min(*a, b)",
        "1" + "0" * 400,
        "0x" + "f" * 900,
        "a\0b",
        "1j",
        "1 is 1",
        "a(1)",
        "'\\d'",
    ],
)
def test_other_syntax_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse(text)


def test_unknown_names_long_and_deep_texts_are_refused() -> None:
    with pytest.raises(ExpressionError, match="unknown d"):
        parse("a + d")
    with pytest.raises(ExpressionError, match="at most 1000 are allowed"):
        parse("a + " * 300 + "a")
    with pytest.raises(ExpressionError, match="cannot be parsed"):
        parse("(" * 400 + "a" + ")" * 400)
    deep = "(a + " * MAX_STACK + "a" + ")" * MAX_STACK
    with pytest.raises(ExpressionError, match="nested too deeply"):
        parse(deep)
