"""What every place for bytes must do with files that are put into it: the contract of staging and placing."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pidex.backends import staging
from pidex.backends.folder import Folder
from pidex.core.errors import Forbidden, StorageFull
from pidex.core.interfaces import Staged, Storage
from pidex.core.model import Entry
from tests import nobody

NAME = "foo-1.0.tar.gz"
DATA = bytes(range(256)) * 1_000


def no_links(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=["without a name", "by dot names", "by dot names, without hard links"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the file system can do."""
    way: str = request.param
    if way != "without a name":
        monkeypatch.setattr(staging, "_TMPFILE", 0)
    if way.endswith("without hard links"):
        monkeypatch.setattr(os, "link", no_links)
    return way


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def storage(root: Path, way: str) -> Storage:
    return Folder([root], None)


def staged(storage: Storage, data: bytes = DATA) -> Staged:
    file = storage.stage(0, size_hint=len(data))
    for start in range(0, len(data), 100_000):
        file.write(data[start : start + 100_000])
    return file


def listed(storage: Storage) -> list[str]:
    return [item.path for item in storage.list(0) if isinstance(item, Entry)]


def test_a_staged_file_is_seen_by_nobody_and_goes_when_discarded(storage: Storage, root: Path) -> None:
    file = staged(storage)
    assert file.size == len(DATA)
    assert os.pread(file.fileno(), len(DATA) + 1, 0) == DATA
    assert list(storage.list(0)) == []
    file.discard()
    file.discard()
    assert list(root.iterdir()) == []


def test_a_file_is_put_whole_and_stays(storage: Storage, root: Path) -> None:
    file = staged(storage)
    file.sync()
    assert storage.put(file, 0, NAME) == file.stat() == storage.stat(0, NAME)
    file.discard()
    assert (root / NAME).read_bytes() == DATA
    assert listed(storage) == [NAME] == [path.name for path in root.iterdir()]
    assert (root / NAME).stat().st_mode & 0o400


def test_nothing_is_ever_put_over_a_file(storage: Storage, root: Path) -> None:
    (root / NAME).write_bytes(b"old")
    (root / "folder").mkdir()
    (root / "link").symlink_to("nowhere")
    file = staged(storage)
    for path in (NAME, "folder", "link"):
        with pytest.raises(FileExistsError):
            storage.put(file, 0, path)
    file.discard()
    assert (root / NAME).read_bytes() == b"old"
    assert sorted(path.name for path in root.iterdir()) == sorted([NAME, "folder", "link"])


def test_a_file_takes_the_place_of_another_in_one_step(storage: Storage, root: Path) -> None:
    (root / NAME).write_bytes(b"old")
    before = (root / NAME).open("rb")
    file = staged(storage)
    assert storage.replace(file, 0, NAME) == storage.stat(0, NAME)
    file.discard()
    assert (root / NAME).read_bytes() == DATA
    assert before.read() == b"old"
    before.close()
    assert [path.name for path in root.iterdir()] == [NAME]
    fresh = staged(storage)
    storage.replace(fresh, 0, "bar-1.tar.gz")
    fresh.discard()
    assert sorted(listed(storage)) == ["bar-1.tar.gz", NAME]


@pytest.mark.parametrize("path", ["", "/etc/x", "../x", "a/../../x", "./x", "a//x"])
def test_nothing_is_put_outside(storage: Storage, path: str) -> None:
    file = staged(storage)
    for place in (storage.put, storage.replace):
        with pytest.raises(ValueError, match=f"^{re.escape(path)}$"):
            place(file, 0, path)
    file.discard()


def test_names_are_taken_away(storage: Storage, root: Path) -> None:
    (root / NAME).write_bytes(DATA)
    assert storage.delete(0, NAME)
    assert not storage.delete(0, NAME)
    assert list(root.iterdir()) == []


def test_the_digest_of_what_lies_there(storage: Storage, root: Path) -> None:
    (root / NAME).write_bytes(DATA)
    os.mkfifo(root / "pipe")
    assert storage.digest(0, NAME) == hashlib.sha256(DATA).hexdigest()
    assert storage.digest(0, "pipe") is None
    assert storage.digest(0, "nothing") is None


def test_what_a_kill_left_is_swept_away_and_nothing_else(root: Path, way: str) -> None:
    (root / ".keep").touch()
    program = (
        "import os, sys; from pidex.backends import staging; from pidex.backends.folder import Folder\n"
        "staging._TMPFILE = 0 if sys.argv[2] else staging._TMPFILE\n"
        "file = Folder([sys.argv[1]], None).stage(0); file.write(b'x'); os._exit(9)"
    )
    by_name = way != "without a name"
    subprocess.run([sys.executable, "-c", program, root, "x" * by_name], check=False, timeout=60)
    storage = Folder([root], None)
    assert len(list(root.iterdir())) == 1 + by_name
    assert list(storage.list(0)) == []
    assert storage.sweep() == by_name
    assert [path.name for path in root.iterdir()] == [".keep"]


def test_a_full_disk_is_said(root: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageFull):
        Folder([root], None, reserve=1 << 60).stage(0, size_hint=1)
    with pytest.raises(StorageFull):
        Folder([root], None).stage(0, size_hint=1 << 60)
    file = Folder([root], None).stage(0)
    original = os.write

    def full(fd: int, data: Any) -> int:
        if fd == file.fileno():
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(fd, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageFull, match="no space left for uploads"):
        file.write(b"x")
    file.discard()
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("way", ["without a name"], indirect=True)
def test_folders_that_take_nothing_say_why(root: Path, way: str) -> None:
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: None, ""),
        ((root / ".git").mkdir, "git work tree"),
        (lambda: shutil.rmtree(root), "No such file or directory"),
    ]
    for act, sentence in cases:
        act()
        assert sentence in (Folder([root], None).refusal(0) or "")
    with pytest.raises(Forbidden):
        Folder([root], None).stage(0)


@nobody.needs_root
@pytest.mark.parametrize("way", ["without a name"], indirect=True)
def test_a_read_only_folder_takes_nothing(root: Path, way: str) -> None:
    nobody.let_in(root)
    assert "cannot be written" in nobody.as_nobody(lambda: Folder([root], None).refusal(0) or "")
    assert "says" in nobody.as_nobody(lambda: refused(root))


def refused(root: Path) -> str:
    with pytest.raises(Forbidden) as told:
        Folder([root], None).stage(0)
    return str(told.value)
