"""What every place for bytes must do: the contract of `Storage`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pidex.backends.folder import Folder
from pidex.core.errors import Changing
from pidex.core.interfaces import Storage
from pidex.core.model import Entry, File, PackageType, Problem, Shelf, Stat

NAME = "foo-1.0.tar.gz"
DATA = bytes(range(256)) * 4_000
Write = Callable[[int, str, bytes], None]


class Rig:
    """An implementation under test, and a way to put bytes where it finds them."""

    def __init__(self, storage: Storage, write: Write, delete: Callable[[int, str], None]) -> None:
        self.storage, self.write, self.delete = storage, write, delete

    def entry(self, path: str = NAME, root: int = 0) -> Entry:
        found = [item for item in self.storage.list(root, path) if isinstance(item, Entry)]
        assert len(found) == 1
        return found[0]

    def listed(self, path: str = NAME, data: bytes = DATA, *, keep: bool = True, root: int = 0) -> File:
        """Put a file, and the row that an index would have of it."""
        self.write(root, path, data)
        entry = self.entry(path, root)
        row = row_of(entry, data)
        stat = self.storage.keep(entry, row.sha256) if keep else None
        if stat is None:
            return row
        return replace(row, shelf=Shelf.KEPT, stat=stat)


def row_of(entry: Entry, data: bytes) -> File:
    return File(
        filename=entry.path.rpartition("/")[2],
        project="foo",
        name="foo",
        version="1.0",
        packagetype=PackageType.SDIST,
        python_version="source",
        sha256=hashlib.sha256(data).hexdigest(),
        blake2b_256=hashlib.blake2b(data, digest_size=32).hexdigest(),
        md5="",
        size=len(data),
        upload_time=0,
        root=entry.root,
        path=entry.path,
        stat=entry.stat,
    )


@pytest.fixture(params=["folder", "folder without second names"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Rig:
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        root.mkdir()
    keep = tmp_path / "data" / "kept" if request.param == "folder" else None

    def write(root: int, path: str, data: bytes) -> None:
        target = roots[root] / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    return Rig(Folder(roots, keep), write, lambda root, path: (roots[root] / path).unlink())


def paths(storage: Storage, root: int, folder: str = "") -> set[str]:
    return {item.path for item in storage.list(root, folder) if isinstance(item, Entry)}


def test_a_listing_has_every_package_below(rig: Rig) -> None:
    for path in ("a-1.tar.gz", "sub/b-1.zip", "sub/deep/c-1.egg"):
        rig.write(0, path, b"x")
    rig.write(1, "d-1.whl", b"x")
    assert paths(rig.storage, 0) == {"a-1.tar.gz", "sub/b-1.zip", "sub/deep/c-1.egg"}
    assert paths(rig.storage, 1) == {"d-1.whl"}
    assert paths(rig.storage, 0, "sub") == {"sub/b-1.zip", "sub/deep/c-1.egg"}
    assert paths(rig.storage, 0, "sub/b-1.zip") == {"sub/b-1.zip"}
    assert paths(rig.storage, 0, "nothing/there") == set()


def test_hidden_and_temporary_files_and_sidecars_are_never_listed(rig: Rig) -> None:
    names = (".hidden-1.zip", ".git/a-1.zip", "a-1.zip.part", "a-1.zip~", "a-1.zip.asc", "a-1.whl.metadata")
    for path in names:
        rig.write(0, path, b"x")
        assert list(rig.storage.list(0, path)) == []
    assert list(rig.storage.list(0)) == []


def test_what_is_no_package_is_a_problem(rig: Rig) -> None:
    rig.write(0, "README.txt", b"x")
    assert [item.code for item in rig.storage.list(0) if isinstance(item, Problem)] == ["not-a-package"]


def test_the_stat_of_a_path(rig: Rig) -> None:
    rig.write(0, NAME, DATA)
    assert rig.storage.stat(0, NAME) == rig.entry().stat
    assert rig.storage.stat(0, "other") is None
    assert rig.storage.stat(0, "") is None


def test_all_of_a_file_and_any_part_of_it(rig: Rig) -> None:
    row = rig.listed()
    handle = rig.storage.open(row)
    try:
        assert handle.size == len(DATA)
        handle.check()
        assert handle.read(0, len(DATA)) == DATA
        assert handle.read(100, 50) == DATA[100:150]
        assert handle.read(len(DATA) - 3, 50) == DATA[-3:]
        cached = handle.read_cached(100, 50)
        assert cached is None or cached == DATA[100 : 100 + len(cached)]
        handle.check()
    finally:
        handle.close()
        handle.close()


def test_other_bytes_are_never_opened(rig: Rig) -> None:
    row = rig.listed()
    rig.write(0, NAME, DATA[:-1] + b"!")
    with pytest.raises(Changing) as refusal:
        rig.storage.open(row)
    assert refusal.value.retry_after
    assert refusal.value.status == 503


def test_a_write_under_an_open_handle_is_seen(rig: Rig) -> None:
    handle = rig.storage.open(rig.listed())
    rig.write(0, NAME, b"short")
    with pytest.raises(Changing):
        handle.check()
    handle.close()


def test_a_missing_file_is_not_opened(rig: Rig) -> None:
    row = rig.listed(keep=False)
    rig.delete(0, NAME)
    with pytest.raises(Changing):
        rig.storage.open(row)


def test_kept_bytes_outlive_the_file(rig: Rig) -> None:
    row = rig.listed()
    if row.shelf is Shelf.FOLDER:
        assert rig.storage.kept(row.sha256) is None
        assert list(rig.storage.list_kept()) == []
        assert rig.storage.sound(row.sha256) is None
        return
    rig.delete(0, NAME)
    rig.write(0, NAME, b"half")
    handle = rig.storage.open(row)
    assert handle.read(0, len(DATA)) == DATA
    handle.check()
    handle.close()
    assert rig.storage.sound(row.sha256) == rig.storage.kept(row.sha256)
    assert [(one.sha256, one.links) for one in rig.storage.list_kept()] == [(row.sha256, 1)]
    rig.storage.release([row.sha256, "0" * 64])
    assert rig.storage.kept(row.sha256) is None
    with pytest.raises(Changing):
        rig.storage.open(row)


def test_a_file_that_moved_on_since_its_look_is_not_kept(rig: Rig) -> None:
    rig.write(0, NAME, DATA)
    before = rig.entry()
    rig.write(0, NAME, b"other")
    if rig.listed(data=DATA).shelf is Shelf.FOLDER:
        return
    rig.storage.release([hashlib.sha256(DATA).hexdigest()])
    with pytest.raises(Changing):
        rig.storage.keep(before, hashlib.sha256(DATA).hexdigest())
    assert list(rig.storage.list_kept()) == []


def test_paths_are_absolute(rig: Rig) -> None:
    rig.write(1, NAME, DATA)
    path = rig.storage.path(1, NAME)
    assert os.path.isabs(path)
    assert path.startswith(rig.storage.roots[1])
    assert Path(path).read_bytes() == DATA
    assert isinstance(rig.storage.stat(1, NAME), Stat)
