"""Headers of tars, one by one: what old and odd writers make is read, what is no header is named."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable

import pytest

from pidex.core import tarballs
from pidex.core.errors import Damaged, Incomplete
from pidex.core.limits import Limits
from pidex.core.tarballs import Tarball, TarMember

SETTLED = 10_000.0
END = b"\0" * 1024


def block(
    name: str = "demo-1.0/a", size: int = 0, kind: bytes = b"0", *, tar: int = tarfile.USTAR_FORMAT
) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.USTAR_FORMAT)


def signed(header: bytes) -> bytes:
    """A header with the checksum that its bytes have now."""
    changed = bytearray(header)
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed)
    return bytes(changed)


def patched(header: bytes, at: int, data: bytes) -> bytes:
    return signed(header[:at] + data + header[at + len(data) :])


def padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 512)


def pax(*attributes: tuple[str, str]) -> bytes:
    """The data of a pax header."""
    out = b""
    for key, value in attributes:
        line = f" {key}={value}\n".encode()
        length = len(line) + 1
        while len(str(length)) + len(line) != length:
            length = len(str(length)) + len(line)
        out += str(length).encode() + line
    return out


def extended(kind: bytes, data: bytes) -> bytes:
    return block("ext", len(data), kind) + padded(data)


def walked(
    data: bytes, *, age: float = SETTLED, wanted: str | None = None
) -> tuple[Tarball, list[TarMember]]:
    seen: list[TarMember] = []
    found = Tarball(wanted=wanted, most=100) if wanted is not None else Tarball()
    found.watch = seen.append
    packed = gzip.compress(data)
    tarballs.walk(io.BytesIO(packed), len(packed), "gz", Limits(), age=age, found=found)
    return found, seen


def names(data: bytes) -> list[str]:
    return [member.path for member in walked(data)[1]]


def oddities(data: bytes) -> list[str]:
    return [oddity for member in walked(data)[1] for oddity in member.oddities]


def test_long_names_of_every_writer_are_read() -> None:
    long = "demo-1.0/" + "x" * 200
    assert names(extended(b"L", long.encode() + b"\0") + block() + END) == [long]
    assert names(extended(b"x", pax(("path", long))) + block() + END) == [long]
    prefixed = patched(block("tail"), 345, b"demo-1.0/head")
    assert names(prefixed + END) == ["demo-1.0/head/tail"]
    old = patched(block("old"), 257, b"\0" * 8)  # no magic: before ustar
    assert names(old + END) == ["old"]


def test_link_targets_are_read() -> None:
    link = extended(b"K", b"far/away\0") + block("demo-1.0/l", 0, b"2")
    by_pax = extended(b"x", pax(("linkpath", "else/where"))) + block("demo-1.0/m", 0, b"1")
    _, seen = walked(link + by_pax + END)
    assert [member.target for member in seen] == ["far/away", "else/where"]


@pytest.mark.parametrize(("data", "words"), [
    (extended(b"L", b"one\0") + extended(b"x", pax(("path", "two"))) + block(), "has two names"),
    (extended(b"K", b"a\0") + extended(b"K", b"b\0") + block("l", 0, b"2"), "has two link targets"),
    (extended(b"x", pax(("size", "3"))) + block("f", 2) + padded(b"abc"), "has two sizes"),
    (extended(b"g", pax(("path", "all"))) + block(), "global header"),
    (extended(b"x", pax(("GNU.sparse.major", "1"))) + block(), "is sparse"),
])  # fmt: skip
def test_what_readers_may_understand_in_two_ways_is_noted(data: bytes, words: str) -> None:
    assert [oddity for oddity in oddities(data + END) if words in oddity]


def test_global_headers_that_nobody_can_read_are_passed_over() -> None:
    assert oddities(extended(b"g", b"no attributes") + block() + END) == []


@pytest.mark.parametrize("data", [b"9999 path=x\n", b"x path=y\n", b"0 path=x\n", b"path"])
def test_damaged_attributes_are_named(data: bytes) -> None:
    with pytest.raises(Damaged, match="extended header of the tar is damaged"):
        walked(extended(b"x", data) + block() + END)


@pytest.mark.parametrize("size", ["x", "-1", "9" * 21])
def test_sizes_that_are_none_are_named(size: str) -> None:
    with pytest.raises(Damaged, match="extended header"):
        walked(extended(b"x", pax(("size", size))) + block() + END)


def test_sizes_in_bytes_are_read_and_negative_ones_are_not() -> None:
    wide = patched(block("f", 3), 124, b"\x80" + b"\0" * 10 + b"\x03")
    assert names(wide + padded(b"abc") + block("g") + END) == ["f", "g"]
    with pytest.raises(Damaged):
        walked(patched(block("f"), 124, b"\xff" * 12) + END)


def test_checksums_of_signed_bytes_are_taken() -> None:
    """Old writers added signed bytes up."""
    header = bytearray(block("demo-1.0/\N{LATIN SMALL LETTER E WITH ACUTE}"))
    header[148:156] = b" " * 8
    total = sum(byte - 256 if byte > 127 else byte for byte in header)
    header[148:156] = b"%06o\0 " % total
    assert len(names(bytes(header) + END)) == 1
    header[148:156] = b"%06o\0 " % (total + 1)
    with pytest.raises(Damaged):
        walked(bytes(header) + END)


def test_what_is_wanted_is_taken_and_bounded() -> None:
    text = b"Name: demo\n" * 50
    body = block("demo-1.0/PKG-INFO", len(text)) + padded(text)
    body += block("demo-1.0/b", 300) + padded(b"b" * 300)
    found, _ = walked(body + END, wanted="demo-1.0/PKG-INFO")
    assert found.taken == text[:100]
    assert found.metadata == {"demo-1.0": text}
    assert walked(body + END, wanted="demo-1.0/b")[0].taken == b"b" * 100
    assert walked(body + END, wanted="demo-1.0/c")[0].taken is None


@pytest.mark.parametrize("wanted", [None, "demo-1.0/a"])
def test_a_member_that_is_cut_is_not_whole(wanted: str | None) -> None:
    with pytest.raises((Incomplete, Damaged)):
        walked(block("demo-1.0/a", 5_000) + b"a" * 1_024, wanted=wanted)


@pytest.mark.parametrize(("data", "error", "words"), [
    (END, Damaged, "holds nothing"),
    (block("s", 0, b"S") + END, Damaged, "sparse member"),
    (b"no tar at all" * 100, Damaged, ""),
])  # fmt: skip
def test_what_no_sdist_is(data: bytes, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        walked(data)


def test_a_missing_end_counts_once_the_file_is_settled() -> None:
    assert names(block()) == ["demo-1.0/a"]
    with pytest.raises(Incomplete, match="end mark is missing"):
        walked(block(), age=0.0)


def streams(*parts: bytes) -> Iterable[bytes]:
    return (gzip.compress(part) for part in parts)


@pytest.mark.parametrize(("tail", "age", "error"), [
    (b"\0" * 700, 0.0, Incomplete),
    (b"garbage!", 0.0, Incomplete),
    (b"garbage!", SETTLED, Damaged),
])  # fmt: skip
def test_what_follows_an_archive(tail: bytes, age: float, error: type[Exception]) -> None:
    data = b"".join(streams(block() + END)) + tail
    with pytest.raises(error, match="follow"):
        tarballs.walk(io.BytesIO(data), len(data), "gz", Limits(), age=age, found=Tarball())


def test_several_streams_are_one_archive_and_zeros_may_follow() -> None:
    data = b"".join(streams(block()[:300], block()[300:] + END)) + b"\0" * 700
    found = Tarball()
    tarballs.walk(io.BytesIO(data), len(data), "gz", Limits(), age=SETTLED, found=found)
    assert (found.streams, found.members) == (2, 1)
    assert tarballs.seems_one(block())
    assert not tarballs.seems_one(b"x" * 512)
