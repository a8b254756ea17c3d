"""Generated from proto/featsvc/v1 by `make protos`; never edited."""
