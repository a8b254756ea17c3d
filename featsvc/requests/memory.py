"""Gives back to the system what finished jobs have freed.

glibc keeps freed memory for later: tens of megabytes for each thread, after pictures that few
requests need that much for.
"""

import contextlib
import ctypes
import mmap
import os

_STATM = "/proc/self/statm"
_M_MMAP_THRESHOLD = -3
MAPPED_BYTES = 4 * 2**20
"""From this size on, NumPy asks for huge pages."""


def map_large_blocks() -> None:
    """Let every large block be a mapping of its own, which goes back as soon as it is freed.

    glibc would soon take blocks of up to 32 MiB from its heap, where the kernel fills again the
    huge pages that pixels leave behind. Applies to the whole process.
    """
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)


class Trimmer:
    """Trims the heap of this process. Thread-safe: a trim too many does no harm."""

    def __init__(self, slack_bytes: int) -> None:
        self._slack_bytes = slack_bytes
        # musl has no such function, and keeps no such memory.
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._statm = -1
        with contextlib.suppress(OSError):
            self._statm = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)
        self._least_bytes = self.resident_bytes()

    def resident_bytes(self) -> int:
        """Return the resident memory of this process; 0 where Linux does not tell."""
        if self._statm < 0:
            return 0
        return int(os.pread(self._statm, 100, 0).split()[1]) * mmap.PAGESIZE

    def trim(self) -> None:
        """Give back every free page if the process has grown by the slack since it was smallest.

        A trim takes milliseconds, and so do the page faults after it; finding that none is needed
        takes 2 µs.
        """
        resident = self.resident_bytes()
        if self._trim is not None and resident > self._least_bytes + self._slack_bytes:
            self._trim(0)
            resident = self._least_bytes = self.resident_bytes()
        self._least_bytes = min(self._least_bytes, resident)

    def close(self) -> None:
        """Close the file that tells the resident memory."""
        statm, self._statm = self._statm, -1
        if statm >= 0:
            os.close(statm)
