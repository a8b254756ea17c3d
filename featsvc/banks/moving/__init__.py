"""Moves a whole bank store into another database."""
