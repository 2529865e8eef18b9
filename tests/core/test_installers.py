"""How long an installer has to be by its own header: what is shorter is still on its way."""

from __future__ import annotations

import io
import struct

import pytest

from pidex.core.installers import expected_size

FREE = 0xFFFFFFFF


def ole(used: int, *, shift: int = 9, tables: int = 1) -> bytes:
    """A compound file whose table calls the first `used` sectors used."""
    header = bytearray(512)
    struct.pack_into("<H", header, 0x1E, shift)
    struct.pack_into("<I", header, 0x2C, tables)
    sectors = [0] + [FREE] * 108
    struct.pack_into("<109I", header, 0x4C, *sectors)
    per_table = (1 << shift) // 4
    table = struct.pack(f"<{per_table}I", *([1] * used + [FREE] * (per_table - used)))
    return bytes(header).ljust(1 << shift, b"\0") + table


def rpm(tag: int, kind: int, value: bytes, *, mark: bytes = b"\x8e\xad\xe8\x01", count: int = 1) -> bytes:
    """A lead, and a signature with one entry."""
    entry = struct.pack(">IIII", tag, kind, 0, 1)
    return b"\0" * 96 + struct.pack(">4s4sII", mark, b"\0" * 4, count, len(value)) + entry + value


@pytest.mark.parametrize(("archive", "data", "size"), [
    ("ole", ole(1), 512 + 1),
    ("ole", ole(7), 7 * 512 + 1),
    ("ole", ole(3, shift=12), 3 * 4096 + 1),
    ("ole", ole(0), None),
    ("ole", ole(1, shift=10), None),
    ("ole", ole(1, tables=0), None),
    ("ole", ole(1, tables=110), None),
    ("ole", ole(5)[:600], None),
    ("ole", b"", None),
    ("rpm", rpm(1000, 4, struct.pack(">I", 5_000)), 136 + 5_000),
    ("rpm", rpm(270, 5, struct.pack(">Q", 5_000_000_000)), 136 + 5_000_000_000),
    ("rpm", rpm(1000, 7, b"abcd"), None),
    ("rpm", rpm(1, 4, b"abcd"), None),
    ("rpm", rpm(1000, 4, b"abcd", mark=b"nope"), None),
    ("rpm", rpm(1000, 4, b"abcd", count=5_000), None),
    ("rpm", rpm(1000, 4, b""), None),
    ("rpm", b"short", None),
])  # fmt: skip
def test_what_the_header_says(archive: str, data: bytes, size: int | None) -> None:
    assert expected_size(archive, io.BytesIO(data), len(data)) == size
