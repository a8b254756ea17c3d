"""The command as users run it, against a real server; the JSON shapes are promises."""

import json
import subprocess
import time
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from featsvc.accounts.definitions import load_definitions, shipped_definitions
from featsvc.cli.demo import EDITS, KNOWN, all_uploads
from tests.integration.running import Running, featsvc, running
from tests.photographs import SHARED, edited, jpeg, needs_shared, photograph

PDQ = "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22"


def lines(result: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def new_bank(server: Running, bank: str, *rows: str, tmp_path: Path) -> None:
    file = tmp_path / f"{bank}.txt"
    file.write_text("\n".join(rows) + "\n")
    assert featsvc("bank", "create", bank, server=server.address).returncode == 0
    result = featsvc(
        *("bank", "import", str(file), "--bank", bank, "--format", "pdq-text"),
        server=server.address,
    )
    assert result.returncode == 0, result.stderr


def test_hash_json_shape(tmp_path: Path) -> None:
    photo = photograph("coffee.png")
    (shown,) = lines(featsvc("hash", str(photo), "--json"))
    assert shown["file"] == str(photo)
    assert (shown["media_type"], shown["width"], shown["height"]) == ("image/png", 600, 400)
    signals = shown["signals"]
    assert isinstance(signals, list)
    assert [s["algorithm"] for s in signals] == ["pdq", "md5", "sha256"]
    assert shown["external_id"] == "coffee.png"
    assert all(set(s) == {"algorithm", "signal", "quality"} for s in signals)
    assert signals[0]["signal"] == signals[0]["signal"].lower()
    assert len(signals[0]["signal"]) == 64
    assert signals[0]["quality"] == 100


def test_hash_reports_unreadable_files_and_goes_on(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photograph("rocket.jpg").read_bytes()[:5000])
    result = featsvc("hash", str(broken), str(photograph("coffee.png")), "--json")
    assert result.returncode == 1
    assert "broken.jpg: " in result.stderr
    assert "1 of 2" in result.stderr
    shown = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["outcome"] for line in shown] == ["CORRUPT_MEDIA", "OK"]
    assert [s["algorithm"] for s in shown[0]["signals"]] == ["md5", "sha256"]


def test_hash_walks_folders_in_order(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "b/1.jpg", "a.jpg"):
        file = tmp_path / "pictures" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(edited("coffee.png"))
    shown = lines(featsvc("hash", str(tmp_path / "pictures"), "--json", "-a", "phash-16"))
    files = [Path(str(line["file"])).relative_to(tmp_path).as_posix() for line in shown]
    assert files == ["pictures/a.jpg", "pictures/b/1.jpg", "pictures/b/2.jpg"]
    signals = shown[0]["signals"]
    assert isinstance(signals, list)
    assert [(s["algorithm"], len(s["signal"])) for s in signals] == [("phash-16", 64)]


def test_compare_prints_every_algorithm_with_its_threshold(tmp_path: Path) -> None:
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(edited("coffee.png", quality=70))
    original = str(photograph("coffee.png"))
    rows = {
        row["algorithm"]: row for row in lines(featsvc("compare", original, str(copy), "--json"))
    }
    assert {"pdq", "phash", "ahash", "dhash", "whash", "crop_resistant", "md5"} <= rows.keys()
    assert rows["pdq"]["threshold"] == 31
    assert rows["pdq"]["verdict"] == "match"
    assert rows["md5"]["verdict"] == "no match"
    other = str(photograph("astronaut.png"))
    (row,) = lines(featsvc("compare", original, other, "-a", "pdq", "--json"))
    assert row["verdict"] == "no match"
    text = featsvc("compare", original, str(copy))
    assert "threshold" in text.stdout


def test_compare_of_what_cannot_be_looked_at_gives_no_verdict(tmp_path: Path) -> None:
    plain = tmp_path / "plain.png"
    Image.new("RGB", (64, 64), "white").save(plain)
    (row,) = lines(featsvc("compare", str(plain), str(plain), "-a", "pdq", "--json"))
    assert str(row["verdict"]).startswith("LOW_QUALITY")
    (row,) = lines(featsvc("compare", str(plain), "LICENSE", "-a", "pdq", "--json"))
    assert row["distance"] is None


