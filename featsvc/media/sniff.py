"""Media types, recognised by magic numbers and never by file name."""

JPEG = "image/jpeg"
PNG = "image/png"
GIF = "image/gif"
BMP = "image/bmp"
TIFF = "image/tiff"
WEBP = "image/webp"
AVIF = "image/avif"
HEIC = "image/heic"

_MAGICS = {
    b"\xff\xd8\xff": JPEG,
    b"\x89PNG\r\n\x1a\n": PNG,
    b"GIF87a": GIF,
    b"GIF89a": GIF,
    b"II*\0": TIFF,
    b"MM\0*": TIFF,
    b"II+\0": TIFF,
    b"MM\0+": TIFF,
}
_BMP_HEADER_SIZES = frozenset({12, 40, 52, 56, 64, 108, 124})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_ANY_CODEC_BRANDS = frozenset({b"mif1", b"msf1", b"miaf"})
"""Brands of HEIF that do not name a codec; the types of the items do."""
_ITEMS_BYTES = 4096


def sniff(content: bytes) -> str | None:
    """Return the media type of a picture format that featsvc knows, or None."""
    for magic, media_type in _MAGICS.items():
        if content.startswith(magic):
            return media_type
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return WEBP
    if content[4:8] == b"ftyp":
        return _sniff_brands(content)
    # "BM" alone would also match text that begins with it.
    if content.startswith(b"BM") and int.from_bytes(content[14:18], "little") in _BMP_HEADER_SIZES:
        return BMP
    return None


def _sniff_brands(content: bytes) -> str | None:
    """Return AVIF or HEIC by the brands of the leading `ftyp` box; None for videos."""
    end = min(int.from_bytes(content[:4], "big"), 256)
    brands = [content[8:12], *(content[i : i + 4] for i in range(16, end - 3, 4))]
    for brand in brands:
        if brand in _AVIF_BRANDS:
            return AVIF
        if brand in _HEIC_BRANDS:
            return HEIC
    if _ANY_CODEC_BRANDS & {*brands}:
        items = content[:_ITEMS_BYTES]
        return HEIC if b"hvc1" in items else AVIF if b"av01" in items else None
    return None
