"""Decode and hash mutated pictures: python -m tests.fuzz.media [COUNT] [SEED]

Mutations are bit flips, truncations, overwritten lengths, spliced headers and joined halves of
files of every format. A child process does the work, so that the run survives a crash or hang of a
C library: the parent starts another child. Exits 1 where a file crashed the child, took longer than
the budget or raised anything, where its answer breaks the promise that `tests/hashing/answers.py`
checks, or where memory exceeded the bound. The same seed generates the same files.
"""

import multiprocessing
import random
import resource
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

from PIL import Image

from featsvc.hashing.content import hash_content
from featsvc.hashing.variants import make_entry, query_maker
from featsvc.media import DecodeOptions, Frames, Limits
from featsvc.signals.algorithms import ALGORITHMS, Kind
from featsvc.signals.variants import QUERY_VARIANTS
from tests.hashing.answers import check_answer
from tests.hashing.photographs import encode, noise
from tests.patience import PATIENCE_S

LIMITS = Limits(max_content_bytes=2**20, max_pixels=4_000_000, max_frames=16, max_decode_ms=2_000)
_QUERY = query_maker(frozenset(QUERY_VARIANTS))
OPTIONS = DecodeOptions(frames=Frames.ALL)
MAX_RSS_BYTES = 1_500 * 2**20
BATCH = 500
PERCEPTUAL = tuple(name for name, kind in ALGORITHMS.items() if kind.kind is Kind.PICTURE)
# Mostly the common request, sometimes every algorithm.
REQUESTS = (("pdq", "md5"),) * 9 + (PERCEPTUAL,)


def seed_files() -> list[bytes]:
    """One small file of each format and variety."""
    rgb = Image.fromarray(noise(1, 48, 64))
    frames = {"save_all": True, "append_images": [Image.fromarray(noise(2, 48, 64))] * 2}
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encode(rgb, "JPEG"),
        encode(rgb, "JPEG", progressive=True, exif=exif),
        encode(rgb.convert("CMYK"), "JPEG"),
        encode(rgb.convert("L"), "JPEG"),
        encode(rgb, "PNG"),
        encode(rgb.quantize(16), "PNG", transparency=3),
        encode(rgb.convert("RGBA"), "PNG", exif=exif),
        encode(rgb.convert("I;16"), "PNG"),
        encode(rgb.convert("1"), "PNG"),
        encode(rgb, "PNG", **frames),
        encode(rgb, "WEBP"),
        encode(rgb.convert("RGBA"), "WEBP", lossless=True, **frames),
        encode(rgb, "GIF"),
        encode(rgb, "GIF", **frames),
        encode(rgb, "BMP"),
        encode(rgb.quantize(16), "BMP"),
        encode(rgb, "TIFF", compression="tiff_lzw", exif=exif),
        encode(rgb, "TIFF", compression="tiff_deflate", **frames),
        encode(rgb.convert("L"), "TIFF", compression="jpeg"),
        encode(rgb, "AVIF", speed=10),
        encode(rgb.convert("RGBA"), "AVIF", speed=10, exif=exif),
    ]


def mutate(rng: random.Random, seeds: list[bytes]) -> bytes:
    """One hostile file; most keep their first bytes, without which decoding stops at once."""
    content = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(min(12, len(content) - 1), len(content)) if len(content) > 1 else 0
        match rng.randrange(7):
            case 0:
                for _ in range(rng.randint(1, 16)):
                    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            case 1:
                del content[max(at, 1) :]
            case 2:
                value = rng.choice((0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000))
                packed = struct.pack(rng.choice(("<I", ">I")), value)[: rng.choice((1, 2, 4))]
                content[at : at + len(packed)] = packed
            case 3:
                other = rng.choice(seeds)
                size = rng.randint(1, 64)
                content[:size] = other[:size]
            case 4:
                other = rng.choice(seeds)
                content[at:] = other[rng.randrange(len(other)) :]
            case 5:
                end = min(at + rng.randint(1, 200), len(content))
                content[at:at] = content[at:end] * rng.randint(1, 20)
            case _:
                content[at : at + rng.randint(1, 64)] = rng.randbytes(rng.randint(0, 64))
        if not content:
            content = bytearray(b"\0")
    return bytes(content)


