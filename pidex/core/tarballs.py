"""Compressed tar archives (sdists): decoded to their trailer and walked in one bounded pass."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from pidex.core.errors import Damaged, Incomplete
from pidex.core.limits import Limits
from pidex.core.streams import PIECE, BrokenStream, HungryStream, whole_stream
from pidex.core.zips import guard

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_ZERO_PIECE = bytes(PIECE)
#: Links, devices and folders have no bytes behind their header, whatever their size field says.
_WITHOUT_DATA = frozenset(b"123456")
#: Top-level folders whose PKG-INFO is kept; an sdist has one.
_MAX_TOPS = 8
_MAGIC = {"gz": b"\x1f\x8b", "bz2": b"BZh", "xz": b"\xfd7zXZ\x00"}


class TarMember(NamedTuple):
    """A member as its headers describe it. `kind` is its type flag, `target` what a link points to.

    `oddities`: what in its headers readers understand in different ways. `size`: the bytes that follow.
    """

    path: str
    kind: bytes
    target: str = ""
    oddities: tuple[str, ...] = ()
    size: int = 0


@dataclass(slots=True)
class Tarball:
    """What was seen: `metadata` is each `<folder>/PKG-INFO`, `members` counts everything.

    `streams` counts the compressed streams, `tail` is true where anything but zeros follows the end mark.
    `watch`, where given, is told of each member. `wanted`: the path of a file of which the first `most` bytes
    go into `taken`.
    """

    metadata: dict[str, bytes] = field(default_factory=dict)
    members: int = 0
    streams: int = 0
    tail: bool = False
    watch: Callable[[TarMember], None] | None = None
    wanted: str | None = None
    most: int = 0
    taken: bytes | None = None


@dataclass(slots=True)
class _Extended:
    """What extended headers say of the next member."""

    path: str | None = None
    target: str | None = None
    size: int | None = None
    oddities: list[str] = field(default_factory=list)

    def put_path(self, path: str) -> None:
        if self.path is not None:
            self.oddities.append("has two names in its headers")
        self.path = path

    def put_target(self, target: str) -> None:
        if self.target is not None:
            self.oddities.append("has two link targets in its headers")
        self.target = target


def walk(file: BinaryIO, size: int, archive: str, limits: Limits, *, age: float, found: Tarball) -> None:
    """Read a 'gz', 'bz2' or 'xz' tar from first to last byte into `found`.

    `age`: seconds since the last change; a missing end mark or padding counts as meant once the file is
    settled. Raises `Incomplete` where the end is missing, `Damaged` where waiting will not help.
    """
    settled = age >= limits.settled_seconds
    stream = _Reader(_decoded(file, size, archive, limits, settled=settled, found=found))
    try:
        ended = _members(stream, limits, found)
    except Damaged as error:
        if error.reason_code in ("corrupt", "not-a-tar"):
            # bz2 gives out a block before it has seen its checksum: a broken stream is the better reason.
            stream.drain()
        raise
    found.tail = stream.drain()
    if found.members == 0:
        raise Damaged("the archive holds nothing", code="no-members")
    if not ended and not settled:
        raise Incomplete(
            "the tar's end mark is missing: it is still being written, or its writer was stopped",
            code="truncated",
        )


def seems_one(block: bytes) -> bool:
    """Whether the first block of a file begins a tar that is not compressed."""
    try:
        _header(block, first=True)
    except Damaged:
        return False
    return True


class _Reader:
    """Exact reads from a stream of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._at = 0

    def read(self, length: int) -> bytes:
        """`length` bytes, or what is left of them."""
        got: list[bytes] = []
        while length > 0:
            if self._at == len(self._piece):
                self._piece, self._at = next(self._pieces, b""), 0
                if not self._piece:
                    break
            part = self._piece[self._at : self._at + length]
            self._at += len(part)
            length -= len(part)
            got.append(part)
        return b"".join(got) if len(got) != 1 else got[0]

    def skip(self, length: int) -> bool:
        """Pass over `length` bytes; False where there are fewer."""
        while length > 0:
            if self._at == len(self._piece):
                self._piece, self._at = next(self._pieces, b""), 0
                if not self._piece:
                    return False
            step = min(length, len(self._piece) - self._at)
            self._at += step
            length -= step
        return True

    def drain(self) -> bool:
        """Decode what is left, for its checksums. True where anything in it is not zero."""
        found = self._piece[self._at :].strip(b"\0") != b""
        for piece in self._pieces:
            found = found or piece != _ZERO_PIECE[: len(piece)]
        return found


