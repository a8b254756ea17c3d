"""`hash --json --for-bank | bank import -` adds the entries that `bank add` adds."""

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from featsvc.banks.lists.formats import FORMATS
from featsvc.signals.algorithms import ALGORITHMS
from tests.banks.lists import sample
from tests.banks.test_formats import SAMPLES
from tests.integration.running import Running, featsvc
from tests.photographs import jpeg, photograph
from tests.texts import ENTRIES

BROKEN = photograph("rocket.jpg").read_bytes()[:5000]
PHOTOGRAPHS = ("coffee.png", "astronaut.png", "rocket.jpg", "camera.png", "logo.png")


def lines(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def picture(name: str) -> Image.Image:
    with Image.open(photograph(name)) as image:
        return image.convert("RGB")


def made_pictures() -> Iterator[tuple[str, bytes]]:
    """Photographs, and what is hard about pictures: plain, tiny, framed, animated, or none."""
    for name in PHOTOGRAPHS:
        yield name, photograph(name).read_bytes()
    random = np.random.default_rng(1)
    for number in range(4):
        height, width = random.integers(20, 300, 2)
        noise = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
        yield f"noise {number}.jpg", jpeg(Image.fromarray(noise).resize((int(width), int(height))))
    framed = ImageOps.expand(picture("coffee.png"), 60, fill="black")
    yield "framed.jpg", jpeg(framed)
    yield "plain.jpg", jpeg(Image.new("RGB", (200, 100), "white"))
    yield "tiny.jpg", jpeg(Image.new("RGB", (3, 3), "red"))
    animation = io.BytesIO()
    frames = [picture(name).resize((160, 120)) for name in PHOTOGRAPHS[:3]]
    frames[0].save(animation, "GIF", save_all=True, append_images=frames[1:])
    yield "moving.gif", animation.getvalue()
    yield "no picture.bin", b"bytes that are no picture"


def made_texts() -> Iterator[tuple[str, bytes]]:
    """Texts of any length: a phrase, one with parts, one in another script."""
    for number, text in enumerate(ENTRIES[:4]):
        yield f"{number}.txt", text.encode()
    yield "phrase.txt", b"too short"
    yield "long.txt", " ".join(f"{text} {n}" for n in range(8) for text in ENTRIES).encode()
    yield "greek.txt", ("\u03b1\u03b2\u03b3 \u03b4\u03b5\u03b6 " * 20 + "\u03c9").encode()


KINDS: dict[str, tuple[Callable[[], Iterator[tuple[str, bytes]]], tuple[str, ...]]] = {
    "pictures": (made_pictures, ()),
    "texts": (made_texts, ("--as-text",)),
}


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    below: Path = tmp_path / request.param
    below.mkdir()
    for name, content in KINDS[request.param][0]():
        (below / name).write_bytes(content)
    return below


def entries(server: Running, bank: str) -> dict[str, set[tuple[object, ...]]]:
    """The signals of each entry of a bank, by external id."""
    exported = featsvc("bank", "export", bank, "--format", "jsonl", server=server.address)
    return {
        row.get("external_id", row["signals"][0]["signal"]): {
            (s["algorithm"], s["signal"], s.get("variant", "original"), s.get("quality"))
            for s in row["signals"]
        }
        for row in lines(exported)
    }


def create(server: Running, *banks: str) -> None:
    for bank in banks:
        assert featsvc("bank", "create", bank, server=server.address).returncode == 0


def not_imported(server: Running, bank: str, *files: str) -> str:
    """Pipe the hashes of files to an import that is refused; return the error."""
    hashed = featsvc("hash", "--json", *files)
    importing = ("bank", "import", "-", "--bank", bank)
    result = featsvc(*importing, server=server.address, stdin=hashed.stdout)
    assert result.returncode == 1
    return result.stderr


def piped(server: Running, bank: str, *hashing: str) -> list[dict[str, Any]]:
    hashed = featsvc("hash", "--json", *hashing)
    assert hashed.returncode == 0, hashed.stderr
    importing = ("bank", "import", "-", "--bank", bank, "--json")
    return lines(featsvc(*importing, server=server.address, stdin=hashed.stdout))


def answer(server: Running, bank: str, query: Path) -> dict[str, Any]:
    """What `match` says, without what differs between two banks with equal entries."""
    given = ("--text-file", str(query)) if query.suffix == ".txt" else (str(query),)
    (shown,) = lines(featsvc("match", *given, "--bank", bank, "--json", server=server.address))
    for match in shown["matches"]:
        del match["bank"], match["entry_id"]
        match["evidence"].sort(key=lambda each: sorted(map(str, each.items())))
    shown["matches"].sort(key=lambda match: (match["distance"], match["external_id"]))
    return {key: shown[key] for key in ("outcome", "matches")}


def test_the_pipe_adds_what_bank_add_adds(server: Running, folder: Path) -> None:
    added, imported = f"added-{folder.name}", f"piped-{folder.name}"
    create(server, added, imported)
    files = sorted(folder.iterdir())
    options = KINDS[folder.name][1]
    given = [word for f in files for word in ((*("--text-file",) * bool(options), str(f)))]
    assert featsvc("bank", "add", added, *given, server=server.address).returncode == 0
    (summary,) = piped(server, imported, "--for-bank", *options, str(folder))
    assert (summary["format"], summary["new_entries"]) == ("hashes", len(files))
    assert entries(server, imported) == entries(server, added)
    assert entries(server, added).keys() == {f.name for f in files}
    for query in files:
        assert answer(server, imported, query) == answer(server, added, query)
    # Again, and file by file: nothing changes.
    for paths in ([str(folder)], [str(f) for f in files]):
        (again,) = piped(server, imported, "--for-bank", *options, *paths)
        assert (again["unchanged_entries"], again["revision"]) == (len(files), 0)


def test_every_algorithm_takes_the_road(server: Running, tmp_path: Path) -> None:
    create(server, "piped-all")
    (tmp_path / "text.txt").write_text(ENTRIES[0])
    photo = str(photograph("coffee.png"))
    piped(server, "piped-all", "-a", "all", photo)
    piped(server, "piped-all", "-a", "all", "--as-text", str(tmp_path / "text.txt"))
    held = entries(server, "piped-all")
    algorithms = {str(signal[0]) for signals in held.values() for signal in signals}
    assert algorithms == {n for n, kind in ALGORITHMS.items() if kind.of_files or kind.of_texts}
    for algorithm, value, *_ in sorted(held["coffee.png"] | held["text.txt"], key=str):
        if not ALGORITHMS[str(algorithm)].matched:
            continue
        matching = ("match", "--signal", f"{algorithm}:{value}", "--bank", "piped-all", "--json")
        (shown,) = lines(featsvc(*matching, server=server.address))
        assert [m["distance"] for m in shown["matches"]][:1] == [0], algorithm


def test_names_below_a_folder_are_kept_and_those_above_are_not(
    server: Running, tmp_path: Path
) -> None:
    create(server, "piped-names")
    top = tmp_path / "a person" / "pictures"
    for number, name in enumerate(("1.jpg", "week 1/1.jpg", "week 2/1.jpg", "caf\udce9.jpg")):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(jpeg(picture(PHOTOGRAPHS[number])))
    piped(server, "piped-names", str(top))
    names = {"1.jpg", "week 1/1.jpg", "week 2/1.jpg", "caf\\xe9.jpg"}
    assert entries(server, "piped-names").keys() == names
    held = entries(server, "piped-names")
    other = str(top / "week 1" / "1.jpg")
    assert "WOULD_REPLACE" in not_imported(server, "piped-names", other)
    assert entries(server, "piped-names") == held
    create(server, "piped-twice")
    error = not_imported(server, "piped-twice", other, str(top / "week 2" / "1.jpg"))
    assert "'1.jpg' names two different files" in error
    assert entries(server, "piped-twice") == {}


def test_failures_are_on_stderr_only(server: Running, tmp_path: Path) -> None:
    create(server, "piped-broken")
    (tmp_path / "broken.jpg").write_bytes(BROKEN)
    (tmp_path / "good.jpg").write_bytes(photograph("rocket.jpg").read_bytes())
    hashed = featsvc("hash", "--json", "--for-bank", str(tmp_path))
    assert (hashed.returncode, "broken.jpg: " in hashed.stderr) == (1, True)
    assert "broken.jpg" not in hashed.stdout
    importing = ("bank", "import", "-", "--bank", "piped-broken")
    result = featsvc(*importing, server=server.address, stdin=hashed.stdout)
    assert result.returncode == 0, result.stderr
    assert entries(server, "piped-broken").keys() == {"good.jpg"}
    # A pipe that breaks off within a line imports nothing.
    result = featsvc(*importing, server=server.address, stdin=hashed.stdout[:-9])
    assert result.returncode == 1
    assert "-:1: not a record" in result.stderr
    result = featsvc(*importing, "--replace", server=server.address, stdin=hashed.stdout)
    assert (result.returncode, "--replace needs a file" in result.stderr) == (2, True)


def test_a_picture_that_does_not_decode_is_never_half_an_entry(
    server: Running, tmp_path: Path
) -> None:
    create(server, "piped-half")
    (tmp_path / "broken.jpg").write_bytes(BROKEN)
    hashed = featsvc("hash", "--json", str(tmp_path))
    digests = {name: hashlib.new(name, BROKEN).hexdigest() for name in ("md5", "sha256")}
    (line,) = (json.loads(line) for line in hashed.stdout.splitlines())
    assert {s["algorithm"]: s["signal"] for s in line["signals"]} == digests
    assert (line["outcome"], line["media_type"]) == ("CORRUPT_MEDIA", "image/jpeg")
    assert "Premature end" in line["outcome_reason"]
    assert (hashed.returncode, "1 of 1 file did not decode" in hashed.stderr) == (1, True)
    importing = ("bank", "import", "-", "--bank", "piped-half")
    result = featsvc(*importing, server=server.address, stdin=hashed.stdout)
    assert (result.returncode, "-a md5 -a sha256" in result.stderr) == (1, True)
    assert entries(server, "piped-half") == {}
    # As that error says: by its bytes alone, on purpose.
    piped(server, "piped-half", "-a", "md5", "-a", "sha256", str(tmp_path))
    stored = {(name, value, "original", None) for name, value in digests.items()}
    assert entries(server, "piped-half") == {"broken.jpg": stored}


def test_frames_are_refused_by_name(server: Running, tmp_path: Path) -> None:
    create(server, "piped-frames")
    (tmp_path / "a.gif").write_bytes(dict(made_pictures())["moving.gif"])
    hashed = featsvc("hash", "--json", "--all-frames", str(tmp_path))
    importing = ("bank", "import", "-", "--bank", "piped-frames")
    result = featsvc(*importing, server=server.address, stdin=hashed.stdout)
    assert result.returncode == 1
    assert "frame 1: this version does not store signals of frames" in result.stderr
    assert entries(server, "piped-frames") == {}


def test_every_bad_row_of_a_pipe_is_printed(server: Running, tmp_path: Path) -> None:
    create(server, "piped-bad")
    bad = "".join(f"pdq,{n}\n" for n in range(50))
    importing = ("bank", "import", "-", "--bank", "piped-bad", "--json")
    text = f"algorithm,signal\n{bad}"
    result = featsvc(*importing, server=server.address, stdin=text)
    assert result.returncode == 1
    assert [f"-:{n}" in result.stderr for n in range(2, 52)] == [True] * 50
    assert json.loads(result.stdout)["rejected_file"] is None
    assert list(Path.cwd().glob("-*")) == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_pipe_takes_every_format(server: Running, name: str) -> None:
    file = next(file for file, (known, *_) in SAMPLES.items() if known == name)
    bank = f"piped-format-{name}"
    create(server, bank)
    command = (sys.executable, "-m", "featsvc", "bank", "import", "-", "--bank", bank)
    result = subprocess.run(
        [*command, "--json", "--server", server.address],
        input=sample(file),
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["format"] == name
    assert len(entries(server, bank)) > 0
