"""Whole lists: formats, reading a file, staging and merging it, writing a bank as a list."""
