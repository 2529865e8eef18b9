"""Calls that fail: the storage's by a shim before `os`, SQLite's by one before the C library."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import calls, shim, sqlite
from faults.shim import Shim
from pidex.backends.sandbox import Sandbox
from pidex.core.model import Entry, PlaceState, Stat

#: An act, a kind of fault, and which of its calls fail: the first, and each so many after it.
SOME = [
    ("upload", "ENOSPC", 7),
    ("upload", "short write", 1),
    ("adopt", "EIO", 9),
    ("delete", "EROFS", 7),
    ("push", "ENOSPC", 29),
    ("fetch", "EDQUOT", 5),
    ("backup", "ENOSPC", 61),
    ("restore", "ENOSPC", 71),
    ("migration", "EIO", 9),
]


@pytest.fixture(scope="module")
def under_faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[calls.Calls]:
    """What all acts are done to; each try is on files of its own."""
    with contextlib.closing(calls.Calls(tmp_path_factory.mktemp("calls"))) as made:
        yield made


@pytest.mark.parametrize(("act", "kind", "every"), SOME)
def test_any_call_of_an_act_may_fail(under_faults: calls.Calls, act: str, kind: str, every: int) -> None:
    """The short form of `scripts/faults calls`: some calls of each act."""
    if not calls.possible(act):
        pytest.skip("NOT TESTED: git is not installed")
    assert under_faults.run(act, kind, every=every) > 1


@pytest.mark.skipif(sqlite.impossible() is not None, reason=f"NOT TESTED: {sqlite.impossible()}")
def test_any_call_of_sqlite_may_fail() -> None:
    figures = sqlite.run(("upload",), ("EIO",), every=41)
    assert int(str(figures["faults"])) > 1


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_a_file_that_the_disk_does_not_give_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """It may be read in a moment; a refusal stays until the file changes."""
    path = tmp_path / "demo-1.0-py3-none-any.whl"
    path.write_bytes(b"")

    def refuse(*_: object) -> int:
        raise OSError(code, "refused")

    sandbox = Sandbox(children=1)
    try:
        monkeypatch.setattr("pidex.backends.sandbox.os.open", refuse)
        look = sandbox.inspect(str(path), Entry(0, path.name, Stat(0, 0, 0, 0, 0)), "whole")
    finally:
        monkeypatch.undo()
        sandbox.close()
    assert (look.state, look.code) == (PlaceState.PENDING, "unreadable")


def test_the_shim_fails_the_call_that_it_is_told_to() -> None:
    """A shim that never fails anything would make every test here pass."""
    with Shim("EIO", 10**9).standing() as standing:
        shim._ours(None)
    assert standing.seen == 0
    with pytest.raises(OSError, match="No space"), Shim("ENOSPC", 1).standing():
        exec("import os\nos.mkdir('/nonexistent/x')", {"__name__": "pidex.example"})


def test_what_is_written_by_files_fails_too(tmp_path: Path) -> None:
    """Not by way of `os` in the library: as if it were."""
    path = tmp_path / "file"
    for number, whole in ((1, False), (2, False), (3, True)):  # the open, the write, and none
        told = {"__name__": "pidex.example", "path": path}
        with contextlib.suppress(OSError), Shim("ENOSPC", number).standing() as standing:
            exec("with path.open('w') as file:\n    file.write('text')", told)
        assert (standing.seen < number) is whole
    assert path.read_text() == "text"
    with Shim("short write", 1).standing() as standing:
        exec("path.write_bytes(b'longer')", told)
    assert standing.seen == 2, "the rest is written by a second call"
    assert path.read_bytes() == b"longer"
