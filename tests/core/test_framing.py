"""Strict rules on archives: each fault built by hand, with the sentence that names it."""

from __future__ import annotations

import bz2
import gzip
import io
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import pytest

from pidex.core.archives import inspect
from pidex.core.errors import Unsound
from pidex.core.framing import MAX_FINDINGS, check
from pidex.core.limits import Limits
from pidex.core.model import Framing
from tests import samples
from tests.samples import Sample

LIMITS = Limits()
WHEEL, SDIST, ZIPPED = "foo-1.0-py3-none-any.whl", "foo-1.0.tar.gz", "foo-1.0.zip"
INFO = "foo-1.0.dist-info"
UTF8 = 0x800


def framing(sample: Sample, limits: Limits = LIMITS) -> Framing:
    return check(io.BytesIO(sample[1]), sample[0], limits=limits)


# --- zips, record by record ---


@dataclass
class Part:
    """A member of which every field can be told twice: in its own header and in the directory."""

    name: bytes
    data: bytes = b"x"
    flags: int = 0
    method: int = 0
    packed: bytes | None = None
    local: Mapping[str, object] | None = None  # fields of the local header that differ
    entry: Mapping[str, object] | None = None  # fields of the directory's entry that differ
    before: bytes = b""
    after: bytes = b""
    listed: bool = True


def members() -> list[Part]:
    """The parts of a small wheel that nothing is wrong with."""
    files = {
        "foo.py": b"answer = 42\n",
        f"{INFO}/METADATA": samples.core_metadata("foo", "1.0"),
        f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,{len(data)}\n" for name, data in files.items()) + f"{INFO}/RECORD,,\n"
    files[f"{INFO}/RECORD"] = record.encode()
    return [Part(name.encode(), data) for name, data in files.items()]


def header(part: Part, changes: Mapping[str, object] | None) -> dict[str, object]:
    packed = part.data if part.packed is None else part.packed
    return {
        "raw": part.name,
        "flags": part.flags,
        "method": part.method,
        "crc": zlib.crc32(part.data),
        "packed": len(packed),
        "size": len(part.data),
        "extra": b"",
        "comment": b"",
        "disk": 0,
        **(changes or {}),
    }


def built(
    parts: Iterable[Part],
    *,
    prefix: bytes = b"",
    gap: bytes = b"",
    tail: bytes = b"",
    comment: bytes = b"",
    end: Callable[[int, int, int], bytes] | None = None,
) -> bytes:
    """A zip of parts. `end(count, size, start)` may write other end records."""
    out, directory, count = io.BytesIO(), io.BytesIO(), 0
    out.write(prefix)
    for part in parts:
        out.write(part.before)
        offset = out.tell()
        own = header(part, part.local)
        raw, extra = own["raw"], own["extra"]
        assert isinstance(raw, bytes)
        assert isinstance(extra, bytes)
        numbers = [own[key] for key in ("flags", "method", "crc", "packed", "size")]
        out.write(
            struct.pack(
                "<4sHHHHHIIIHH", b"PK\x03\x04", 20, *numbers[:2], 0, 33, *numbers[2:], len(raw), len(extra)
            )
        )
        out.write(raw + extra + (part.data if part.packed is None else part.packed) + part.after)
        if not part.listed:
            continue
        count += 1
        said = header(part, {"offset": offset, **(part.entry or {})})
        raw, extra, remark = said["raw"], said["extra"], said["comment"]
        assert isinstance(raw, bytes)
        assert isinstance(extra, bytes)
        assert isinstance(remark, bytes)
        numbers = [said[key] for key in ("flags", "method", "crc", "packed", "size", "disk", "offset")]
        directory.write(
            struct.pack(
                "<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, *numbers[:2], 0, 33, *numbers[2:5],
                len(raw), len(extra), len(remark), numbers[5], 0, 0, numbers[6],
            )
        )  # fmt: skip
        directory.write(raw + extra + remark)
    out.write(gap)
    start, size = out.tell(), directory.tell()
    out.write(directory.getvalue())
    if end is not None:
        out.write(end(count, size, start))
    else:
        out.write(
            struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, size, start, len(comment)) + comment
        )
    return out.getvalue() + tail


def with_part(**changes: object) -> bytes:
    """The wheel with one member more, which RECORD lists too."""
    part = Part(**{"name": b"foo_data.txt", **changes})  # type: ignore[arg-type]
    parts = members()
    record = parts[-1].data + f"{part.name.decode('utf-8', 'replace')},,{len(part.data)}\n".encode()
    return built([*parts[:-1], part, replace(parts[-1], data=record)])


def wide(count: int, size: int, start: int, **changes: int) -> bytes:
    """ZIP64 end records, in which single numbers are changed."""
    values = {
        "length": 44,
        "here": count,
        "entries": count,
        "size": size,
        "start": start,
        "at": start + size,
        "disks": 1,
        "short": count,
        "position": start,
        **changes,
    }
    return (
        struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", values["length"], 45, 45, 0, 0, values["here"],
                    values["entries"], values["size"], values["start"])
        + bytes(values["length"] - 44)
        + struct.pack("<4sIQI", b"PK\x06\x07", 0, values["at"], values["disks"])
        + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, values["short"], values["short"], size,
                      values["position"], 0)
    )  # fmt: skip


