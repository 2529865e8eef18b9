"""Zip archives (wheels, eggs, zip sdists): the directory, single members, and every checksum."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from pidex.core.errors import Damaged, Incomplete
from pidex.core.limits import Limits
from pidex.core.streams import PIECE, BrokenStream, zip_member

#: The records of a zip; `records` reads them too.
END = struct.Struct("<4sHHHHIIH")
END64 = struct.Struct("<4sQHHIIQQQQ")
LOCATOR = struct.Struct("<4sIQI")
ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
LOCAL = struct.Struct("<4sHHHHHIIIHH")
END_MARK, END64_MARK, LOCATOR_MARK = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
ENTRY_MARK, LOCAL_MARK = b"PK\x01\x02", b"PK\x03\x04"
MAX_COMMENT = 0xFFFF
#: Method number of the one compression that every installer reads.
DEFLATED = 8


class Member(NamedTuple):
    """One file in a zip, as the central directory has it. `raw` is the name's bytes.

    `extra` are the entry's extra fields, `comment` the bytes of its comment, `disk` the part it begins on,
    `wide` how many of the last three numbers stand in a 64-bit field.
    """

    name: str
    raw: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    extra: bytes = b""
    comment: int = 0
    disk: int = 0
    wide: int = 0


@dataclass(frozen=True, slots=True)
class Directory:
    """The central directory, from `start` (members end before it) to `end` (the end records follow)."""

    members: tuple[Member, ...]
    start: int
    end: int


class _End(NamedTuple):
    position: int  # of the first record after the central directory
    entries: int
    size: int
    start: int


def ends_here(file: BinaryIO, size: int) -> bool:
    """Whether the very end of the file is an end record (a wininst installer has a zip at its end)."""
    return _end_position(_tail(file, size)) is not None


def directory(file: BinaryIO, size: int, limits: Limits) -> Directory:
    """Read the central directory; nothing in it is read before its size is known to be bounded.

    Raises `Incomplete` where the end record is not the file's own, `Damaged` for what waiting cannot mend.
    """
    end = _end(file, size)
    if end.entries > limits.members:
        raise Damaged(
            f"the zip has {end.entries:,} members, more than the {limits.members:,} allowed",
            code="too-many-members",
        )
    if end.size > limits.directory_bytes:
        raise Damaged(
            f"the zip's directory has {end.size:,} bytes, more than the {limits.directory_bytes:,} allowed",
            code="too-many-members",
        )
    gap = end.position - end.size - end.start
    if gap > 0:
        raise Incomplete(
            "the zip record at the end belongs to another zip inside this one, or something stands before "
            "the zip: the file is truncated or still being written",
            code="truncated",
        )
    if gap < 0:
        # More than a byte in 32 is not what a conversion of line ends takes away.
        code = "shifted" if -gap <= size // 32 else "corrupt"
        raise Damaged(f"{-gap:,} bytes are missing inside the zip, although its end is there", code=code)
    file.seek(end.start)
    data = file.read(end.size)
    if len(data) != end.size:
        raise Incomplete("the file became shorter while it was read", code="truncated")
    members = tuple(_entries(data, end.entries))
    expanded = sum(member.size for member in members)
    guard(expanded, size, limits)
    return Directory(members, end.start, end.position)


def guard(expanded: int, size: int, limits: Limits) -> None:
    """Raise `Damaged` where an archive of `size` bytes expands beyond the limits."""
    if expanded > limits.expanded_bytes:
        raise Damaged(
            f"it expands to more than {limits.expanded_bytes:,} bytes, the most allowed", code="bomb"
        )
    if expanded > limits.ratio_from_bytes and expanded > limits.ratio * size:
        raise Damaged(
            f"it expands to more than {limits.ratio} times its size: a decompression bomb", code="bomb"
        )


def read(file: BinaryIO, where: Directory, member: Member, limit: int) -> bytes:
    """One member's bytes, checked. Raises `Damaged` where they are more than `limit`."""
    if member.size > limit:
        raise Damaged(
            f"{member.name!r} has {member.size:,} bytes, more than the {limit:,} allowed",
            code="metadata-too-large",
        )
    return b"".join(_pieces(file, where, member))


