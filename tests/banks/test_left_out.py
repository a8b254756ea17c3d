"""Lists of exchanges with anything in them: what is known is kept, all else is counted by kind.

Each law generates documents and compares the reader with a plain walk over what `json.loads`,
`ElementTree` or `csv` makes of them.
"""

import csv
import io
import json
import os
import random
import re
import tracemalloc
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.banks.lists.formats import FORMATS, json_records
from featsvc.banks.lists.formats.rows import OTHER_KINDS, ImportRow, LeftOut, PageEnd
from featsvc.banks.lists.list_file import MAX_KINDS, ListFile
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput


class Kept(NamedTuple):
    """What a test expects of a row; `signals` are those that are not made from a text."""

    signals: tuple[tuple[str, str], ...]
    external_id: str = ""
    labels: tuple[str, ...] = ()
    opinion: str = ""
    withdrawn: bool = False
    source: str = ""


class Read(NamedTuple):
    """What a reader made of a document: rows, the fields of bad rows, what is left out, pages."""

    rows: list[Kept]
    bad: list[str]
    left_out: Counter[str]
    more: list[bool]


def pieces_of(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def read(format_name: str, data: bytes, size: int) -> Read:
    result = Read([], [], Counter(), [])
    for item in FORMATS[format_name].read(pieces_of(data, size)):
        if isinstance(item, LeftOut):
            result.left_out[item.kind] += item.number
        elif isinstance(item, PageEnd):
            result.more.append(item.has_more)
        elif isinstance(item, BadRow):
            result.bad.append(item.column)
        else:
            result.rows.append(kept_of(item))
    return result


def kept_of(row: ImportRow) -> Kept:
    texts = {"text", "text_sha256", "tlsh"}
    signals = tuple((s.algorithm, s.text) for s in row.signals if s.algorithm not in texts)
    opinion = row.opinion.value
    return Kept(signals, row.external_id, row.labels, opinion, row.withdrawn, row.source)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give chunks to the scanner as they are, however small."""
    monkeypatch.setattr(json_records, "PIECE_BYTES", 1)


EXAMPLES = int(os.environ.get("TEST_LISTS", "150"))
"""Documents of each law."""
laws = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])


# The oracle's own tables

DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "pdq": 64}
STORED = {"tmk", "pdna", "ssvh", "netclean", "videntifier"}
NAMES = {
    "imagepdq": "pdq",
    "videomd5": "md5",
    "video_md5": "md5",
    "videotmk": "tmk",
    "tmk-pdqf": "tmk",
    "ssvh-pdna": "ssvh",
    "photodna": "pdna",
    "text_string": "raw_text",
    "uri": "url",
    "raw_uri": "url",
}


class Unkept(Exception):
    """A signal that is not kept: of this kind."""


def parsed(kind: str, value: str) -> tuple[tuple[str, str], ...]:
    """Return the signal; raises Unkept, and ValueError for a bad value."""
    kind = NAMES.get(kind.strip().lower(), kind.strip().lower())
    if kind in DIGITS:
        if not re.fullmatch(f"[0-9a-f]{{{DIGITS[kind]}}}", value.strip().lower()):
            raise ValueError(value)
        return ((kind, value.strip().lower()),)
    if kind in STORED:
        if value.startswith("/") or "://" in value:
            raise Unkept("fingerprint by reference")
        return ((kind, value),)
    if kind == "raw_text":
        if not any(c.isalnum() for c in value):
            raise ValueError(value)
        return ()
    raise Unkept(kind)


def clean(labels: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label.strip() for label in labels if label.strip()))


def one_opinion(opinions: set[str]) -> str:
    opinions = opinions - {""}
    return "disputed" if len(opinions) > 1 else next(iter(opinions), "")


# Documents


class Maker:
    """Makes random documents."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def one(self, *choices: Any) -> Any:
        return self.rng.choice(choices)

    def some(self, make: Callable[[], Any], most: int = 3) -> list[Any]:
        return [make() for _ in range(self.rng.randrange(most + 1))]

    def anything(self, depth: int = 0) -> Any:
        if depth < 3 and self.rng.random() < 0.4:
            inner = self.some(lambda: self.anything(depth + 1))
            return self.one(inner, {self.name(): value for value in inner})
        return self.one(None, True, -7, 1.5, "", '"\\', "]}", "[{", "é\n", "a,b: c")

    def name(self) -> str:
        """A name that no feed knows."""
        return "x" + "".join(self.rng.choices('abY_-"\\{}[] é', k=self.rng.randrange(6)))

    def extras(self) -> dict[str, Any]:
        return {self.name(): self.anything() for _ in range(self.one(0, 0, 1, 2))}

    def shuffled(self, record: dict[str, Any]) -> dict[str, Any]:
        fields = [*self.extras().items(), *record.items()]
        self.rng.shuffle(fields)
        return dict(fields)

    def tags(self) -> list[str]:
        return self.some(lambda: self.one("a", " b ", "nude", "", "t é"))

    def signal(self, *kinds: str) -> tuple[str, str]:
        """A kind and a value of it, mostly a good one."""
        name = self.one(*kinds)
        kind = name.lower().removeprefix("hash_")
        kind = NAMES.get(kind, kind)
        if kind in DIGITS:
            good = "".join(self.rng.choices("0123456789abcdefABCDEF", k=DIGITS[kind]))
            return name, self.one(good, good, good, f" {good} ", good[1:], f"{good[1:]}g")
        if kind in STORED:
            return name, self.one("QUJD", "/v2/entries/1", "https://example.com/tmk?x=1")
        if kind in ("raw_text", "text"):
            return name, self.one("a text of a few words that people send", "One text", "!?")
        return name, self.one("!?", "https://example.com", "d41d8cd98f00b204e9800998ecf8427e")

    def stopncii(self) -> dict[str, Any]:
        kind, value = self.signal(
            "ImagePDQ", "VideoMD5", "videotmk", "Text", "URL", "Unknown", "AudioX"
        )

        def feedback() -> dict[str, Any]:
            return self.shuffled(
                {
                    "feedbackValue": self.one("Blocked", "NotBlocked", "None", "Undefined", None),
                    "tags": self.one(self.tags(), None),
                }
            )

        status = self.one("Received", "active", "Unknown", "Withdrawn", "Deleted", "Lost", 3, None)
        return self.shuffled(
            {
                "signalType": kind,
                "hashValue": value,
                "hashStatus": status,
                "caseNumbers": self.one({}, [], {"1": "Active"}),
                "CSPFeedbacks": self.one(self.some(feedback), None),
            }
        )

    def tat(self) -> dict[str, Any]:
        kind, value = self.signal("MD5", "SHA256", "PDQ", "SHA512", "TMK")
        return self.shuffled(
            {
                "id": self.one(2819, 2**70, "a", "b", None, [1], True),
                "algorithm": kind,
                "hash_digest": value,
                "deleted": self.one(False, False, True, None, "yes"),
                "ideology": self.one("far_right", None, 7),
                "file_type": "mp4",
            }
        )

    def threat_update(self) -> dict[str, Any]:
        kinds = "HASH_PDQ HASH_VIDEO_MD5 HASH_MD5 HASH_TMK HASH_URL_MD5 TEXT_STRING URI DOMAIN"
        kind, value = self.signal(*kinds.split())

        def tags() -> Any:
            listed = {"data": [{"text": tag} for tag in self.tags()]}
            return self.one(self.tags(), listed, [1, {"x": 1}])

        statuses = ("MALICIOUS", "NON_MALICIOUS", "SUSPICIOUS", "UNKNOWN", "OTHER", None)

        def descriptor() -> dict[str, Any]:
            return self.shuffled({"status": self.one(*statuses), "tags": tags()})

        return self.shuffled(
            {
                "id": str(self.rng.randrange(9)),
                "type": kind,
                "indicator": value,
                "should_delete": self.one(True, False, False),
                "descriptors": {"data": self.some(descriptor)},
            }
        )


# Plain walks


def walk_stopncii(record: Mapping[str, Any], left_out: Counter[str]) -> Kept:
    statuses = {"unknown", "received", "active", "withdrawn", "deleted"}
    opinions = {"blocked": "positive", "notblocked": "negative"}
    ignored = {"unknown", "none", "qualityunknown", "pendingreview", "withdrawn", "deleted"}
    kind = "raw_text" if record["signalType"] == "Text" else record["signalType"]
    found = parsed(kind, record["hashValue"])
    status = record["hashStatus"]
    if isinstance(status, str) and status.lower() not in statuses:
        left_out[f'status "{status}"'] += 1
    elif not isinstance(status, str | None):
        left_out['field "hashStatus"'] += 1
    labels: list[str] = []
    given = set()
    for feedback in record["CSPFeedbacks"] or []:
        labels += feedback["tags"] or []
        value = feedback["feedbackValue"]
        if value is not None and value.lower() not in {*opinions, *ignored}:
            left_out[f'opinion "{value}"'] += 1
        given.add(opinions.get((value or "").lower(), ""))
    withdrawn = isinstance(status, str) and status.lower() in {"withdrawn", "deleted"}
    return Kept(found, "", clean(labels), one_opinion(given), withdrawn)


def walk_tat(record: Mapping[str, Any], left_out: Counter[str]) -> Kept:
    if isinstance(record["id"], list | bool):
        raise ValueError("id")
    if record["deleted"] not in (True, False, None):
        raise ValueError("deleted")
    found = parsed(record["algorithm"], record["hash_digest"])
    ideology = record["ideology"]
    if ideology is not None and not isinstance(ideology, str):
        left_out['field "ideology"'] += 1
        ideology = None
    external_id = "" if record["id"] is None else str(record["id"])
    return Kept(found, external_id, clean([ideology or ""]), "", bool(record["deleted"]))


def walk_threat_update(record: Mapping[str, Any], left_out: Counter[str]) -> Kept:
    opinions = {"MALICIOUS": "positive", "NON_MALICIOUS": "negative"}
    found = parsed(record["type"].removeprefix("HASH_"), record["indicator"])
    labels: list[str] = []
    given = set()
    for descriptor in record["descriptors"]["data"]:
        listed = descriptor["tags"]
        for tag in listed["data"] if isinstance(listed, dict) else listed:
            text = tag.get("text") if isinstance(tag, dict) else tag
            if isinstance(text, str):
                labels.append(text)
            else:
                left_out["label"] += 1
        status = descriptor["status"]
        if status is not None and status not in {*opinions, "SUSPICIOUS", "UNKNOWN"}:
            left_out[f'opinion "{status}"'] += 1
        given.add(opinions.get(status, ""))
    return Kept(found, record["id"], clean(labels), one_opinion(given), record["should_delete"])


Walk = Callable[[Mapping[str, Any], Counter[str]], Kept]


class Feed(NamedTuple):
    record: Callable[[Maker], dict[str, Any]]
    walk: Walk
    key: str
    page: Callable[[bool], dict[str, Any]]
    """The fields of a page, by whether it says that it has more."""


FEEDS = {
    "stopncii": Feed(
        Maker.stopncii, walk_stopncii, "hashRecords", lambda more: {"hasMoreRecords": more}
    ),
    "tat": Feed(
        Maker.tat, walk_tat, "results", lambda more: {"next": "https://x" if more else None}
    ),
    "threat-updates": Feed(
        Maker.threat_update,
        walk_threat_update,
        "data",
        lambda more: {"paging": {"cursors": {"after": "x"}, **({"next": "x"} if more else {})}},
    ),
}


def tally(walks: Iterable[Callable[[Counter[str]], Kept]]) -> Read:
    """What a reader must make of records, by the walk of each."""
    result = Read([], [], Counter(), [])
    for walk in walks:
        left_out: Counter[str] = Counter()
        try:
            result.rows.append(walk(left_out))
        except Unkept as exc:
            left_out = Counter(exc.args)
        except ValueError as exc:
            result.bad.append(str(exc))
            continue
        result.left_out.update(left_out)
    return result


def walked(feed: Feed, record: dict[str, Any]) -> Callable[[Counter[str]], Kept]:
    def walk(left_out: Counter[str]) -> Kept:
        left_out.update(f'field "{name}"' for name in record if name.startswith("x"))
        return feed.walk(record, left_out)

    return walk


def json_document(maker: Maker, feed: Feed) -> tuple[bytes, Read]:
    """A file of pages or records in any layout, and what a reader must make of it."""
    pages = [maker.some(lambda: feed.record(maker), 4) for _ in range(maker.one(1, 1, 2, 3))]
    more = [maker.one(True, False) for _ in pages]
    result = tally(walked(feed, record) for page in pages for record in page)
    documents: list[Any] = [
        maker.shuffled({**feed.page(has_more), feed.key: records})
        for records, has_more in zip(pages, more, strict=True)
    ]
    if any(pages) and maker.one(True, False):
        documents = [record for page in pages for record in page]
        more = []
    if maker.one(True, False):
        documents = [documents]
    between = maker.one("\n", "\r\n\n", "")
    indent, ascii_only = maker.one(None, 1), maker.one(True, False)
    texts = (json.dumps(d, indent=indent, ensure_ascii=ascii_only) for d in documents)
    return between.join(texts).encode(), result._replace(more=more)


seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("name", FEEDS)
@laws
@given(seeds)
def test_a_json_feed_keeps_what_it_knows_and_counts_the_rest(name: str, seed: int) -> None:
    maker = Maker(seed)
    content, wanted = json_document(maker, FEEDS[name])
    got = read(name, content, maker.one(1, 2, 7, 50, 1000))
    assert got._replace(bad=[]) == wanted._replace(bad=[])
    assert len(got.bad) == len(wanted.bad)


# NCMEC

NAMESPACE = "https://hashsharing.ncmec.org/hashsharing/v2"
RECORDS = ("image", "video", "deletedImage", "deletedVideo")
FIELDS = {"member", "id", "timestamp", "classification", "fingerprints", "feedback"}


def element(tag: str, text: str = "", **attributes: str) -> ElementTree.Element:
    made = ElementTree.Element(tag, attributes)
    made.text = text
    return made


def xml_fingerprint(maker: Maker) -> ElementTree.Element:
    if maker.rng.random() < 0.3:
        tag = maker.one("tmk-pdqf", "videntifier", "ssvh-pdna", "pdq", "novel")
        return element(tag, rel="self", href="/v2/entries/1/fingerprints/X")
    return element(*maker.signal("md5", "sha1", "pdq", "netclean", "novel-hash", "videntifier2"))


def xml_record(maker: Maker) -> ElementTree.Element:
    made = element(maker.one(*RECORDS, "audio"))
    fields = [
        element("member", maker.one("Example Member", " É "), id=maker.one("42", "43")),
        element("timestamp", "2026-10-24T15:10:00Z"),
    ]
    if maker.rng.random() < 0.95:
        fields.append(element("id", maker.one("image1", "v 2")))
    fields += maker.some(lambda: element("classification", maker.one("A1", "")), 1)
    fields += maker.some(lambda: element(maker.one("hashRegion", "categorizations")), 2)
    if maker.one(True, True, False):
        fields.append(element("fingerprints"))
        fields[-1].extend(maker.some(lambda: xml_fingerprint(maker), 4))
    if maker.one(True, False):
        fields.append(element("feedback"))
        given = ElementTree.SubElement(
            fields[-1], maker.one("affirmativeFeedback", "negativeFeedback")
        )
        ElementTree.SubElement(given, "member", {"id": "99"}).text = "Another"
    maker.rng.shuffle(fields)
    made.extend(fields)
    return made


def walk_xml(record: ElementTree.Element, left_out: Counter[str]) -> Kept:
    if not (number := record.findtext("id")):
        raise ValueError("id")
    deleted = record.tag.startswith("deleted")
    found: dict[tuple[str, str], None] = {}
    prints = list(record.find("fingerprints") or [])
    for each in prints:
        text = (each.text or "").strip()
        try:
            if "href" in each.attrib and not text:
                raise Unkept("fingerprint by reference")
            found |= dict.fromkeys(parsed(each.tag, text))
        except Unkept as exc:
            left_out.update(exc.args)
    if not prints and not deleted:
        raise Unkept("record without fingerprints")
    if not found and not deleted:
        raise Unkept(*left_out.elements())
    left_out.update(f'field "{child.tag}"' for child in record if child.tag not in FIELDS)
    member = record.find("member")
    assert member is not None
    return Kept(
        tuple(found),
        f"{member.get('id')}-{number}",
        clean([record.findtext("classification") or ""]),
        "disputed" if record.find(".//negativeFeedback") is not None else "",
        deleted,
        (member.text or "").strip(),
    )


def xml_page(maker: Maker, has_more: bool) -> ElementTree.Element:
    made = element("queryResult")
    for tag in ("images", "videos"):
        ElementTree.SubElement(made, tag).extend(maker.some(lambda: xml_record(maker)))
    if has_more:
        ElementTree.SubElement(ElementTree.SubElement(made, "paging"), "next").text = "/v2?a&b"
    elif maker.one(True, False):
        ElementTree.SubElement(made, "paging")
    return made


def xml_text(maker: Maker, page: ElementTree.Element) -> str:
    """Write a page with the namespace as default or with a prefix, maybe after a declaration."""
    short = maker.one(True, False)
    text = ElementTree.tostring(page, "unicode", short_empty_elements=short)
    if maker.one(True, False):
        text = re.sub(r"<(/?)(?=\w)", r"<\1h:", text).replace(
            "<h:queryResult", f'<h:queryResult xmlns:h="{NAMESPACE}"', 1
        )
    else:
        text = text.replace("<queryResult", f'<queryResult xmlns="{NAMESPACE}"', 1)
    declaration = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
    start: str = maker.one(declaration, "<!-- -->", "")
    return start + text


def xml_document(maker: Maker) -> tuple[bytes, Read]:
    more = [maker.one(True, False) for _ in range(maker.one(1, 1, 2, 3))]
    pages = [xml_page(maker, has_more) for has_more in more]
    records = [record for page in pages for kind in page for record in kind]
    walks = [partial(walk_xml, record) for record in records if record.tag in RECORDS]
    result = tally(walks)
    result.left_out.update(r.tag for r in records if r.tag == "audio")
    between = maker.one("", "\n", " \r\n")
    return between.join(xml_text(maker, page) for page in pages).encode(), result._replace(
        more=more
    )


@laws
@given(seeds)
def test_ncmec_keeps_what_it_knows_and_counts_the_rest(seed: int) -> None:
    maker = Maker(seed)
    content, wanted = xml_document(maker)
    got = read("ncmec-xml", content, maker.one(1, 2, 7, 50, 1000))
    assert got._replace(bad=[]) == wanted._replace(bad=[])
    assert len(got.bad) == len(wanted.bad)


# tx


def tx_signal(maker: Maker) -> tuple[str, str]:
    return maker.signal("pdq", "video_md5", "raw_text", "url", "url_md5", "trend_query", "tmk")


def walk_pair(pair: tuple[str, str], _: Counter[str]) -> Kept:
    return Kept(parsed(*pair))


def walk_tx(row: Mapping[str, str], left_out: Counter[str]) -> Kept:
    opinions = {"POSITIVE_CLASS": "positive", "NEGATIVE_CLASS": "negative"}
    found = parsed(row["signal_type"], row["signal_str"])
    if (category := row["category"]) not in {*opinions, "INVESTIGATION_SEED", ""}:
        left_out[f'opinion "{category}"'] += 1
    if row.get("privacy_group"):
        left_out['column "privacy_group"'] += 1
    labels = clean(row["tags"].split())
    return Kept(found, "", labels, opinions.get(category, ""), False, row["collab"].strip())


@laws
@given(seeds)
def test_tx_dataset_keeps_what_it_knows_and_counts_the_rest(seed: int) -> None:
    maker = Maker(seed)
    columns = ["collab", "signal_type", "signal_str", "category", "tags"]
    columns += maker.one([], ["privacy_group"])
    maker.rng.shuffle(columns)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator=maker.one("\n", "\r\n"))
    writer.writeheader()
    for kind, value in maker.some(lambda: tx_signal(maker), 6):
        categories = ("POSITIVE_CLASS", "NEGATIVE_CLASS", "INVESTIGATION_SEED", "NOVEL", "")
        row = {"signal_type": kind, "signal_str": value, "category": maker.one(*categories)}
        row |= {"collab": maker.one("a, b", 'say "x"', ""), "tags": " ".join(maker.tags())}
        writer.writerow(row | ({"privacy_group": maker.one("", "7")} if len(columns) > 5 else {}))
    content = text.getvalue()
    rows = csv.DictReader(io.StringIO(content))
    wanted = tally(partial(walk_tx, row) for row in rows)
    got = read("tx-dataset", content.encode(), maker.one(1, 7, 1000))
    assert got._replace(bad=[]) == wanted._replace(bad=[])
    assert len(got.bad) == len(wanted.bad)