def test_compare_of_a_picture_that_does_not_decode_has_byte_hashes(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(edited("coffee.png")[:-9])
    result = featsvc("compare", str(broken), str(broken), "-a", "pdq", "-a", "md5", "--json")
    assert (result.returncode, f"{broken}: the JPEG does not" in result.stderr) == (1, True)
    pdq, md5 = map(json.loads, result.stdout.splitlines())
    assert (pdq["distance"], pdq["verdict"]) == (None, f"no signal of {broken}")
    assert (md5["distance"], md5["verdict"]) == (0, "match")


def test_match_json_shape(server: Running, tmp_path: Path) -> None:
    new_bank(server, "command-match", PDQ, tmp_path=tmp_path)
    result = featsvc(
        *("match", "--signal", f"pdq:{PDQ.upper()}", "--bank", "command-match", "--json"),
        server=server.address,
    )
    (shown,) = lines(result)
    matches = shown["matches"]
    assert isinstance(matches, list)
    (match,) = matches
    wanted = {"bank", "entry_id", "external_id", "algorithm", "distance", "threshold"}
    assert wanted <= set(match)
    assert (match["bank"], match["algorithm"]) == ("command-match", "pdq")
    assert (match["distance"], match["threshold"]) == (0, 31)


def test_max_distance_loosens_and_tightens(server: Running, tmp_path: Path) -> None:
    new_bank(server, "command-distance", PDQ, tmp_path=tmp_path)
    near = f"pdq:{int(PDQ, 16) ^ (2**40 - 1):064x}"
    found = {}
    for distance in (None, 39, 40):
        options = [] if distance is None else ["--max-distance", str(distance)]
        arguments = ("match", "--signal", near, "--bank", "command-distance", "--json", *options)
        (shown,) = lines(featsvc(*arguments, server=server.address))
        found[distance] = shown["matches"]
    assert (found[None], found[39]) == ([], [])
    assert [m["distance"] for m in found[40]] == [40]  # type: ignore[attr-defined]


@pytest.mark.parametrize("algorithm", ["phash-16", "pdqf@1"])
def test_max_distance_is_in_the_unit_of_the_signal(server: Running, algorithm: str) -> None:
    """Also of algorithms that ListAlgorithms does not list by default."""
    bank = f"command-unit-{algorithm.partition('@')[0]}"
    assert featsvc("bank", "create", bank, server=server.address).returncode == 0
    if algorithm == "pdqf@1":
        held, query, near, far = "0000803f" * 256, "0000803f" * 255 + "00000000", 0.01, 0.001
    else:
        held, query, near, far = "0" * 64, f"{2**40 - 1:064x}", 40, 39
    adding = ("bank", "add", bank, f"{algorithm}:{held}")
    assert featsvc(*adding, server=server.address).returncode == 0
    for distance, count in ((near, 1), (far, 0)):
        matching = ("match", "--signal", f"{algorithm}:{query}", "--max-distance", str(distance))
        result = featsvc(*matching, "--bank", bank, "--json", server=server.address)
        (shown,) = lines(result)
        assert [m["threshold"] for m in shown["matches"]] == [distance] * count  # type: ignore[attr-defined]
        assert result.stderr == ""


def test_max_distance_reaches_what_the_banks_hold_of_a_file(
    server: Running, tmp_path: Path
) -> None:
    photo = str(photograph("chelsea.png"))
    create = ("bank", "create", "command-held")
    assert featsvc(*create, server=server.address).returncode == 0
    (hashed,) = lines(featsvc("hash", photo, "--json", "-a", "phash-16"))
    value = hashed["signals"][0]["signal"]  # type: ignore[index]
    adding = ("bank", "add", "command-held", f"phash-16:{value}", photo)
    added = featsvc(*adding, "--vector", "pdqf@1", server=server.address)
    assert added.returncode == 0, added.stderr
    matching = ("match", photo, "--max-distance", "7", "--bank", "command-held")
    result = featsvc(*matching, "--json", server=server.address)
    (shown,) = lines(result)
    thresholds = {m["algorithm"]: m["threshold"] for m in shown["matches"]}  # type: ignore[attr-defined]
    assert (thresholds["phash-16"], thresholds["pdq"]) == (7, 7)
    assert "--max-distance counts bits: pdqf@1 matched by the banks' thresholds" in result.stderr
    result = featsvc("match", "--text", "abc", "--max-distance", "7", server=server.address)
    assert (result.returncode, "a text has no bits" in result.stderr) == (2, True)


def test_matches_that_are_left_out_are_said(server: Running, tmp_path: Path) -> None:
    rows = [f"{int(PDQ, 16) ^ n:064x}" for n in range(5)]
    new_bank(server, "command-cut", *rows, tmp_path=tmp_path)
    matching = ("match", "--signal", f"pdq:{PDQ}", "--bank", "command-cut")
    for most, cut, way in (("4", True, "--max-results 1000"), ("5", False, None)):
        result = featsvc(*matching, "--max-results", most, "--json", server=server.address)
        (shown,) = lines(result)
        assert (shown["truncated"], shown["next"]) == (cut, way)
        text = featsvc(*matching, "--max-results", most, server=server.address).stdout
        assert ("more matches were left out; use --max-results 1000" in text) == cut


def test_safe_lists_are_ignored_on_request(server: Running, tmp_path: Path) -> None:
    """Other tests share the server: the safe list is deleted at the end."""
    value = f"{int(PDQ, 16) ^ (2**90 - 1):064x}"
    new_bank(server, "command-suppressed", value, tmp_path=tmp_path)
    create = ("bank", "create", "command-safe", "--safe")
    assert featsvc(*create, server=server.address).returncode == 0
    adding = ("bank", "add", "command-safe", f"pdq:{value}")
    assert featsvc(*adding, server=server.address).returncode == 0
    try:
        matching = ("match", "--signal", f"pdq:{value}", "--bank", "command-suppressed", "--json")
        for option, suppressed in (((), True), (("--ignore-safe-lists",), False)):
            (shown,) = lines(featsvc(*matching, *option, server=server.address))
            assert [m["suppressed"] for m in shown["matches"]] == [suppressed]  # type: ignore[attr-defined]
    finally:
        featsvc("bank", "delete", "command-safe", "--yes", server=server.address)


def test_a_withdrawal_may_name_the_source(server: Running) -> None:
    bank, adding = "command-source", ("bank", "add", "command-source", "--external-id", "x")
    assert featsvc("bank", "create", bank, server=server.address).returncode == 0
    for n, source in enumerate(("", "a", "b")):
        signal = f"pdq:{n:064x}"
        result = featsvc(*adding, signal, "--source", source, server=server.address)
        assert result.returncode == 0, result.stderr
    withdraw = ("bank", "withdraw", bank, "--external-id", "x", "--yes", "--json")
    for source, left in (("a", {"", "b"}), ("", {"b"})):
        (done,) = lines(featsvc(*withdraw, "--source", source, server=server.address))
        assert done["withdrawn_entries"] == 1
        held = lines(featsvc("bank", "entries", bank, "--json", server=server.address))
        assert {entry["source"] for entry in held} == left
    assert featsvc(*withdraw, "--source", "a", server=server.address).returncode == 1


def test_a_file_that_replaces_an_entry_is_named(server: Running, tmp_path: Path) -> None:
    bank, file = "command-replaced", tmp_path / "1.jpg"
    assert featsvc("bank", "create", bank, server=server.address).returncode == 0
    adding = ("bank", "add", bank, str(file))
    for _ in range(2):
        file.write_bytes(photograph("coffee.png").read_bytes())
        result = featsvc(*adding, server=server.address)
        assert (result.returncode, "replaced" in result.stderr) == (0, False)
    file.write_bytes(photograph("rocket.jpg").read_bytes())
    refused = featsvc(*adding, server=server.address)
    assert refused.returncode == 1
    assert "'1.jpg'" in refused.stderr
    assert "--allow-replaced" in refused.stderr
    result = featsvc(*adding, "--allow-replaced", server=server.address)
    assert result.returncode == 0
    assert "1.jpg: replaced the entry of this name" in result.stderr


def copies() -> dict[str, Image.Image]:
    """What a copier does to the photograph of the README, and two edits at once."""
    with Image.open(photograph("rocket.jpg")) as image:
        picture = image.convert("RGB")

    def cropped(percent: float) -> Image.Image:
        across = round(picture.width * percent / 200)
        down = round(picture.height * percent / 200)
        return picture.crop((across, down, picture.width - across, picture.height - down))

    return {
        "mirrored": ImageOps.mirror(picture),
        "cropped by 5 %": cropped(5),
        "cropped by 10 %": cropped(10),
        "mirrored, cropped by 5 %": ImageOps.mirror(cropped(5)),
        "mirrored, cropped by 6 %": ImageOps.mirror(cropped(6)),
        "mirrored, cropped by 10 %": ImageOps.mirror(cropped(10)),
        "framed": ImageOps.expand(picture, 24, fill="white"),
        "mirrored, cropped by 5 %, framed": ImageOps.expand(ImageOps.mirror(cropped(5)), 24),
        "captioned": next(e for e in EDITS if "caption" in e.name).apply(picture),
    }


def test_the_first_hour(tmp_path: Path) -> None:
    """From an empty folder: edited copies of a photograph match, other photographs do not."""
    photo = str(photograph("rocket.jpg"))
    with running(tmp_path / "data") as server:
        assert featsvc("bank", "create", "known", server=server.address).returncode == 0
        assert featsvc("bank", "add", "known", photo, server=server.address).returncode == 0
        for name, copy in copies().items():
            file = tmp_path / "copy.jpg"
            file.write_bytes(jpeg(copy, quality=85))
            for command in (("match",), ("screen", "--account", "a1")):
                told = featsvc(*command, str(file), "--json", server=server.address)
                (shown,) = lines(told)
                matches = shown["matches"]
                assert [m["external_id"] for m in matches] == ["rocket.jpg"], name  # type: ignore[attr-defined]
                assert all(m["threshold"] <= 31 for m in matches), name  # type: ignore[attr-defined]
        for other in ("coffee.png", "astronaut.png", "chelsea.png"):
            told = featsvc("match", str(photograph(other)), "--json", server=server.address)
            (shown,) = lines(told)
            assert (shown["outcome"], shown["matches"]) == ("OK", [])


def test_find_looks_within_the_default_threshold(server: Running, tmp_path: Path) -> None:
    """The server says it, for a size of an algorithm too."""
    new_bank(server, "command-find", PDQ, tmp_path=tmp_path)
    size = ("bank", "add", "command-find", "phash-16:" + "0" * 64)
    assert featsvc(*size, server=server.address).returncode == 0
    for algorithm, value, threshold in (("pdq", int(PDQ, 16), 31), ("phash-16", 0, 32)):
        for bits in (threshold, threshold + 1):
            near = f"{algorithm}:{value ^ (2**bits - 1):064x}"
            find = ("bank", "find", "--signal", near, "--bank", "command-find", "--json")
            found = lines(featsvc(*find, server=server.address))
            assert [line["distance"] for line in found] == ([bits] if bits == threshold else [])


def test_a_bad_row_imports_nothing_unless_skipped(server: Running, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    good = "\n".join(f"pdq,{i:064x},id-{i}" for i in range(2, 6))
    file.write_text(f"algorithm,signal,external_id\n{good}\npdq,abc,short\npdq,{'zz' * 32},x\n")
    assert featsvc("bank", "create", "command-bad", server=server.address).returncode == 0
    importing = ("bank", "import", str(file), "--bank", "command-bad")
    result = featsvc(*importing, server=server.address)
    assert result.returncode == 1
    assert f"{file}:6" in result.stderr
    assert f"{file}:7" in result.stderr
    assert "nothing was imported" in result.stderr
    (shown,) = lines(featsvc("bank", "show", "command-bad", "--json", server=server.address))
    assert shown["entries"] == 0

    result = featsvc(*importing, "--skip-bad", "--json", server=server.address)
    (summary,) = lines(result)
    assert (summary["new_entries"], summary["bad_rows"], summary["imported"]) == (4, 2, True)
    again = lines(featsvc(*importing, "--skip-bad", "--json", server=server.address))[0]
    assert (again["new_entries"], again["unchanged_entries"], again["revision"]) == (0, 4, 0)


@needs_shared
def test_the_reference_lists(server: Running) -> None:
    assert featsvc("bank", "create", "command-lists", server=server.address).returncode == 0
    broken = SHARED / "hash-lists" / "broken.csv"
    result = featsvc(
        "bank", "import", str(broken), "--bank", "command-lists", server=server.address
    )
    assert result.returncode == 1
    for line in (3, 4, 5):
        assert f"broken.csv:{line}" in result.stderr
    text = SHARED / "hash-lists" / "pdq_hex.txt"
    result = featsvc(
        *("bank", "import", str(text), "--bank", "command-lists", "--json"), server=server.address
    )
    assert lines(result)[0]["new_entries"] == 4


def test_entries_are_listed(server: Running, tmp_path: Path) -> None:
    new_bank(server, "command-entries", *(f"{i:064x}" for i in range(1, 8)), tmp_path=tmp_path)
    listing = ("bank", "entries", "command-entries", "--json")
    assert len(lines(featsvc(*listing, server=server.address))) == 7
    *shown, last = lines(featsvc(*listing, "--limit", "3", server=server.address))
    assert len(shown) == 3
    assert last == {"truncated": True, "shown": 3, "total": 7, "next": "--limit 0"}
    text = featsvc(*listing[:-1], "--limit", "3", server=server.address).stdout
    assert text.splitlines()[-2:] == [
        "3 of 7 entries",
        "4 more; use --limit N, or --limit 0 for all",
    ]
    names = [b["bank"] for b in lines(featsvc("bank", "list", "--json", server=server.address))]
    assert "command-entries" in names


def test_events_in_features_out(server: Running, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    now_ms = int(time.time() * 1000)
    event = {
        "type": "upload",
        "entities": {"account": "command-1", "ip": "192.0.2.1"},
        "attributes": {"bytes": 100},
    }
    events = [event | {"event_id": f"c{i}", "time": now_ms - 1000 * i} for i in range(3)]
    file.write_text("".join(json.dumps(e) + "\n" for e in events))
    ingest = ("features", "ingest", str(file), "--json")
    assert lines(featsvc(*ingest, server=server.address))[0]["applied"] == 3
    assert lines(featsvc(*ingest, server=server.address))[0]["duplicate"] == 3
    get = ("features", "get", "--entity", "account=command-1", "--entity", "account=nobody")
    result = featsvc(
        *get, "--features", "uploads_1h,upload_bytes_1h", "--json", server=server.address
    )
    known, unknown = lines(result)
    assert known["entity"] == {"account": "command-1"}
    assert known["features"] == {
        "uploads_1h": {"value": 3, "status": "PRESENT"},
        "upload_bytes_1h": {"value": 300, "status": "PRESENT"},
    }
    assert unknown["features"]["uploads_1h"]["status"] == "NOT_FOUND"  # type: ignore[index]


def test_history_is_sent_with_backfill(server: Running, tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    now_ms = int(time.time() * 1000)
    event = {"type": "report", "entities": {"account": "command-history"}}
    days = [0, 3, 2, 4]
    events = [event | {"event_id": f"h{day}", "time": now_ms - 86_400_000 * day} for day in days]
    file.write_text("".join(json.dumps(e) + "\r\n" for e in events))
    ingest = ("features", "ingest", str(file))
    result = featsvc(*ingest, server=server.address)
    assert (result.returncode, result.stdout) == (1, "1 applied, 3 beyond_horizon\n")
    assert f"{file}:2: 3 events from here on are beyond the horizon" in result.stderr
    assert result.stderr.count("horizon") == 1
    result = featsvc(*ingest, "--backfill", server=server.address)
    assert (result.returncode, result.stdout) == (0, "3 applied, 1 duplicate\n")
    result = featsvc(*ingest, "--backfill", "--json", server=server.address)
    assert (result.returncode, lines(result)) == (0, [{"duplicate": 4}])
    get = ("features", "get", "--entity", "account=command-history", "--json")
    (read,) = lines(featsvc(*get, "--features", "reports_30d", server=server.address))
    assert read["features"] == {"reports_30d": {"value": 4, "status": "PRESENT"}}


def test_features_are_listed(server: Running) -> None:
    listed = lines(featsvc("features", "list", "--json", server=server.address))
    defined = load_definitions(shipped_definitions())
    assert [row["name"] for row in listed] == [*defined.features, *defined.derived]
    by_name = {row["name"]: row for row in listed}
    hour = by_name["uploads_1h"]
    assert (hour["entity"], hour["aggregation"], hour["window"]) == ("account", "count", "3600s")
    assert (hour["event_type"], hour["sets"]) == ("upload", ["upload_gate"])
    text = featsvc("features", "list", server=server.address).stdout
    for name, feature in defined.features.items():
        (line,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
        assert feature.description in line
        assert feature.aggregation in line


def test_a_bad_event_line_is_named(server: Running, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"event_id": "x", "type": "upload"}\n')
    result = featsvc("features", "ingest", str(file), server=server.address)
    assert result.returncode == 1
    assert "events.jsonl:1" in result.stderr
    assert "time" in result.stderr
    file.write_bytes(b"\xff\n")
    result = featsvc("features", "ingest", str(file), server=server.address)
    assert result.returncode == 1
    assert "events.jsonl:1: not an event" in result.stderr


def test_screen_prints_everything(server: Running, tmp_path: Path) -> None:
    (hashed,) = lines(featsvc("hash", str(photograph("astronaut.png")), "--json"))
    signals = hashed["signals"]
    assert isinstance(signals, list)
    new_bank(server, "command-screen", signals[0]["signal"], tmp_path=tmp_path)
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(edited("astronaut.png"))
    screen = ("screen", str(copy), "--account", "command-2", "--bank", "command-screen")
    (shown,) = lines(featsvc(*screen, "--json", server=server.address))
    assert shown["matches"][0]["bank"] == "command-screen"  # type: ignore[index]
    assert shown["features_outcome"] == "OK"
    assert shown["timings"]["total_us"] > 0  # type: ignore[index]
    text = featsvc(*screen, server=server.address)
    assert "command-screen" in text.stdout
    assert "NOT_FOUND" in text.stdout


def test_match_of_a_file_that_is_not_a_picture_does_not_say_no_match(server: Running) -> None:
    result = featsvc("match", "LICENSE", server=server.address)
    assert result.returncode == 0
    assert "UNSUPPORTED_MEDIA" in result.stdout
    assert "not everything could be searched" in result.stdout


def test_the_demo_finds_every_copy_and_nothing_else(tmp_path: Path) -> None:
    saved = tmp_path / "new" / "pictures"
    result = featsvc("demo", "--save", str(saved))
    assert result.returncode == 0, result.stderr
    assert "every copy was found, nothing unrelated matched" in result.stdout
    uploaded = {upload.file: upload.content for upload in all_uploads()}
    assert {p.name for p in saved.iterdir()} == {*KNOWN, *uploaded}
    assert all((saved / file).read_bytes() == content for file, content in uploaded.items())


def test_the_demo_says_that_it_cannot_save(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        result = featsvc("demo", "--save", str(folder))
        assert result.returncode in (1, 2)
        assert str(folder) in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("match",), "--signal"),
        (("match", "--signal", "pdq:12"), "64 hex digits"),
        (("match", "--signal", "pqd:12"), "unknown algorithm"),
        (("match", "--signal", "0f"), "'0f' is not ALGORITHM:HEX"),
        (("bank", "find", "--signal", "pqd:12"), "unknown algorithm"),
        (("match", "--signal", "pdq:" + "0" * 64, "--bank", "none"), "none"),
        (("match", "no-such-file.jpg"), "no-such-file.jpg"),
        (("bank", "create", "Not A Bank"), "bank_id"),
        (("bank", "show", "none"), "none"),
        (("features", "get", "--entity", "account"), "KIND=ID"),
        (("features", "get", "--entity", "account=a", "--features", "nope"), "nope"),
        (("hash", "LICENSE", "-a", "pqd"), "unknown algorithm"),
    ],
)
def test_wrong_use_is_one_line(server: Running, arguments: tuple[str, ...], told: str) -> None:
    result = featsvc(*arguments, server=server.address)
    assert result.returncode in (1, 2)
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_a_server_that_is_away_is_said() -> None:
    result = featsvc("bank", "list", server="127.0.0.1:1")
    assert result.returncode == 1
    assert "cannot reach 127.0.0.1:1" in result.stderr


def test_doctor(server: Running, tmp_path: Path) -> None:
    assert featsvc("doctor", "--server", server.address).stdout.startswith("ok")
    assert featsvc("doctor", "--server", "127.0.0.1:1").returncode == 1
    result = featsvc("doctor")
    assert result.returncode == 0, result.stdout
    assert all(line.startswith("ok") for line in result.stdout.splitlines())
    assert "the embedded Valkey runs only with its service" in result.stdout
    environ = {"FEATSVC_DATA_DIR": str(server.data_dir)}
    # What it says of the running service's store; other checks may find the folder in use.
    assert "none of the earlier layout; " in featsvc("doctor", environ=environ).stdout
