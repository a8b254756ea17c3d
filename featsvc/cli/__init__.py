"""The `featsvc` command. `hash`, `serve`, `demo` and `doctor` work alone, the rest over gRPC."""
