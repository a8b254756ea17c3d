"""The `featsvc` command. Some commands work alone, the others call a server over gRPC."""
