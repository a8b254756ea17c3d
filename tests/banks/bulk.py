"""Measures the import of a list of any length, generated while it is read. Run it by hand:

python -m tests.banks.bulk 10000000 FOLDER
"""

import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.store import BankStore

_LINES_A_CHUNK = 4000


def pdq_lines(rows: int) -> Iterator[bytes]:
    """Yield PDQ text of different, random hashes."""
    rng = random.Random(31)
    for start in range(0, rows, _LINES_A_CHUNK):
        count = min(_LINES_A_CHUNK, rows - start)
        digits = rng.randbytes(32 * count).hex()
        yield "".join(f"{digits[i : i + 64]}\n" for i in range(0, len(digits), 64)).encode()


def main(rows: int, folder: Path) -> None:
    """Import into a new store in `folder`; print rows per second and the peak memory."""
    store = BankStore(f"sqlite:///{folder / 'bulk.db'}")
    store.create_bank("b")
    started, cpu = time.perf_counter(), time.process_time()
    result = store.import_entries(
        "b", ListFile(pdq_lines(rows), name="bulk.txt", format="pdq-text")
    )
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(  # noqa: T201
        f"{result.summary.new_entries:,} entries in {seconds:.1f} s ({cpu:.1f} s of CPU): "
        f"{rows / seconds:,.0f} rows/s, at most {peak_mib} MiB"
    )
    store.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
