"""METADATA out of a wheel that lies elsewhere: which ranges of it are needed, and what they say."""

from __future__ import annotations

import io
from collections.abc import Generator
from typing import BinaryIO, Final, cast

from pidex.core import archives
from pidex.core.errors import UpstreamFault
from pidex.core.limits import Limits

#: Bytes of the end of a wheel that are asked for first: the directory of all but one wheel in fifty, and more
#: than the end of a zip that has the longest comment, which is looked for there.
TAIL: Final = 66 * 1024
#: Bytes of one more range, at least: a hole costs a round trip.
STEP: Final = 32 * 1024
#: Ranges for one wheel, and bytes of all of them.
MAX_RANGES, MAX_BYTES = 24, 40 << 20

#: Yields (offset, length), is sent the bytes there, returns the METADATA.
Reading = Generator[tuple[int, int], bytes, bytes]


class _Hole(Exception):
    def __init__(self, offset: int, length: int) -> None:
        self.offset, self.length = offset, length


class _Pieces(io.RawIOBase):
    """A file of which pieces are here; reading where there is none raises `_Hole`."""

    def __init__(self, size: int) -> None:
        self.size, self._at = size, 0
        self._pieces: list[tuple[int, bytes]] = []

    def add(self, offset: int, data: bytes) -> None:
        self._pieces.append((offset, data))

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self.size)[whence])
        return self._at

    def read(self, length: int | None = -1) -> bytes:
        end = self.size if length is None or length < 0 else min(self.size, self._at + length)
        at, found = self._at, b""
        while at < end:
            for start, data in self._pieces:
                if start <= at < start + len(data):
                    piece = data[at - start : end - start]
                    break
            else:
                raise _Hole(at, end - at)
            found, at = found + piece, at + len(piece)
        self._at = max(self._at, end)
        return found


def reading(filename: str, size: int, end: bytes) -> Reading:
    """Ask for ranges of a wheel of `size` bytes, whose last bytes are `end`, until its METADATA is known.

    What comes out was checked as for a file of our own: checksum, one `.dist-info`, and its name and version
    those of the file name (WHN-8, MET-7). Raises `Damaged`, `Incomplete` or `BadName` for what is no wheel,
    `UpstreamFault` where too many ranges are needed.
    """
    pieces = _Pieces(size)
    pieces.add(size - len(end), end)
    taken = 0
    for _ in range(MAX_RANGES):
        pieces.seek(0)
        try:
            return archives.metadata(cast(BinaryIO, pieces), size, filename, Limits())
        except _Hole as hole:
            start, length = hole.offset, max(hole.length, min(STEP, size - hole.offset))
        taken += length
        if taken > MAX_BYTES:
            break
        data = yield start, length
        if len(data) != length:
            raise UpstreamFault(f"The upstream sent {len(data):,} bytes of {filename} for {length:,}.")
        pieces.add(start, data)
    raise UpstreamFault(f"The metadata of {filename} lies in too many places of the wheel.")
