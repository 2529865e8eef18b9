"""Folders of small real wheels, made without any download."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

DESCRIPTION = (
    "A synthetic package of the benchmark. Its metadata is about as long as that of a real one.\n" * 8
)
WHEEL = b"Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
FILE_TIME = (2024, 1, 1, 0, 0, 0)


def wheel(name: str, version: str, payload: bytes = b"") -> tuple[str, bytes]:
    """(file name, bytes) of a wheel that pip installs. `name` is a normalised project name."""
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: Package {name}\n"
        f"Requires-Python: >=3.9\nRequires-Dist: packaging>=20\n\n{DESCRIPTION}"
    )
    members = {
        f"{name.replace('-', '_')}/__init__.py": f"__version__ = {version!r}\n".encode(),
        f"{stem}.dist-info/METADATA": metadata.encode(),
        f"{stem}.dist-info/WHEEL": WHEEL,
    }
    if payload:
        members[f"{name.replace('-', '_')}/payload.bin"] = payload
    record = "".join(f"{path},{_digest(data)},{len(data)}\n" for path, data in members.items())
    members[f"{stem}.dist-info/RECORD"] = f"{record}{stem}.dist-info/RECORD,,\n".encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, data in members.items():
            archive.writestr(zipfile.ZipInfo(path, FILE_TIME), data)
    return f"{stem}-py3-none-any.whl", stream.getvalue()


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def put(folder: Path, name: str, version: str, payload: bytes = b"") -> Path:
    """Write one wheel as a careful copy does: under a dot name, then renamed."""
    filename, data = wheel(name, version, payload)
    staging = folder / f".{filename}.part"
    staging.write_bytes(data)
    path = folder / filename
    staging.rename(path)
    return path


def fill(folder: Path, projects: Iterable[tuple[str, int]]) -> int:
    """Write (project, number of versions) wheels into a folder; how many were written."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, versions in projects:
        for number in range(versions):
            filename, data = wheel(name, f"1.{number}.0")
            (folder / filename).write_bytes(data)
            count += 1
    return count


def big(folder: Path, name: str, megabytes: int) -> Path:
    """A wheel of about so many MB (10^6 bytes) that does not compress."""
    return put(folder, name, "1.0.0", os.urandom(megabytes * 1_000_000))
