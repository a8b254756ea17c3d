"""JPEG: a file is decoded whole, as libjpeg does, or it is an error."""

import gc
import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from featsvc.errors import FeatsvcError, MediaCorrupt, MediaTooLarge, UnsupportedMedia
from featsvc.media import DecodeOptions, Fidelity, Limits, decode, probe
from featsvc.media.formats.jpeg.segments import read_layout, read_scans, repair
from tests.hashing.photographs import noise, photograph
from tests.media import write_jpeg
from tests.media.write_jpeg import by_pillow, jpeg, scan_data, segment, with_frame
from tests.photographs import ROOT

EXACT = DecodeOptions()
LIMITS = Limits()
ONE_IN = 1 if os.environ.get("TEST_EVERY_BYTE") else 29
"""Of the places in a file that can be damaged, one in so many is tried."""

PIXELS = photograph("astronaut.png")[100:143, 150:207]
"""43 rows of 57: no multiple of a block."""
RGB = Image.fromarray(PIXELS)
EOI = b"\xff\xd9"


def whole_files() -> dict[str, bytes]:
    """One small whole file of every kind: process, colours, sampling, restarts."""
    grey, cmyk = RGB.convert("L"), RGB.convert("CMYK")
    kinds: list[tuple[str, Image.Image, dict[str, object]]] = [
        ("4:4:4", RGB, {"subsampling": 0}),
        ("4:2:2", RGB, {"subsampling": 1}),
        ("4:2:0", RGB, {"subsampling": 2}),
        ("restarts", RGB, {"subsampling": 2, "restart_marker_blocks": 2}),
        ("grey", grey, {}),
        ("rgb", RGB, {"keep_rgb": True}),
        ("cmyk", cmyk, {"subsampling": 0}),
    ]
    files = {
        f"{name} {process}": jpeg(picture, progressive=process == "progressive", **options)
        for (name, picture, options), process in product(kinds, ("sequential", "progressive"))
    }
    for sampling in ("440", "411"):
        files[sampling] = simplejpeg.encode_jpeg(PIXELS.copy(), 90, "RGB", sampling)
    for sampling in ("444", "420"):
        files[f"ycck {sampling}"] = write_jpeg.ycck(PIXELS, sampling, 90)
    files["ycck progressive"] = write_jpeg.as_progressive_ycck(PIXELS)
    files["a scan each"] = write_jpeg.one_component_a_scan(RGB, quality=90)
    return files


WHOLE = whole_files()
PLAIN = WHOLE["4:2:0 sequential"]


def pixels_of(content: bytes) -> NDArray[np.uint8]:
    return decode(content, EXACT, LIMITS).pixels


def pixels_or_none(content: bytes) -> NDArray[np.uint8] | None:
    """None where the content is refused, as it must be: with an error of ours."""
    try:
        return pixels_of(content)
    except FeatsvcError:
        return None


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files_have_pillows_pixels(name: str) -> None:
    content = WHOLE[name]
    np.testing.assert_array_equal(pixels_of(content), by_pillow(content))


@pytest.mark.parametrize("name", WHOLE)
def test_a_cut_file_is_corrupt_or_complete(name: str) -> None:
    """With an end mark appended or not; only a progressive file may end after each scan."""
    content = WHOLE[name]
    wanted = pixels_of(content)
    progressive = read_layout(content).frame.progressive
    begin = scan_data(content)
    scans = {scan.segment.start for scan in read_scans(content, read_layout(content))}
    near = {at + step for at in (*scans, len(content)) for step in range(-5, 6)}
    places = {*range(begin, len(content), ONE_IN), *near}
    for at in sorted(place for place in places if begin <= place < len(content)):
        for end in (b"", EOI):
            pixels = pixels_or_none(content[:at] + end)
            if pixels is None or np.array_equal(pixels, wanted):
                continue
            assert progressive
            assert end
            np.testing.assert_array_equal(pixels, by_pillow(content[:at] + end))


