"""The ballast of a data directory: taken where there is plenty of room, given up where there is none."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pidex.backends import ballast
from pidex.backends.ballast import Ballast

RESERVE, SIZE = 64 << 20, 8 << 20


class Disk:
    """A disk with so many bytes free."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 1 << 40
        found = os.statvfs("/")

        def asked(path: object) -> os.statvfs_result:
            return os.statvfs_result((4096, 4096, *found[2:4], self.free >> 12, *found[5:]))

        monkeypatch.setattr(os, "statvfs", asked)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_it_goes_where_the_disk_is_full_and_comes_back(tmp_path: Path, disk: Disk) -> None:
    held = Ballast(tmp_path, reserve=RESERVE)
    assert held.balance() == "taken"
    file = tmp_path / "ballast"
    assert file.stat().st_size == SIZE
    assert file.stat().st_blocks * 512 >= SIZE
    assert held.balance() is None
    disk.free = ballast.SCARCE_BYTES
    assert held.balance() is None
    disk.free -= 4096
    assert held.balance() == "given"
    assert list(tmp_path.iterdir()) == []
    assert held.balance() is None
    disk.free = RESERVE + SIZE - 4096  # with it the reserve would be gone
    assert held.balance() is None
    disk.free += 4096
    assert held.balance() == "taken"


def test_one_that_a_kill_cut_off_is_made_anew(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / ".ballast.part").write_bytes(b"half")
    (tmp_path / "ballast").write_bytes(b"short")
    assert Ballast(tmp_path, reserve=RESERVE).balance() == "taken"
    assert [path.name for path in tmp_path.iterdir()] == ["ballast"]


def test_a_disk_that_fills_meanwhile_keeps_nothing_of_it(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(code: int) -> None:
        def allocate(*_: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "posix_fallocate", allocate)

    held = Ballast(tmp_path, reserve=RESERVE)
    refuse(errno.ENOSPC)
    assert held.balance() is None
    assert list(tmp_path.iterdir()) == []
    refuse(errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        held.balance()
    assert list(tmp_path.iterdir()) == []
