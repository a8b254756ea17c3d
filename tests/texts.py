"""Texts to find copies of, texts that are none, and what senders do to a text.

The entries are made up, after the kinds that platforms collect: lures, pills, crypto, sextortion,
parcels. The negatives share their words and subjects, or are plain English of another origin.
"""

import ast
import random
import re
import string
import sysconfig
from collections.abc import Callable
from pathlib import Path

ENTRIES = (
    "Congratulations! You have been selected to receive a $1000 gift card. Claim it within the "
    "next 24 hours at http://gift-claims.example/win before it expires.",
    "Hi mum, I dropped my phone and this is my new number. Can you send me 850 for rent today? I "
    "will pay you back on Friday, please do not call, the microphone is broken.",
    "I have recorded you through your own camera. Send 0.5 bitcoin to my wallet within two days "
    "or the video goes to all of your contacts. Do not reply and do not tell anybody.",
    "Your parcel could not be delivered because of an unpaid customs fee of 2.99. Pay now at "
    "www.parcel-redelivery.example/pay or it will be returned to the sender.",
    "Double your crypto in one week! Our trading robot has never lost a single trade. Deposit "
    "today, withdraw tomorrow, message our certified manager on the usual channel.",
    "Cheap pills without prescription, shipped worldwide in plain packaging. Best quality, best "
    "prices, pay by card or coin, order before midnight and get ten free.",
    "We are hiring! Work from home two hours a day, earn up to 500 daily, no experience needed. "
    "Write to our recruiter now, only a few places are left in your area.",
    "Your account has been suspended due to unusual activity. Verify your identity and your card "
    "details immediately using the secure link below, otherwise it will be closed for ever.",
    "Lonely singles near you want to meet tonight. Register without a credit card, view private "
    "photos, and chat for free until the morning comes.",
    "The bank will never tell you this secret. A grandmother from our town makes nine thousand a "
    "month with this simple trick, click before they take the page down again.",
    "Limited stock of authentic designer watches and handbags, ninety percent off, factory "
    "direct. Nobody can tell the difference. Reply with watch or bag to get the catalogue.",
    "Dear beneficiary, the sum of ten million dollars has been deposited in your name. Kindly "
    "send your full name, address and telephone number to the barrister for release.",
)

BENIGN = (
    "Congratulations on your new job! Let us have dinner next week to celebrate, my treat.",
    "Hi mum, my phone is nearly out of battery. I will call you on Friday when I am back home.",
    "Your parcel was delivered today at 14:05 and left with a neighbour at number 12.",
    "Your parcel could not be delivered today. We will try again tomorrow between nine and noon.",
    "Please pay the customs fee for your parcel at the post office, and bring your identity card.",
    "The camera recorded a lovely video of our wedding, I will send it to all of you this week.",
    "Bitcoin fell by five percent this week while shares of large banks rose a little.",
    "We are hiring a nurse for two days a week. Experience is needed; write to the practice.",
    "I work from home two days a week now and it is so much easier with the children.",
    "Your account statement for June is ready. You can view it in the app as usual.",
    "Your account will be closed at your own request on Friday. Thank you for banking with us.",
    "Verify that the door is closed and that the light is off before you leave the building.",
    "The pharmacy has your prescription ready. Please collect it before six in the evening.",
    "Never buy pills without a prescription: quality is poor and the packaging tells you nothing.",
    "My grandmother makes the best apple cake in our town, and she will never tell the secret.",
    "The catalogue of the watch exhibition is sold out, but the museum will print more of them.",
    "We met at the singles evening near the station and chatted until the morning came.",
    "Dear members, kindly send your full address and telephone number to the treasurer by May.",
    "Ten free tickets are left for tonight. Reply with your name to get one at the door.",
    "The robot lost a wheel on its first day of trading blows with the other machines.",
    "Warning: fraudsters pretend to be your child with a new number and ask for rent. Hang up.",
    "How do I report an account that wants me to double my crypto? It looks like a fraud to me.",
    "Gift cards never expire in this country, so you can claim yours whenever you like.",
    "The recruiter wrote that only a few places are left in the course for beginners.",
)

HOMOGLYPHS = {"a": "\u0430", "c": "\u0441", "e": "\u0435", "i": "\u0456", "j": "\u0458",
              "o": "\u03bf", "p": "\u0440", "s": "\u0455", "x": "\u0445", "y": "\u0443",
              "A": "\u0391", "B": "\u0412", "H": "\u041d", "K": "\u039a", "M": "\u041c",
              "T": "\u03a4"}  # fmt: skip
LEET = {"a": "4@", "b": "8", "e": "3", "g": "9", "i": "1!", "l": "1", "o": "0", "s": "5$", "t": "7"}

Edit = Callable[[str, random.Random], str]


def leetspeak(text: str, rng: random.Random, share: float = 0.7) -> str:
    """`share` of the letters that have one become a sign."""
    return "".join(
        rng.choice(LEET[c.lower()]) if c.lower() in LEET and rng.random() < share else c
        for c in text
    )


def _words(count: int, rng: random.Random) -> str:
    letters = string.ascii_lowercase
    return " ".join("".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(count))


def _paraphrase(text: str, rng: random.Random) -> str:
    """One word in six is another."""
    return " ".join(_words(1, rng) if rng.random() < 1 / 6 else w for w in text.split())


EDITS: dict[str, Edit] = {
    "none": lambda t, r: t,
    "prefix": lambda t, r: f"{_words(25, r)}. {t}",
    "suffix": lambda t, r: f"{t} {_words(25, r)}",
    "long prefix and suffix": lambda t, r: f"{_words(200, r)} {t} {_words(200, r)}",
    "case": lambda t, r: "".join(r.choice((c.upper(), c.lower())) for c in t),
    "blanks": lambda t, r: " ".join(t),
    "random blanks": lambda t, r: re.sub(r"\w", lambda m: m[0] + r.choice(("", "", " ")), t),
    "homoglyphs": lambda t, r: "".join(HOMOGLYPHS.get(c, c) for c in t),
    "zero width": lambda t, r: "".join(c + r.choice(("", "\u200b", "\u2060\u00ad")) for c in t),
    "fullwidth": lambda t, r: "".join(
        chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in t
    ),
    "marks": lambda t, r: "".join(c + "\u0336" if c.isalpha() else c for c in t),
    "punctuation": lambda t, r: re.sub(r" ", lambda m: r.choice((" ", "... ", " * ", "_")), t),
    "other link and numbers": lambda t, r: re.sub(
        r"\d+",
        lambda m: str(r.randint(1, 9999)),
        re.sub(r"(http|www)\S+", "https://x.example/q", t),
    ),
    "leetspeak": leetspeak,
    "paraphrase": _paraphrase,
}  # fmt: skip


def negatives() -> list[str]:
    """Benign texts on the same subjects, and the prose of the standard library's docstrings."""
    found = list(BENIGN)
    folder = Path(sysconfig.get_path("stdlib"))
    for file in sorted(folder.glob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8", errors="replace"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                doc = ast.get_docstring(node) or ""
                if len(doc) >= 60:
                    found.append(doc)
    return found
