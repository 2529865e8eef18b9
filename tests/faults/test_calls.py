"""Calls that fail: the storage's by a shim before `os`, SQLite's by one before the C library."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from faults import calls, sqlite
from faults.calls import Shim
from pidex.backends.sandbox import Sandbox
from pidex.core.model import Entry, PlaceState, Stat


@pytest.mark.parametrize(("act", "kind"), [("upload", "ENOSPC"), ("adopt", "EIO"), ("delete", "EROFS")])
def test_any_call_of_an_act_may_fail(act: str, kind: str) -> None:
    """The short form of `scripts/faults calls`: some calls of some acts."""
    figures = calls.run((act,), (kind,), every=5)
    assert int(str(figures["faults"])) > 1


def test_a_write_may_be_short() -> None:
    assert int(str(calls.run(("upload",), ("short write",))["faults"])) > 0


@pytest.mark.skipif(sqlite.impossible() is not None, reason=f"NOT TESTED: {sqlite.impossible()}")
def test_any_call_of_sqlite_may_fail() -> None:
    figures = sqlite.run(("upload",), ("EIO",), every=25)
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
    with Shim("EIO", 10**9).standing() as shim:
        calls._ours(None)
    assert shim.seen == 0
    with pytest.raises(OSError, match="No space"), Shim("ENOSPC", 1).standing():
        exec("import os\nos.mkdir('/nonexistent/x')", {"__name__": "pidex.example"})
