"""TIFF: its directories, where its samples lie, and the samples as 8-bit pixels.

`directory` reads tags from hostile bytes, `layout` decides what kind of picture they describe and
what decoding takes, `segments` reads strips and tiles, `pixels` makes a page of them. libtiff
sees none of the file's directories: `featsvc.media.libtiff` shows it one strip at a time.
"""
