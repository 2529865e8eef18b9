"""The records of a zip from front to back, and where they differ from its directory (ARC-5)."""

from __future__ import annotations

import struct
import unicodedata
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from pidex.core.zips import (
    DEFLATED,
    END,
    END64,
    END64_MARK,
    END_MARK,
    ENTRY_MARK,
    LOCAL,
    LOCAL_MARK,
    LOCATOR,
    LOCATOR_MARK,
    MAX_COMMENT,
    Directory,
    Member,
)

_DESCRIPTOR = 0x0008
_UTF8 = 0x0800
#: Flags that change how a member is read: encryption, patches, strong encryption, UTF-8, masked headers.
_TELLING = 0x0001 | 0x0020 | 0x0040 | _UTF8 | 0x2000
_FULL32, _FULL16 = 0xFFFFFFFF, 0xFFFF
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075
_MARKS = (LOCAL_MARK, ENTRY_MARK, END_MARK, END64_MARK, LOCATOR_MARK)


def faults(file: BinaryIO, size: int, where: Directory) -> Iterator[str]:
    """Why readers of the stream and readers of the directory may see different files, one reason each.

    `where` is the zip's directory as `zips.directory` read it. Reads each header once, no content.
    """
    seen: set[bytes] = set()
    for member in where.members:
        if member.raw in seen:
            yield f"{member.name!r} is in it more than once"
        seen.add(member.raw)
        yield from _entry_faults(member)
    yield from _local_faults(file, where)
    yield from _end_faults(file, size, where)


def _entry_faults(member: Member) -> Iterator[str]:
    """What is wrong with one entry of the directory, taken alone."""
    yield from _name_faults(member.raw, member.flags)
    yield from _extra_faults(member, member.extra, member.raw, member.wide)
    if member.flags & _DESCRIPTOR:
        yield f"ZIP contains a data descriptor ({member.name!r})"
    if member.method not in (0, DEFLATED):
        yield f"{member.name!r} is neither stored nor deflated (method {member.method})"
    if member.method == 0 and member.packed != member.size:
        yield f"{member.name!r} is stored, and has two sizes"
    if member.comment:
        yield f"the entry of {member.name!r} has a comment"
    if member.disk:
        yield f"{member.name!r} is said to be on another disk"
    if member.name.endswith("/") and member.size:
        yield f"the folder {member.name!r} has content"


def _name_faults(raw: bytes, flags: int) -> Iterator[str]:
    """What is wrong with a member's name."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        yield f"the name {raw[:100]!r} is not UTF-8"
        return
    if not name:
        yield "a member has no name"
    if not raw.isascii() and not flags & _UTF8:
        yield f"the name {name!r} is not ASCII and not marked as UTF-8"
    if any(unicodedata.category(character) == "Cc" for character in name):
        yield f"the name {name!r} has a control character"
    if "\\" in name or name.startswith("/") or name[1:2] == ":" or ".." in name.split("/"):
        yield f"the name {name!r} leads out of where it is unpacked"


def _local_faults(file: BinaryIO, where: Directory) -> Iterator[str]:
    """Members follow each other without gaps, from the first byte to the directory, as entries say."""
    at = 0
    for member in sorted(where.members, key=lambda member: member.offset):
        if member.offset < at:
            yield f"{member.name!r} begins inside another member"
            return
        if member.offset > at:
            yield _gap(file, at, member.offset - at)
        file.seek(member.offset)
        header = file.read(LOCAL.size)
        if len(header) < LOCAL.size or header[:4] != LOCAL_MARK:
            yield f"{member.name!r} is not where the directory says"
            return
        fields = LOCAL.unpack(header)
        raw, extra = file.read(fields[9]), file.read(fields[10])
        yield from _differences(member, fields, raw, extra)
        at = member.offset + LOCAL.size + fields[9] + fields[10] + member.packed
    if at > where.start:
        yield "the last member runs into the directory"
    elif at < where.start:
        yield _gap(file, at, where.start - at)


def _gap(file: BinaryIO, at: int, length: int) -> str:
    if at == 0:
        return f"{length:,} bytes stand before its first member"
    file.seek(at)
    if file.read(4) == LOCAL_MARK:
        return "it contains a file that its directory does not list"
    return f"{length:,} bytes between its members belong to none"


def _differences(member: Member, fields: tuple[int, ...], raw: bytes, extra: bytes) -> Iterator[str]:
    """Where a member's own header and its entry in the directory disagree."""
    _, _, flags, method, _, _, crc, packed, size, _, _ = fields
    if raw != member.raw:
        yield f"{member.name!r} has another name in its own header"
    if flags & _DESCRIPTOR and not member.flags & _DESCRIPTOR:
        yield f"ZIP contains a data descriptor ({member.name!r})"
    if (flags ^ member.flags) & _TELLING:
        yield f"{member.name!r} has other flags in its own header"
    if method != member.method:
        yield f"{member.name!r} has another compression method in its own header"
    if flags & _DESCRIPTOR:
        return  # sizes and checksum follow the content then
    if crc != member.crc:
        yield f"{member.name!r} has another checksum in its own header"
    wide = (size, packed).count(_FULL32)
    yield from _extra_faults(member, extra, raw, wide)
    values = iter(_wide_values(extra))
    size = next(values, size) if size == _FULL32 else size
    packed = next(values, packed) if packed == _FULL32 else packed
    if (size, packed) != (member.size, member.packed):
        yield f"{member.name!r} has other sizes in its own header"


