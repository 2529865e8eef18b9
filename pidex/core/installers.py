"""Installers for Windows and RPM: how long a file must be by what its header says."""

from __future__ import annotations

import struct
from typing import BinaryIO

_FREE_SECTOR = 0xFFFFFFFF
_RPM_HEADER = b"\x8e\xad\xe8\x01"


def expected_size(archive: str, file: BinaryIO, size: int) -> int | None:
    """Bytes that a file of kind 'ole' (msi) or 'rpm' has at least; None where its header does not say."""
    file.seek(0)
    try:
        return _ole(file) if archive == "ole" else _rpm(file)
    except (struct.error, ValueError, OverflowError):
        # The header itself is not there yet, or it is none that we understand.
        return None


def _ole(file: BinaryIO) -> int | None:
    """Up to the last sector that the allocation table calls used (small files: up to 109 table sectors)."""
    header = file.read(512)
    (shift,) = struct.unpack_from("<H", header, 0x1E)
    (tables,) = struct.unpack_from("<I", header, 0x2C)
    if shift not in (9, 12) or not 0 < tables <= 109:
        return None
    sectors = struct.unpack_from(f"<{tables}I", header, 0x4C)
    per_table = (1 << shift) // 4
    for number in range(tables - 1, -1, -1):
        file.seek((sectors[number] + 1) << shift)
        entries = struct.unpack(f"<{per_table}I", file.read(1 << shift))
        for at in range(per_table - 1, -1, -1):
            if entries[at] != _FREE_SECTOR:
                # The last sector may be cut short: its first byte must be there.
                return int(((number * per_table + at + 1) << shift) + 1)
    return None


def _rpm(file: BinaryIO) -> int | None:
    """Lead, signature, and what the signature says of the size of all after it."""
    file.seek(96)
    mark, _, count, length = struct.unpack(">4s4sII", file.read(16))
    if mark != _RPM_HEADER or count > 1024 or length > (1 << 20):
        return None
    index = file.read(16 * count)
    store = file.read(length)
    start = -(-(96 + 16 + 16 * count + length) // 8) * 8
    for at in range(count):
        tag, kind, offset, _ = struct.unpack_from(">IIII", index, 16 * at)
        if tag == 1000 and kind == 4:
            return int(start + struct.unpack_from(">I", store, offset)[0])
        if tag == 270 and kind == 5:
            return int(start + struct.unpack_from(">Q", store, offset)[0])
    return None
