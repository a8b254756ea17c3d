"""Compute signals of pictures and files."""
