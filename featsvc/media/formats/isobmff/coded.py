"""A coded stream of pictures as its headers declare it, and the reader of their bits."""

from dataclasses import dataclass

from featsvc.errors import MediaCorrupt


@dataclass(frozen=True, slots=True)
class Stream:
    """The largest values of a stream; `samples` is per pixel: 1 for grey, 1.5, 2 or 3."""

    width: int = 0
    height: int = 0
    bits: int = 8
    samples: float = 1
    frames: int = 0
    has_grain: bool = False

    @property
    def plane_bytes(self) -> int:
        """Bytes of one decoded picture, which is allocated in whole blocks."""
        area = (self.width + 127 & ~127) * (self.height + 127 & ~127)
        return int(area * self.samples * (1 + (self.bits > 8)))

    def __or__(self, other: "Stream") -> "Stream":
        return Stream(
            max(self.width, other.width),
            max(self.height, other.height),
            max(self.bits, other.bits),
            max(self.samples, other.samples),
            self.frames + other.frames,
            self.has_grain or other.has_grain,
        )


class Bits:
    """Reads bits, the highest first; raises MediaCorrupt past the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, bits: int) -> int:
        if bits > self._left:
            raise MediaCorrupt("the picture's header is cut short; send the whole file")
        self._left -= bits
        return self._value >> self._left & (1 << bits) - 1

    def skip_if(self, *bits: int) -> bool:
        """Read a flag, and skip fields of these bits where it is set."""
        flag = bool(self.read(1))
        if flag:
            for count in bits:
                self.read(count)
        return flag

    def read_golomb(self) -> int:
        """Read an unsigned Exp-Golomb code of at most 32 bits."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise MediaCorrupt("the picture's header is damaged; send the whole file")
        return (1 << zeros) - 1 + self.read(zeros)
