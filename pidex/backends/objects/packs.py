"""What pushes brought, kept in a bucket: packs of git, each an object under its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pidex.backends.objects.bucket import Bucket

#: Where they are.
PACKS = "packs/"


class Stored(NamedTuple):
    """A pack that is in the bucket for good."""

    sha256: str
    size: int


class Packs:
    """The packs of all indexes of a bucket. Nothing deletes one: they are the history of a branch."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def put(self, path: Path) -> Stored:
        """Have a file there, for good. Raises `StorageDown`."""
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            key = _key(sha256)
            if self._bucket.size(key) != size:
                self._bucket.put(key, file)
        return Stored(sha256, size)

    def read(self, sha256: str) -> Iterator[bytes]:
        """The bytes of a pack as they come. Raises `FileNotFoundError`."""
        return self._bucket.read(_key(sha256))


def _key(sha256: str) -> str:
    return f"{PACKS}{sha256[:2]}/{sha256}"
