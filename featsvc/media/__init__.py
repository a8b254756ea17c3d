"""Bytes to pixels, safely: formats told by content, limits before decoders, orientation, alpha."""

from featsvc.media.decode import decode, decode_frames, probe
from featsvc.media.options import Alpha, DecodeOptions, Fidelity, Frames, Image, Limits
from featsvc.media.sniff import sniff

__all__ = [
    "Alpha",
    "DecodeOptions",
    "Fidelity",
    "Frames",
    "Image",
    "Limits",
    "decode",
    "decode_frames",
    "probe",
    "sniff",
]
