"""Builders of small real packages for tests: each returns (file name, bytes)."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import itertools
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

Sample = tuple[str, bytes]

#: Sample archives are reproducible: the same arguments give the same bytes.
WHEN = (2024, 1, 2, 3, 4, 6)
EPOCH = 1_704_164_646
COMPRESSIONS = {"gztar": ".tar.gz", "tgz": ".tgz", "bztar": ".tar.bz2", "xztar": ".tar.xz", "zip": ".zip"}
OLE_MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")
RPM_MAGIC = bytes.fromhex("edabeedb")


def core_metadata(
    name: str,
    version: str,
    *,
    requires_python: str | None = None,
    requires: Iterable[str] = (),
    summary: str = "A sample",
    metadata_version: str = "2.1",
    extra: str = "",
) -> bytes:
    """METADATA or PKG-INFO. `extra`: more header lines, each ending in a line feed."""
    lines = [f"Metadata-Version: {metadata_version}", f"Name: {name}"]
    lines += [f"Version: {version}", f"Summary: {summary}"]
    if requires_python is not None:
        lines.append(f"Requires-Python: {requires_python}")
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    return ("\n".join(lines) + "\n" + extra + "\nA sample package.\n").encode()


def zipped(members: Iterable[tuple[str, bytes]], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of `members` in their order."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for path, data in members:
            archive.writestr(zipfile.ZipInfo(path, WHEN), data, compression)
    return out.getvalue()


def tarred(members: Iterable[tuple[str, bytes]], *, tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    """An uncompressed tar of `members` in their order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as archive:
        for path, data in members:
            member = tarfile.TarInfo(path)
            member.size, member.mtime, member.mode = len(data), EPOCH, 0o644
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def escaped(name: str) -> str:
    """A name as wheels, eggs and new sdists write it."""
    return name.replace("-", "_")


def wheel(
    name: str,
    version: str,
    *,
    requires_python: str | None = None,
    requires: Iterable[str] = (),
    files: Mapping[str, bytes] | None = None,
    metadata: bytes | None = None,
    filename: str | None = None,
    tag: str = "py3-none-any",
) -> Sample:
    """A wheel with a module, METADATA, WHEEL and RECORD that installers accept."""
    base = f"{escaped(name)}-{version.replace('-', '_')}"
    if metadata is None:
        metadata = core_metadata(name, version, requires_python=requires_python, requires=requires)
    module = escaped(name).replace(".", "_")
    members = dict(files if files is not None else {f"{module}.py": b"answer = 42\n"})
    members[f"{base}.dist-info/METADATA"] = metadata
    pythons, abis, platforms = (field.split(".") for field in tag.split("-"))
    tags = [f"Tag: {'-'.join(one)}\n" for one in itertools.product(pythons, abis, platforms)]
    members[f"{base}.dist-info/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: samples\nRoot-Is-Purelib: true\n" + "".join(tags)
    ).encode()
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for path, data in members.items()
    )
    members[f"{base}.dist-info/RECORD"] = (record + f"{base}.dist-info/RECORD,,\n").encode()
    return filename or f"{base}-{tag}.whl", zipped(members.items())


def sdist(
    name: str,
    version: str,
    format: str = "gztar",  # noqa: A002
    *,
    requires_python: str | None = None,
    requires: Iterable[str] = (),
    files: Mapping[str, bytes] | None = None,
    metadata: bytes | None = None,
    filename: str | None = None,
    tar_format: int = tarfile.PAX_FORMAT,
) -> Sample:
    """A source distribution. `format` is gztar, tgz, bztar, xztar or zip; it builds with setuptools."""
    base = f"{escaped(name)}-{version}"
    module = escaped(name).replace(".", "_")
    if metadata is None:
        metadata = core_metadata(name, version, requires_python=requires_python, requires=requires)
    arguments = f"name={name!r}, version={version!r}, py_modules=[{module!r}]"
    setup = f"from setuptools import setup\nsetup({arguments})\n"
    inside = {"PKG-INFO": metadata, "setup.py": setup.encode(), f"{module}.py": b"answer = 42\n"}
    inside.update(files or {})
    members = [(f"{base}/{path}", data) for path, data in inside.items()]
    return filename or base + COMPRESSIONS[format], packed(members, format, tar_format=tar_format)


