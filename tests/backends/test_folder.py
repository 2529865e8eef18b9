"""A folder on a real disk: what lies in it, what is kept of it, and what is sent from it."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pidex.backends import folder as module
from pidex.backends.folder import Folder
from pidex.core.errors import Changing
from pidex.core.model import Entry, File, Problem, Shelf
from tests.contracts.test_storage import row_of
from tests.nobody import let_in

NAME = "foo-1.0.tar.gz"
DATA = b"0123456789" * 5_000
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def storage(tmp_path: Path, root: Path) -> Folder:
    return Folder([root], tmp_path / "kept")


def codes(storage: Folder, path: str = "") -> dict[str, str]:
    """Problems by path, and 'file' for what is none."""
    return {item.path: item.code if isinstance(item, Problem) else "file" for item in storage.list(0, path)}


def listed(storage: Folder, path: str = NAME, data: bytes = DATA) -> File:
    """The row of a file that lies there, with its second name."""
    entry = next(item for item in storage.list(0, path) if isinstance(item, Entry))
    row = row_of(entry, data)
    stat = storage.keep(entry, row.sha256)
    return row if stat is None else replace(row, shelf=Shelf.KEPT, stat=stat)


def content(storage: Folder, row: File) -> bytes:
    handle = storage.open(row)
    try:
        handle.check()
        data = handle.read(0, row.size)
        handle.check()
        return data
    finally:
        handle.close()


# --- what is seen ---


def test_links_to_files_are_followed_and_links_to_folders_are_not(
    storage: Folder, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x-1.zip").write_bytes(DATA)
    (root / "linked-1.zip").symlink_to(outside / "x-1.zip")
    (root / "folder").symlink_to(outside)
    (root / "folder-2.zip").symlink_to(outside)
    assert codes(storage) == {"linked-1.zip": "file"}
    assert codes(storage, "folder") == {}
    assert codes(storage, "folder/x-1.zip") == {}
    assert codes(storage, "folder-2.zip") == {}
    found = next(iter(storage.list(0)))
    assert isinstance(found, Entry)
    assert found.stat.inode == (outside / "x-1.zip").stat().st_ino


def test_the_root_itself_may_be_a_link(tmp_path: Path, root: Path) -> None:
    (root / NAME).write_bytes(DATA)
    (tmp_path / "link").symlink_to(root)
    assert codes(Folder([tmp_path / "link"], None)) == {NAME: "file"}


@pytest.mark.parametrize("by_name", [False, True])
def test_broken_links_loops_pipes_and_sockets_are_problems(
    storage: Folder, root: Path, by_name: bool
) -> None:
    (root / "broken-1.zip").symlink_to("nowhere")
    (root / "loop-1.zip").symlink_to("loop-1.zip")
    os.mkfifo(root / "pipe-1.zip")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(root / "socket-1.zip"))
    expected = {
        "broken-1.zip": "broken-link",
        "loop-1.zip": "loop",
        "pipe-1.zip": "not-a-file",
        "socket-1.zip": "not-a-file",
    }
    if by_name:
        assert {path: codes(storage, path)[path] for path in expected} == expected
    else:
        assert codes(storage) == expected


def test_a_name_that_is_not_utf_8_is_a_problem_with_a_name_that_can_be_written(
    storage: Folder, root: Path
) -> None:
    with open(os.fsencode(root) + b"/b\xff-1.zip", "wb"):
        pass
    assert codes(storage) == {"b\\xff-1.zip": "bad-name"}
    os.mkdir(os.fsencode(root) + b"/d\xfe")
    with open(os.fsencode(root) + b"/d\xfe/c-1.zip", "wb"):
        pass
    assert codes(storage)["d\\xfe/c-1.zip"] == "bad-name"


def test_names_of_other_alphabets_are_entries(storage: Folder, root: Path) -> None:
    (root / "包-1.0.zip").write_bytes(DATA)
    assert codes(storage) == {"包-1.0.zip": "file"}


def test_a_bare_repository_is_not_entered(storage: Folder, root: Path) -> None:
    repository = root / "x.git"
    (repository / "objects").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "a-1.zip").write_bytes(DATA)
    assert codes(storage) == {"x.git/a-1.zip": "file"}
    (repository / "HEAD").write_text("ref: refs/heads/main\n")
    assert codes(storage) == {"x.git": "bare-repository"}
    assert codes(storage, "x.git/a-1.zip") == {"x.git": "bare-repository"}


def test_a_missing_root_is_one_problem(storage: Folder, root: Path) -> None:
    root.rmdir()
    assert codes(storage) == {"": "root-missing"}
    root.write_text("a file")
    assert codes(storage, NAME) == {"": "root-missing"}


def test_an_empty_mount_point_is_a_missing_root(
    storage: Folder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / NAME).write_bytes(DATA)
    assert codes(storage) == {NAME: "file"}
    real = os.fstat

    def moved(fd: int) -> Any:
        status = real(fd)
        values = list(status[:10])
        values[2] += 1  # the device
        return os.stat_result(values)

    monkeypatch.setattr(module.os, "fstat", moved)
    assert codes(storage) == {NAME: "file"}  # another device, and packages on it: a new mount
    monkeypatch.setattr(module.os, "fstat", real)
    (root / NAME).unlink()
    assert codes(storage) == {"": "root-missing"}
    assert codes(storage) == {"": "root-missing"}  # until something lies there
    (root / NAME).write_bytes(DATA)
    assert codes(storage) == {NAME: "file"}
    (root / NAME).unlink()
    assert codes(storage) == {}


def test_a_folder_that_cannot_be_listed_hides_only_itself(
    storage: Folder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("bad", "good"):
        (root / path).mkdir()
        (root / path / NAME).write_bytes(DATA)
    bad, real = (root / "bad").stat().st_ino, os.scandir

    def failing(path: Any) -> Iterator[os.DirEntry[str]]:
        if isinstance(path, int) and os.fstat(path).st_ino == bad:
            raise OSError(errno.EIO, "Input/output error")
        return real(path)

    monkeypatch.setattr(module.os, "scandir", failing)
    assert codes(storage) == {"bad": "folder-unreadable", f"good/{NAME}": "file"}
    assert codes(storage, "bad") == {"bad": "folder-unreadable"}


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")
def test_another_user_s_closed_folder_is_a_problem(root: Path, tmp_path: Path) -> None:
    (root / "shut").mkdir(mode=0o700)
    (root / "shut" / NAME).write_bytes(DATA)
    (root / NAME).write_bytes(DATA)
    (root / NAME).chmod(0o600)
    let_in(root)
    program = (
        "import sys; from pidex.backends.folder import Folder\n"
        "folder = Folder([sys.argv[1]], sys.argv[2])\n"
        "items = list(folder.list(0))\n"
        "print(sorted((item.path, getattr(item, 'code', 'file')) for item in items))\n"
    )
    unprivileged = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    done = subprocess.run(
        [*unprivileged, sys.executable, "-c", program, root, tmp_path / "kept"],
        env={"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "Permission denied" in done.stderr and "import" in done.stderr:
        pytest.skip("the other user cannot read the program")
    assert done.stdout.strip() == f"[('{NAME}', 'file'), ('shut', 'folder-unreadable')]", done.stderr


def test_what_vanishes_while_it_is_listed_is_passed_over(
    storage: Folder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        (root / f"a{number}-1.zip").write_bytes(DATA)
        (root / f"d{number}").mkdir()
    real = os.scandir

    class Vanishing:
        def __init__(self, path: Any) -> None:
            self.entries = real(path)
            self.found = list(self.entries)
            for number in range(3):
                (root / f"a{number}-1.zip").unlink(missing_ok=True)
                if (root / f"d{number}").exists():
                    (root / f"d{number}").rmdir()

        def __enter__(self) -> Vanishing:
            return self

        def __exit__(self, *_: object) -> None:
            self.entries.close()

        def __iter__(self) -> Iterator[os.DirEntry[str]]:
            return iter(self.found)

    monkeypatch.setattr(module.os, "scandir", Vanishing)
    assert codes(storage) == {}


def test_a_tree_of_any_depth_is_listed(storage: Folder, root: Path) -> None:
    deep = "/".join(["d" * 200] * 15)
    (root / deep).mkdir(parents=True)
    (root / deep / NAME).write_bytes(DATA)
    assert codes(storage) == {f"{deep}/{NAME}": "file"}


# --- second names ---


def test_a_second_name_is_a_link_to_the_same_bytes(storage: Folder, root: Path) -> None:
    (root / NAME).write_bytes(DATA)
    row = listed(storage)
    assert row.shelf is Shelf.KEPT
    assert os.path.samefile(storage.kept_path(SHA), root / NAME)
    assert storage.stat(0, NAME) == row.stat
    assert storage.keep(Entry(0, NAME, row.stat), SHA) == row.stat  # again: nothing moves


def test_the_target_of_a_link_is_kept(storage: Folder, root: Path, tmp_path: Path) -> None:
    target = tmp_path / "outside-1.zip"
    target.write_bytes(DATA)
    (root / "x-1.zip").symlink_to(target)
    row = listed(storage, "x-1.zip")
    assert not os.path.islink(storage.kept_path(SHA))
    assert os.path.samefile(storage.kept_path(SHA), target)
    (root / "x-1.zip").unlink()
    target.unlink()
    assert content(storage, row) == DATA


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EROFS, errno.ENOSPC])
def test_where_no_link_can_be_made_the_folder_serves(
    storage: Folder, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.os, "link", refuse)
    (root / NAME).write_bytes(DATA)
    row = listed(storage)
    assert row.shelf is Shelf.FOLDER
    assert storage.keep_trouble == os.strerror(number)
    assert content(storage, row) == DATA


def test_the_same_bytes_kept_before_are_used_again(storage: Folder, root: Path) -> None:
    (root / NAME).write_bytes(DATA)
    first = listed(storage)
    (root / "copy-1.zip").write_bytes(DATA)
    second = listed(storage, "copy-1.zip")
    assert second.stat == first.stat
    assert second.stat.inode != (root / "copy-1.zip").stat().st_ino


def test_a_second_name_that_is_damaged_is_made_anew(storage: Folder, root: Path) -> None:
    (root / NAME).write_bytes(DATA)
    listed(storage)
    Path(storage.kept_path(SHA)).write_bytes(b"damaged")
    (root / NAME).unlink()
    (root / "copy-1.zip").write_bytes(DATA)
    row = listed(storage, "copy-1.zip")
    assert row.stat.inode == (root / "copy-1.zip").stat().st_ino
    assert content(storage, row) == DATA


def test_a_file_written_over_in_place_loses_the_name_of_its_old_bytes(storage: Folder, root: Path) -> None:
    (root / NAME).write_bytes(DATA)
    listed(storage)
    (root / NAME).write_bytes(DATA[::-1])
    entry = next(item for item in storage.list(0) if isinstance(item, Entry))
    other = hashlib.sha256(DATA[::-1]).hexdigest()
    stat = storage.keep(entry, other, instead_of=SHA)
    assert stat == storage.stat(0, NAME)
    assert storage.kept(SHA) is None


def test_a_write_between_the_link_and_its_check_is_seen(
    storage: Folder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / NAME).write_bytes(DATA)
    real = os.link

    def link(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        (root / NAME).write_bytes(b"other")

    monkeypatch.setattr(module.os, "link", link)
    entry = next(item for item in storage.list(0) if isinstance(item, Entry))
    with pytest.raises(Changing):
        storage.keep(entry, SHA)
    assert storage.kept(SHA) is None


# --- serving ---


def in_place_with_the_time_set_back(path: Path) -> None:
    then = path.stat()
    path.write_bytes(DATA[::-1])
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))


HARMLESS: dict[str, Callable[[Path], None]] = {
    "chmod": lambda path: path.chmod(0o640),
    "link": lambda path: os.link(path, path.with_name("other.link")),
    "rename": lambda path: path.rename(path.with_name("renamed")) and None,
    "unlink": lambda path: path.unlink(),
    "replaced": lambda path: (path.unlink(), path.write_bytes(b"new"))[0],
}
HARMFUL: dict[str, Callable[[Path], None]] = {
    "written": lambda path: path.write_bytes(DATA[::-1]) and None,
    "written, and the time set back": in_place_with_the_time_set_back,
    "truncated": lambda path: os.truncate(path, 100),
    "appended to": lambda path: path.open("ab").write(b"x") and None,
}


@pytest.mark.parametrize("change", HARMLESS)
def test_what_leaves_the_bytes_alone_is_no_outage(storage: Folder, root: Path, change: str) -> None:
    (root / NAME).write_bytes(DATA)
    row = listed(storage)
    handle = storage.open(row)
    HARMLESS[change](root / NAME)
    handle.check()
    assert handle.read(0, row.size) == DATA
    handle.check()
    handle.close()
    assert content(storage, row) == DATA


@pytest.mark.parametrize("change", HARMFUL)
@pytest.mark.parametrize("keep", [True, False])
def test_changed_bytes_are_never_sent(root: Path, tmp_path: Path, change: str, keep: bool) -> None:
    storage = Folder([root], tmp_path / "kept" if keep else None)
    (root / NAME).write_bytes(DATA)
    row = listed(storage)
    handle = storage.open(row)
    HARMFUL[change](root / NAME)
    with pytest.raises(Changing):
        handle.check()
    with pytest.raises(Changing):
        storage.open(row)
    handle.close()


def test_the_other_shelf_serves_where_one_has_lost_the_file(storage: Folder, root: Path) -> None:
    (root / NAME).write_bytes(DATA)
    row = listed(storage)
    storage.release([SHA])
    assert content(storage, row) == DATA
    in_folder = replace(row, shelf=Shelf.FOLDER)
    assert content(storage, in_folder) == DATA


def test_hashing_is_left_to_a_thread_and_done_once(
    storage: Folder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / NAME).write_bytes(DATA)
    row = listed(storage)
    handle = storage.open(row, wait=False)
    (root / NAME).chmod(0o600)
    with pytest.raises(BlockingIOError):
        handle.check(wait=False)
    with pytest.raises(BlockingIOError):
        storage.open(row, wait=False)
    handle.check()
    monkeypatch.setattr(module.hashlib, "sha256", lambda: pytest.fail("hashed again"))
    handle.check(wait=False)
    storage.open(row, wait=False).close()
    handle.close()


def test_a_second_name_that_is_a_link_is_not_followed(storage: Folder, root: Path, tmp_path: Path) -> None:
    (root / NAME).write_bytes(DATA)
    row = listed(storage)
    kept = Path(storage.kept_path(SHA))
    kept.unlink()
    kept.symlink_to(tmp_path / "secret")
    (tmp_path / "secret").write_bytes(DATA)
    (root / NAME).unlink()
    with pytest.raises(Changing):
        storage.open(row)


def test_a_pipe_in_a_file_s_place_does_not_hang(root: Path) -> None:
    storage = Folder([root], None)
    (root / NAME).write_bytes(DATA)
    row = listed(storage)
    (root / NAME).unlink()
    os.mkfifo(root / NAME)
    with pytest.raises(Changing):
        storage.open(row)


def test_no_descriptor_is_left_open(storage: Folder, root: Path) -> None:
    (root / NAME).write_bytes(DATA)
    row = listed(storage)
    list(storage.list(0))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        content(storage, row)
        list(storage.list(0))
        list(storage.list(0, NAME))
    (root / NAME).write_bytes(b"x")
    for _ in range(20):
        with pytest.raises(Changing):
            storage.open(row)
    listing = storage.list(0)
    next(listing)
    listing.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/proc/self/fd")) == before
