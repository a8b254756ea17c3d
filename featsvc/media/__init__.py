"""Decode untrusted bytes to pixels. Limits are checked before a decoder runs."""

from featsvc.media.decode import check_content, decode, decode_frames, probe
from featsvc.media.header import Header
from featsvc.media.kinds import Kind
from featsvc.media.options import Alpha, DecodeOptions, Fidelity, Frames, Image, Limits, Provenance
from featsvc.media.sniff import sniff

__all__ = [
    "Alpha",
    "DecodeOptions",
    "Fidelity",
    "Frames",
    "Header",
    "Image",
    "Kind",
    "Limits",
    "Provenance",
    "check_content",
    "decode",
    "decode_frames",
    "probe",
    "sniff",
]
