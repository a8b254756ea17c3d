"""The `featsvc` command: some of it works alone, the rest talks gRPC to a server."""
