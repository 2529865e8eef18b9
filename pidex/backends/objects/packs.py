"""What pushes brought, kept in a bucket: packs of git, each an object under its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
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
    """The packs of all indexes of a bucket: the history of their branches, and what cut pushes left."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def put(self, path: Path, spare: Callable[[str], None] = lambda _: None) -> Stored:
        """Have a file there, for good. `spare` is told its hash before it is looked for.

        Raises `StorageDown`.
        """
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
            spare(sha256)
            key = _key(sha256)
            if self._bucket.size(key) != size:
                self._bucket.put(key, file)
        return Stored(sha256, size)

    def read(self, sha256: str) -> Iterator[bytes]:
        """The bytes of a pack as they come. Raises `FileNotFoundError`."""
        return self._bucket.read(_key(sha256))

    def list(self) -> Iterator[Stored]:
        """Every pack that is there, whoever it belongs to."""
        for item in self._bucket.list(PACKS):
            sha256 = item.key.rpartition("/")[2]
            if len(sha256) == 64:
                yield Stored(sha256, item.size)

    def drop(self, sha256s: Iterable[str]) -> None:
        """Delete packs for good. For who has made sure that no branch has them, or can come to."""
        self._bucket.delete(_key(sha256) for sha256 in sha256s)


def _key(sha256: str) -> str:
    return f"{PACKS}{sha256[:2]}/{sha256}"