def extra(kind: int, data: bytes) -> bytes:
    return struct.pack("<HH", kind, len(data)) + data


def sizes64(*values: int) -> bytes:
    return extra(1, struct.pack(f"<{len(values)}Q", *values))


def deflated(data: bytes) -> bytes:
    press = zlib.compressobj(wbits=-15)
    return press.compress(data) + press.flush()


FULL = 0xFFFFFFFF
DESCRIPTOR = struct.pack("<4sIII", b"PK\x07\x08", zlib.crc32(b"x"), 1, 1)


def unicode_path(name: bytes, real: bytes) -> bytes:
    return extra(0x7075, b"\x01" + struct.pack("<I", zlib.crc32(name)) + real)


def polyglot() -> bytes:
    """A zip whose first local header is the first block of a tar with a right checksum."""
    info = tarfile.TarInfo("x")
    name = info.tobuf(tarfile.USTAR_FORMAT)[30:500]
    for _ in range(2):  # the checksum is part of the name, and counts the header before it
        data = built([Part(name, b""), *members()])
        block = data[:148] + b" " * 8 + data[156:512]
        name = name[:118] + b"%06o\0 " % sum(block) + name[126:]
    return built([Part(name, b""), *members()])


def streamed() -> bytes:
    """A wheel as a program writes it that cannot seek."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += bytes(data)  # type: ignore[call-overload]
            return len(data)  # type: ignore[arg-type]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in members():
            archive.writestr(zipfile.ZipInfo(part.name.decode(), samples.WHEN), part.data)
    return pipe.data


PLAIN = members()
ZIP_FAULTS: dict[str, tuple[bytes, str]] = {
    "data descriptor": (streamed(), "ZIP contains a data descriptor ('foo.py')"),
    "descriptor in both headers": (
        with_part(flags=8, after=DESCRIPTOR),
        "ZIP contains a data descriptor ('foo_data.txt')",
    ),
    "descriptor in the local header only": (with_part(local={"flags": 8}), "ZIP contains a data descriptor"),
    "descriptor in the directory only": (with_part(entry={"flags": 8}), "ZIP contains a data descriptor"),
    "name twice": (built([*PLAIN, PLAIN[0]]), "'foo.py' is in it more than once"),
    "entry twice for one member": (
        built(
            [*PLAIN[:-1], replace(PLAIN[-1], after=b""), Part(b"foo.py", PLAIN[0].data, entry={"offset": 0})]
        ),
        "'foo.py' is in it more than once",
    ),
    "member that is not listed": (
        built([PLAIN[0], Part(b"hidden.py", listed=False), *PLAIN[1:]]),
        "it contains a file that its directory does not list",
    ),
    "last member that is not listed": (
        built([*PLAIN, Part(b"hidden.py", listed=False)]),
        "it contains a file that its directory does not list",
    ),
    "other size": (with_part(local={"size": 7}), "'foo_data.txt' has other sizes in its own header"),
    "other packed size": (with_part(local={"packed": 7}), "'foo_data.txt' has other sizes in its own header"),
    "other checksum": (with_part(local={"crc": 7}), "'foo_data.txt' has another checksum in its own header"),
    "other method": (
        with_part(local={"method": 8}),
        "'foo_data.txt' has another compression method in its own header",
    ),
    "other encoding": (
        with_part(name="ö.txt".encode(), flags=UTF8, local={"flags": 0}),
        "has other flags in its own header",
    ),
    "prefix that offsets count": (
        built(PLAIN, prefix=b"#!/bin/sh\nexec true\n"),
        "20 bytes stand before its first member",
    ),
    "bytes between members": (
        built([PLAIN[0], replace(PLAIN[1], before=b"between"), *PLAIN[2:]]),
        "7 bytes between its members belong to none",
    ),
    "bytes before the directory": (built(PLAIN, gap=b"\0" * 9), "9 bytes between its members belong to none"),
    "bytes behind a stream": (
        with_part(method=8, packed=deflated(b"x") + b"PK\x03\x04 and more"),
        "bytes follow the compressed content of 'foo_data.txt'",
    ),
    "comment of an entry": (
        with_part(entry={"comment": b"hello"}),
        "the entry of 'foo_data.txt' has a comment",
    ),
    "comment with a record in it": (
        built(PLAIN, comment=b"PK\x05\x06 and more"),
        "its comment looks like a part of a zip",
    ),
    "comment with an end record in it": (
        built(PLAIN, comment=b"a" + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, 9, 9, 3)),
        "its comment looks like a part of a zip",
    ),
    "other disk": (with_part(entry={"disk": 1}), "'foo_data.txt' is said to be on another disk"),
    "bzip2 member": (
        with_part(method=12, packed=bz2.compress(b"x")),
        "'foo_data.txt' is neither stored nor deflated (method 12)",
    ),
    "lzma member": (
        samples.zipped([(part.name.decode(), part.data) for part in PLAIN], compression=zipfile.ZIP_LZMA),
        "is neither stored nor deflated (method 14)",
    ),
    "zstd member": (with_part(method=93), "is compressed by method 93"),
    "folder with content": (with_part(name=b"folder/"), "the folder 'folder/' has content"),
    "name that is not UTF-8": (with_part(name=b"caf\xe9.txt"), "the name b'caf\\xe9.txt' is not UTF-8"),
    "name not marked as UTF-8": (
        with_part(name="café.txt".encode()),
        "the name 'café.txt' is not ASCII and not marked as UTF-8",
    ),
    "name with a line feed": (with_part(name=b"a\nb"), "has a control character"),
    "name with NUL": (with_part(name=b"a\0b"), "has a control character"),
    "name with a C1 control": (with_part(name="a\x85b".encode(), flags=UTF8), "has a control character"),
    "no name": (with_part(name=b""), "a member has no name"),
    "name that climbs": (
        with_part(name=b"../up.py"),
        "the name '../up.py' leads out of where it is unpacked",
    ),
    "absolute name": (with_part(name=b"/etc/up"), "the name '/etc/up' leads out of where it is unpacked"),
    "name with a drive": (with_part(name=b"C:up.py"), "the name 'C:up.py' leads out of where it is unpacked"),
    "name with a backslash": (with_part(name=b"a\\up.py"), "leads out of where it is unpacked"),
    "name that is too long": (with_part(name=b"a/" * 600 + b"b"), "a path in it is longer than 1,024 bytes"),
    "ZIP64 field that nothing needs": (
        with_part(entry={"extra": sizes64(1, 1)}),
        "the ZIP64 extra field of 'foo_data.txt' does not hold what its header leaves out",
    ),
    "ZIP64 field with too much": (
        with_part(entry={"size": FULL, "extra": sizes64(1, 1)}),
        "the ZIP64 extra field of 'foo_data.txt' does not hold what its header leaves out",
    ),
    "ZIP64 field twice": (
        with_part(entry={"size": FULL, "extra": sizes64(1) + sizes64(2)}),
        "'foo_data.txt' has the ZIP64 extra field more than once",
    ),
    "ZIP64 sizes that differ": (
        with_part(local={"size": FULL, "packed": FULL, "extra": sizes64(1, 2)}),
        "'foo_data.txt' has other sizes in its own header",
    ),
    "ZIP64 field missing in the local header": (
        with_part(local={"size": FULL, "packed": FULL}),
        "'foo_data.txt' has other sizes in its own header",
    ),
    "Unicode path": (
        with_part(entry={"extra": unicode_path(b"foo_data.txt", b"other.txt")}),
        "the Unicode path extra field of 'foo_data.txt' names another file",
    ),
    "Unicode path in the local header": (
        with_part(local={"extra": unicode_path(b"foo_data.txt", b"other.txt")}),
        "the Unicode path extra field of 'foo_data.txt' names another file",
    ),
    "Unicode path twice": (
        with_part(entry={"extra": unicode_path(b"foo_data.txt", b"foo_data.txt") * 2}),
        "'foo_data.txt' has the Unicode path extra field more than once",
    ),
    "extra field that is cut": (
        with_part(entry={"extra": b"\x01\x00\x08\x00\x01"}),
        "the extra fields of 'foo_data.txt' are malformed",
    ),
    "extra field of three bytes": (
        with_part(local={"extra": b"\0\0\0"}),
        "the extra fields of 'foo_data.txt' are malformed",
    ),
    "ZIP64 end that counts otherwise": (
        built(PLAIN, end=lambda count, size, start: wide(count, size, start, short=count - 1)),
        "its end records disagree with its directory",
    ),
    "ZIP64 end with another start": (
        built(PLAIN, end=lambda count, size, start: wide(count, size, start, position=start + 1)),
        "its end records disagree with its directory",
    ),
    "ZIP64 end with room": (
        built(PLAIN, end=lambda count, size, start: wide(count, size, start, length=60)),
        "its ZIP64 end record has room for something else",
    ),
    "ZIP64 locator of several disks": (
        built(PLAIN, end=lambda count, size, start: wide(count, size, start, disks=2)),
        "its ZIP64 locator and end record disagree",
    ),
    "ratio": (
        samples.wheel(
            "foo", "1.0", files={"zeros": bytes(65 << 20), "noise": random.Random(1).randbytes(900_000)}
        )[1],
        "it expands to more than 50 times its size",
    ),
}


@pytest.mark.parametrize("fault", ZIP_FAULTS)
def test_a_zip_that_readers_may_understand_in_two_ways_is_named(fault: str) -> None:
    data, sentence = ZIP_FAULTS[fault]
    errors = framing((WHEEL, data)).errors
    assert any(sentence in error for error in errors), errors
    assert all(error.endswith(".") for error in errors)


@pytest.mark.parametrize(
    "data",
    [
        built(PLAIN, tail=b"more"),
        built(PLAIN)[:-9],
        b"no" + built(PLAIN),
        b"PK\x05\x06" + bytes(18),
        b"",
        b"PK",
    ],
    ids=["tail", "cut", "prefix that offsets do not count", "empty zip", "empty file", "two bytes"],
)
def test_what_cannot_be_read_is_an_error(data: bytes) -> None:
    assert framing((WHEEL, data)).errors


@pytest.mark.parametrize(
    "data",
    [
        built(PLAIN),
        built(PLAIN, comment=b"made by hand"),
        built(PLAIN, end=wide),
        built(PLAIN, end=lambda count, size, start: wide(count, size, start, short=0xFFFF, position=FULL)),
        with_part(entry={"size": FULL, "extra": sizes64(1)}),
        with_part(local={"size": FULL, "packed": FULL, "extra": sizes64(1, 1)}),
        with_part(method=8, packed=deflated(b"x")),
        with_part(name="café.txt".encode(), flags=UTF8),
        with_part(entry={"extra": unicode_path(b"foo_data.txt", b"foo_data.txt")}),
        with_part(entry={"extra": extra(0x5455, bytes(8))}, local={"extra": extra(0x5455, bytes(4))}),
        with_part(name=b"folder/", data=b""),
    ],
    ids=["plain", "comment", "zip64", "zip64 marks", "zip64 entry", "zip64 local", "deflated", "utf-8",
         "unicode path", "times", "folder"],
)  # fmt: skip
def test_what_has_one_reading_passes(data: bytes) -> None:
    found = framing((WHEEL, data))
    assert found.errors == ()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None


def test_a_zip_that_is_a_tar_too_is_named() -> None:
    data = polyglot()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.next() is not None
    with zipfile.ZipFile(io.BytesIO(data)) as archive_:
        assert archive_.testzip() is None
    assert framing((WHEEL, data)).errors[0] == "File is both a zip and a tar file."


def test_200_000_members_of_a_zip_are_refused_before_anything_of_them_is_read() -> None:
    size = 46 * 200_000
    data = bytes(size) + wide(200_000, size, 0, short=0xFFFF, position=FULL)
    (error,) = framing((WHEEL, data)).errors
    assert error == "the zip has 200,000 members, more than the 50,000 allowed."


def test_sentences_are_bounded_and_printable() -> None:
    parts = [Part(b"\x1b[2J%d" % number, entry={"comment": b"x"}) for number in range(500)]
    found = framing((WHEEL, built([*PLAIN, *parts])))
    assert len(found.errors) == MAX_FINDINGS
    assert all(len(text) <= 1000 and text.isprintable() for text in found.errors + found.warnings)


# --- wheels ---


def rebuilt(changes: Mapping[str, bytes | None], filename: str = WHEEL) -> Sample:
    """The wheel with files added, replaced or (None) left out; RECORD stays as it was unless changed."""
    files = {part.name.decode(): part.data for part in members()}
    for name, data in changes.items():
        if data is None:
            del files[name]
        else:
            files[name] = data
    return filename, samples.zipped(files.items())


def pointed(text: str) -> Sample:
    return rebuilt({f"{INFO}/entry_points.txt": text.encode()})


WHEEL_ERRORS: dict[str, tuple[Sample, str]] = {
    "no RECORD": (
        rebuilt({f"{INFO}/RECORD": None}),
        f"Wheel '{WHEEL}' does not contain the required RECORD file: {INFO}/RECORD.",
    ),
    "no WHEEL": (
        rebuilt({f"{INFO}/WHEEL": None}),
        f"Wheel '{WHEEL}' does not contain the required WHEEL file: {INFO}/WHEEL.",
    ),
    "no METADATA": (
        rebuilt({f"{INFO}/METADATA": None}),
        f"Wheel '{WHEEL}' does not contain the required METADATA file: {INFO}/METADATA.",
    ),
    "another spelling": (
        rebuilt({}, "Foo-1.0-py3-none-any.whl"),
        "does not contain the required METADATA file: Foo-1.0.dist-info/",
    ),
    "another version": (
        rebuilt({}, "foo-1.0.0-py3-none-any.whl"),
        "required METADATA file: foo-1.0.0.dist-info/METADATA.",
    ),
    "two .dist-info": (
        rebuilt({"bar-1.0.dist-info/METADATA": b"Name: bar\n"}),
        f"Wheel '{WHEEL}' has 2 .dist-info folders, it must have one.",
    ),
    "wheel version 2": (
        rebuilt({f"{INFO}/WHEEL": b"Wheel-Version: 2.0\n"}),
        "has Wheel-Version '2.0', installers know version 1.",
    ),
    "no wheel version": (
        rebuilt({f"{INFO}/WHEEL": b"Tag: py3-none-any\n"}),
        "has no Wheel-Version, or more than one",
    ),
    "two wheel versions": (
        rebuilt({f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nWheel-Version: 2.0\n"}),
        "no Wheel-Version, or more than one",
    ),
    "WHEEL of 2 MB": (rebuilt({f"{INFO}/WHEEL": b"x" * (2 << 20)}), "has no Wheel-Version"),
    "entry point without group": (
        pointed("foo = foo:main\n"),
        "invalid entry points: line 1 is in no group.",
    ),
    "entry point without value": (
        pointed("[console_scripts]\nfoo\n"),
        "invalid entry points: line 2 has no name and value.",
    ),
    "group without end": (pointed("[console_scripts\n"), "invalid entry points: line 1 begins a group"),
    "group without name": (pointed("[ ]\n"), "invalid entry points: line 1 begins a group and names none."),
    "script that is no object": (
        pointed("[console_scripts]\nfoo = foo.py main\n"),
        "invalid entry points: 'foo' in group 'console_scripts' names no object in a module.",
    ),
    "script twice": (
        pointed("[gui_scripts]\nfoo = foo:main\nfoo = bar:main\n"),
        "invalid entry points: 'foo' is twice in group 'gui_scripts'.",
    ),
    "endless entry point": (
        pointed("[x]\n" + "a" * 5000 + "\n"),
        "invalid entry points: line 2 is longer than 4,096 characters.",
    ),
    "entry points of 2 MB": (pointed("# x\n" * (1 << 19)), "invalid entry points: "),
}
WHEEL_WARNINGS: dict[str, tuple[Sample, str]] = {
    "file that RECORD does not list": (rebuilt({"a.py": b""}), "RECORD does not list 'a.py'."),
    "many that RECORD does not list": (
        rebuilt({f"{n}.py": b"" for n in range(9)}),
        "RECORD does not list '0.py', '1.py', '2.py' and 6 more.",
    ),
    "file that is not there": (
        rebuilt({"foo.py": None}),
        "RECORD lists 'foo.py', which is not in the wheel.",
    ),
    "other size in RECORD": (rebuilt({"foo.py": b"answer = 43 \n"}), "RECORD has another size for 'foo.py'."),
    "RECORD that is no table": (
        rebuilt({f"{INFO}/RECORD": b"foo.py\n"}),
        "RECORD cannot be read: 'foo.py' is no line",
    ),
    "RECORD with a wild size": (rebuilt({f"{INFO}/RECORD": b"foo.py,,1e9\n"}), "RECORD cannot be read: "),
    "RECORD with a giant field": (
        rebuilt({f"{INFO}/RECORD": b"x" * 200_000 + b",,\n"}),
        "RECORD cannot be read: field larger than",
    ),
    "other tags": (
        rebuilt({}, "foo-1.0-cp311-cp311-linux_x86_64.whl"),
        "The tags in the WHEEL file ('py3-none-any') are not those in the file name ('cp311-cp311-linux",
    ),
}


@pytest.mark.parametrize("fault", WHEEL_ERRORS)
def test_a_wheel_without_its_parts_is_named(fault: str) -> None:
    sample, sentence = WHEEL_ERRORS[fault]
    errors = framing(sample).errors
    assert any(sentence in error for error in errors), errors


@pytest.mark.parametrize("fault", WHEEL_WARNINGS)
def test_what_does_no_harm_is_a_warning(fault: str) -> None:
    sample, sentence = WHEEL_WARNINGS[fault]
    found = framing(sample)
    assert found.errors == ()
    assert any(sentence in warning for warning in found.warnings), found.warnings


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n; at all\n",
        "[console_scripts]\nfoo = foo:main\n\n[gui_scripts]\nfoo=foo.bar:main.run [extra]\n",
        "[pytest11]\nfoo = foo.plugin\nbar = anything goes here\n",
        "[console_scripts]\r\nfoo = foo:main\r\n",
        "[many]\nfoo =\n    foo:main\n",
        "[same]\na = b\n[other]\na = b\n",
    ],
)
def test_entry_points_as_tools_write_them_pass(text: str) -> None:
    assert framing(pointed(text)).errors == ()


# --- sdists ---


def member(
    name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data), link
    return info, data


TOP = member("foo-1.0", tarfile.DIRTYPE)
PKG_INFO = member("foo-1.0/PKG-INFO", data=samples.core_metadata("foo", "1.0"))


def tarball(
    *parts: tuple[tarfile.TarInfo, bytes], base: bool = True, tar_format: int = tarfile.PAX_FORMAT
) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as archive:
        for info, data in ((TOP, PKG_INFO) if base else ()) + parts:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def packed(*parts: tuple[tarfile.TarInfo, bytes], base: bool = True) -> Sample:
    return SDIST, gzip.compress(tarball(*parts, base=base))


def extended(kind: bytes, *pairs: tuple[str, str]) -> bytes:
    """A pax header, as blocks of a tar."""
    lines = b""
    for key, value in pairs:
        text = f" {key}={value}\n".encode()
        length = len(text) + len(str(len(text) + 2))
        lines += str(length).encode() + text
        assert len(str(length).encode() + text) == length
    info = tarfile.TarInfo("pax")
    info.type, info.size = kind, len(lines)
    return info.tobuf(tarfile.USTAR_FORMAT) + lines.ljust(512, b"\0")


def block(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.USTAR_FORMAT) + bytes(-(-size // 512) * 512)


def by_hand(*blocks: bytes, tail: bytes = b"") -> Sample:
    body = tarball()[: 512 * 4 - 512]  # the folder, PKG-INFO and its content
    assert body[512:].startswith(b"foo-1.0/PKG-INFO")
    return SDIST, gzip.compress(body + b"".join(blocks) + bytes(1024) + tail)


SPARSE = block("foo-1.0/sparse", kind=b"S")
TAR_ERRORS: dict[str, tuple[Sample, str]] = {
    "two folders": (
        packed(member("bar-1.0/setup.py")),
        "it must hold exactly one folder and nothing beside it",
    ),
    "file beside the folder": (packed(member("setup.py")), "at its top is 'foo-1.0', 'setup.py'"),
    "only a file": (packed(member("PKG-INFO"), base=False), "at its top is 'PKG-INFO'"),
    "made by macOS": (packed(member("._foo-1.0")), "at its top is '._foo-1.0' (made by macOS"),
    "no PKG-INFO": (
        packed(TOP, member("foo-1.0/setup.py"), base=False),
        "Invalid source distribution: PKG-INFO not found at foo-1.0/PKG-INFO.",
    ),
    "PKG-INFO as a folder": (
        packed(TOP, member("foo-1.0/PKG-INFO", tarfile.DIRTYPE), base=False),
        "PKG-INFO not found at foo-1.0/",
    ),
    "PKG-INFO twice": (packed(PKG_INFO), "'foo-1.0/PKG-INFO' is in it more than once"),
    "sparse member": (by_hand(SPARSE), "the tar has a sparse member, which no sdist has"),
    "sparse by pax": (
        by_hand(extended(b"x", ("GNU.sparse.major", "1")), block("foo-1.0/a")),
        "'foo-1.0/a' is sparse",
    ),
    "absolute name": (
        packed(member("/etc/passwd")),
        "the name '/etc/passwd' leads out of where it is unpacked",
    ),
    "name that climbs": (packed(member("foo-1.0/../../up")), "leads out of where it is unpacked"),
    "backslash": (packed(member("foo-1.0\\up")), "leads out of where it is unpacked"),
    "control character": (packed(member("foo-1.0/a\nb")), "has a control character"),
    "long path": (packed(member("foo-1.0/" + "a/" * 600 + "b")), "a path in it is longer than 1,024 bytes"),
    "device": (packed(member("foo-1.0/null", tarfile.CHRTYPE)), "'foo-1.0/null' is a device or a pipe"),
    "block device": (packed(member("foo-1.0/disk", tarfile.BLKTYPE)), "'foo-1.0/disk' is a device or a pipe"),
    "pipe": (packed(member("foo-1.0/pipe", tarfile.FIFOTYPE)), "'foo-1.0/pipe' is a device or a pipe"),
    "unusual type": (by_hand(block("foo-1.0/odd", kind=b"Z")), "'foo-1.0/odd' is of the unusual type b'Z'"),
    "absolute link": (
        packed(member("foo-1.0/a", tarfile.SYMTYPE, link="/etc/passwd")),
        "'foo-1.0/a' is a link that leads out of the archive's folder",
    ),
    "link that climbs": (
        packed(member("foo-1.0/a", tarfile.SYMTYPE, link="../../etc/passwd")),
        "leads out of the archive's folder",
    ),
    "link to a sibling": (
        packed(member("foo-1.0/a", tarfile.SYMTYPE, link="../bar")),
        "leads out of the archive's folder",
    ),
    "hard link outside": (
        packed(member("foo-1.0/a", tarfile.LNKTYPE, link="bar/b")),
        "leads out of the archive's folder",
    ),
    "hard link to nothing": (
        packed(member("foo-1.0/a", tarfile.LNKTYPE, link="foo-1.0/b")),
        "'foo-1.0/a' is a link to a file that does not stand before it",
    ),
    "file behind a link": (
        packed(member("foo-1.0/a", tarfile.SYMTYPE, link="b"), member("foo-1.0/a/c")),
        "'foo-1.0/a/c' is reached through a link",
    ),
    "link through a link": (
        packed(
            member("foo-1.0/a", tarfile.SYMTYPE, link="b/../.."),
            member("foo-1.0/b", tarfile.SYMTYPE, link="c/d"),
        ),
        "leads out of the archive's folder",
    ),
    "link to what a link leads to": (
        packed(
            member("foo-1.0/a", tarfile.SYMTYPE, link="b/c"), member("foo-1.0/b", tarfile.SYMTYPE, link="d")
        ),
        "'foo-1.0/b/c' is reached through a link",
    ),
    "two names": (
        by_hand(extended(b"x", ("path", "foo-1.0/a"), ("path", "foo-1.0/b")), block("foo-1.0/c")),
        "'foo-1.0/b' has two names in its headers",
    ),
    "two sizes": (
        by_hand(extended(b"x", ("size", "512")), block("foo-1.0/c", 0)[:512] + bytes(512)),
        "'foo-1.0/c' has two sizes in its headers",
    ),
    "global name": (
        by_hand(extended(b"g", ("path", "foo-1.0/a")), block("foo-1.0/c")),
        "'foo-1.0/c' follows a global header that speaks of names or sizes",
    ),
    "two streams": (
        (SDIST, gzip.compress(tarball()[:512]) + gzip.compress(tarball()[512:])),
        "it is compressed in several streams",
    ),
    "members behind the end": (by_hand(tail=block("foo-1.0/late")), "something follows its end mark"),
    "zip in the gzip header": (
        (
            SDIST,
            b"\x1f\x8b\x08\x04"
            + bytes(6)
            + struct.pack("<H", 22)
            + samples.zipped([])
            + gzip.compress(tarball())[10:],
        ),
        "File is both a zip and a tar file.",
    ),
    "cut": ((SDIST, gzip.compress(tarball())[:-9]), "stops before its end"),
    "no end mark": ((SDIST, gzip.compress(tarball()[:1536])), "the tar's end mark is missing"),
    "not a tar": ((SDIST, gzip.compress(b"x" * 4096)), "there is no tar inside"),
    "zip sdist of two folders": (
        (ZIPPED, samples.zipped([("foo-1.0/PKG-INFO", b"x"), ("bar/x", b"")])),
        "it must hold exactly one folder",
    ),
    "zip sdist without PKG-INFO": (
        (ZIPPED, samples.zipped([("foo-1.0/setup.py", b"x")])),
        "PKG-INFO not found at foo-1.0/PKG-INFO.",
    ),
    "zip sdist with a descriptor": ((ZIPPED, streamed()), "ZIP contains a data descriptor"),
}
TAR_WARNINGS: dict[str, tuple[Sample, str]] = {
    "file twice": (
        packed(member("foo-1.0/a"), member("foo-1.0/a")),
        "'foo-1.0/a' is in the archive more than once.",
    ),
    "another folder": (
        packed(member("bar", tarfile.DIRTYPE), member("bar/PKG-INFO"), base=False),
        "The folder in the archive is 'bar', the file's name says foo-1.0.",
    ),
    "not UTF-8": (
        (SDIST, gzip.compress(tarball(member("foo-1.0/caf\udce9"), tar_format=tarfile.GNU_FORMAT))),
        "Some names in the archive are not UTF-8.",
    ),
}


@pytest.mark.parametrize("fault", TAR_ERRORS)
def test_an_sdist_that_is_none_is_named(fault: str) -> None:
    sample, sentence = TAR_ERRORS[fault]
    errors = framing(sample).errors
    assert any(sentence in error for error in errors), errors


@pytest.mark.parametrize("fault", TAR_WARNINGS)
def test_what_is_odd_in_an_sdist_is_a_warning(fault: str) -> None:
    sample, sentence = TAR_WARNINGS[fault]
    found = framing(sample)
    assert found.errors == ()
    assert any(sentence in warning for warning in found.warnings), found.warnings


@pytest.mark.parametrize(
    "sample",
    [
        packed(member("foo-1.0/a", tarfile.SYMTYPE, link="PKG-INFO")),
        packed(member("foo-1.0/docs/a", tarfile.SYMTYPE, link="../PKG-INFO")),
        packed(member("foo-1.0/a", tarfile.LNKTYPE, link="foo-1.0/PKG-INFO")),
        packed(member("./foo-1.0/b"), member("foo-1.0/" + "long/" * 60 + "name")),
        by_hand(extended(b"g", ("comment", "0123456789")), block("foo-1.0/c")),
        (SDIST, gzip.compress(tarball(member("foo-1.0/é"), tar_format=tarfile.GNU_FORMAT))),
    ],
    ids=["link", "link up", "hard link", "dots and long names", "git's header", "gnu"],
)
def test_sdists_as_tools_write_them_pass(sample: Sample) -> None:
    assert framing(sample) == Framing()


def test_200_000_members_are_refused_early() -> None:
    # One stream of headers: built by hand, since tarfile takes seconds for it.
    header_block = block("foo-1.0/a")
    data = gzip.compress(header_block * 200_000 + bytes(1024), 1)
    (error,) = framing((SDIST, data), replace(LIMITS, ratio=10_000)).errors
    assert "more than the 50,000 members allowed" in error


# --- every sample ---

CLEAN = [
    samples.wheel("foo", "1.0"),
    samples.wheel("Foo.Bar", "1.0", requires_python=">=3.8"),
    samples.wheel("foo", "1.0+cu118", tag="cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64"),
    samples.wheel("foo", "1!1.0", tag="py2.py3-none-any"),
    samples.wheel("foo", "1.0", filename="foo-1.0-1-py3-none-any.whl"),
    *(samples.sdist("foo-bar", "1.0", kind) for kind in samples.COMPRESSIONS),
    *(samples.sdist("foo", "1.0", tar_format=kind) for kind in (tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)),
    samples.egg("foo-bar", "1.0", platform="linux-x86_64"),
    samples.wininst("foo", "1.0"),
    samples.msi("foo", "1.0"),
    samples.rpm("foo", "1.0"),
]


@pytest.mark.parametrize("sample", CLEAN, ids=[name for name, _ in CLEAN])
def test_every_sample_is_clean(sample: Sample) -> None:
    assert framing(sample) == Framing()


@pytest.mark.parametrize("sample", CLEAN, ids=[name for name, _ in CLEAN])
def test_the_same_is_found_beside_the_facts(sample: Sample) -> None:
    def look(check: str) -> Framing | None:
        return inspect(io.BytesIO(sample[1]), sample[0], limits=LIMITS, check=check, age=600).framing

    assert look("strict") == Framing()
    assert look("whole") is None
    assert look("none") is None


def test_findings_do_not_stop_the_look() -> None:
    found = 0
    for data, sentence in ZIP_FAULTS.values():
        try:
            facts = inspect(io.BytesIO(data), WHEEL, limits=LIMITS, check="strict", age=600)
        except Unsound:
            continue
        assert facts.framing is not None
        assert any(sentence in error for error in facts.framing.errors)
        assert facts.metadata is not None
        found += 1
    assert found > 20


@pytest.mark.parametrize(
    "sample", [samples.wheel("foo", "1.0"), samples.sdist("foo", "1.0")], ids=["wheel", "sdist"]
)
def test_whatever_is_changed_nothing_is_raised(sample: Sample) -> None:
    name, data = sample
    dice = random.Random(5)
    for _ in range(1500):
        changed = bytearray(data)
        for _ in range(dice.choice((1, 1, 2, 4))):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        found = framing((name, bytes(changed[: dice.choice((len(changed), dice.randrange(len(changed))))])))
        assert all(text for text in found.errors)


def test_accepted_wheels_list_alike_for_whoever_reads_them() -> None:
    """Of changed wheels, those that pass are read the same from the front and by the directory."""
    name, data = samples.wheel("foo", "1.0")
    accepted = 0
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :]
        if framing((name, changed)).errors:
            continue
        accepted += 1
        with zipfile.ZipFile(io.BytesIO(changed)) as archive:
            listed = {(info.filename, info.file_size) for info in archive.infolist()}
        assert listed == set(from_the_front(changed))
    assert 0 < accepted < len(data) // 4


def from_the_front(data: bytes) -> Iterable[tuple[str, int]]:
    """A reader that never looks at the directory."""
    at = 0
    while data[at : at + 4] == b"PK\x03\x04":
        _, _, flags, _, _, _, _, packed_size, size, name, more = struct.unpack_from("<4sHHHHHIIIHH", data, at)
        assert not flags & 8
        yield data[at + 30 : at + 30 + name].decode(), size
        at += 30 + name + more + packed_size


# --- licences that the metadata names ---


def licensed(version: str, *paths: str) -> bytes:
    extra = "".join(f"License-File: {path}\n" for path in paths)
    return samples.core_metadata("foo", "1.0", metadata_version=version, extra=extra)


def findings(sample: Sample) -> tuple[str, ...]:
    """The errors of a whole reading, which knows the metadata."""
    facts = inspect(io.BytesIO(sample[1]), sample[0], limits=LIMITS, check="strict", age=60)
    assert facts.framing is not None
    return facts.framing.errors


@pytest.mark.parametrize("form", ["wheel", "gztar", "zip"])
def test_licences_that_are_named_must_be_there(form: str) -> None:
    metadata = licensed("2.4", "LICENSE", "licenses/NOTICE")
    there = f"{INFO}/licenses/" if form == "wheel" else ""

    def made(metadata: bytes, *paths: str) -> Sample:
        files = {f"{there}{path}": b"do as you like" for path in paths}
        if form == "wheel":
            return samples.wheel("foo", "1.0", metadata=metadata, files=files)
        return samples.sdist("foo", "1.0", form, metadata=metadata, files=files)

    whole = made(metadata, "LICENSE", "licenses/NOTICE")
    assert findings(whole) == ()
    at = f"{INFO}/licenses" if form == "wheel" else "foo-1.0"
    assert findings(made(metadata, "LICENSE")) == (
        f"License-File licenses/NOTICE does not exist in distribution file {whole[0]} "
        f"at {at}/licenses/NOTICE.",
    )
    # A folder is no file; and before 2.4 tools wrote the field without a meaning that anybody had agreed on.
    assert len(findings(made(metadata, "LICENSE", "licenses/NOTICE/x"))) == 1
    assert findings(made(licensed("2.1", "LICENSE"))) == ()
    assert findings(made(licensed("2.10", "LICENSE"))) != ()
