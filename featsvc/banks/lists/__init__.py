"""Hash lists: formats, reading and merging a list, exporting a bank as a list."""
