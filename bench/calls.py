"""Count the Python calls in featsvc's code that a `Screen` takes.

One picture that matches one of 10,000 PDQ hashes, without and with an account, in a service in this
process. Unlike a time, a count does not depend on how busy the machine is.
"""

import sys
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from types import FrameType

import msgspec
import numpy as np
import uvloop
from featsvc_client import AsyncClient
from featsvc_client.v1 import banks_pb2, screening_pb2, types_pb2

from bench.command import Command
from bench.size import pick
from featsvc import app
from featsvc.config import Config
from tests.photographs import ROOT, photograph

HASHES = pick(10_000, smoke=100)
WARM_UP, COUNTED = pick((20, 7), smoke=(1, 1))
OURS = tuple(f"{ROOT}/{folder}/" for folder in ("featsvc", "kernels", "client"))

calls: Counter[str] = Counter()


def count(frame: FrameType, event: str, _: object) -> None:
    """A profile function: count calls by file, without generated stubs."""
    file = frame.f_code.co_filename
    if event == "call" and file.startswith(OURS) and "_pb2" not in file:
        calls[file] += 1


async def fill(client: AsyncClient, picture: bytes) -> None:
    """Fill a bank with random hashes and the picture."""
    await client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id="known"))
    rng = np.random.default_rng(0)
    rows = b"".join(rng.bytes(32).hex().encode() + b"\n" for _ in range(HASHES))

    async def requests() -> AsyncIterator[banks_pb2.ImportEntriesRequest]:
        options = banks_pb2.ImportOptions(parent="banks/known", format="pdq-text")
        yield banks_pb2.ImportEntriesRequest(options=options)
        yield banks_pb2.ImportEntriesRequest(chunk=rows)

    async for _ in client.banks.ImportEntries(requests()):
        pass
    entry = banks_pb2.Entry(external_id="picture")
    add = banks_pb2.AddEntriesRequest(
        parent="banks/known", entries=[entry], contents=[types_pb2.Content(data=picture)]
    )
    await client.banks.AddEntries(add)


async def measure(client: AsyncClient, request: screening_pb2.ScreenRequest) -> tuple[int, int]:
    """Return calls and files of the median request."""
    for _ in range(WARM_UP):
        answer = await client.screening.Screen(request)
        assert answer.matches
    found = []
    for _ in range(COUNTED):
        calls.clear()
        await client.screening.Screen(request)
        found.append((calls.total(), len(calls)))
    return sorted(found)[COUNTED // 2]


async def count_calls() -> None:
    picture = photograph("rocket.jpg").read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        plain = Config()
        server = msgspec.structs.replace(plain.server, listen="127.0.0.1:0")
        config = msgspec.structs.replace(plain, data_dir=folder, server=server)
        async with app.serving(config) as address, AsyncClient(address) as client:
            await fill(client, picture)
            request = screening_pb2.ScreenRequest(content=types_pb2.Content(data=picture))
            print("content: {} calls in {} files".format(*await measure(client, request)))
            request.entities.add(entity="account", id="a1")
            show = "content and account: {} calls in {} files"
            print(show.format(*await measure(client, request)))


def main(argv: Sequence[str] | None = None) -> None:
    Command("calls", __doc__ or "", takes="about 10 seconds").begin(argv)
    # For threads started later, and for this one.
    threading.setprofile(count)
    sys.setprofile(count)
    uvloop.run(count_calls())


if __name__ == "__main__":
    main()
