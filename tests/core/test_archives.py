"""Whole, growing or damaged: a table of every fault of a file, and what is read from a whole one."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pidex.core.archives import inspect
from pidex.core.errors import BadName, Damaged, Incomplete, Unsound
from pidex.core.limits import Limits
from pidex.core.model import Facts
from tests import samples
from tests.samples import Sample

LIMITS = Limits()
YOUNG, STILL, SETTLED = 0.5, 5.0, 600.0
NOISE = random.Random(7).randbytes(700_000)


def look(sample: Sample, *, age: float = STILL, check: str = "whole", limits: Limits = LIMITS) -> Facts:
    return inspect(io.BytesIO(sample[1]), sample[0], limits=limits, check=check, age=age)


def fault(sample: Sample, *, age: float = STILL, limits: Limits = LIMITS) -> tuple[type[Unsound], str]:
    with pytest.raises(Unsound) as caught:
        look(sample, age=age, limits=limits)
    assert len(str(caught.value)) > 15
    return type(caught.value), caught.value.reason_code


def noisy(kind: str) -> Sample:
    """A package of 700 kB that does not compress."""
    if kind == "wheel":
        return samples.wheel("foo", "1.0", files={"foo/data.bin": NOISE})
    return samples.sdist("foo", "1.0", kind, files={"data.bin": NOISE})


WHOLE = {
    "wheel": samples.wheel("Foo.Bar", "1.0", requires_python=">=3.8"),
    "local": samples.wheel("foo", "1.0+cu118", tag="cp311-cp311-linux_x86_64"),
    "epoch": samples.wheel("foo", "1!1.0"),
    **{kind: samples.sdist("foo-bar", "1.0", kind, requires_python=">=3.8") for kind in samples.COMPRESSIONS},
    "egg": samples.egg("foo-bar", "1.0", platform="linux-x86_64"),
    "exe": samples.wininst("foo", "1.0"),
    "msi": samples.msi("foo", "1.0"),
    "rpm": samples.rpm("foo", "1.0"),
}
CHECKED = ("wheel", *samples.COMPRESSIONS, "egg")


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_file_is_hashed(kind: str) -> None:
    data = WHOLE[kind][1]
    facts = look(WHOLE[kind])
    assert facts.size == len(data)
    assert facts.sha256 == hashlib.sha256(data).hexdigest()
    assert facts.blake2b_256 == hashlib.blake2b(data, digest_size=32).hexdigest()
    assert facts.md5 == hashlib.md5(data).hexdigest()


@pytest.mark.parametrize("kind", CHECKED)
def test_metadata_is_the_exact_bytes_inside(kind: str) -> None:
    facts = look(WHOLE[kind])
    assert facts.metadata is not None
    assert facts.metadata in (
        samples.core_metadata("Foo.Bar", "1.0", requires_python=">=3.8"),
        samples.core_metadata("foo-bar", "1.0", requires_python=">=3.8"),
        samples.core_metadata("foo-bar", "1.0", metadata_version="1.2"),
    )
    assert facts.version == "1.0"
    assert facts.requires_python == (None if kind == "egg" else ">=3.8")
    assert facts.summary == "A sample"


@pytest.mark.parametrize("kind", WHOLE)
def test_no_beginning_of_a_file_is_whole(kind: str) -> None:
    filename, data = WHOLE[kind]
    # The last sector of an msi may be cut short by its writer.
    length = len(data) - (512 if kind == "msi" else 0)
    for end in range(length):
        error, code = fault((filename, data[:end]))
        assert (error, code) in {(Incomplete, "truncated"), (Incomplete, "empty"), (Incomplete, "moving")}, (
            end
        )


@pytest.mark.parametrize("kind", ["wheel", "gztar", "bztar", "xztar"])
@pytest.mark.parametrize("age", [YOUNG, SETTLED])
def test_a_truncated_big_file_is_incomplete_whatever_its_age(kind: str, age: float) -> None:
    filename, data = noisy(kind)
    assert fault((filename, data[: len(data) * 2 // 3]), age=age) == (Incomplete, "truncated")


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


@pytest.mark.parametrize("kind", ["wheel", "zip", "gztar", "tgz", "bztar", "xztar"])
def test_a_wrong_byte_inside_is_damage(kind: str) -> None:
    filename, data = noisy(kind)
    for at in (len(data) // 3, len(data) // 2):
        assert fault((filename, flipped(data, at))) == (Damaged, "corrupt")


@pytest.mark.parametrize("kind", CHECKED)
def test_space_reserved_for_a_file_is_not_the_file(kind: str) -> None:
    filename, data = WHOLE[kind]
    assert fault((filename, bytes(len(data)))) == (Incomplete, "zeros")
    cut = data[: len(data) // 2]
    assert fault((filename, cut + bytes(8192)))[0] is Incomplete
    assert fault((filename, cut + bytes(8192)), age=SETTLED)[0] is Incomplete


def test_a_hole_in_a_young_file_may_still_be_filled() -> None:
    filename, data = noisy("wheel")
    holed = data[:131072] + bytes(131072) + data[262144:]
    assert fault((filename, holed), age=YOUNG) == (Incomplete, "zeros")
    assert fault((filename, holed), age=SETTLED) == (Damaged, "corrupt")


# --- things that are no archive ---

LFS = b"version https://git-lfs.github.example/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
NOT_ARCHIVES = {
    "lfs-pointer": LFS,
    "merge-conflict": b"<<<<<<< HEAD\nPK\n=======\nPK\n>>>>>>> theirs\n",
    "html": b"\n<!DOCTYPE html>\n<html><body>404 Not Found</body></html>",
    "not-an-archive": b"this is a text and nothing else\n",
}


@pytest.mark.parametrize("kind", [*CHECKED, "exe", "msi", "rpm"])
@pytest.mark.parametrize("code", NOT_ARCHIVES)
def test_things_saved_under_a_packages_name(kind: str, code: str) -> None:
    assert fault((WHOLE[kind][0], NOT_ARCHIVES[code])) == (Damaged, code)


def test_conflict_marks_around_a_pointer_are_told() -> None:
    both = b"version 1\n=======\nversion 2\n>>>>>>> theirs\n"
    assert fault((WHOLE["wheel"][0], both)) == (Damaged, "merge-conflict")


@pytest.mark.parametrize(
    ("named", "content"), [("gztar", "zip"), ("wheel", "gztar"), ("tgz", "bztar"), ("exe", "msi")]
)
def test_one_kind_under_anothers_name(named: str, content: str) -> None:
    assert fault((WHOLE[named][0], WHOLE[content][1])) == (Damaged, "wrong-kind")


# --- FTP's ASCII mode (S19) ---

CONVERSIONS: dict[str, Callable[[bytes], bytes]] = {
    "LF to CR LF": lambda data: data.replace(b"\n", b"\r\n"),
    "CR LF to LF": lambda data: data.replace(b"\r\n", b"\n"),
    "CR dropped": lambda data: data.replace(b"\r", b""),
    "LF to CR": lambda data: data.replace(b"\n", b"\r"),
}


@pytest.mark.parametrize("conversion", CONVERSIONS)
@pytest.mark.parametrize("kind", ["wheel", "zip", "gztar", "bztar", "xztar"])
def test_damage_by_ascii_mode_is_called_so(kind: str, conversion: str) -> None:
    filename, data = noisy(kind)
    damaged = CONVERSIONS[conversion](data)
    assert damaged != data
    with pytest.raises(Damaged, match="binary mode") as caught:
        look((filename, damaged))
    assert caught.value.reason_code == "ascii-mode"


@pytest.mark.parametrize("kind", ["wheel", "gztar"])
def test_damage_with_line_ends_in_order_is_not_put_on_ascii_mode(kind: str) -> None:
    filename, data = noisy(kind)
    assert fault((filename, data[:300_000] + data[300_100:])) == (Damaged, "corrupt")


# --- zip ---


def wheel_of(members: list[tuple[str, bytes]], filename: str = "foo-1.0-py3-none-any.whl") -> Sample:
    return filename, samples.zipped(members)


METADATA = samples.core_metadata("foo", "1.0")
INFO = "foo-1.0.dist-info"


def test_a_wheel_cut_where_an_inner_zip_ends_is_not_whole() -> None:
    inner = samples.zipped([("x", b"x")])
    filename, data = (
        "foo-1.0-py3-none-any.whl",
        samples.zipped(
            [("foo/inner.zip", inner), (f"{INFO}/METADATA", METADATA)], compression=zipfile.ZIP_STORED
        ),
    )
    end = data.index(inner) + len(inner)
    assert zipfile.is_zipfile(io.BytesIO(data[:end]))
    assert fault((filename, data[:end])) == (Incomplete, "truncated")


def test_something_before_or_after_a_zip() -> None:
    filename, data = WHOLE["wheel"]
    assert fault((filename, b"#!/bin/sh\n" + data)) == (Damaged, "not-an-archive")
    assert fault((filename, data + b"tail")) == (Incomplete, "trailing-bytes")
    assert fault((filename, b"PK\x03\x04" + data)) == (Incomplete, "truncated")


def test_a_zip_with_a_comment_is_whole() -> None:
    filename, data = WHOLE["wheel"]
    comment = b"made on monday PK\x05\x06 indeed"
    assert look((filename, data[:-2] + struct.pack("<H", len(comment)) + comment)).version == "1.0"


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_every_compression_that_installers_read(method: int) -> None:
    members = [("foo.py", b"x = 1\n" * 5000), ("empty", b""), (f"{INFO}/METADATA", METADATA)]
    data = samples.zipped(members, compression=method)
    facts = look(("foo-1.0-py3-none-any.whl", data))
    assert facts.metadata == METADATA
    if method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert fault(("foo-1.0-py3-none-any.whl", flipped(data, 60))) == (Damaged, "corrupt")


def test_a_zip_written_to_a_pipe_is_whole() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

        def seek(self, *_: int) -> int:
            raise OSError

    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("foo.py", "x = 1\n" * 100)
        archive.writestr(f"{INFO}/METADATA", METADATA)
    assert look(("foo-1.0-py3-none-any.whl", out.getvalue())).metadata == METADATA


def test_a_zip_with_64_bit_fields_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        with archive.open(zipfile.ZipInfo("foo.py", samples.WHEN), "w", force_zip64=True) as member:
            member.write(b"x = 1\n")
        archive.writestr(f"{INFO}/METADATA", METADATA)
        # The standard library writes 64-bit end records for more than 65,535 members, or so it is told.
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    data = out.getvalue()
    assert b"PK\x06\x06" in data
    assert look(("foo-1.0-py3-none-any.whl", data)).metadata == METADATA
    assert fault(("foo-1.0-py3-none-any.whl", data[:40] + data[60:]))[1] in (
        "truncated",
        "corrupt",
        "ascii-mode",
    )


def patched(data: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    at = data.index(mark) + offset
    return data[:at] + value + data[at + len(value) :]


ENTRY = b"PK\x01\x02"
ZIP_FAULTS: dict[str, tuple[Sample, str]] = {
    "no .dist-info": (wheel_of([("foo.py", b"")]), "no-metadata"),
    "no METADATA": (wheel_of([(f"{INFO}/WHEEL", b"")]), "no-metadata"),
    "empty zip": (wheel_of([]), "no-metadata"),
    "two .dist-info": (
        wheel_of([(f"{INFO}/METADATA", METADATA), ("bar-1.0.dist-info/METADATA", METADATA)]),
        "duplicate-metadata",
    ),
    "METADATA of another project": (
        wheel_of([(f"{INFO}/METADATA", samples.core_metadata("bar", "1.0"))]),
        "name-mismatch",
    ),
    "METADATA of another version": (
        wheel_of([(f"{INFO}/METADATA", samples.core_metadata("foo", "1.1"))]),
        "name-mismatch",
    ),
    "METADATA without a name": (wheel_of([(f"{INFO}/METADATA", b"Version: 1.0\n")]), "name-mismatch"),
    "METADATA without a version": (wheel_of([(f"{INFO}/METADATA", b"Name: foo\n")]), "name-mismatch"),
    ".dist-info of another project": (wheel_of([("bar-1.0.dist-info/METADATA", METADATA)]), "name-mismatch"),
    ".dist-info of another version": (wheel_of([("foo-2.dist-info/METADATA", METADATA)]), "name-mismatch"),
    "renamed to a local version": (
        ("foo-1.0+cu118-py3-none-any.whl", samples.wheel("foo", "1.0")[1]),
        "name-mismatch",
    ),
    "METADATA of 2 MiB": (
        wheel_of([(f"{INFO}/METADATA", METADATA + b"x" * (2 << 20))]),
        "metadata-too-large",
    ),
    "encrypted": (
        ("foo-1.0-py3-none-any.whl", patched(samples.wheel("foo", "1.0")[1], ENTRY, 8, b"\x01\x00")),
        "encrypted",
    ),
    "unknown compression": (
        ("foo-1.0-py3-none-any.whl", patched(samples.wheel("foo", "1.0")[1], ENTRY, 10, b"\x5d\x00")),
        "compression",
    ),
    "a size that lies": (
        ("foo-1.0-py3-none-any.whl", patched(samples.wheel("foo", "1.0")[1], ENTRY, 24, b"\x01\x00\x00\x00")),
        "corrupt",
    ),
    "a wrong checksum": (
        ("foo-1.0-py3-none-any.whl", patched(samples.wheel("foo", "1.0")[1], ENTRY, 16, b"\0\0\0\0")),
        "corrupt",
    ),
    "a member somewhere else": (
        ("foo-1.0-py3-none-any.whl", patched(samples.wheel("foo", "1.0")[1], ENTRY, 42, b"\x07\0\0\0")),
        "corrupt",
    ),
    "a member behind the end": (
        ("foo-1.0-py3-none-any.whl", patched(samples.wheel("foo", "1.0")[1], ENTRY, 42, b"\0\0\0\x7f")),
        "corrupt",
    ),
}


@pytest.mark.parametrize("name", ZIP_FAULTS)
def test_faults_of_zips(name: str) -> None:
    sample, code = ZIP_FAULTS[name]
    assert fault(sample) == (Damaged, code)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_metadata_twice_is_refused() -> None:
    twice = wheel_of([(f"{INFO}/METADATA", METADATA), (f"{INFO}/METADATA", METADATA)])
    assert fault(twice) == (Damaged, "duplicate-metadata")


@pytest.mark.parametrize("info", ["Foo-1.0.dist-info", "foo-1.0.0.dist-info", "foo-1.dist-info"])
def test_other_spellings_of_the_same_release_are_let_pass(info: str) -> None:
    assert look(wheel_of([(f"{info}/METADATA", samples.core_metadata("FOO", "1.0.0"))])).name == "FOO"


def test_vendored_metadata_deeper_down_is_not_the_wheels() -> None:
    members = [("foo/_vendor/bar-2.dist-info/METADATA", b"Name: bar\n"), (f"{INFO}/METADATA", METADATA)]
    assert look(wheel_of(members)).name == "foo"


# --- bombs (quality B9) ---


def test_bomb_metadata_of_128_mib() -> None:
    assert fault(wheel_of([(f"{INFO}/METADATA", bytes(128 << 20))])) == (Damaged, "bomb")


def test_bomb_zip_that_says_little_and_holds_much() -> None:
    filename, data = wheel_of([("foo.bin", bytes(90 << 20)), (f"{INFO}/METADATA", METADATA)])
    assert fault((filename, data)) == (Damaged, "bomb")
    assert fault((filename, patched(data, ENTRY, 24, struct.pack("<I", 1000)))) == (Damaged, "corrupt")


def test_bomb_zip_of_too_many_members() -> None:
    filename, data = wheel_of([*((f"f{n}", b"") for n in range(60)), (f"{INFO}/METADATA", METADATA)])
    assert fault((filename, data), limits=replace(LIMITS, members=60)) == (Damaged, "too-many-members")
    assert look((filename, data), limits=replace(LIMITS, members=61)).name == "foo"
    assert fault((filename, data), limits=replace(LIMITS, directory_bytes=1000)) == (
        Damaged,
        "too-many-members",
    )


def test_the_absolute_limit_of_expansion() -> None:
    small = replace(LIMITS, expanded_bytes=600_000)
    assert fault(noisy("wheel"), limits=small) == (Damaged, "bomb")
    assert fault(noisy("gztar"), limits=small) == (Damaged, "bomb")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_bomb_tar_of_256_mib(compress: Callable[[bytes], bytes]) -> None:
    suffix = {gzip.compress: "gz", bz2.compress: "bz2", lzma.compress: "xz"}[compress]
    size = 256 << 20
    header = tarfile.TarInfo("foo-1.0/x")
    header.size = size
    # Compressed in pieces: each of the three kinds may be several streams one after the other.
    data = compress(header.tobuf()) + compress(bytes(size // 16)) * 16
    assert fault((f"foo-1.0.tar.{suffix}", data)) == (Damaged, "bomb")


def test_bomb_tar_of_200000_empty_members() -> None:
    header = tarfile.TarInfo("foo-1.0/x").tobuf()
    data = gzip.compress(header * 200_000, 1)
    assert fault(("foo-1.0.tar.gz", data)) == (Damaged, "too-many-members")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_bomb_tar_with_a_header_of_64_mib(kind: bytes) -> None:
    header = tarfile.TarInfo("foo-1.0/x")
    header.type, header.size = kind, 64 << 20
    data = gzip.compress(header.tobuf() + bytes(64 << 20), 1)
    assert fault(("foo-1.0.tar.gz", data)) == (Damaged, "header-too-large")


def test_bomb_tar_of_headers_for_nothing() -> None:
    header = tarfile.TarInfo("foo-1.0/x")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    data = gzip.compress((header.tobuf() + b"x".ljust(512, b"\0")) * 110_000, 1)
    assert fault(("foo-1.0.tar.gz", data))[1] in ("too-many-members", "header-too-large")


def test_bomb_xz_with_a_dictionary_of_a_gibibyte() -> None:
    tar = samples.tarred([("foo-1.0/PKG-INFO", METADATA)])
    small = lzma.compress(tar, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}])
    assert look(("foo-1.0.tar.xz", small)).name == "foo"
    # The size stands in the header of the block; it is asked for whether or not it is used.
    block = bytearray(small[12:24])
    assert block[2:4] == b"\x21\x01"
    block[4] = 36  # xz's notation for 1 GiB
    block[8:12] = struct.pack("<I", zlib.crc32(bytes(block[:8])))
    assert fault(("foo-1.0.tar.xz", small[:12] + bytes(block) + small[24:])) == (Damaged, "dictionary")


# --- tar ---


def test_streams_one_after_the_other_are_one_archive() -> None:
    tar = samples.tarred([("foo-1.0/PKG-INFO", METADATA), ("foo-1.0/x", NOISE)])
    for suffix, compress in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        data = b"".join(compress(tar[at : at + 100_000]) for at in range(0, len(tar), 100_000))
        assert look((f"foo-1.0.tar.{suffix}", data)).metadata == METADATA


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_dialect_of_tar(tar_format: int) -> None:
    base = "foo-1.0"
    long = (
        f"{base}/"
        + "/".join(["folder" * 4] * (5 if tar_format == tarfile.USTAR_FORMAT else 40))
        + "/PKG-INFO"
    )
    members = [(long, b"Name: other\n"), (f"./{base}/PKG-INFO", METADATA), (f"{base}/é.txt", b"x")]
    data = gzip.compress(samples.tarred(members, tar_format=tar_format))
    assert look(("foo-1.0.tar.gz", data)).metadata == METADATA


def test_a_long_name_can_be_the_metadata_of_a_long_folder() -> None:
    folder = "foo-" + "1." * 60 + "0"
    for tar_format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        tar = samples.tarred(
            [(f"{folder}/PKG-INFO", samples.core_metadata("foo", "1"))], tar_format=tar_format
        )
        assert look((f"{folder}.tar.gz", gzip.compress(tar))).name == "foo"


def test_links_and_folders_have_no_bytes() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind, path in (
            (tarfile.DIRTYPE, "foo-1.0"),
            (tarfile.SYMTYPE, "foo-1.0/PKG-INFO"),
            (tarfile.FIFOTYPE, "f"),
        ):
            member = tarfile.TarInfo(path)
            member.type, member.linkname = kind, "elsewhere"
            archive.addfile(member)
        member = tarfile.TarInfo("foo-1.0/PKG-INFO")
        member.size = len(METADATA)
        archive.addfile(member, io.BytesIO(METADATA))
    assert look(("foo-1.0.tar.gz", gzip.compress(out.getvalue()))).metadata == METADATA


def test_a_missing_end_mark_counts_as_meant_once_the_file_is_settled() -> None:
    tar = samples.tarred([("foo-1.0/PKG-INFO", METADATA)])
    open_end = ("foo-1.0.tar.gz", gzip.compress(tar[:1024]))
    assert fault(open_end, age=YOUNG) == (Incomplete, "truncated")
    assert look(open_end, age=SETTLED).metadata == METADATA


def test_zeros_and_other_things_after_the_archive() -> None:
    for kind in ("gztar", "bztar", "xztar"):
        filename, data = samples.sdist("foo", "1.0", kind)
        assert fault((filename, data + bytes(5000)), age=YOUNG) == (Incomplete, "trailing-bytes")
        assert look((filename, data + bytes(5000)), age=SETTLED).version == "1.0"
        assert fault((filename, data + b"tail"), age=YOUNG) == (Incomplete, "trailing-bytes")
        assert fault((filename, data + b"tail"), age=SETTLED) == (Damaged, "trailing-bytes")


def header(path: str, *, kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    member = tarfile.TarInfo(path)
    member.type, member.size = kind, size
    return member.tobuf()


END = bytes(1024)
TAR_FAULTS = {
    "no tar inside": (b"just text " * 100, "not-a-tar"),
    "half a header": (header("foo-1.0/x")[:300], "corrupt"),
    "nothing inside": (END, "no-members"),
    "nothing at all": (b"", "no-members"),
    "cut inside a member": (header("foo-1.0/x", size=5000) + bytes(1024), "corrupt"),
    "cut inside the metadata": (header("foo-1.0/PKG-INFO", size=5000) + bytes(1024), "corrupt"),
    "a damaged header": (header("foo-1.0/x") + b"x" * 512, "corrupt"),
    "sparse": (header("foo-1.0/x", kind=tarfile.GNUTYPE_SPARSE) + END, "sparse"),
    "metadata of 2 MiB": (
        header("foo-1.0/PKG-INFO", size=2 << 20) + bytes(2 << 20) + END,
        "metadata-too-large",
    ),
    "odd pax record": (header("x", kind=b"x", size=9) + b"99 path=a".ljust(512, b"\0") + END, "corrupt"),
    "pax record of no length": (
        header("x", kind=b"x", size=9) + b"0 path=a\n".ljust(512, b"\0") + END,
        "corrupt",
    ),
    "pax size that is no number": (
        header("x", kind=b"x", size=10) + b"10 size=x\n".ljust(512, b"\0") + END,
        "corrupt",
    ),
}


@pytest.mark.parametrize("name", TAR_FAULTS)
def test_faults_of_tars(name: str) -> None:
    tar, code = TAR_FAULTS[name]
    assert fault(("foo-1.0.tar.gz", gzip.compress(tar)), age=SETTLED) == (Damaged, code)


# --- metadata of sdists and eggs is not what decides ---


@pytest.mark.parametrize("kind", ["gztar", "zip"])
def test_sdists_are_read_leniently(kind: str) -> None:
    def pack(*members: tuple[str, bytes]) -> Sample:
        return f"foo-1.0{samples.COMPRESSIONS[kind]}", samples.packed(members, kind)

    assert look(pack(("foo-1.0/setup.py", b""))).metadata is None
    assert look(pack(("foo-1.0/PKG-INFO", samples.core_metadata("bar", "1.0")))).metadata is None
    assert look(pack(("foo-1.0/PKG-INFO", b"nonsense"))).metadata is None
    odd = samples.core_metadata("Foo", "0.0.0", requires_python=">=3")
    assert look(pack(("other/PKG-INFO", odd))).requires_python == ">=3"
    two = pack(("bar/PKG-INFO", samples.core_metadata("bar", "2")), ("foo-1.0/PKG-INFO", METADATA))
    assert look(two).metadata == METADATA
    neither = pack(("a/PKG-INFO", METADATA), ("b/PKG-INFO", METADATA))
    assert look(neither).metadata is None


def test_eggs_are_read_leniently() -> None:
    assert look(("foo-1.0-py2.7.egg", samples.zipped([("foo.py", b"")]))).metadata is None
    assert look(samples.egg("foo", "1.0", metadata=b"Name: bar\n")).metadata is None
    assert look(samples.egg("foo", "1.0", metadata=b"Name: foo\nVersion: 2\n")).name == "foo"


def test_an_egg_may_begin_as_a_script() -> None:
    script = b"#!/bin/sh\nexec python -c 'import foo' \"$0\"\n"
    out = io.BytesIO(script)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("EGG-INFO/PKG-INFO", METADATA)
    assert look(("foo-1.0-py2.7.egg", out.getvalue())).metadata == METADATA


# --- kinds known by their header ---


@pytest.mark.parametrize("kind", ["exe", "msi", "rpm"])
def test_installers_must_be_at_rest(kind: str) -> None:
    assert fault(WHOLE[kind], age=YOUNG) == (Incomplete, "moving")
    assert look(WHOLE[kind], age=STILL).metadata is None


@pytest.mark.parametrize("magic", [b"MZ", samples.OLE_MAGIC, samples.RPM_MAGIC])
def test_installers_that_say_nothing_of_their_length_must_rest_longer(magic: bytes) -> None:
    kind = {b"MZ": "exe", samples.OLE_MAGIC: "msi", samples.RPM_MAGIC: "rpm"}[magic]
    sample = WHOLE[kind][0], magic + NOISE[:5000]
    assert fault(sample, age=STILL)[0] is Incomplete
    assert look(sample, age=SETTLED).size == len(sample[1])


# --- check = "none" ---


@pytest.mark.parametrize("kind", CHECKED)
def test_unchecked_files_have_hashes_and_what_metadata_there_is(kind: str) -> None:
    filename, data = WHOLE[kind]
    assert look((filename, data), check="none", age=YOUNG) == look((filename, data))
    for bad in (data[: len(data) // 2], flipped(data, len(data) // 2), b"", LFS):
        facts = look((filename, bad), check="none", age=YOUNG)
        assert (facts.size, facts.sha256) == (len(bad), hashlib.sha256(bad).hexdigest())


def test_unchecked_files_need_no_name() -> None:
    assert look(("docs.zip", WHOLE["zip"][1]), check="none").metadata is None
    assert look(("notes.txt", b"x"), check="none").size == 1


def test_unchecked_wheel_of_another_project_keeps_its_metadata_to_itself() -> None:
    assert look(("bar-1.0-py3-none-any.whl", samples.wheel("foo", "1.0")[1]), check="none").metadata is None


def test_a_bad_name_is_told_before_anything_is_read() -> None:
    with pytest.raises(BadName):
        look(("docs.zip", WHOLE["zip"][1]))


# --- anything ---


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_any_change_gives_facts_or_a_reason(kind: str, data: st.DataObject) -> None:
    filename, original = WHOLE[kind]
    content = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    age = data.draw(st.sampled_from([0.0, 5.0, 600.0]))
    try:
        facts = look((filename, bytes(content)), age=age)
    except Unsound:
        pass
    else:
        assert facts.sha256 == hashlib.sha256(content).hexdigest()
    assert look((filename, bytes(content)), age=age, check="none").size == len(content)
