import pytest
from PIL import Image

from featsvc.media import sniff
from tests.hashing.photographs import encode

PICTURE = Image.new("RGB", (9, 7), (10, 200, 30))


@pytest.mark.parametrize(
    ("file_format", "media_type"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("GIF", "image/gif"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
        ("WEBP", "image/webp"),
        ("AVIF", "image/avif"),
    ],
)
def test_formats_are_recognised_by_content(file_format: str, media_type: str) -> None:
    assert sniff(encode(PICTURE, file_format)) == media_type


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8",
        b"BM is how this letter begins, and it is not a picture",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"\0\0\0\x18ftypisom\0\0\2\0isomiso2",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)
def test_other_bytes_have_no_media_type(content: bytes) -> None:
    assert sniff(content) is None


def test_compatible_brands_distinguish_heic_from_avif() -> None:
    assert sniff(b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf") == "image/heic"
    assert sniff(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "image/avif"