def beginning(file: BinaryIO, where: Directory, member: Member, length: int) -> bytes:
    """The first `length` bytes of a member. Its checksum is looked at where that is all of it."""
    taken = b""
    for piece in _pieces(file, where, member):
        taken += piece
        if len(taken) > length:
            break
    return taken[:length]


def verify(file: BinaryIO, where: Directory) -> frozenset[bytes]:
    """Decode every member and compare its size and CRC. Raises `Damaged`.

    Returns the raw names of members whose compressed stream ends before their bytes do: installers pass over
    what follows, other readers may not.
    """
    return frozenset(member.raw for member in where.members if _spare(file, where, member))


def seems_in(file: BinaryIO, size: int) -> bool:
    """Whether a reader may take the file for a zip that looks for an end record whatever follows it."""
    tail = _tail(file, size)
    at = tail.find(END_MARK)
    while at >= 0 and at + END.size <= len(tail):
        _, disk, first, here, entries, length, _, _ = END.unpack_from(tail, at)
        position = size - len(tail) + at
        if not (disk or first) and here == entries and ENTRY.size * entries <= length <= position:
            file.seek(position - length)
            if file.read(4) == (ENTRY_MARK if entries else END_MARK):
                return True
        at = tail.find(END_MARK, at + 1)
    return False


def _tail(file: BinaryIO, size: int) -> bytes:
    length = min(size, END.size + MAX_COMMENT)
    file.seek(size - length)
    return file.read(length)


def _end_position(tail: bytes) -> int | None:
    """Where in `tail` the end record starts whose comment ends exactly with the file."""
    at = tail.rfind(END_MARK)
    while at >= 0:
        if at + END.size <= len(tail):
            comment = int.from_bytes(tail[at + 20 : at + 22], "little")
            if at + END.size + comment == len(tail):
                return at
        at = tail.rfind(END_MARK, 0, at + 3)
    return None


def _has_more_than_end(tail: bytes) -> bool:
    at = tail.rfind(END_MARK)
    if at < 0 or at + END.size > len(tail):
        return False
    return at + END.size + int.from_bytes(tail[at + 20 : at + 22], "little") < len(tail)


def _end(file: BinaryIO, size: int) -> _End:
    tail = _tail(file, size)
    at = _end_position(tail)
    if at is None:
        if _has_more_than_end(tail):
            raise Incomplete(
                "something follows the zip's end record: the file is still being written, "
                "or was written over a longer one",
                code="trailing-bytes",
            )
        raise Incomplete(
            "the zip's end record is missing: the file is truncated or still being written", code="truncated"
        )
    position = size - len(tail) + at
    _, disk, first, here, entries, length, start, _ = END.unpack_from(tail, at)
    if position >= LOCATOR.size:
        file.seek(position - LOCATOR.size)
        mark, _, where, _ = LOCATOR.unpack(file.read(LOCATOR.size))
        if mark == LOCATOR_MARK:
            return _end64(file, position - LOCATOR.size, where)
    if disk or first or here != entries:
        raise Damaged("it is one part of a zip in several parts", code="corrupt")
    return _End(position, entries, length, start)


def _end64(file: BinaryIO, locator: int, where: int) -> _End:
    if where > locator - END64.size:
        raise Incomplete("the zip's 64-bit end record is not where it should be: truncated", code="truncated")
    file.seek(where)
    mark, length, _, _, disk, first, here, entries, size, start = END64.unpack(file.read(END64.size))
    if mark != END64_MARK or where + 12 + length != locator:
        raise Incomplete("the zip's 64-bit end record is not where it should be: truncated", code="truncated")
    if disk or first or here != entries:
        raise Damaged("it is one part of a zip in several parts", code="corrupt")
    return _End(where, entries, size, start)


