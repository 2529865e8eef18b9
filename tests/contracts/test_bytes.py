"""What every place for bytes must do, a bucket as well as a folder: tests/cluster has an S3 server do it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pidex.backends.folder import Folder
from pidex.backends.objects.beside import Beside
from pidex.backends.objects.bucket import Bucket, Place
from pidex.backends.objects.storage import Member, Objects, key_of
from pidex.core.errors import Changing, Conflict, PidexError
from pidex.core.folder import BUCKET
from pidex.core.interfaces import Staged, Storage
from pidex.core.model import Entry, File, PackageType, Shelf

NAME = "foo-1.0.tar.gz"
DATA = bytes(range(256)) * 4_000
#: More than one part of an upload.
LARGE = bytes(range(251)) * 40_000


class Listed:
    """Which files an index has, as a test says it."""

    def __init__(self) -> None:
        self.files: dict[tuple[int, str], Member] = {}

    def list(self, root: int) -> Iterable[Member]:
        return [member for (at, _), member in self.files.items() if at == root]

    def find(self, root: int, filename: str) -> Member | None:
        return self.files.get((root, filename))


class Rig:
    """A storage under test, and what is put into it."""

    def __init__(self, storage: Storage, listed: Listed, place: Path) -> None:
        self.storage, self.members, self.place = storage, listed, place

    def staged(self, data: bytes = DATA, root: int = 0) -> Staged:
        file = self.storage.stage(root, size_hint=len(data))
        for start in range(0, len(data), 1_000_000):
            file.write(data[start : start + 1_000_000])
        return file

    def put(self, data: bytes = DATA, name: str = NAME, root: int = 0) -> File:
        """Put a file as an upload does; the row that an index has of it."""
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.storage.place(root, name, sha256)
        file = self.staged(data, root)
        try:
            file.sync(sha256)
            stat = self.storage.put(file, root, path)
        finally:
            file.discard()
        self.members.files[root, name] = Member(name, sha256, len(data))
        entry = Entry(root, path, stat)
        kept = self.storage.keep(entry, sha256)
        row = File(
            filename=name, project="foo", name="foo", version="1.0", packagetype=PackageType.SDIST,
            python_version="source", sha256=sha256,
            blake2b_256=hashlib.blake2b(data, digest_size=32).hexdigest(), md5="", size=len(data),
            upload_time=0, root=root, path=path, stat=stat,
        )  # fmt: skip
        return row if kept is None else replace(row, shelf=Shelf.KEPT, stat=kept)

    def again(self, bucket: Place) -> Objects:
        """The same bucket, as another machine sees it."""
        return Objects(Bucket(bucket), self.place / "other", self.members, cache=1 << 30)


@pytest.fixture(params=["folder", "bucket"])
def rig(request: pytest.FixtureRequest, tmp_path: Path, bucket: Place) -> Iterator[Rig]:
    listed = Listed()
    if request.param == "folder":
        (tmp_path / "packages").mkdir()
        yield Rig(Folder([tmp_path / "packages"], tmp_path / "kept"), listed, tmp_path)
        return
    objects = Objects(Bucket(bucket), tmp_path / "cache", listed, cache=1 << 30)
    with closing(objects):
        objects.add({0: BUCKET, 1000: BUCKET})
        yield Rig(objects, listed, tmp_path)


@pytest.fixture
def objects(tmp_path: Path, bucket: Place) -> Iterator[Rig]:
    listed = Listed()
    found = Objects(Bucket(bucket), tmp_path / "cache", listed, cache=1 << 30)
    with closing(found):
        found.add({0: BUCKET, 1000: BUCKET})
        yield Rig(found, listed, tmp_path)


def read(storage: Storage, row: File, offset: int = 0, length: int | None = None) -> bytes:
    """Bytes of a file as the web reads them: each block, and then a check."""
    handle = storage.open(row)
    try:
        data, end = b"", row.size if length is None else offset + length
        while offset < end:
            block = handle.read(offset, min(100_000, end - offset))
            handle.check()
            assert block
            data, offset = data + block, offset + len(block)
        return data
    finally:
        handle.close()


def test_what_is_staged_is_nobodys(rig: Rig) -> None:
    file = rig.staged()
    assert file.size == len(DATA)
    assert os.pread(file.fileno(), len(DATA) + 1, 0) == DATA
    assert [*rig.storage.list(0)] == []
    file.discard()
    file.discard()
    assert rig.storage.kept(hashlib.sha256(DATA).hexdigest()) is None


@pytest.mark.parametrize("data", [b"x", DATA, LARGE], ids=["a byte", "a megabyte", "parts"])
def test_a_file_is_put_whole_and_stays(rig: Rig, data: bytes) -> None:
    row = rig.put(data)
    assert rig.storage.stat(0, row.path) == rig.storage.kept(row.sha256) == row.stat
    assert rig.storage.digest(0, row.path) == row.sha256
    assert [*rig.storage.list(0)] == [*rig.storage.list(0, row.path)] == [Entry(0, row.path, row.stat)]
    assert read(rig.storage, row) == data
    path, stat = rig.storage.lend(Entry(0, row.path, row.stat))
    assert Path(path).read_bytes() == data
    assert Path(path).stat().st_ino == stat.inode
    assert rig.storage.path(0, row.path) == path


def test_any_part_of_a_file(rig: Rig) -> None:
    row = rig.put(LARGE)
    for offset, length in ((0, 1), (9_000_000, 5_000), (len(LARGE) - 1, 1), (123, 4_567_890)):
        assert read(rig.storage, row, offset, length) == LARGE[offset : offset + length]
    handle = rig.storage.open(row)
    assert handle.size == len(LARGE)
    cached = handle.read_cached(100, 50)
    assert cached is None or cached == LARGE[100 : 100 + len(cached)]
    handle.close()
    handle.close()


def test_other_bytes_than_the_rows_are_never_handed_out(rig: Rig) -> None:
    row = rig.put()
    other = replace(row, sha256="0" * 64, stat=row.stat._replace(mtime_ns=1))
    with pytest.raises(PidexError) as refusal:
        read(rig.storage, other)
    assert refusal.value.status == 503
    assert refusal.value.retry_after


def test_the_path_of_a_file_is_taken_by_its_bytes_alone(rig: Rig) -> None:
    for path in ("", "/etc/x", "../x", "a/../../x", "./x"):
        file = rig.staged(b"other")
        with pytest.raises(ValueError, match=r".*"):
            rig.storage.put(file, 0, path)
        file.discard()


def test_what_is_taken_away_can_come_back(rig: Rig) -> None:
    row = rig.put()
    assert rig.storage.delete(0, row.path)
    del rig.members.files[0, NAME]
    assert [*rig.storage.list(0)] == []
    assert rig.storage.sound(row.sha256) is not None
    stat = rig.storage.restore(row.sha256, 0, row.path)
    assert stat.size == len(DATA)
    assert read(rig.storage, replace(row, stat=stat)) == DATA


def test_signatures_lie_beside_their_files(rig: Rig) -> None:
    row = rig.put()
    for text in (b"signature", b"another"):
        file = rig.staged(text)
        file.sync()
        rig.storage.replace(file, 0, f"{row.path}.asc")
        file.discard()
        found = rig.storage.stat(0, f"{row.path}.asc")
        assert found is not None
        assert found.size == len(text)
    assert [item for item in rig.storage.list(0) if isinstance(item, Entry)] == [Entry(0, row.path, row.stat)]
    assert rig.storage.delete(0, f"{row.path}.asc")
    assert rig.storage.stat(0, f"{row.path}.asc") is None


# --- buckets alone ----------------------------------------------------------------------------------------


def test_the_same_bytes_under_two_names_are_one_object(objects: Rig) -> None:
    first, second = objects.put(), objects.put(name="bar-2.zip", root=1000)
    storage = objects.storage
    assert isinstance(storage, Objects)
    assert {first.path.partition("/")[0], second.path.partition("/")[0]} == {first.sha256}
    assert [*storage.list_objects(first.sha256[:2])] == [(first.sha256, len(DATA))]
    storage.delete(0, first.path)
    assert read(storage, second) == DATA


def test_another_machine_reads_it_and_keeps_it_within_a_limit(objects: Rig, bucket: Place) -> None:
    rows = [objects.put(bytes([number]) * 400_000, f"foo-{number}.zip") for number in range(6)]
    other = Objects(Bucket(bucket), objects.place / "other", objects.members, cache=1_000_000)
    with closing(other):
        for number, row in enumerate(rows):
            with pytest.raises(BlockingIOError):
                other.open(row, wait=False)
            assert read(other, row) == bytes([number]) * 400_000
        held = {each.sha256 for each in other.reader.cache.list()}
        assert rows[-1].sha256 in held
        assert len(held) < 4
        other.open(rows[-1], wait=False).close()


def test_a_changed_object_is_cut_before_its_last_byte(objects: Rig, bucket: Place) -> None:
    row = objects.put(LARGE)
    wrong = objects.place / "wrong"
    wrong.write_bytes(LARGE[:-1] + b"!")
    with wrong.open("rb") as file:
        Bucket(bucket).put(key_of(row.sha256), file)
    with closing(objects.again(bucket)) as other:
        handle = other.open(row)
        assert handle.read(0, 1000) == LARGE[:1000]
        with pytest.raises(Changing, match="other bytes"):
            handle.read(len(LARGE) - 10, 10)
        with pytest.raises(Changing):
            handle.check()
        handle.close()
        assert [each["sha256"] for each in other.reader.cache.quarantined()] == [row.sha256]
        assert not other.refill(row.sha256)
    # The machine that it was uploaded to has it still.
    assert objects.storage.refill(row.sha256)
    with closing(objects.again(bucket)) as other:
        assert read(other, row) == LARGE


def test_a_cached_file_that_changed_is_fetched_again(objects: Rig, bucket: Place) -> None:
    row = objects.put()
    with closing(objects.again(bucket)) as other:
        assert read(other, row) == DATA
        time.sleep(0.05)  # the kernel's clock ticks every few milliseconds: before that nothing has changed
        Path(other.path(0, row.path)).write_bytes(b"!" * len(DATA))
        assert (read(other, row) == DATA) is True


def test_a_missing_object_is_said(objects: Rig, bucket: Place) -> None:
    row = objects.put()
    Bucket(bucket).delete([key_of(row.sha256), key_of("0" * 64)])
    with closing(objects.again(bucket)) as other:
        with pytest.raises(Changing, match="missing from the bucket"):
            read(other, row)
        with pytest.raises(Changing, match="missing from the bucket"):
            other.path(0, row.path)
        other.add({0: BUCKET})
        assert [getattr(item, "code", None) for item in other.list(0, row.path)] == ["object-missing"]
        with pytest.raises(Conflict):
            other.restore(row.sha256, 0, row.path)


def test_bytes_that_are_cleared_away_between_two_steps_are_sent_again(objects: Rig, bucket: Place) -> None:
    sha256 = hashlib.sha256(DATA).hexdigest()
    file = objects.staged()
    file.sync(sha256)
    Bucket(bucket).delete([key_of(sha256)])
    objects.storage.put(file, 0, objects.storage.place(0, NAME, sha256))
    file.discard()
    assert objects.storage.kept(sha256) is not None


def test_bytes_go_from_a_folder_to_the_bucket_and_back(objects: Rig, tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    folder = Folder([tmp_path / "packages"], tmp_path / "kept")
    storage = objects.storage
    assert isinstance(storage, Objects)
    both = Rig(Beside(folder, storage), objects.members, tmp_path)
    both.storage.add({2000: BUCKET})
    assert both.storage.folders == {0: str(tmp_path / "packages")}
    storage._roots.pop(0)
    row = both.put()
    path = both.storage.place(2000, NAME, row.sha256)
    both.storage.restore(row.sha256, 2000, path)
    assert both.storage.stat(2000, path) is not None
    (tmp_path / "packages" / NAME).unlink()
    folder.release([row.sha256])
    assert both.storage.sound(row.sha256) is not None
    stat = both.storage.restore(row.sha256, 0, NAME)
    assert read(both.storage, replace(row, stat=stat)) == DATA
