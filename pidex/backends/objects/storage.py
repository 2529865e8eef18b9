"""Indexes in a bucket: bytes under their hash, and which names have them is what the catalogue says."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from pidex.backends import staging
from pidex.backends.objects.bucket import BLOCK_BYTES, PART_BYTES, Bucket, reading
from pidex.backends.objects.packs import Packs
from pidex.backends.objects.reading import Reader
from pidex.core.errors import Conflict, NotFound
from pidex.core.interfaces import Handle, KeptFile, Staged, Storage
from pidex.core.model import Entry, File, Problem, Stat

#: Where bytes are, and the signatures beside them.
BLOBS, SIGNATURES = "blobs/", "signatures/"
#: Seconds for which a URL to the bucket is good.
LINK_SECONDS = 300
#: Bytes of a signature at most.
SIGNATURE_BYTES = 64 * 1024

_PATH = re.compile(r"([0-9a-f]{64})/([^/]+)\Z")


class Member(NamedTuple):
    """A file of an index: its name as spelled, and its bytes."""

    filename: str
    sha256: str
    size: int


class Members(Protocol):
    """Which files an index has: what was decided, in the catalogue."""

    def list(self, root: int) -> Iterable[Member]: ...

    def find(self, root: int, filename: str) -> Member | None: ...


class StagedObject(Staged):
    """A file on its way into the bucket: first on this machine's disk, where it is looked into."""

    def __init__(self, root: int, file: staging.StagedFile, storage: Objects) -> None:
        self.root, self.file = root, file
        self._storage = storage
        self.stored = ""

    @property
    def size(self) -> int:  # type: ignore[override]
        """Bytes written so far."""
        return self.file.size

    def write(self, data: bytes) -> None:
        self.file.write(data)

    def fileno(self) -> int:
        return self.file.fileno()

    def stat(self) -> Stat:
        """That of the file here, until it is stored; then that of the object."""
        return stat_of(self.stored, self.size) if self.stored else self.file.stat()

    def sync(self, sha256: str = "") -> None:
        """Have the bytes in the bucket, where their hash is said; else `put` does. Raises `StorageDown`."""
        if sha256:
            self._storage.upload(self, sha256)
            self.stored = sha256

    def discard(self) -> None:
        self.file.discard()


