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