@dataclass(slots=True)
class Tally:
    """Outcomes of the files, the slowest time and the peak memory."""

    outcomes: Counter[str]
    slowest_s: float = 0.0
    peak_rss_bytes: int = 0


def try_one(content: bytes, algorithms: tuple[str, ...]) -> str:
    """The name of the outcome. Raises what hashing raises, which is a finding: it never should."""
    # Entry variants take about 60 hashes, so they run for one file in eight.
    variants = make_entry if len(content) % 8 == 0 else _QUERY
    hashes = hash_content(content, algorithms, OPTIONS, LIMITS, variants)
    check_answer(hashes, content, algorithms, OPTIONS)
    return hashes.outcome.name


def files(seed: int, start: int, stop: int, seeds: list[bytes]) -> Iterator[tuple[int, bytes]]:
    for number in range(start, stop):
        yield number, mutate(random.Random(f"{seed} {number}"), seeds)


def work(pipe: Connection, seed: int, start: int, stop: int, seeds: list[bytes]) -> None:
    """Child: send the number of each file before it is tried, then its outcome."""
    # Fails in the child before memory runs out on the machine.
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))
    for number, content in files(seed, start, stop, seeds):
        pipe.send(("try", number, 0))
        try:
            outcome = try_one(content, REQUESTS[number % len(REQUESTS)])
        except Exception as exc:  # the finding this exists for
            outcome = f"!{type(exc).__name__}: {exc}"
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        pipe.send((outcome, number, rss))
    pipe.send(("done", stop, 0))


def run_batch(seed: int, start: int, stop: int, seeds: list[bytes], tally: Tally) -> Iterator[str]:
    """Findings of files `start` to `stop`; replaces a child that died or hung."""
    while start < stop:
        pipe, theirs = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.Process(target=work, args=(theirs, seed, start, stop, seeds))
        child.start()
        theirs.close()
        number, began = start, time.monotonic()
        try:
            while True:
                if not pipe.poll(PATIENCE_S):
                    yield f"file {number}: hung for more than {PATIENCE_S:.0f} s"
                    break
                outcome, number, rss = pipe.recv()
                if outcome == "done":
                    break
                if outcome == "try":
                    began = time.monotonic()
                    continue
                tally.slowest_s = max(tally.slowest_s, time.monotonic() - began)
                tally.peak_rss_bytes = max(tally.peak_rss_bytes, rss)
                tally.outcomes[outcome.partition(":")[0]] += 1
                if outcome.startswith("!"):
                    yield f"file {number}: {outcome[1:]}"
        except EOFError:
            yield f"file {number}: the process died"
        finally:
            child.kill()
            child.join()
            pipe.close()
        start = stop if outcome == "done" else number + 1


def fuzz(count: int, seed: int) -> tuple[Tally, list[str]]:
    """Try `count` files; return the tally and the findings."""
    seeds, tally = seed_files(), Tally(Counter())
    findings: list[str] = []
    for start in range(0, count, BATCH):
        findings += run_batch(seed, start, min(start + BATCH, count), seeds, tally)
        print(f"\r{min(start + BATCH, count):,} of {count:,}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if tally.peak_rss_bytes > MAX_RSS_BYTES:
        findings.append(f"memory reached {tally.peak_rss_bytes / 2**20:,.0f} MiB")
    return tally, findings


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    began = time.monotonic()
    tally, findings = fuzz(count, seed)
    print(f"{count:,} files (seed {seed}) in {time.monotonic() - began:.0f} s")
    for outcome, number in tally.outcomes.most_common():
        print(f"  {number:7,}  {outcome}")
    print(
        f"slowest file {tally.slowest_s:.2f} s, peak memory {tally.peak_rss_bytes / 2**20:,.0f} MiB"
    )
    for finding in findings:
        print(f"FOUND {finding}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