def packed(
    members: Iterable[tuple[str, bytes]],
    format: str,  # noqa: A002
    *,
    tar_format: int = tarfile.PAX_FORMAT,
) -> bytes:
    """`members` as an archive of one of the sdist formats."""
    if format == "zip":
        return zipped(members)
    tar = tarred(members, tar_format=tar_format)
    if format == "bztar":
        return bz2.compress(tar)
    if format == "xztar":
        return lzma.compress(tar, preset=1)
    return gzip.compress(tar, mtime=EPOCH)


def egg(
    name: str,
    version: str,
    *,
    python: str = "2.7",
    platform: str | None = None,
    metadata: bytes | None = None,
    filename: str | None = None,
) -> Sample:
    """A zipped egg. `python` is the version in its name; None of it is run."""
    base = f"{escaped(name)}-{version.replace('-', '_')}-py{python}" + (f"-{platform}" if platform else "")
    module = escaped(name).replace(".", "_")
    if metadata is None:
        metadata = core_metadata(name, version, metadata_version="1.2")
    return filename or f"{base}.egg", zipped(
        [
            (f"{module}.py", b"answer = 42\n"),
            ("EGG-INFO/PKG-INFO", metadata),
            ("EGG-INFO/SOURCES.txt", b"setup.py\n"),
            ("EGG-INFO/dependency_links.txt", b"\n"),
            ("EGG-INFO/top_level.txt", f"{module}\n".encode()),
            ("EGG-INFO/zip-safe", b"\n"),
        ]
    )


def wininst(name: str, version: str, *, platform: str = "win32", python: str | None = "2.7") -> Sample:
    """Something that starts as a bdist_wininst installer does."""
    tail = f"-py{python}" if python else ""
    inside = zipped([(f"PURELIB/{escaped(name)}.py", b"answer = 42\n")])
    return f"{name}-{version}.{platform}{tail}.exe", b"MZ\x90\x00" + bytes(range(256)) * 8 + inside


def msi(name: str, version: str, *, platform: str = "win32", python: str | None = "2.7") -> Sample:
    """Something that starts as a bdist_msi installer does."""
    tail = f"-py{python}" if python else ""
    # A header that names one allocation table, the table (itself and two more sectors used), the two sectors.
    header = bytearray(OLE_MAGIC.ljust(512, b"\0"))
    struct.pack_into("<HI", header, 0x1E, 9, 0)
    struct.pack_into("<II", header, 0x2C, 1, 0)
    struct.pack_into("<I", header, 0x4C, 0)
    table = struct.pack("<3I", 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFE).ljust(512, b"\xff")
    return f"{name}-{version}.{platform}{tail}.msi", bytes(header) + table + bytes(range(256)) * 4


def rpm(name: str, version: str, *, release: str = "1", arch: str = "noarch") -> Sample:
    """Something that starts as an rpm does."""
    lead = (RPM_MAGIC + b"\x03\x00").ljust(96, b"\0")
    payload = bytes(range(256)) * 8
    # A signature of one entry, the size of all that follows it.
    signature = struct.pack(">4s4sII", b"\x8e\xad\xe8\x01", b"\0" * 4, 1, 4)
    signature += struct.pack(">IIIII", 1000, 4, 0, 1, len(payload)) + b"\0" * 4
    return f"{name}-{version}-{release}.{arch}.rpm", lead + signature + payload


def write(folder: Path, sample: Sample) -> Path:
    """Put a sample into a folder (made where missing) and say where it lies."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / sample[0]
    path.write_bytes(sample[1])
    return path
