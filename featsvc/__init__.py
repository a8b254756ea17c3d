"""featsvc: perceptual hashes, banks of known content and account features over gRPC."""

__version__ = "0.1.0"