def _fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """The extra fields as (kind, content). Raises `ValueError` where they do not fill their place exactly."""
    at = 0
    while at < len(extra):
        if at + 4 > len(extra):
            raise ValueError
        kind, length = struct.unpack_from("<HH", extra, at)
        if at + 4 + length > len(extra):
            raise ValueError
        yield kind, extra[at + 4 : at + 4 + length]
        at += 4 + length


def _extra_faults(member: Member, extra: bytes, raw: bytes, wide: int) -> Iterator[str]:
    """What is wrong with the extra fields of a header in which `wide` numbers are said to be 64-bit ones."""
    try:
        fields = list(_fields(extra))
    except ValueError:
        yield f"the extra fields of {member.name!r} are malformed"
        return
    for kind, what in ((_ZIP64, "ZIP64"), (_UNICODE_PATH, "Unicode path")):
        if sum(found == kind for found, _ in fields) > 1:
            yield f"{member.name!r} has the {what} extra field more than once"
    for kind, data in fields:
        if kind == _ZIP64 and len(data) != 8 * wide:
            yield f"the ZIP64 extra field of {member.name!r} does not hold what its header leaves out"
        if kind == _UNICODE_PATH and data != b"\x01" + struct.pack("<I", zlib.crc32(raw)) + raw:
            yield f"the Unicode path extra field of {member.name!r} names another file"


def _wide_values(extra: bytes) -> tuple[int, ...]:
    """The numbers of the ZIP64 extra field, as many as there are."""
    try:
        data = next((data for kind, data in _fields(extra) if kind == _ZIP64), b"")
    except ValueError:
        return ()
    return struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8])


def _end_faults(file: BinaryIO, size: int, where: Directory) -> Iterator[str]:
    """The end records, read forwards: nothing may be told twice in two ways, nothing may follow."""
    file.seek(where.end)
    data = file.read(END64.size + LOCATOR.size + END.size + MAX_COMMENT + 1)
    at, told = 0, None
    if data[:4] == END64_MARK:
        at = END64.size + LOCATOR.size
        if len(data) < at:
            yield "its ZIP64 end record is cut"
            return
        told = END64.unpack_from(data)
        mark, disk, position, disks = LOCATOR.unpack_from(data, END64.size)
        if told[1] != END64.size - 12 or mark != LOCATOR_MARK:
            yield "its ZIP64 end record has room for something else"
            return
        if disk or disks != 1 or position != where.end:
            yield "its ZIP64 locator and end record disagree"
    if data[at : at + 4] != END_MARK or len(data) < at + END.size:
        yield "its end record is not where its directory ends"
        return
    _, disk, first, here, entries, length, start, comment = END.unpack_from(data, at)
    if where.end + at + END.size + comment != size:
        yield "something follows its end record"
    text = data[at + END.size : at + END.size + comment]
    if any(mark in text for mark in _MARKS):
        yield "its comment looks like a part of a zip"
    real = (0, 0, len(where.members), len(where.members), where.end - where.start, where.start)
    said = (disk, first, here, entries, length, start)
    full = (_FULL16, _FULL16, _FULL16, _FULL16, _FULL32, _FULL32)
    allowed = [{value, mark} if told else {value} for value, mark in zip(real, full, strict=True)]
    if any(value not in fine for value, fine in zip(said, allowed, strict=True)) or (
        told is not None and told[4:] != real
    ):
        yield "its end records disagree with its directory"
