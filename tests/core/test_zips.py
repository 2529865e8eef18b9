"""Zips whose ends and directories say impossible things: each is named, and none is read as another."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest

from pidex.core import zips
from pidex.core.errors import Damaged, Incomplete
from pidex.core.limits import Limits
from tests import samples

PLAIN = samples.zipped([("a.py", b"x" * 100), ("b.py", b"y" * 100)])
ENTRY = PLAIN.index(b"PK\1\2")
END = PLAIN.index(b"PK\5\6")


def directory(data: bytes, **limits: int) -> zips.Directory:
    return zips.directory(io.BytesIO(data), len(data), Limits(**limits))


def patched(at: int, form: str, *values: int, data: bytes = PLAIN) -> bytes:
    """The bytes with other numbers at a place."""
    changed = bytearray(data)
    struct.pack_into(form, changed, at, *values)
    return bytes(changed)


def wide(**changes: int) -> bytes:
    """A zip with 64-bit end records, and another value of some of their fields."""
    size, start = END - ENTRY, ENTRY
    told = {
        "length": 44,
        "disk": 0,
        "first": 0,
        "here": 2,
        "entries": 2,
        "size": size,
        "start": start,
        "where": END,
    }
    told |= changes
    record = struct.pack(
        "<4sQHHIIQQQQ", b"PK\6\6", told["length"], 45, 45, told["disk"], told["first"], told["here"],
        told["entries"], told["size"], told["start"],
    )  # fmt: skip
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, told["where"], 1)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return PLAIN[:END] + record + locator + end


def test_64_bit_ends_are_read() -> None:
    assert [member.name for member in directory(wide()).members] == ["a.py", "b.py"]


@pytest.mark.parametrize(("data", "error", "words"), [
    (wide(where=END + 40), Incomplete, "64-bit end record"),
    (wide(length=50), Incomplete, "64-bit end record"),
    (wide(disk=1), Damaged, "several parts"),
    (wide(here=1), Damaged, "several parts"),
    (patched(ENTRY, "<I", 0), Damaged, "directory is damaged"),
    (patched(ENTRY + 8, "<H", 1), Damaged, "encrypted"),
    (patched(ENTRY + 20, "<II", 0xFFFFFFFF, 0xFFFFFFFF), Damaged, "64-bit size is missing"),
    (patched(END + 8, "<HH", 1, 1), Damaged, "more in it than it says"),
    (patched(END + 8, "<HH", 3, 3), Damaged, "directory is damaged"),
    (patched(END + 16, "<I", ENTRY + 50_000), Damaged, "missing inside the zip"),
])  # fmt: skip
def test_impossible_ends_are_named(data: bytes, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        directory(data)


def test_64_bit_sizes_of_members_are_read() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("big", "w", force_zip64=True) as member:
        member.write(b"z" * 50)
    data = out.getvalue()
    at, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    extra = struct.pack("<HHQQ", 1, 16, 50, 50)
    entry = bytearray(data[at:end])
    struct.pack_into("<II", entry, 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<H", entry, 30, len(extra))
    changed = data[:at] + bytes(entry) + extra + data[end:]
    at_end = changed.index(b"PK\5\6")
    changed = patched(at_end + 12, "<I", at_end - at, data=changed)
    found = directory(changed)
    assert [(each.name, each.size, each.packed) for each in found.members] == [("big", 50, 50)]
    assert zips.read(io.BytesIO(changed), found, found.members[0], 100) == b"z" * 50


def test_expanding_too_far_is_a_bomb() -> None:
    with pytest.raises(Damaged, match="expands to more than 150 bytes"):
        directory(PLAIN, expanded_bytes=150)
    with pytest.raises(Damaged, match="decompression bomb"):
        directory(PLAIN, ratio_from_bytes=10, ratio=0)


def test_the_beginning_of_a_member_is_bounded_and_checked() -> None:
    found = directory(PLAIN)
    first = found.members[0]
    assert zips.beginning(io.BytesIO(PLAIN), found, first, 10) == b"x" * 10
    assert zips.beginning(io.BytesIO(PLAIN), found, first, 1_000) == b"x" * 100
    with pytest.raises(Damaged, match="more than the 10 allowed"):
        zips.read(io.BytesIO(PLAIN), found, first, 10)
    wrong = directory(patched(ENTRY + 16, "<I", 1))
    with pytest.raises(Damaged):
        zips.read(io.BytesIO(PLAIN), wrong, wrong.members[0], 1_000)


def test_methods_that_no_installer_reads_are_named() -> None:
    changed = patched(ENTRY + 10, "<H", 99)
    found = directory(changed)
    with pytest.raises(Damaged, match="99"):
        zips.verify(io.BytesIO(changed), found)


@pytest.mark.parametrize("size", [20, 50])
def test_a_file_that_becomes_shorter_is_not_whole(size: int) -> None:
    found = directory(PLAIN)
    with pytest.raises((Incomplete, Damaged)):
        zips.verify(io.BytesIO(PLAIN[:size]), found)
    with pytest.raises(Incomplete):
        zips.directory(io.BytesIO(PLAIN[: END - 10]), len(PLAIN), Limits())


def test_zips_inside_other_files_are_seen() -> None:
    assert zips.seems_in(io.BytesIO(PLAIN), len(PLAIN))
    assert zips.seems_in(io.BytesIO(PLAIN + b"tail"), len(PLAIN) + 4)
    assert not zips.seems_in(io.BytesIO(b"no zip"), 6)
    parts = patched(END + 4, "<H", 1)
    assert not zips.seems_in(io.BytesIO(parts), len(parts))
