"""Writes featsvc/signals/confusables.txt; run once for each new edition of the table.

    pip install confusable-homoglyphs==3.3.1
    python -m tests.vectors.record_confusables

Sources: Unicode's confusables (UTS #39) as that package carries them, and Unicode's own names for
letters with a stroke, small capitals and letters in boxes, which the confusables leave out.
"""

import importlib.resources
import json
import re
import string
import sys
import unicodedata
from pathlib import Path

TARGET = Path(__file__).parents[2] / "featsvc" / "hashing" / "confusables.txt"
HEAD = """\
# Characters that look like a Latin letter or digit: the letter, then code points in hex.
# Derived from Unicode confusables.txt (UTS #39) by tests/vectors/record_confusables.py.
# Copyright Unicode, Inc.; Unicode License v3, https://www.unicode.org/license.txt
"""

# Where the table names several, what the letter is taken for in running text.
CHOICES = {"σ": "o", "ɩ": "i", "ι": "i", "і": "i", "ӏ": "l", "ν": "v", "υ": "u", "ƽ": "s"}  # noqa: RUF001
NAMED = re.compile(
    r"(?:LATIN LETTER SMALL CAPITAL|LATIN (?:SMALL|CAPITAL) LETTER|"
    r"NEGATIVE (?:SQUARED|CIRCLED) LATIN CAPITAL LETTER|REGIONAL INDICATOR SYMBOL LETTER) "
    r"([A-Z])(?: WITH .*)?"
)


def look_alikes() -> dict[str, str]:
    """Character to lower-case letter or digit; none that NFKC and case folding settle alone."""
    file = importlib.resources.files("confusable_homoglyphs") / "confusables.json"
    table = json.loads(file.read_text(encoding="utf-8"))
    found: dict[str, set[str]] = {}
    for base in string.ascii_letters + string.digits:
        for one in table.get(base, []):
            if len(one["c"]) == 1 and not one["c"].isascii():
                found.setdefault(one["c"], set()).add(base.lower())
    letters = {c: CHOICES.get(c, min(bases)) for c, bases in found.items()}
    for point in range(sys.maxunicode + 1):
        c = chr(point)
        if not c.isascii() and (match := NAMED.fullmatch(unicodedata.name(c, ""))):
            letters.setdefault(c, match[1].lower())
    # One case of a letter may look like Latin and the other not: both are taken for the same.
    for c, letter in list(letters.items()):
        for other in (c.lower(), c.upper()):
            if len(other) == 1 and not other.isascii():
                letters.setdefault(other, letter)
    return {c: x for c, x in letters.items() if unicodedata.normalize("NFKC", c) == c}


def main() -> None:
    lines: dict[str, list[str]] = {}
    for c, letter in sorted(look_alikes().items()):
        lines.setdefault(letter, []).append(f"{ord(c):04x}")
    body = "".join(f"{letter} {' '.join(points)}\n" for letter, points in sorted(lines.items()))
    TARGET.write_text(HEAD + body, encoding="utf-8")


if __name__ == "__main__":
    main()