@pytest.mark.parametrize("name", WHOLE)
def test_a_damaged_scan_is_corrupt_or_reads_without_a_warning(name: str) -> None:
    """Bytes dropped, added or overwritten: the data has no checksum, so libjpeg may not notice.

    What is accepted decodes strictly and is what libjpeg says, in the declared size.
    """
    content = WHOLE[name]
    wanted = pixels_of(content)
    for at in range(scan_data(content), len(content) - 2, ONE_IN):
        for damaged in (
            content[:at] + content[at + 1 :],
            content[:at] + b"\x12\x34\x56" + content[at:],
            content[:at] + bytes(min(40, len(content) - 2 - at)) + content[at + 40 : -2] + EOI,
        ):
            pixels = pixels_or_none(damaged)
            if pixels is None or np.array_equal(pixels, wanted):
                continue
            assert pixels.shape == wanted.shape
            np.testing.assert_array_equal(pixels, by_pillow(damaged))
            inks = read_layout(content).colour in ("cmyk", "ycck")
            repaired = repair(damaged, read_layout(damaged))
            simplejpeg.decode_jpeg(repaired, "CMYK" if inks else "RGB", strict=True)


@pytest.mark.parametrize("name", WHOLE)
def test_lost_rows_are_always_noticed(name: str) -> None:
    """The header declares one unit of rows more, or fewer, than the scans hold."""
    content = WHOLE[name]
    height = PIXELS.shape[0]
    for other in (height + 32, height - 32):
        with pytest.raises(MediaCorrupt):
            pixels_of(with_frame(content, height=other))


