"""The report of an import: what is counted as not kept."""

import pytest
from featsvc_client.v1 import banks_pb2

from featsvc.cli.bank_lists import _print_import


@pytest.mark.parametrize(
    ("kind", "one", "several"),
    [
        ("url", "url", "urls"),
        ("fingerprint by reference", "fingerprint by reference", "fingerprints by reference"),
        ('status "Lost"', 'status "Lost"', 'statuses "Lost"'),
        ("url_md5", "url_md5", "url_md5"),
        ("sha512", "sha512", "sha512"),
        ("other kinds", "other", "others"),
    ],
)
def test_what_is_not_kept_is_counted_in_words(
    capsys: pytest.CaptureFixture[str], kind: str, one: str, several: str
) -> None:
    result = banks_pb2.ImportEntriesResponse()
    for count, words in ((1, one), (1_234, several)):
        result.summary.left_out[kind] = count
        _print_import(result, seconds=1, dry_run=True)
        assert f"  {count:,} {words}: not kept\n" in capsys.readouterr().out


def test_the_largest_count_is_first(capsys: pytest.CaptureFixture[str]) -> None:
    result = banks_pb2.ImportEntriesResponse()
    result.summary.left_out.update({"url": 2, "label": 30, "tmk": 4})
    _print_import(result, seconds=1, dry_run=True)
    lines = [line.split()[1] for line in capsys.readouterr().out.splitlines() if "not kept" in line]
    assert lines == ["labels:", "tmks:", "urls:"]