def _decoded(
    file: BinaryIO, size: int, archive: str, limits: Limits, *, settled: bool, found: Tarball
) -> Iterator[bytes]:
    """The decoded bytes of all streams of a file; what follows the last one may only be zeros."""
    file.seek(0)
    expanded = 0
    pending = file.read(PIECE)
    while True:
        found.streams += 1
        decoder = whole_stream(archive, xz_bytes=limits.xz_bytes)
        while True:
            try:
                for piece in decoder.feed(pending):
                    expanded += len(piece)
                    guard(expanded, size, limits)
                    yield piece
            except HungryStream:
                raise Damaged(
                    f"unpacking it takes more than the {limits.xz_bytes:,} bytes of memory allowed: "
                    "compress it with a smaller dictionary",
                    code="dictionary",
                ) from None
            except BrokenStream as error:
                raise Damaged(f"the {archive} data cannot be unpacked ({error})", code="corrupt") from None
            if decoder.eof:
                break
            pending = file.read(PIECE)
            if not pending:
                raise Incomplete(
                    f"the {archive} data stops before its end: the file is truncated or still being written",
                    code="truncated",
                )
        pending = decoder.unused or file.read(PIECE)
        while pending and not pending.strip(b"\0"):
            if not settled:
                raise Incomplete("zeros follow the archive: it is still being written", code="trailing-bytes")
            pending = file.read(PIECE)
        if not pending:
            return
        if len(pending) < len(_MAGIC[archive]):
            pending += file.read(PIECE)
        if not pending.startswith(_MAGIC[archive]):
            kind = Damaged if settled else Incomplete
            raise kind(
                "something that is no part of it follows the archive: the file is still being written, "
                "or was written over a longer one",
                code="trailing-bytes",
            )


