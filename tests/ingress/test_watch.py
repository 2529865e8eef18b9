"""Where something happened in the folders, by notices and without."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pidex.ingress import watch as module
from pidex.ingress.watch import Watch, filesystem, is_seen

#: How long something may take until a test gives up on it, in seconds.
PATIENCE = 20.0


class Nudges:
    """Gathers what a watch says; None stands for everything."""

    def __init__(self) -> None:
        self.places: set[tuple[int, str]] = set()
        self.everything = 0

    def __call__(self, paths: Iterable[tuple[int, str]] | None) -> None:
        if paths is None:
            self.everything += 1
        else:
            self.places.update(paths)


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not {what} after {PATIENCE} s"
        time.sleep(0.01)


@contextmanager
def watching(
    roots: list[Path], nudges: Nudges, *, mode: str = "auto", poll_seconds: float = 0.05
) -> Iterator[None]:
    stop = threading.Event()
    watch = Watch(roots, nudges, mode=mode, poll_seconds=poll_seconds)
    thread = threading.Thread(target=watch.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "one", tmp_path / "two"]
    for root in found:
        root.mkdir()
    return found


def test_everything_is_listed_once_the_watch_has_begun_and_then_each_place(roots: list[Path]) -> None:
    nudges = Nudges()
    with watching(roots, nudges):
        until(lambda: nudges.everything == 1, "begun")
        (roots[0] / "a-1.zip").write_bytes(b"x")
        until(lambda: (0, "a-1.zip") in nudges.places, "told")
        (roots[1] / "new" / "folder").mkdir(parents=True)
        (roots[1] / "new" / "folder" / "b-1.zip").write_bytes(b"x")
        until(lambda: nudges.places & {(1, "new"), (1, "new/folder"), (1, "new/folder/b-1.zip")}, "told")
        (roots[0] / "a-1.zip.part").write_bytes(b"x")
        (roots[0] / "a-1.zip.part").replace(roots[0] / "c-1.zip")
        until(lambda: (0, "c-1.zip") in nudges.places, "told")
        nudges.places.clear()
        (roots[0] / "a-1.zip").unlink()
        until(lambda: (0, "a-1.zip") in nudges.places, "told")


def test_what_is_never_seen_is_never_told(roots: list[Path]) -> None:
    nudges = Nudges()
    (roots[0] / ".git").mkdir()
    with watching(roots, nudges):
        until(lambda: nudges.everything, "begun")
        (roots[0] / ".git" / "index").write_bytes(b"x")
        (roots[0] / "a-1.zip.filepart").write_bytes(b"x")
        (roots[0] / "last-1.zip").write_bytes(b"x")
        until(lambda: (0, "last-1.zip") in nudges.places, "told")
    assert nudges.places == {(0, "last-1.zip")}


def test_roots_behind_a_link_are_followed(roots: list[Path], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(roots[0])
    nudges = Nudges()
    with watching([tmp_path / "link"], nudges):
        until(lambda: nudges.everything, "begun")
        (roots[0] / "a-1.zip").write_bytes(b"x")
        until(lambda: (0, "a-1.zip") in nudges.places, "told")


def test_a_root_that_goes_and_comes_back_is_followed_again(
    roots: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.05)
    nudges = Nudges()
    with watching(roots[:1], nudges):
        until(lambda: nudges.everything, "begun")
        roots[0].rename(roots[0].with_name("away"))
        until(lambda: "is not there" in caplog.text, "missed")
        before = nudges.everything
        roots[0].mkdir()
        until(lambda: nudges.everything > before + 1, "found")
        (roots[0] / "a-1.zip").write_bytes(b"x")
        until(lambda: (0, "a-1.zip") in nudges.places, "told")
    assert caplog.text.count("is not there") == 1


def test_without_notices_everything_is_listed_often(
    roots: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(28, "OS file watch limit reached.")

    monkeypatch.setattr("watchfiles.watch", refused)
    nudges = Nudges()
    with watching(roots, nudges):
        until(lambda: nudges.everything >= 3, "polled")
    assert caplog.text.count("max_user_watches") == 1


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs"])
def test_folders_of_other_machines_are_polled(
    roots: list[Path],
    tmp_path: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 0:20 / {os.path.realpath(roots[1])} rw - {kind} server:/x rw\n")
    monkeypatch.setattr(module, "_MOUNTS", os.fspath(mounts))
    nudges = Nudges()
    with caplog.at_level(logging.INFO), watching(roots, nudges):
        until(lambda: nudges.everything >= 3, "polled")
    assert kind in caplog.text


def test_polling_and_not_watching_at_all(roots: list[Path]) -> None:
    polled, off = Nudges(), Nudges()
    with watching(roots, off, mode="off"), watching(roots, polled, mode="poll"):
        until(lambda: polled.everything >= 3, "polled")
    assert off.everything == 0
    assert polled.places == set()


def test_the_file_system_of_a_path_is_that_of_the_longest_mount_point() -> None:
    mounts = (
        "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "22 21 0:20 / /srv rw - nfs4 server:/srv rw\n"
        "23 22 0:21 / /srv/my\\040packages rw - xfs /dev/sdb1 rw\n"
        "broken line\n"
    )
    assert filesystem(mounts, "/home") == "ext4"
    assert filesystem(mounts, "/srv") == "nfs4"
    assert filesystem(mounts, "/srv/packages") == "nfs4"
    assert filesystem(mounts, "/srvother") == "ext4"
    assert filesystem(mounts, "/srv/my packages/a") == "xfs"
    assert filesystem("", "/srv") == ""


@pytest.mark.parametrize(
    ("path", "seen"),
    [("a-1.zip", True), ("a/b/c-1.zip", True), ("folder", True), (".git/config", False), ("a/.b/c", False),
     ("a-1.zip.part", False), ("a/.in.a-1.zip.", False)],
)  # fmt: skip
def test_what_a_listing_could_show(path: str, seen: bool) -> None:
    assert is_seen(path) is seen
