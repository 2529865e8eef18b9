"""Bytes packed for cache.db: quickly, since somebody waits, and noticed where they are damaged."""

from __future__ import annotations

import threading

from pidex.core.zstd import library

#: Pages are repetition: this level packs them to an eighth, at several times the speed of zlib's lowest.
LEVEL = 1
#: Bytes that one value may unpack to: a page of an upstream has 64 MiB at most.
MAX_BYTES = 256 * 1024 * 1024

#: What packs, of each thread: to make one takes as long as to pack a small page.
_presses = threading.local()


def packed(body: bytes) -> bytes:
    """The bytes, smaller, with a checksum."""
    zstd = library()
    if zstd is None:
        import zstandard  # noqa: PLC0415

        if not hasattr(_presses, "zstd"):
            _presses.zstd = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        return bytes(_presses.zstd.compress(body))
    which = zstd.CompressionParameter
    return bytes(zstd.compress(body, options={which.compression_level: LEVEL, which.checksum_flag: 1}))


def unpacked(body: bytes | None) -> bytes | None:
    """What was packed; None also where it is damaged, which is as good as not there."""
    if body is None:
        return None
    zstd = library()
    if zstd is None:
        import zstandard  # noqa: PLC0415

        try:
            if not 0 <= zstandard.frame_content_size(body) <= MAX_BYTES:
                return None
            return bytes(zstandard.ZstdDecompressor().decompress(body))
        except zstandard.ZstdError:
            return None
    try:
        press = zstd.ZstdDecompressor()
        found = press.decompress(body, max_length=MAX_BYTES)
    except zstd.ZstdError:
        return None
    return bytes(found) if press.eof else None