@pytest.mark.parametrize("name", ["restarts sequential", "restarts progressive"])
def test_restart_markers_that_are_lost_or_out_of_order_are_corrupt(name: str) -> None:
    content = WHOLE[name]
    places = [at for at in range(scan_data(content), len(content)) if _restarts(content, at)]
    assert len(places) >= 5
    for at in places[:: max(len(places) // 8, 1)]:
        other = content[at + 1] ^ 1
        for damaged in (
            content[:at] + content[at + 2 :],
            content[: at + 1] + bytes([other]) + content[at + 2 :],
        ):
            with pytest.raises(MediaCorrupt):
                pixels_of(damaged)


def _restarts(content: bytes, at: int) -> bool:
    return content[at] == 0xFF and 0xD0 <= content[at + 1] <= 0xD7


def _scans(content: bytes) -> list[int]:
    return [scan.segment.start for scan in read_scans(content, read_layout(content))]


def test_a_scan_of_a_component_that_is_missing_or_comes_twice_is_corrupt() -> None:
    content = WHOLE["a scan each"]
    first, second, third = _scans(content)
    for damaged, what in (
        (content[:third] + EOI, "component 3 of the JPEG is missing"),
        (content[:first] + content[second:], "component 1 of the JPEG is missing"),
        (content[:third] + content[second:third] + EOI, "component 2 of the JPEG comes twice"),
    ):
        with pytest.raises(MediaCorrupt, match=what):
            pixels_of(damaged)


def test_a_progressive_file_that_lacks_a_scan() -> None:
    """Without the first one it has no colours; one that lacks a refinement is whole but coarse.

    A refinement of what has not come is out of order: a scan before it is lost.
    """
    content = WHOLE["4:2:0 progressive"]
    scans = [*_scans(content), len(content) - 2]
    layout = read_layout(content)
    refines = [scan.approximation >> 4 > 0 for scan in read_scans(content, layout)]
    assert any(refines)
    seen = 0
    for number, start in enumerate(scans[:-1]):
        # Tables between scans stay: they belong to the next one.
        end = content.index(b"\xff\xc4", start) if number + 2 < len(scans) else scans[-1]
        without = content[:start] + content[end:]
        pixels = pixels_or_none(without)
        if pixels is not None:
            np.testing.assert_array_equal(pixels, by_pillow(without))
            seen += 1
    assert 0 < seen < len(refines)
    with pytest.raises(MediaCorrupt, match=r"component . of the JPEG is missing|progression"):
        pixels_of(content[: scans[0]] + content[scans[1] :])


HARMLESS: dict[str, Callable[[bytes], bytes]] = {
    "bytes between segments": lambda c: c.replace(b"\xff\xdb", b"\0\1\2\xff\xdb", 1),
    "stuffed bytes between segments": lambda c: c.replace(b"\xff\xdb", b"\xff\0\xff\xdb", 1),
    "fill bytes": lambda c: c.replace(b"\xff\xdb", b"\xff" * 9 + b"\xdb", 1),
    "a bad colour profile": lambda c: _after_start(c, segment(0xE2, b"ICC_PROFILE\0\7\3bad")),
    "an unknown revision of JFIF": lambda c: c.replace(b"JFIF\0\1", b"JFIF\0\7", 1),
    "an unknown transform of Adobe": lambda c: _after_start(
        c, segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([_unknown_transform(c)]))
    ),
    "bytes after the end": lambda c: c + b"\xff\xda\xff\xd8\xff\xd9 and a video" * 99,
    "a second picture after the end": lambda c: c + PLAIN,
    "a long comment": lambda c: _after_start(c, segment(0xFE, b"\xff\xda\xff\xc0" * 999)),
    "an application segment with no body": lambda c: _after_start(c, b"\xff\xe5\0\2"),
}


def _after_start(content: bytes, inserted: bytes) -> bytes:
    return content[:2] + inserted + content[2:]


def _unknown_transform(content: bytes) -> int:
    """Return what libjpeg takes for the transform that the file has."""
    return {"rgb": 0, "cmyk": 0}.get(read_layout(content).colour, 9)


@pytest.mark.parametrize("harmless", HARMLESS)
@pytest.mark.parametrize("name", WHOLE)
def test_what_costs_no_pixel_is_harmless(name: str, harmless: str) -> None:
    content = WHOLE[name]
    odd = HARMLESS[harmless](content)
    assert odd != content or "JFIF" in harmless
    np.testing.assert_array_equal(pixels_of(odd), pixels_of(content))


@pytest.mark.parametrize("harmless", HARMLESS)
@pytest.mark.parametrize("name", WHOLE)
def test_harmless_mistakes_hide_no_damage(name: str, harmless: str) -> None:
    """libjpeg reports only its first warning."""
    content = WHOLE[name]
    _, end, *_ = [*_scans(content), len(content)]
    content = content[: (scan_data(content) + end) // 2]
    with pytest.raises(MediaCorrupt):
        pixels_of(HARMLESS[harmless](content + EOI))


@pytest.mark.parametrize("name", ["4:2:0 sequential", "grey sequential", "a scan each"])
def test_parameters_that_a_sequential_scan_must_not_have_are_harmless(name: str) -> None:
    content = bytearray(WHOLE[name])
    for scan in read_scans(WHOLE[name], read_layout(WHOLE[name])):
        content[scan.segment.end - 3 : scan.segment.end] = bytes(3)
    np.testing.assert_array_equal(pixels_of(bytes(content)), pixels_of(WHOLE[name]))


@pytest.mark.parametrize("name", ["4:2:0 sequential", "a scan each"])
@pytest.mark.parametrize("odd", [-1, 0, 1])
def test_bytes_between_segments_may_be_many(name: str, odd: int) -> None:
    """Around the windows in which a marker is searched."""
    content = WHOLE[name]
    pixels = pixels_of(content)
    for junk in (b"\xff", b"\xff\0", b"\1"):
        many = (junk * 2**20)[: 2**20 + odd]
        at = content.index(b"\xff\xc4")
        np.testing.assert_array_equal(pixels_of(content[:at] + many + content[at:]), pixels)


@pytest.mark.parametrize("name", WHOLE)
def test_a_missing_end_mark_is_harmless_where_the_one_scan_is_whole(name: str) -> None:
    content = WHOLE[name]
    for kept in (content[:-2], content[:-1]):
        pixels = pixels_or_none(kept)
        assert (pixels is not None) is read_layout(content).one_scan
        if pixels is not None:
            np.testing.assert_array_equal(pixels, pixels_of(content))
    for damaged in (content[:-2] + bytes(1), content[:-2] + bytes(99), content[:-40] + bytes(38)):
        with pytest.raises(MediaCorrupt):
            pixels_of(damaged)


def test_a_rare_sampling_that_simplejpeg_has_no_name_for() -> None:
    square = np.ascontiguousarray(PIXELS[:32, :32])
    content = simplejpeg.encode_jpeg(square, 90, "RGB", "411")
    turned = with_frame(content, sampling=0x14)
    np.testing.assert_array_equal(pixels_of(turned), by_pillow(turned))


UNSUPPORTED = {
    "12-bit ycbcr": with_frame(PLAIN, marker=0xC1, bits=12),
    "8-bit ycbcr, lossless": with_frame(PLAIN, marker=0xC3),
    "8-bit ycbcr, hierarchical": with_frame(PLAIN, marker=0xC5),
    "8-bit ycbcr, arithmetic coding": with_frame(PLAIN, marker=0xC9),
    "8-bit cmyk, arithmetic coding": with_frame(WHOLE["cmyk progressive"], marker=0xCA),
    "samples its components 3x1, 1x1, 1x1": with_frame(PLAIN, sampling=0x31),
    "2x2, 1x1, 1x1, 1x1": jpeg(RGB.convert("CMYK"), subsampling=2),
    "states its height after the picture": with_frame(PLAIN, height=0)[:-2]
    + segment(0xDC, b"\0\x2b")
    + EOI,
}


@pytest.mark.parametrize("what", UNSUPPORTED)
def test_what_is_unsupported_is_named(what: str) -> None:
    with pytest.raises(UnsupportedMedia, match=what):
        decode(UNSUPPORTED[what], EXACT, LIMITS)


def test_two_components_are_unsupported() -> None:
    grey = jpeg(RGB.convert("L"))
    frame = grey.index(b"\xff\xc0")
    two = segment(0xC0, grey[frame + 4 : frame + 9] + b"\2\1\x11\0\2\x11\0")
    content = grey[:frame] + two + grey[frame + 13 :]
    with pytest.raises(UnsupportedMedia, match="8-bit 2-component, sequential"):
        probe(content, LIMITS)


def _with_scans(count: int, **size: int) -> bytes:
    """Repeat the first scan of a progressive picture: libjpeg has no warning for that."""
    content = WHOLE["grey progressive"]
    start = _scans(content)[0]
    scan = content[start : content.index(b"\xff\xc4", start)]
    return with_frame(content[:start] + scan * count + content[start:], **size)


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (with_frame(PLAIN, height=0), MediaCorrupt, "57 x 0 pixels"),
        (with_frame(PLAIN, width=0), MediaCorrupt, "0 x 43 pixels"),
        (with_frame(PLAIN, width=65_535, height=65_535), MediaTooLarge, "4,294,836,225 pixels"),
        (with_frame(PLAIN, width=65_535, height=400), UnsupportedMedia, "more than 65,500 px"),
        (PLAIN[: PLAIN.index(b"\xff\xda") + 5], MediaCorrupt, "cut short"),
        (PLAIN[: PLAIN.index(b"\xff\xc0") + 9], MediaCorrupt, "cut short"),
        (PLAIN[: PLAIN.index(b"\xff\xc0")] + EOI, MediaCorrupt, "before its picture begins"),
        (PLAIN.replace(b"\xff\xc0", b"\xff\xe9"), MediaCorrupt, "a scan before its frame"),
        (_after_start(PLAIN, segment(0xC0, bytes(15))), MediaCorrupt, "wrong length"),
        (
            _after_start(PLAIN, segment(0xC0, b"\x08\0\1\0\1\1\1\x11\0")),
            MediaCorrupt,
            "two frame headers",
        ),
        (PLAIN.replace(b"\xff\xdb", b"\xff\xe9"), MediaCorrupt, "Quantization table"),
        (_after_start(PLAIN, b"\xff\xfe\0\2" * 10_001), MediaCorrupt, "more than 10,000 segments"),
        (_after_start(PLAIN, b"\xff\xd0" * 10_001), MediaCorrupt, "more than 10,000 segments"),
        (
            WHOLE["a scan each"].replace(EOI, b"\xff\xfe\0\2" * 10_001),
            MediaCorrupt,
            "more than 10,000 segments",
        ),
        (_with_scans(4_000), MediaCorrupt, "more than 3,584 scans"),
    ],
)
def test_bad_headers_have_precise_errors(
    content: bytes, error: type[FeatsvcError], says: str
) -> None:
    with pytest.raises(error, match=says):
        decode(content, EXACT, LIMITS)


