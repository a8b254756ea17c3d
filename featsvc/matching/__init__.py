"""Matching: the signals of a piece of content against the entries of banks."""
