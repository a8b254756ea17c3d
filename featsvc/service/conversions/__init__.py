"""Convert between protobuf messages and domain types."""
