"""The committed stubs are what proto/ says."""

from pathlib import Path

from tests.protos import ROOT, STUBS, generate


def test_stubs_have_not_drifted(tmp_path: Path) -> None:
    generate(tmp_path)
    fresh = {p.name: p.read_text() for p in (tmp_path / STUBS).iterdir()}
    committed = {p.name: p.read_text() for p in (ROOT / STUBS).glob("*_pb2*")}
    assert fresh == committed, "run `make protos` and commit client/featsvc_client/v1"
