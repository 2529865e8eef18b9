"""What a backup holds: every path with the hash of its bytes, and a hash over all of that."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pidex.backends.vault import there
from pidex.core.errors import BadRequest, NotFound

FORMAT = 1
#: Names of the files of a backup, and of the folder of bytes beside backups.
MANIFEST, DIGEST, CATALOGUE, BLOBS = "manifest.json", "manifest.sha256", "catalogue.db", "blobs"
STAMP = "%Y%m%dT%H%M%S.%fZ"

_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class Kept(NamedTuple):
    """A file below a folder, by its path there. `mtime_ns` as it was; `mode` its permissions."""

    path: str
    sha256: str
    size: int
    mtime_ns: int
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Manifest:
    """A backup. `taken` in Unix seconds; `roots`, `files` and `moved` by the numbers of folders.

    `kept`: hashes and sizes of kept bytes, also of files that were deleted or replaced. `data`: other files
    of the data directory. `blobs`: size and mtime of what is stored, by hash. `config`: files of settings,
    which are noted and not put back. `missing`: paths whose bytes could not be had. `objects`: hashes and
    sizes of what lies in a bucket, which is named and not copied.
    """

    taken: float
    program: str
    revision: str
    serial: int
    audit: tuple[int, str]
    data_dir: str
    catalogue: tuple[str, int]
    roots: dict[int, str] = field(default_factory=dict)
    files: dict[int, list[Kept]] = field(default_factory=dict)
    kept: list[tuple[str, int]] = field(default_factory=list)
    data: list[Kept] = field(default_factory=list)
    config: list[Kept] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    blobs: dict[str, tuple[int, int]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    bucket: str | None = None
    objects: list[tuple[str, int]] = field(default_factory=list)
    format: int = FORMAT

    @property
    def hashes(self) -> dict[str, int]:
        """Every hash that restoring needs, with its size."""
        found = {each.sha256: each.size for files in self.files.values() for each in files}
        found |= {each.sha256: each.size for each in [*self.data, *self.config]}
        return found | dict(self.kept)


def write(folder: Path, manifest: Manifest) -> None:
    """Write a manifest and its hash."""
    text = json.dumps(asdict(manifest), ensure_ascii=True, indent=1, sort_keys=True).encode()
    digest = f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n".encode()
    for name, content in ((MANIFEST, text), (DIGEST, digest)):
        with open(folder / name, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def read(folder: Path) -> Manifest:
    """The manifest of a backup. Raises `NotFound` and `BadRequest` where it is none, or not as it was."""
    try:
        text = (folder / MANIFEST).read_bytes()
        said = (folder / DIGEST).read_text(encoding="ascii", errors="replace").split()[:1]
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise NotFound(f"{folder} is no backup of pidex: {MANIFEST} {error.strerror}.") from None
    if said != [hashlib.sha256(text).hexdigest()]:
        raise BadRequest(f"The manifest of the backup {folder} is damaged: take another backup.")
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise BadRequest(f"The backup {folder} was made by a newer pidex ({found['program']}).")
        return _manifest(found)
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequest(f"The manifest of the backup {folder} cannot be understood: {error}.") from None


def _manifest(found: Mapping[str, Any]) -> Manifest:
    made = Manifest(
        **{
            **found,
            "audit": tuple(found["audit"]),
            "catalogue": tuple(found["catalogue"]),
            "roots": {int(number): path for number, path in found["roots"].items()},
            "files": {int(number): _kept(files) for number, files in found["files"].items()},
            "kept": [(sha256, size) for sha256, size in found["kept"]],
            "data": _kept(found["data"]),
            "config": _kept(found["config"]),
            "objects": [(sha256, size) for sha256, size in found.get("objects", ())],
            "blobs": {sha256: (size, mtime) for sha256, (size, mtime) in found["blobs"].items()},
        }
    )
    if not all(map(_SHA256.match, made.hashes)):
        raise ValueError("a hash is none")
    return made


def _kept(rows: Sequence[Sequence[Any]]) -> list[Kept]:
    found = [Kept(*row) for row in rows]
    for each in found:
        if each.path.startswith("/") or any(part in ("", ".", "..") for part in each.path.split("/")):
            raise ValueError(f"the path {each.path!r}")
    return found


def list_backups(folder: Path) -> list[Path]:
    """The finished backups in a folder, newest first. `OSError`: what cannot be read is not nothing."""
    try:
        names = [name for name in os.listdir(folder) if _NAME.match(name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(names, reverse=True) if there(folder / name / MANIFEST)]


def find(folder: Path) -> Path | None:
    """The backup that a path means: itself, or the newest in it."""
    if there(folder / MANIFEST):
        return folder
    return next(iter(list_backups(folder)), None)
