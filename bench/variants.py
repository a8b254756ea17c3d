"""`Screen` with and without query variants, over gRPC, with a bank of 1 M entries.

Photographs as JPEG q85 in two sizes, one request at a time, the settings in alternating rounds.
Prints wall time of the client and CPU time of the server per request, medians of the rounds, and
their ratios to a `Screen` without variants. No photograph is in the bank, as for most uploads.
"""

import io
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import psutil
from featsvc_client import Client
from featsvc_client.v1 import screening_pb2, types_pb2
from PIL import Image

from bench.command import Command, progress
from bench.size import pick
from bench.unary import ENTRIES, fill
from featsvc.signals.variants import DEFAULT_QUERY_VARIANTS
from tests.integration.running import running
from tests.photographs import photograph

NAMES = (
    *("astronaut.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "chelsea.png"),
    *("camera.png", "hubble_deep_field.jpg", "retina.jpg", "ihc.png", "coins.png"),
)
SIZES = pick({"0.4 MP": (768, 512), "1.6 MP": (1600, 1004)}, smoke={"0.1 MP": (320, 240)})
SETTINGS = {
    "none": types_pb2.MatchOptions.VARIANTS_NONE,
    "default": types_pb2.MatchOptions.VARIANTS_DEFAULT,
    "all": types_pb2.MatchOptions.VARIANTS_ALL,
}
REPEATS = pick(10, smoke=1)
ROUNDS = pick(7, smoke=1)


def contents(size: tuple[int, int]) -> list[bytes]:
    """The photographs, scaled to one size."""
    made = []
    for name in NAMES:
        with Image.open(photograph(name)) as image:
            picture = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=85)
        made.append(content.getvalue())
    return made


def run(client: Client, requests: list[screening_pb2.ScreenRequest]) -> None:
    for request in requests * REPEATS:
        response = client.screening.Screen(request)
        assert not response.matches


def main(argv: Sequence[str] | None = None) -> None:
    command = Command("variants", __doc__ or "", takes="about 3 minutes")
    command.parser.add_argument(
        "folder", nargs="?", type=Path, help="keeps the bank for a next run"
    )
    arguments = command.begin(argv)
    with tempfile.TemporaryDirectory() as name:
        folder: Path = arguments.folder or Path(name)
        if not (folder / "segments").exists():
            fill(folder, query_variants=DEFAULT_QUERY_VARIANTS)
        with running(folder) as service, service.client() as client:
            server = psutil.Process(service.process.pid)
            for size in SIZES:
                wall, cpu = measure(client, server, size)
                for setting in SETTINGS:
                    print(
                        f"{size}, {ENTRIES:,} entries, variants {setting:<8}"
                        f"{statistics.median(wall[setting]):8.0f} us"
                        f"{statistics.median(cpu[setting]):8.0f} us of CPU   "
                        f"{_ratio(wall, setting):.2f}x wall  {_ratio(cpu, setting):.2f}x CPU"
                    )


def measure(
    client: Client, server: psutil.Process, size: str
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Microseconds per request by setting, one value a round: wall time, and CPU of the server."""
    made = contents(SIZES[size])
    requests = {
        setting: [
            screening_pb2.ScreenRequest(
                content=types_pb2.Content(data=content),
                options=types_pb2.MatchOptions(variants=value),
            )
            for content in made
        ]
        for setting, value in SETTINGS.items()
    }
    count = len(made) * REPEATS
    wall, cpu = defaultdict(list), defaultdict(list)
    with progress(f"rounds of {size}", ROUNDS) as step:
        for _ in range(ROUNDS):
            for setting, those in requests.items():
                before, started = server.cpu_times(), time.perf_counter()
                run(client, those)
                wall[setting].append((time.perf_counter() - started) / count * 1e6)
                after = server.cpu_times()
                used = after.user + after.system - before.user - before.system
                cpu[setting].append(used / count * 1e6)
            step()
    return wall, cpu


def _ratio(times: dict[str, list[float]], setting: str) -> float:
    """The ratios, round by round, since the load of the machine changes between rounds."""
    pairs = zip(times[setting], times["none"], strict=True)
    return statistics.median(a / b for a, b in pairs)


if __name__ == "__main__":
    main()