def test_missing_huffman_tables_are_the_standard_ones_or_an_error() -> None:
    """Motion JPEG leaves out the tables of T.81, annex K.3; others cannot be guessed."""

    def without_tables(content: bytes) -> bytes:
        layout = read_layout(content)
        kept = (content[s.start : s.end] for s in layout.segments if s.marker != 0xC4)
        return b"\xff\xd8" + b"".join(kept) + content[layout.scan.segment.end :]

    np.testing.assert_array_equal(pixels_of(without_tables(PLAIN)), pixels_of(PLAIN))
    own = jpeg(RGB, optimize=True, quality=90)
    with pytest.raises(MediaCorrupt):
        pixels_of(without_tables(own))


@settings(max_examples=300)
@given(st.data())
def test_both_readings_of_a_header_agree(data: st.DataObject) -> None:
    """Whatever its header says, a picture has the size and colours that were checked."""
    content = bytearray(WHOLE[data.draw(st.sampled_from(sorted(WHOLE)))])
    begin = scan_data(bytes(content))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(2, begin))
        size = data.draw(st.integers(0, 12))
        added = data.draw(st.sampled_from([b"", b"\xff", b"\xff\xc0", PLAIN[:200], bytes(3)]))
        content[at : at + size] = added or data.draw(st.binary(max_size=4))
    hostile = b"\xff\xd8\xff" + bytes(content[3:])
    limits = Limits(max_pixels=1_000_000)
    try:
        header = probe(hostile, limits)
        image = decode(hostile, EXACT, limits)
    except FeatsvcError:
        return
    assert image.pixels.shape[:2] in {
        (header.height, header.width),
        (header.width, header.height),
    }
    try:
        wanted = by_pillow(hostile)
    except (OSError, SyntaxError):  # Pillow is stricter with what lies between segments.
        return
    stored = decode(hostile, replace(EXACT, ignore_orientation=True), limits).pixels
    np.testing.assert_array_equal(stored, wanted)


