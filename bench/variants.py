"""`Screen` with and without query variants, over gRPC, with a bank of 1 M entries.

    python -m bench.variants [FOLDER]        FOLDER keeps the bank for the next run

Photographs as JPEG q85 in two sizes, one request at a time, the settings in alternating rounds.
Prints wall time of the client and CPU time of the server per request, medians of the rounds, and
their ratios to a `Screen` without variants. No photograph is in the bank, as for most uploads.
"""

import io
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil
from featsvc_client import Client
from featsvc_client.v1 import screening_pb2, types_pb2
from PIL import Image

from bench.unary import ENTRIES, fill
from featsvc.signals.variants import DEFAULT_QUERY_VARIANTS
from tests.integration.running import running
from tests.photographs import photograph

NAMES = (
    *("astronaut.png", "coffee.png", "motorcycle_left.png", "rocket.jpg", "chelsea.png"),
    *("camera.png", "hubble_deep_field.jpg", "retina.jpg", "ihc.png", "coins.png"),
)
SIZES = {"0.4 MP": (768, 512), "1.6 MP": (1600, 1004)}
SETTINGS = {
    "none": types_pb2.MatchOptions.VARIANTS_NONE,
    "default": types_pb2.MatchOptions.VARIANTS_DEFAULT,
    "all": types_pb2.MatchOptions.VARIANTS_ALL,
}
REPEATS = 10
ROUNDS = 7


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


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(name)
        if not (folder / "segments").exists():
            folder.mkdir(parents=True, exist_ok=True)
            fill(folder, query_variants=DEFAULT_QUERY_VARIANTS)
        with running(folder) as service, service.client() as client:
            server = psutil.Process(service.process.pid)
            for size_name, size in SIZES.items():
                requests = {
                    setting: [
                        screening_pb2.ScreenRequest(
                            content=types_pb2.Content(data=content),
                            options=types_pb2.MatchOptions(variants=value),
                        )
                        for content in contents(size)
                    ]
                    for setting, value in SETTINGS.items()
                }
                wall, cpu = defaultdict(list), defaultdict(list)
                for _ in range(ROUNDS):
                    for setting, those in requests.items():
                        before, started = server.cpu_times(), time.perf_counter()
                        run(client, those)
                        count = len(those) * REPEATS
                        wall[setting].append((time.perf_counter() - started) / count * 1e6)
                        after = server.cpu_times()
                        used = after.user + after.system - before.user - before.system
                        cpu[setting].append(used / count * 1e6)
                for setting in SETTINGS:
                    print(
                        f"{size_name}, {ENTRIES:,} entries, variants {setting:<8}"
                        f"{statistics.median(wall[setting]):8.0f} us"
                        f"{statistics.median(cpu[setting]):8.0f} us of CPU   "
                        f"{_ratio(wall, setting):.2f}x wall  {_ratio(cpu, setting):.2f}x CPU"
                    )


def _ratio(times: dict[str, list[float]], setting: str) -> float:
    """The ratios, round by round, since the load of the machine changes between rounds."""
    pairs = zip(times[setting], times["none"], strict=True)
    return statistics.median(a / b for a, b in pairs)


if __name__ == "__main__":
    main()
