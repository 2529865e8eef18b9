"""Bodies of answers: unpacked as they come and never beyond a limit."""

from __future__ import annotations

import zlib

from pidex.core.errors import UpstreamFault

MIB = 1 << 20
#: Bytes of a project's page, of a list of projects, and of a `.metadata`, unpacked.
PAGE_BYTES, NAMES_BYTES, METADATA_BYTES = 64 * MIB, 256 * MIB, MIB
#: Bytes that are unpacked at a time.
PIECE = 256 * 1024


class Unpacking:
    """The inverse of `Content-Encoding` (gzip, deflate or none). Raises `UpstreamFault`."""

    def __init__(self, encoding: str, what: str) -> None:
        self._what = what
        name = encoding.strip().lower().removeprefix("x-")
        if name not in ("", "identity", "gzip", "deflate"):
            raise UpstreamFault(f"{what} came in the coding {encoding[:40]!a}, which nobody asked for.")
        self._raw = name in ("", "identity")
        self._decoder = zlib.decompressobj(47)  # gzip or zlib, by their header
        self._deflate = name == "deflate"
        self._begun = False

    def feed(self, data: bytes, limit: int) -> bytes:
        """What `data` holds. More than `limit` bytes are a fault."""
        if self._raw:
            unpacked = data
        else:
            unpacked = self._unpack(data, limit)
        if len(unpacked) > limit:
            raise UpstreamFault(f"{self._what} is larger than is read.")
        return unpacked

    def _unpack(self, data: bytes, limit: int) -> bytes:
        pieces, total = [], 0
        if self._deflate and not self._begun and data and data[0] & 0x0F != 8:
            self._decoder = zlib.decompressobj(-15)  # bare, as some servers understand `deflate`
        self._begun = self._begun or bool(data)
        try:
            while data and not self._decoder.eof:
                piece = self._decoder.decompress(data, PIECE)
                pieces.append(piece)
                total += len(piece)
                if total > limit:
                    break
                data = self._decoder.unconsumed_tail
        except zlib.error:
            raise UpstreamFault(f"{self._what} cannot be unpacked: it is damaged.") from None
        return b"".join(pieces)

    def finish(self) -> None:
        """Say that all has come: a stream that goes on is a fault."""
        if not self._raw and not self._decoder.eof:
            raise UpstreamFault(f"{self._what} cannot be unpacked: its end is missing.")


class PackedBody:
    """A body of at most `limit` bytes unpacked, of which `waiting` bytes are packed still; `size`: all."""

    def __init__(self, unpacking: Unpacking, limit: int) -> None:
        self.size = self.waiting = 0
        self._unpacking, self._left = unpacking, limit
        self._waiting: list[bytes] = []
        self._pieces: list[bytes] = []

    def add(self, data: bytes) -> None:
        """More of it has come."""
        self._waiting.append(data)
        self.size += len(data)
        self.waiting += len(data)

    def feed(self) -> None:
        """Unpack what has come. Raises `UpstreamFault`."""
        piece = self._unpacking.feed(b"".join(self._waiting), self._left)
        self._waiting.clear()
        self.waiting = 0
        self._left -= len(piece)
        self._pieces.append(piece)

    def unpack(self) -> bytes:
        """All of it, once all has come. Raises `UpstreamFault`."""
        self.feed()
        self._unpacking.finish()
        return b"".join(self._pieces)