def exif(orientation: int, order: str = "<") -> bytes:
    """An APP1 segment of nothing but an orientation."""
    mark = {"<": b"II*\0\x08\0\0\0", ">": b"MM\0*\0\0\0\x08"}[order]
    by = {"<": "little", ">": "big"}[order]
    fields = ((1, 2), (0x0112, 2), (3, 2), (1, 4), (orientation, 2), (0, 2), (0, 4))
    block = b"".join(value.to_bytes(size, by) for value, size in fields)  # type: ignore[arg-type]
    return segment(0xE1, b"Exif\0\0" + mark + block)


XMP = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>")
JFIF_END = 20


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("blocks", "wanted"),
    [
        ([exif], 6),
        ([XMP, exif], 6),
        ([exif, XMP], 6),
        ([exif, exif(3)], 6),
        ([segment(0xE1, b"Exif\0\0II*\0damaged")], 0),
        ([segment(0xE1, b"Exif")], 0),
        ([exif(9)], 0),
    ],
)
@pytest.mark.parametrize("at", [2, JFIF_END])
def test_the_first_orientation_counts_as_for_pillow(
    blocks: list[object], wanted: int, order: str, at: int
) -> None:
    added = b"".join(b if isinstance(b, bytes) else exif(6, order) for b in blocks)
    content = PLAIN[:at] + added + PLAIN[at:]
    image = decode(content, EXACT, LIMITS)
    assert image.provenance.orientation == wanted
    upright = ImageOps.exif_transpose(Image.fromarray(by_pillow(PLAIN)))
    if wanted == 6:
        np.testing.assert_array_equal(image.pixels, np.rot90(np.asarray(upright), -1))
    else:
        np.testing.assert_array_equal(image.pixels, np.asarray(upright))


@pytest.mark.parametrize("name", ["4:2:0 sequential", "4:2:0 progressive", "cmyk sequential"])
def test_fast_scales_every_kind_as_pillow_does(name: str) -> None:
    picture = Image.fromarray(noise(5, 1030, 1100))
    picture = picture.convert("CMYK") if "cmyk" in name else picture
    content = jpeg(picture, progressive="progressive" in name)
    image = decode(content, replace(EXACT, fidelity=Fidelity.FAST), LIMITS)
    assert image.provenance.scale_denominator == 2
    with Image.open(io.BytesIO(content)) as half:
        half.draft(None, (550, 515))
        np.testing.assert_array_equal(image.pixels, np.asarray(half.convert("RGB")))


def test_a_decode_that_would_take_too_long_is_refused_before_it_runs() -> None:
    """2,000 scans of a progressive picture, each short."""
    hostile = _with_scans(2_000, width=4_000, height=4_000)
    with pytest.raises(MediaTooLarge, match=r"2,0\d\d scans .* ms to decode by estimate") as caught:
        decode(hostile, EXACT, LIMITS)
    assert caught.value.metadata["setting"] == "media.max_decode_ms"


def test_bytes_that_look_like_scans_after_the_end_do_not_count() -> None:
    video = b"\xff\xda\0\x0c\3" * 100_000
    np.testing.assert_array_equal(pixels_of(PLAIN + video), pixels_of(PLAIN))
    progressive = WHOLE["4:2:0 progressive"]
    np.testing.assert_array_equal(pixels_of(progressive + video), pixels_of(progressive))


