"""Compressed streams, decoded in pieces of bounded size whatever they hold."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Iterator
from typing import Protocol

#: Bytes read and decoded at a time.
PIECE = 256 << 10


class BrokenStream(Exception):
    """The bytes are not what the compression says: they will not decode by waiting."""


class HungryStream(BrokenStream):
    """The stream asks for a dictionary larger than is allowed."""


class Decoder(Protocol):
    """Decodes one stream. `eof` once its end (with its checksum, where the format has one) has been seen."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused(self) -> bytes:
        """What was fed beyond the end of the stream."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Pieces of at most `PIECE` bytes. Raises `BrokenStream`."""


class Inflate:
    """zlib's decoder: `wbits` 31 is gzip with its trailer checked, -15 the bare deflate of zip members."""

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.decompressobj(wbits)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused(self) -> bytes:
        return self._zlib.unused_data

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            while True:
                piece = self._zlib.decompress(data, PIECE)
                if piece:
                    yield piece
                data = self._zlib.unconsumed_tail
                # A full piece may leave output inside zlib although all input is consumed.
                if self._zlib.eof or (not data and len(piece) < PIECE):
                    return
        except zlib.error as error:
            raise BrokenStream(str(error)) from None


class Expand:
    """The decoder of bz2, xz and the lzma of zip members."""

    def __init__(self, decoder: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._decoder = decoder

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused(self) -> bytes:
        return self._decoder.unused_data

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            while True:
                piece = self._decoder.decompress(data, PIECE)
                if piece:
                    yield piece
                if self._decoder.eof or self._decoder.needs_input:
                    return
                data = b""
        except (OSError, lzma.LZMAError, EOFError, ValueError) as error:
            # liblzma's one way to tell is its text.
            raise (HungryStream if "emory usage limit" in str(error) else BrokenStream)(str(error)) from None


class Stored:
    """A zip member that is not compressed: its end is known from outside."""

    eof = True
    unused = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data


class ZipLzma:
    """A zip member compressed by lzma: a small header, then a raw stream."""

    unused = b""

    def __init__(self) -> None:
        self._head = b""
        self._inner: Expand | None = None

    @property
    def eof(self) -> bool:
        # The raw stream has an end mark only where a flag says so: the member's size decides.
        return self._inner is not None

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._inner is None:
            self._head += data
            if len(self._head) < 9:
                return
            length, properties, dictionary = struct.unpack("<HBI", self._head[2:9])
            if length != 5 or properties >= 225 or dictionary > (128 << 20):
                raise BrokenStream("lzma properties out of range")
            rest, lc = divmod(properties, 9)
            pb, lp = divmod(rest, 5)
            chain = [
                {"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": max(dictionary, 4096)}
            ]
            try:
                self._inner = Expand(lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain))
            except (lzma.LZMAError, ValueError) as error:
                raise BrokenStream(str(error)) from None
            data = self._head[9:]
        if not self._inner.eof:
            yield from self._inner.feed(data)


def whole_stream(archive: str, *, xz_bytes: int) -> Decoder:
    """A decoder of one stream of a 'gz', 'bz2' or 'xz' file. `xz_bytes` bounds what a dictionary may take."""
    if archive == "gz":
        return Inflate(31)
    if archive == "bz2":
        return Expand(bz2.BZ2Decompressor())
    return Expand(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=xz_bytes))


def zip_member(method: int) -> Decoder | None:
    """A decoder of a zip member by its method number; None for methods that installers cannot read."""
    if method == 0:
        return Stored()
    if method == 8:
        return Inflate(-15)
    if method == 12:
        return Expand(bz2.BZ2Decompressor())
    if method == 14:
        return ZipLzma()
    return None
