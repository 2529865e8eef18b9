"""Bodies of answers: hashed and compressed once, long ones in pieces."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable
from typing import Any

from pidex.core.zstd import library

#: Bytes: a smaller page is not worth compressing.
COMPRESS_BYTES = 512
#: Bytes: a longer body is sent in pieces, and kept compressed.
LONG_BYTES = 4 * 1024 * 1024
#: Bytes: a larger page is compressed quickly, as somebody waits.
QUICK_BYTES = 64 * 1024
GZIP_LEVEL, QUICK_GZIP_LEVEL = 6, 1
ZSTD_LEVEL, QUICK_ZSTD_LEVEL = 3, 1


def condense(
    chunks: Iterable[bytes], coding: str | None, content_type: str, *, packed: bytes | None = None
) -> tuple[bytes, str | None, bool, int, str]:
    """Body, coding, whether it has to be unpacked before it is sent, its length when sent, and its hash.

    The hash is that of the bytes before compression and of the media type. A long body without a coding is
    kept compressed: a list of 880,000 names would fill the cache. `packed`: all of it in zstd, where somebody
    has that already; then that is what is hashed, which is an eighth.
    """
    digest = hashlib.blake2b(content_type.encode(), digest_size=16)
    if packed is not None and coding != "gzip":
        body = b"".join(chunks)
        digest.update(packed)
        long = len(body) > LONG_BYTES
        if coding == "zstd" and len(body) >= COMPRESS_BYTES:
            return packed, coding, False, len(packed), digest.hexdigest()
        return packed if long else body, None, long, len(body), digest.hexdigest()
    waiting: list[bytes] = []
    size = 0
    press: Any = None
    output: list[bytes] = []
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        if press is None:
            waiting.append(chunk)
            if size > LONG_BYTES:
                press = _compressor(coding or "zstd", fast=True)
                output = [press.compress(piece) for piece in waiting]
                waiting.clear()
        else:
            output.append(press.compress(chunk))
    if press is not None:
        output.append(press.flush())
        body = b"".join(output)
        return body, coding, coding is None, size if coding is None else len(body), digest.hexdigest()
    body = b"".join(waiting)
    if coding is not None and size >= COMPRESS_BYTES:
        body = compress(body, coding)
    else:
        coding = None
    return body, coding, False, len(body), digest.hexdigest()


def compress(body: bytes, coding: str) -> bytes:
    """`body` in the content coding 'gzip' or 'zstd'; the same bytes each time."""
    if coding == "gzip":
        return gzip.compress(body, GZIP_LEVEL if len(body) <= QUICK_BYTES else QUICK_GZIP_LEVEL, mtime=0)
    # At once: where its length is known, what is short is not made ready for as if it were long.
    level, zstd = QUICK_ZSTD_LEVEL if len(body) > QUICK_BYTES else ZSTD_LEVEL, library()
    if zstd is None:
        import zstandard  # noqa: PLC0415

        return bytes(zstandard.ZstdCompressor(level=level).compress(body))
    return bytes(zstd.compress(body, level))


def _compressor(coding: str, *, fast: bool) -> Any:
    if coding == "gzip":
        return zlib.compressobj(4 if fast else GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    level, zstd = QUICK_ZSTD_LEVEL if fast else ZSTD_LEVEL, library()
    if zstd is None:
        import zstandard  # noqa: PLC0415

        return zstandard.ZstdCompressor(level=level).compressobj()
    return zstd.ZstdCompressor(level=level)


def unpack(packed: bytes, piece: int) -> Iterable[bytes]:
    """The bytes of a packed body, in pieces of about `piece` bytes."""
    zstd = library()
    if zstd is None:
        import io  # noqa: PLC0415

        import zstandard  # noqa: PLC0415

        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed)) as reader:
            while data := reader.read(piece):
                yield data
        return
    press = zstd.ZstdDecompressor()
    data = press.decompress(packed, max_length=piece)
    while data or not press.eof:
        yield data
        data = press.decompress(b"", max_length=piece)