def test_the_first_picture_of_several_is_decoded() -> None:
    out = io.BytesIO()
    second = Image.fromarray(noise(3, 80, 90))
    RGB.save(out, "MPO", save_all=True, append_images=[second], quality=90)
    content = out.getvalue()
    assert content.count(EOI) == 2
    np.testing.assert_array_equal(pixels_of(content), pixels_of(jpeg(RGB, quality=90)))


@pytest.mark.parametrize(
    "damaged",
    [
        PLAIN[:-40] + EOI,
        _after_start(PLAIN[:-40], bytes(3)),
        UNSUPPORTED["12-bit ycbcr"],
        UNSUPPORTED["samples its components 3x1, 1x1, 1x1"],
        WHOLE["4:2:0 progressive"][:-2],
    ],
)
def test_an_error_keeps_nothing_alive(damaged: bytes) -> None:
    """Without the garbage collector: what the error held goes with it."""
    content = bytes(bytearray(damaged))
    before = sys.getrefcount(content)
    gc.disable()
    try:
        with pytest.raises(FeatsvcError):
            decode(content, EXACT, LIMITS)
        assert pixels_or_none(content) is None
        assert sys.getrefcount(content) <= before + 1  # pytest.raises keeps the first error.
        for _ in range(20):
            assert pixels_or_none(content) is None
        assert sys.getrefcount(content) <= before + 1
    finally:
        gc.enable()


_MEASURE = """
import sys
from pathlib import Path
from featsvc.media import DecodeOptions, Limits, decode, probe

def status(name):
    rows = Path("/proc/self/status").read_text().splitlines()
    return int(next(row.split()[1] for row in rows if row.startswith(name + ":"))) * 1024

warm, content = (Path(path).read_bytes() for path in sys.argv[1:])
decode(warm, DecodeOptions(), Limits())
Path("/proc/self/clear_refs").write_text("5")  # The high-water mark begins anew.
before = status("VmRSS")
decode(content, DecodeOptions(), Limits())
print(status("VmHWM") - before, probe(content, Limits()).peak_bytes)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["4:2:0 sequential", "4:4:4 progressive", "grey progressive", "cmyk sequential", "turned"],
)
def test_a_decode_takes_what_was_estimated(name: str, tmp_path: Path) -> None:
    """The peak of a fresh process, at 8 megapixels: within the estimate, and near it."""
    picture = RGB.resize((3264, 2448))
    options: dict[str, object] = {"progressive": "progressive" in name}
    options["subsampling"] = 0 if "4:4:4" in name or "cmyk" in name else 2
    if "grey" in name or "cmyk" in name:
        picture = picture.convert("L" if "grey" in name else "CMYK")
    content = jpeg(picture, **options)
    content = _after_start(content, exif(6)) if name == "turned" else content
    (tmp_path / "warm.jpg").write_bytes(jpeg(picture.resize((8, 8))))
    (tmp_path / "large.jpg").write_bytes(content)
    files = [str(tmp_path / "warm.jpg"), str(tmp_path / "large.jpg")]
    command = [sys.executable, "-c", _MEASURE, *files]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    actual, estimated = map(int, shown.split())
    assert 0.8 * estimated < actual < estimated


@pytest.mark.parametrize("name", WHOLE)
def test_the_peak_is_at_least_what_is_returned(name: str) -> None:
    header = probe(WHOLE[name], LIMITS)
    assert header.peak_bytes >= pixels_of(WHOLE[name]).nbytes


def test_coefficients_count_where_several_scans_need_them() -> None:
    big = {name: with_frame(WHOLE[name], width=6_000, height=4_000) for name in WHOLE}
    peaks = {name: probe(content, LIMITS).peak_bytes / 24e6 for name, content in big.items()}
    assert 3 < peaks["4:4:4 sequential"] < 3.2
    assert 9 < peaks["4:4:4 progressive"] < 9.2
    assert 6 < peaks["4:2:0 progressive"] < 6.2
    assert 1 < peaks["grey sequential"] < 1.2
    assert 3 < peaks["grey progressive"] < 3.2
    assert 9 < peaks["a scan each"] < 9.2
    assert 7 < peaks["cmyk sequential"] < 7.4
    assert 12 < peaks["cmyk progressive"] < 12.2
    turned = _after_start(big["4:4:4 sequential"], exif(6))
    assert 6 < probe(turned, LIMITS).peak_bytes / 24e6 < 6.2
