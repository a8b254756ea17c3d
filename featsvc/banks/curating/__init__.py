"""Work of a curator: settings, single entries, history and rollback, searches, match counts."""