@laws
@given(seeds)
def test_a_tx_file_keeps_what_it_knows_and_counts_the_rest(seed: int) -> None:
    maker = Maker(seed)
    pairs = maker.some(lambda: tx_signal(maker), 6)
    content = "".join(f"{kind} {value}\n" for kind, value in pairs).encode()
    wanted = tally(partial(walk_pair, pair) for pair in pairs)
    got = read("tx", content, maker.one(1, 7, 1000))
    assert got._replace(bad=[]) == wanted._replace(bad=[])
    assert len(got.bad) == len(wanted.bad)


# Whole files


@given(st.lists(st.tuples(st.text(max_size=100), st.integers(1, 5)), max_size=120))
def test_kinds_are_short_printable_and_few(kinds: list[tuple[str, int]]) -> None:
    pairs = [{"signalType": f"q{kind}", "hashValue": "x"} for kind, n in kinds for _ in range(n)]
    file = ListFile([json.dumps({"hashRecords": pairs}).encode()], format="stopncii")
    assert list(file) == []
    assert file.rows_read == 0
    assert sum(file.left_out.values()) == len(pairs)
    named = file.left_out.keys() - {OTHER_KINDS}
    assert len(named) <= MAX_KINDS
    assert all(kind.isprintable() and 0 < len(kind) <= 64 for kind in named)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Change, drop, repeat or insert bytes at a few places."""
    for _ in range(rng.randrange(1, 4)):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 30))
        cut = data[at : at + length]
        new = rng.choice(
            (b"", cut + cut, rng.randbytes(length), rng.choice(b'{}[]",:<>/').to_bytes())
        )
        data = data[:at] + new + data[at + length :]
    return data


@pytest.mark.parametrize("name", [*FEEDS, "ncmec-xml"])
@laws
@given(seeds)
def test_a_damaged_file_gives_rows_or_an_error(name: str, seed: int) -> None:
    maker = Maker(seed)
    whole, _ = xml_document(maker) if name == "ncmec-xml" else json_document(maker, FEEDS[name])
    data = mutated(maker.rng, whole)

    def outcome(size: int) -> Read | str:
        try:
            return read(name, data, size)
        except InvalidInput as exc:
            # Expat counts a CR and LF that it gets in two pieces as two lines.
            return re.sub(r"line \d+", "", str(exc))

    small, large = outcome(1), outcome(1000)
    assert small == large


def flood(start: bytes, middle: bytes, taken: list[int], pieces: int = 400) -> Iterator[bytes]:
    """A document that goes on and on, in pieces of about 64 KiB."""
    yield start
    piece = middle * (2**16 // len(middle))
    for _ in range(pieces):
        taken[0] += len(piece)
        yield piece


@pytest.mark.parametrize(
    ("name", "start", "middle"),
    [
        ("stopncii", b'{"hashRecords": [{"a": "', b"x"),
        ("stopncii", b'{"hashRecords": [{"a": [', b'{"abcdefghijklmnop": 1},'),
        ("stopncii", b'{"hashRecords": [', b" "),
        ("stopncii", b'{"hashRecords": [', b"1,"),
        ("stopncii", b'{"hashRecords": [], "a": [', b'{"abcdefghijklmnop": 1},'),
        ("stopncii", b"{", b'"a": 1, '),
        ("stopncii", b"{", b'"hashRecords": [],'),
        ("tat", b"[", b" "),
        ("tat", b"", b" "),
        ("threat-updates", b'{"data": [], ', b'"b": "c", '),
        ("ncmec-xml", b"<queryResult><images><", b"a"),
        ("ncmec-xml", b"<queryResult><images><image><id>", b"a"),
        ("ncmec-xml", b"<queryResult><paging><next>", b"a"),
    ],
)
def test_what_does_not_end_is_refused_early(name: str, start: bytes, middle: bytes) -> None:
    taken = [0]
    with pytest.raises(InvalidInput, match="longer than"):
        deque(FORMATS[name].read(flood(start, middle, taken)), maxlen=0)
    assert taken[0] <= 2 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "start", "middle"),
    [
        ("stopncii", b"", b'{"hashRecords": [], "nextPageToken": "a token", "count": 0} '),
        (
            "stopncii",
            b'{"hashRecords": [',
            b'{"signalType": "q", "hashValue": "a value of a kind"},',
        ),
        ("ncmec-xml", b"", b'<queryResult xmlns="https://hashsharing.ncmec.org/v2"/>  '),
        ("ncmec-xml", b"<queryResult><images><image><fingerprints>", b"<q>%059d</q>" % 0),
        ("ncmec-xml", b"<queryResult><images><image><fingerprints>", b"<md5>%059d</md5>" % 0),
        ("ncmec-xml", b"<queryResult><images>", b"<audio><id>%059d</id></audio>" % 0),
        ("tx", b"", b"q %059d\n" % 0),
    ],
)
def test_much_that_is_not_kept_takes_no_memory(name: str, start: bytes, middle: bytes) -> None:
    def peak(pieces: int) -> int:
        tracemalloc.start()
        try:
            deque(ListFile(flood(start, middle, [0], pieces), format=name), maxlen=0)
        except InvalidInput:
            pass  # the document does not end
        finally:
            size = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return size

    peak(3)
    assert peak(9) < peak(3) + 2**17
