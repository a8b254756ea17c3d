"""What a curator does by hand: settings, entries, history and undo, searching, counting."""