def _entries(data: bytes, count: int) -> Iterator[Member]:
    at = 0
    for _ in range(count):
        if at + ENTRY.size > len(data) or data[at : at + 4] != ENTRY_MARK:
            raise Damaged("the zip's directory is damaged", code="corrupt")
        fields = ENTRY.unpack_from(data, at)
        flags, method, crc, packed, size = fields[3], fields[4], *fields[7:10]
        name_length, extra_length, comment_length, offset = fields[10], fields[11], fields[12], fields[16]
        at += ENTRY.size
        raw = data[at : at + name_length]
        extra = data[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length + comment_length
        wide = (packed, size, offset).count(0xFFFFFFFF)
        if wide:
            size, packed, offset = _sizes64(extra, size, packed, offset)
        if flags & 1:
            raise Damaged("the zip is encrypted: no installer can read it", code="encrypted")
        name = raw.decode("utf-8" if flags & 0x800 else "cp437", "replace")
        rest = (extra, comment_length, fields[13], wide)
        yield Member(name, raw, flags, method, crc, packed, size, offset, *rest)
    if at != len(data):
        raise Damaged("the zip's directory has more in it than it says", code="corrupt")


def _sizes64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """The 64-bit extra field holds, in this order, those of the three that do not fit 32 bits."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            values = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
            try:
                size = next(values) if size == 0xFFFFFFFF else size
                packed = next(values) if packed == 0xFFFFFFFF else packed
                offset = next(values) if offset == 0xFFFFFFFF else offset
            except StopIteration:
                break
            return size, packed, offset
        at += 4 + length
    raise Damaged("the zip's directory is damaged: a 64-bit size is missing", code="corrupt")


def _spare(file: BinaryIO, where: Directory, member: Member) -> int:
    """Check one member; the number of its bytes that no reader of the stream needs."""
    pieces = _pieces(file, where, member)
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return int(end.value)


def _pieces(file: BinaryIO, where: Directory, member: Member) -> Generator[bytes, None, int]:
    """Decode one member in bounded pieces; size and CRC hold when the iterator ends.

    Returns how many of the member's bytes follow the end of its compressed stream.
    """
    start = _data_start(file, where, member)
    decoder = zip_member(member.method)
    if decoder is None:
        raise Damaged(
            f"{member.name!r} is compressed by method {member.method}, which installers cannot read: "
            "pack it again",
            code="compression",
        )
    file.seek(start)
    left, total, crc, spare = member.packed, 0, 0, 0
    try:
        while left:
            if member.method == DEFLATED and decoder.eof:
                spare = left
                break
            data = file.read(min(left, PIECE))
            if not data:
                raise Incomplete("the file became shorter while it was read", code="truncated")
            left -= len(data)
            for piece in decoder.feed(data):
                total += len(piece)
                if total > member.size:
                    raise Damaged(f"{member.name!r} is longer than the zip says", code="corrupt")
                crc = zlib.crc32(piece, crc)
                yield piece
    except BrokenStream as error:
        raise Damaged(
            f"{member.name!r} cannot be unpacked ({error}): the file is damaged", code="corrupt"
        ) from None
    if total != member.size or not (decoder.eof or not member.packed):
        raise Damaged(f"{member.name!r} is shorter than the zip says: the file is damaged", code="corrupt")
    if crc != member.crc:
        raise Damaged(f"the checksum (CRC) of {member.name!r} is wrong: the file is damaged", code="corrupt")
    return spare + len(decoder.unused)


def _data_start(file: BinaryIO, where: Directory, member: Member) -> int:
    """Where a member's bytes begin. Its own header must name it as the directory does."""
    file.seek(member.offset)
    header = file.read(LOCAL.size)
    if len(header) == LOCAL.size and header[:4] == LOCAL_MARK:
        fields = LOCAL.unpack(header)
        start: int = member.offset + LOCAL.size + fields[9] + fields[10]
        if file.read(fields[9]) == member.raw and start + member.packed <= where.start:
            return start
    raise Damaged(
        f"{member.name!r} is not where the zip's directory says: the file is damaged", code="corrupt"
    )