class Objects(Storage):
    """Indexes whose files lie in a bucket, as `blobs/<2>/<sha256>` below its prefix.

    The path of a file in a root is `<sha256>/<filename>`: it says where the bytes are, whoever asks, and
    never means others. A name is taken by the catalogue's unique constraint, never by the bucket. Nothing
    here deletes bytes: names go from the catalogue, and what no name has is collected later (`delete`).

    What is stored is staged on this machine's disk, since it has to be looked into as a whole anyhow and its
    key is its hash: so the bucket sees each upload once, under its last key, and never a part of one.
    """

    def __init__(
        self, bucket: Bucket, folder: Path, members: Members, *, cache: int, redirect: bool = False
    ) -> None:
        self.store, self._members, self._redirect = bucket, members, redirect
        self.reader, self.packs = Reader(bucket, folder, cache), Packs(bucket)
        self._roots: dict[int, str] = {}
        self._seen: Mapping[str, int] | None = None

    @property
    def roots(self) -> Mapping[int, str]:
        return self._roots

    @property
    def folders(self) -> Mapping[int, str]:
        return {}

    @property
    def bucket(self) -> str | None:
        return self.store.url

    def add(self, roots: Mapping[int, str]) -> None:
        """Learn of the roots of indexes, by their numbers."""
        self._roots.update(dict.fromkeys(roots, self.store.url))

    def place(self, root: int, filename: str, sha256: str) -> str:
        """The path of a file in a root."""
        return f"{sha256}/{filename}"

    # --- what there is --------------------------------------------------------------------------------------

    def list(self, root: int, folder: str = "") -> Iterator[Entry | Problem]:
        """Every file of an index, as the catalogue has it; asked for by name: only with its bytes."""
        if not folder:
            for each in self._members.list(root):
                yield Entry(root, f"{each.sha256}/{each.filename}", stat_of(each.sha256, each.size))
            return
        found = _PATH.match(folder)
        member = self._members.find(root, found[2]) if found is not None else None
        if found is None or member is None or member.sha256 != found[1]:
            return
        size = self.store.size(key_of(member.sha256))
        if size == member.size:
            yield Entry(root, folder, stat_of(member.sha256, size))
        else:
            what = "missing from the bucket" if size is None else f"{size} bytes in the bucket"
            yield Problem(root, folder, "object-missing", f"its bytes are {what}")

    def stat(self, root: int, path: str) -> Stat | None:
        """What the bucket has of a path, or None."""
        if path.endswith(".asc"):
            size = self.store.size(self._beside(root, path))
            return None if size is None else stat_of("0" * 64, size)
        found = _PATH.match(path)
        return None if found is None else self.kept(found[1])

    def path(self, root: int, path: str) -> str:
        """A path on this machine that has the bytes of a place, fetched now if need be."""
        found = _PATH.match(path)
        if found is None:
            raise NotFound(f"There is no {path} in the bucket.")
        return str(self.reader.path(key_of(found[1]), found[1], found[2]))

    def lend(self, entry: Entry) -> tuple[str, Stat]:
        """The bytes of a file on this machine, and their stat here."""
        path = self.path(entry.root, entry.path)
        return path, staging.of(Path(path).stat())

    def blocks(self, root: int, path: str) -> Iterator[bytes] | None:
        """The bytes of a place as the bucket has them now."""
        found = _PATH.match(path)
        return self.store.read(key_of(found[1])) if found is not None else iter(())

    def beside(self, root: int, path: str) -> bytes | None:
        """The signature of a file."""
        try:
            return b"".join(self.store.read(self._beside(root, path)))[:SIGNATURE_BYTES]
        except FileNotFoundError:
            return None

    # --- second names: an object is its own ----------------------------------------------------------------

    def keep(self, entry: Entry, sha256: str, *, instead_of: str | None = None) -> Stat | None:
        """The object's stat: nothing needs a second name that never changes."""
        return entry.stat

    def kept(self, sha256: str) -> Stat | None:
        """The stat of the object with a hash, or None."""
        size = self.store.size(key_of(sha256)) if self._seen is None else self._seen.get(sha256)
        return None if size is None else stat_of(sha256, size)

    def kept_path(self, sha256: str) -> str:
        """A path on this machine that has those bytes, fetched now if need be."""
        return str(self.reader.path(key_of(sha256), sha256, sha256[:12]))

    def sound(self, sha256: str) -> Stat | None:
        """As `kept`: what was stored was whole, and is checked when it is fetched, and by the scrub."""
        return self.kept(sha256)

    def release(self, sha256s: Iterable[str]) -> None:
        """Nothing: what no name has is collected."""

    def list_kept(self) -> Iterator[KeptFile]:
        """Nothing: objects are no copies of anything."""
        return iter(())

    # --- placing --------------------------------------------------------------------------------------------

    def refusal(self, root: int) -> str | None:
        return None

    def stage(self, root: int, *, size_hint: int = 0) -> Staged:
        """A new file for a root, on this machine's disk. Raises `StorageFull`."""
        return StagedObject(root, self.reader.cache.stage(size_hint), self)

    def upload(self, staged: StagedObject, sha256: str, *, there: bool = False) -> None:
        """Have the bytes of a staged file in the bucket. `there`: they should be, so look first."""
        key = key_of(sha256)
        # Asking whether a small one is there costs as much as sending it.
        if (there or staged.size > PART_BYTES) and self.store.size(key) == staged.size:
            return
        with reading(staged.fileno()) as file:
            self.store.put(key, file)

    def make_folder(self, root: int, folder: str) -> None:
        """Nothing: there are no folders."""

    def put(self, staged: Staged, root: int, path: str, *, sync: bool = True) -> Stat:
        """Have a staged file's bytes under the hash of a path, for good; its stat.

        From when its name was announced nobody collects them any more: they are looked for once again, and
        sent again where they are not there. Raises `ValueError` where the path is not for these bytes.
        """
        own = _own(staged)
        if path.endswith(".asc"):
            with reading(own.fileno()) as file:
                self.store.put(self._beside(root, path), file)
            return own.stat()
        found = _PATH.match(path)
        if found is None or (own.stored or _digest(own.fileno())) != found[1]:
            raise ValueError(path)
        self.upload(own, found[1], there=bool(own.stored))
        own.stored = found[1]
        self.reader.adopt(own.file, own.stored)
        return own.stat()

    def replace(self, staged: Staged, root: int, path: str) -> Stat:
        """As `put`: other bytes have another path."""
        return self.put(staged, root, path)

    def sync(self, root: int, folder: str = "") -> None:
        """Nothing: what was put is there for good."""

    def delete(self, root: int, path: str) -> bool:
        """Leave the bytes, which other names may have; whether there are any. Signatures go."""
        if path.endswith(".asc"):
            self.store.delete([self._beside(root, path)])
            return True
        return self.stat(root, path) is not None

    def fixed(self, root: int, path: str) -> str | None:
        return None

    def restore(self, sha256: str, root: int, path: str, *, over: bool = False) -> Stat:
        """The stat of an object that is there. Raises `Conflict` where it is not."""
        found, stat = _PATH.match(path), self.kept(sha256)
        if found is None or found[1] != sha256 or stat is None:
            raise Conflict(f"The bytes of {path.rpartition('/')[2]} are not in the bucket any more.")
        return stat

    def refill(self, sha256: str) -> bool:
        """Send an object once more from the cache; whether it is there, sound."""
        path = self.reader.held(sha256)
        if path is not None:
            self.fill(path, sha256, over=True)
        return path is not None

    def fill(self, path: Path, sha256: str, *, over: bool = False) -> None:
        """Have bytes that lie on this machine in the bucket, too. `over`: whatever it has under the hash."""
        if over or self.store.size(key_of(sha256)) is None:
            with path.open("rb") as file:
                self.store.put(key_of(sha256), file)

    def send(self, path: Path, sha256: str) -> bool:
        """Have the bytes of a file of this machine in the bucket, where they have that hash; whether they do.

        Read twice: an object never gets other bytes than its name says, whoever writes to the file meanwhile.
        """
        try:
            file = path.open("rb")
        except OSError:
            return False
        with file:
            before = staging.of(os.fstat(file.fileno()))
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return False
            self.store.put(key_of(sha256), file)
            if staging.of(os.fstat(file.fileno())) == before:
                return True
        # It may have got a second name and nothing else; what was sent is read to be sure.
        sent = hashlib.sha256()
        for block in self.store.read(key_of(sha256)):
            sent.update(block)
        if sent.hexdigest() != sha256:
            self.drop([sha256])
        return sent.hexdigest() == sha256

    def signed(self) -> frozenset[tuple[int, str]]:
        """Which files have a signature beside them: root and hash."""
        found = (name.split("/") for name in self.names(SIGNATURES))
        return frozenset((int(root), name.removesuffix(".asc")) for _, root, _, name in found)

    def digest(self, root: int, path: str) -> str | None:
        """The hash under which the bytes of a path are, if they are: it was compared when they came."""
        found = _PATH.match(path)
        return found[1] if found is not None and self.kept(found[1]) is not None else None

    def sweep(self) -> int:
        """Remove what stagings and fetches left on this machine."""
        return self.reader.cache.sweep()

    # --- serving --------------------------------------------------------------------------------------------

    def open(self, file: File, *, wait: bool = True) -> Handle:
        """Open a file for serving, from this machine's cache or as it comes."""
        return self.reader.open(key_of(file.sha256), file.sha256, file.size, file.filename, wait=wait)

    def link(self, file: File) -> str | None:
        """A URL at which the bucket itself hands out a file for some minutes; None: it is sent from here."""
        return self.store.sign(key_of(file.sha256), LINK_SECONDS) if self._redirect else None

    # --- objects as such ------------------------------------------------------------------------------------

    def close(self) -> None:
        """End; what is being fetched is given up."""
        self.reader.close()

    def list_objects(self, shard: str = "") -> Iterator[tuple[str, int]]:
        """Hash and size of every object, or of those whose hash begins with two digits."""
        for item in self.store.list(f"{BLOBS}{shard}/" if shard else BLOBS):
            sha256 = item.key.rpartition("/")[2]
            if len(sha256) == 64 and sha256.startswith(shard):
                yield sha256, item.size

    @contextmanager
    def seen(self) -> Iterator[None]:
        """Have `kept` answer out of one listing, in place of asking for each, until the block ends."""
        self._seen = dict(self.list_objects())
        try:
            yield
        finally:
            self._seen = None

    def drop(self, sha256s: Iterable[str]) -> None:
        """Delete objects for good. For who has made sure that no name has them, or can come to."""
        self.store.delete(key_of(sha256) for sha256 in sha256s)

    def names(self, prefix: str) -> Sequence[str]:
        """The names of all objects below a prefix, sorted."""
        return sorted(item.key for item in self.store.list(prefix))

    def unlink(self, names: Iterable[str]) -> None:
        """Delete objects by their names."""
        self.store.delete(names)

    @staticmethod
    def _beside(root: int, path: str) -> str:
        found = _PATH.match(path)
        if found is None:
            raise ValueError(path)
        return f"{SIGNATURES}{root}/{found[1][:2]}/{found[1]}.asc"


def key_of(sha256: str) -> str:
    """The key of the object with a hash."""
    return f"{BLOBS}{sha256[:2]}/{sha256}"


def stat_of(sha256: str, size: int) -> Stat:
    """What stands for the stat of an object: it has no times, and its hash is all that tells it apart."""
    return Stat(size, 0, 0, int(sha256[:15], 16), 0)


def _own(staged: Staged) -> StagedObject:
    if not isinstance(staged, StagedObject):
        raise TypeError("staged by another storage")
    return staged


def _digest(descriptor: int) -> str:
    digest, offset = hashlib.sha256(), 0
    while block := os.pread(descriptor, BLOCK_BYTES, offset):
        digest.update(block)
        offset += len(block)
    return digest.hexdigest()
