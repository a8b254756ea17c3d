"""Signals: algorithms, values and their text form, distances, texts and names of variants."""
