"""What people read: counts with their noun, and no character without a shape, in every command."""

import ast
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

import featsvc.cli
from featsvc.cli import main, output
from featsvc.cli.words import counted, echo, visible
from tests.cli.canned import canned_server, filled
from tests.cli.test_promises import FILES, REMOTE

SOURCES = {path.name: path for path in Path(featsvc.cli.__file__).parent.glob("*.py")}
HOSTILE = "\x1b[31m\x07\r\n\t\u202e\u2066\u200b\u2028\x9b2J\x85\U000e0041[red]'"
"""A text that colours, rings, forges a line, turns what follows around, hides, clears."""
TEXTS = st.text() | st.text(st.sampled_from(HOSTILE + "aé日"))
NOUNS = frozenset(
    word
    for line in (
        "banks bytes changes cores digits dimensions entries events features files hashes",
        "lines matches pairs photographs pictures revisions rows samples seconds sets",
        "signals times variants vectors",
    )
    for word in line.split()
)


def shapeless(text: str) -> set[str]:
    """The characters that a terminal acts on or hides, except a newline."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return {char for char in text if unicodedata.category(char) in kinds} - {"\n"}


@given(TEXTS)
def test_every_character_has_a_shape(text: str) -> None:
    shown = visible(text)
    assert not shapeless(shown)
    assert "\n" not in shown
    assert visible(shown) == shown
    if not shapeless(text) and "\n" not in text:
        assert shown == text


def test_a_character_without_a_shape_is_named() -> None:
    assert visible("a\x1b\n\u202e\udce9") == "a\\x1b\\n\\u202e\\xe9"
    assert visible("é日\u00a0 'x'") == "é日\u00a0 'x'"
    assert visible("a\nb\r", keep="\n") == "a\nb\\r"


@given(TEXTS.filter(lambda text: not any("\ud800" <= char <= "\udfff" for char in text)))
def test_json_is_the_same_value_without_such_characters(text: str) -> None:
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featsvc.cli.output.click.echo", lines.append)
        output.json_line({"a": text, text: [text]})
    (line,) = lines
    assert not shapeless(line)
    assert "\n" not in line
    assert json.loads(line) == {"a": text, text: [text]}


def test_a_line_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    echo("one\ntwo")
    assert capsys.readouterr().out == "one\\ntwo\n"


def hostile(message: Message) -> Message:
    """A canned message whose every text ends with HOSTILE."""
    filled(message)
    waiting: list[Any] = [message]
    while waiting:
        each = waiting.pop()
        for field, value in each.ListFields():
            texts = field.type == field.TYPE_STRING
            if field.message_type and field.message_type.GetOptions().map_entry:
                continue
            if texts and field.is_repeated:
                value[:] = [f"{text}{HOSTILE}" for text in value]
            elif texts:
                setattr(each, field.name, f"{value}{HOSTILE}")
            elif field.message_type:
                waiting += value if field.is_repeated else [value]
    return message


WITHOUT_TEXTS = {
    "features ingest",
    *("bank delete", "bank quarantine"),
    "bank quarantine --release",
    *("bank edit", "bank restore"),
}
"""Commands that print numbers, and what the user named."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with canned_server(hostile) as address:
        yield address


def run(server: str, *arguments: str) -> None:
    """Run a command as a shell does; it may fail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEATSVC_SERVER", server)
        patch.setattr("sys.argv", ["featsvc", *arguments])
        with pytest.raises(SystemExit):
            main.main()


@pytest.fixture
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text)


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize("name", REMOTE)
def test_what_a_list_holds_has_a_shape(
    name: str, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(server, *REMOTE[name].split())
    out, err = capsys.readouterr()
    assert out + err
    assert not shapeless(out + err)
    run(server, *REMOTE[name].split(), "--json")
    out, err = capsys.readouterr()
    assert not shapeless(out + err)
    printed = [text for line in out.splitlines() for text in texts(line)]
    assert any(HOSTILE in text for text in printed) == (name not in WITHOUT_TEXTS)


def texts(line: str) -> Iterator[str]:
    """Every text in a JSON line, keys included."""
    waiting = [json.loads(line)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value


def test_what_a_user_names_has_a_shape(capsys: pytest.CaptureFixture[str], server: str) -> None:
    """Errors about files, options and signals that are wrong."""
    for line in (
        ("bank", "import", f"no{HOSTILE}", "--bank", "b"),
        ("bank", "add", "b", f"no{HOSTILE}"),
        ("bank", "find", "--signal", f"no{HOSTILE}"),
        ("bank", "evaluate", "b", "--sample", f"no{HOSTILE}"),
        ("hash", f"no{HOSTILE}"),
        ("match", f"no{HOSTILE}"),
        ("features", "validate", f"no{HOSTILE}"),
        (f"no{HOSTILE}",),
    ):
        run(server, *line)
        out, err = capsys.readouterr()
        assert err
        assert not shapeless(out + err), line


def calls_of(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("name", SOURCES)
def test_people_are_told_through_one_door(name: str) -> None:
    """`words.echo` and the tables of `output`; the file of settings is our own."""
    told = [
        call
        for call in calls_of(ast.parse(SOURCES[name].read_text()))
        if call in ("print", "click.echo", "click.secho", "sys.stdout.write", "sys.stderr.write")
    ]
    allowed = {"words.py": 1, "output.py": 2, "serve.py": 1}
    assert len(told) == allowed.get(name, 0), f"{name}: use words.echo"


def counts_by_hand(source: str) -> list[str]:
    """Texts that put a number before a plural noun."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            for value, after in zip(node.values, node.values[1:], strict=False):
                follows = after.value if isinstance(after, ast.Constant) else ""
                if (
                    isinstance(value, ast.FormattedValue)
                    and isinstance(follows, str)
                    and follows[:1] == " "
                    and follows.split()[:1]
                    and follows.split()[0].strip(",.;:()") in NOUNS
                ):
                    found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_a_count_has_the_right_noun(name: str) -> None:
    assert counts_by_hand(SOURCES[name].read_text()) == [], f"{name}: use words.counted"


def test_a_count_by_hand_is_found() -> None:
    assert counts_by_hand('f"{n:,} entries, of {m}"') == ["f'{n:,} entries, of {m}'"]
    assert counts_by_hand('f"{n} new"') == []


@pytest.mark.parametrize(
    ("noun", "plural"),
    [("entry", "entries"), ("match", "matches"), ("day", "days"), ("new entry", "new entries")],
)
def test_the_noun_follows_the_number(noun: str, plural: str) -> None:
    assert [counted(n, noun) for n in (0, 1, 2, 1234)] == [
        f"0 {plural}",
        f"1 {noun}",
        f"2 {plural}",
        f"1,234 {plural}",
    ]
