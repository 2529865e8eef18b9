"""A storage of folders and a bucket: each index has its files in the one or the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pidex.backends import staging
from pidex.backends.folder import Folder
from pidex.backends.objects.storage import Objects
from pidex.core.errors import Changing
from pidex.core.folder import BUCKET
from pidex.core.interfaces import Handle, KeptFile, Staged, Storage
from pidex.core.model import Entry, File, Problem, Shelf, Stat


class Beside(Storage):
    """Folders by paths, and a bucket by `BUCKET`. What is asked by a hash alone: folders first."""

    def __init__(self, folder: Folder, objects: Objects) -> None:
        self.folder, self.objects = folder, objects

    def _of(self, root: int) -> Storage:
        return self.objects if root in self.objects.roots else self.folder

    @property
    def roots(self) -> Mapping[int, str]:
        return {**self.folder.roots, **self.objects.roots}

    @property
    def folders(self) -> Mapping[int, str]:
        return self.folder.roots

    def add(self, roots: Mapping[int, str]) -> None:
        self.folder.add({root: path for root, path in roots.items() if path != BUCKET})
        self.objects.add({root: path for root, path in roots.items() if path == BUCKET})

    @property
    def bucket(self) -> str | None:
        return self.objects.bucket

    def place(self, root: int, filename: str, sha256: str) -> str:
        return self._of(root).place(root, filename, sha256)

    def list(self, root: int, folder: str = "") -> Iterator[Entry | Problem]:
        return self._of(root).list(root, folder)

    def stat(self, root: int, path: str) -> Stat | None:
        return self._of(root).stat(root, path)

    def path(self, root: int, path: str) -> str:
        return self._of(root).path(root, path)

    def lend(self, entry: Entry) -> tuple[str, Stat]:
        return self._of(entry.root).lend(entry)

    def blocks(self, root: int, path: str) -> Iterator[bytes] | None:
        return self._of(root).blocks(root, path)

    def refill(self, sha256: str) -> bool:
        if self.folder.sound(sha256) is not None:
            self.objects.fill(Path(self.folder.kept_path(sha256)), sha256, over=True)
            return True
        return self.objects.refill(sha256)

    def beside(self, root: int, path: str) -> bytes | None:
        return self._of(root).beside(root, path)

    def keep(self, entry: Entry, sha256: str, *, instead_of: str | None = None) -> Stat | None:
        return self._of(entry.root).keep(entry, sha256, instead_of=instead_of)

    def kept(self, sha256: str) -> Stat | None:
        return self.folder.kept(sha256) or self.objects.kept(sha256)

    def kept_path(self, sha256: str) -> str:
        if self.folder.kept(sha256) is None and self.objects.kept(sha256) is not None:
            return self.objects.kept_path(sha256)
        return self.folder.kept_path(sha256)

    def sound(self, sha256: str) -> Stat | None:
        return self.folder.sound(sha256) or self.objects.sound(sha256)

    def release(self, sha256s: Iterable[str]) -> None:
        self.folder.release(sha256s)

    def list_kept(self) -> Iterator[KeptFile]:
        return self.folder.list_kept()

    def refusal(self, root: int) -> str | None:
        return self._of(root).refusal(root)

    def stage(self, root: int, *, size_hint: int = 0) -> Staged:
        return self._of(root).stage(root, size_hint=size_hint)

    def make_folder(self, root: int, folder: str) -> None:
        self._of(root).make_folder(root, folder)

    def put(self, staged: Staged, root: int, path: str, *, sync: bool = True) -> Stat:
        return self._of(root).put(staged, root, path, sync=sync)

    def sync(self, root: int, folder: str = "") -> None:
        self._of(root).sync(root, folder)

    def replace(self, staged: Staged, root: int, path: str) -> Stat:
        return self._of(root).replace(staged, root, path)

    def delete(self, root: int, path: str) -> bool:
        return self._of(root).delete(root, path)

    def fixed(self, root: int, path: str) -> str | None:
        return self._of(root).fixed(root, path)

    def restore(self, sha256: str, root: int, path: str, *, over: bool = False) -> Stat:
        """Give kept bytes a name in a root, also where the other storage has them."""
        if root in self.objects.roots:
            if self.folder.sound(sha256) is not None:
                self.objects.fill(Path(self.folder.kept_path(sha256)), sha256)
            return self.objects.restore(sha256, root, path, over=over)
        if self.folder.kept(sha256) is None and self.objects.kept(sha256) is not None:
            kept = self.objects.kept_path(sha256)
            return staging.restore(kept, sha256, self.folder.roots[root], path, over=over)
        return self.folder.restore(sha256, root, path, over=over)

    def digest(self, root: int, path: str) -> str | None:
        return self._of(root).digest(root, path)

    def sweep(self) -> int:
        return self.folder.sweep() + self.objects.sweep()

    def open(self, file: File, *, wait: bool = True) -> Handle:
        if file.root in self.objects.roots:
            return self.objects.open(file, wait=wait)
        with suppress(Changing):
            return self.folder.open(file, wait=wait)
        # What an index had earlier is on no shelf of its own: it may be in the bucket.
        if not wait or file.shelf is not Shelf.KEPT or self.objects.kept(file.sha256) is None:
            raise Changing(f"The bytes of {file.filename} are not those that were listed.", retry_after=2)
        return self.objects.open(file, wait=wait)

    def link(self, file: File) -> str | None:
        return self._of(file.root).link(file)

    def close(self) -> None:
        """End; what is being fetched is given up."""
        self.objects.close()