def _members(stream: _Reader, limits: Limits, found: Tarball) -> bool:
    """Walk the headers. True where the tar's end mark was seen."""
    more = _Extended()
    headers = extended = 0
    while True:
        block = stream.read(_BLOCK)
        if not block:
            return False
        if block == _ZEROS:
            return True
        kind, length = _header(block, first=headers == 0)
        headers += 1
        if headers > 2 * limits.members or found.members > limits.members:
            raise Damaged(
                f"the tar has more than the {limits.members:,} members allowed", code="too-many-members"
            )
        padded = -(-length // _BLOCK) * _BLOCK
        if kind in b"xgLK":
            extended += padded
            if length > limits.tar_header_bytes or extended > 32 * limits.tar_header_bytes:
                raise Damaged(
                    f"the tar has longer extended headers than the {limits.tar_header_bytes:,} bytes allowed",
                    code="header-too-large",
                )
            data = _exactly(stream, padded)[:length]
            _extend(more, kind, data)
            continue
        found.members += 1
        if kind == b"S":
            raise Damaged("the tar has a sparse member, which no sdist has", code="sparse")
        path = more.path if more.path is not None else _name(block)
        if more.size is not None:
            if more.size != length:
                more.oddities.append("has two sizes in its headers")
            length, padded = more.size, -(-more.size // _BLOCK) * _BLOCK
        if found.watch is not None:
            target = more.target if more.target is not None else _text(block[157:257])
            found.watch(TarMember(path, kind, target if kind in b"12" else "", tuple(more.oddities), length))
        more = _Extended()
        top = _metadata_folder(path) if kind in b"0\0" else None
        if kind[0] in _WITHOUT_DATA:
            continue
        if top is not None and (top in found.metadata or len(found.metadata) < _MAX_TOPS):
            if length > limits.metadata_bytes:
                raise Damaged(
                    f"PKG-INFO has {length:,} bytes, more than the {limits.metadata_bytes:,} allowed",
                    code="metadata-too-large",
                )
            found.metadata[top] = data = _exactly(stream, padded)[:length]
            if path == found.wanted:
                found.taken = data[: found.most]
        elif path == found.wanted and kind in b"0\0":
            found.taken = _exactly(stream, min(length, found.most))
            if not stream.skip(padded - len(found.taken)):
                raise _cut()
        elif not stream.skip(padded):
            raise _cut()


def _cut() -> Damaged:
    return Damaged("the tar stops inside a member, although the compressed data is whole", code="corrupt")


def _exactly(stream: _Reader, length: int) -> bytes:
    data = stream.read(length)
    if len(data) != length:
        raise _cut()
    return data


def _header(block: bytes, *, first: bool) -> tuple[bytes, int]:
    """Type and size of a header block whose checksum is right."""
    if len(block) != _BLOCK:
        raise _cut()
    try:
        declared = _number(block[148:156])
        length = _number(block[124:136])
    except ValueError:
        declared = length = -1
    unsigned = _sum(block[:148]) + 8 * 32 + _sum(block[156:384]) + _sum(block[384:])
    if length < 0 or declared not in (unsigned, _signed(block, unsigned)):
        if first:
            raise Damaged("there is no tar inside the compressed data", code="not-a-tar")
        raise Damaged("a header of the tar is damaged", code="corrupt")
    return block[156:157], length


def _sum(data: bytes) -> int:
    """The sum of at most 256 bytes: Adler-32 has it, and one more, in its lower half, by a loop in C."""
    return (zlib.adler32(data) & 0xFFFF) - 1


def _signed(block: bytes, unsigned: int) -> int:
    """The checksum as old writers made it, of signed bytes."""
    if block.isascii():
        return unsigned
    return unsigned - 256 * sum(byte > 127 for byte in block[:148] + block[156:])


def _number(text: bytes) -> int:
    """A number of a header: octal digits, or big-endian bytes where the first bit is set."""
    if text[0] == 0x80:
        return int.from_bytes(text[1:], "big")
    if text[0] > 0x80:
        raise ValueError("negative")
    digits = text.split(b"\0", 1)[0].strip()
    return int(digits, 8) if digits else 0


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _name(block: bytes) -> str:
    name = _text(block[:100])
    if block[257:263] == b"ustar\0":
        prefix = _text(block[345:500])
        if prefix:
            return f"{prefix}/{name}"
    return name


def _extend(more: _Extended, kind: bytes, data: bytes) -> None:
    """Read one extended header: GNU's long name or link, pax' attributes of the next member or of all."""
    if kind == b"L":
        more.put_path(_text(data))
    elif kind == b"K":
        more.put_target(_text(data))
    elif kind == b"g":
        with suppress(Damaged):  # most readers pass over it
            if {key for key, _ in _pax(data)} & {b"path", b"linkpath", b"size"}:
                more.oddities.append("follows a global header that speaks of names or sizes")
    else:
        _extend_by_pax(more, data)


def _extend_by_pax(more: _Extended, data: bytes) -> None:
    for key, value in _pax(data):
        if key.startswith(b"GNU.sparse."):
            more.oddities.append("is sparse")
        elif key == b"path":
            more.put_path(value.decode("utf-8", "surrogateescape"))
        elif key == b"linkpath":
            more.put_target(value.decode("utf-8", "surrogateescape"))
        elif key == b"size":
            if not value.isdigit() or len(value) > 20:
                raise _damaged_extension()
            more.size = int(value)


def _pax(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The attributes in a pax header."""
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 12)
        digits = data[at:space] if space > 0 else b""
        length = int(digits) if digits.isdigit() else 0
        if length <= space - at + 1 or at + length > len(data):
            raise _damaged_extension()
        key, _, value = data[space + 1 : at + length - 1].partition(b"=")
        yield key, value
        at += length


def _damaged_extension() -> Damaged:
    return Damaged("an extended header of the tar is damaged", code="corrupt")


def _metadata_folder(path: str) -> str | None:
    """`x` for `x/PKG-INFO` at the top of the tar, else None."""
    folder, slash, name = path.removeprefix("./").partition("/")
    return folder if slash and name == "PKG-INFO" else None
