"""`pidex verify`, `backup` and `restore` as they are typed."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pidex.backup.restoring import RECORD
from pidex.cli.group import DONE, FAILED, UNHEALTHY, USAGE, pidex, run
from pidex.processes import DataLock
from tests import samples


@pytest.fixture
def served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with packages, scanned once."""
    folder = tmp_path / "packages"
    folder.mkdir()
    samples.write(folder, samples.wheel("demo", "1.0"))
    samples.write(folder, samples.sdist("demo", "1.0"))
    assert run(pidex, ["scan", str(folder)]) == DONE
    capsys.readouterr()
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = run(pidex, [*map(str, words)])
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return code, out, err


def test_verify(served: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "verify", served)[:2] == (
        DONE,
        f"2 listed files ({size(served):,} bytes) compared.\nEverything agrees.\n",
    )
    with closing(sqlite3.connect(served.parent / ".pidex-packages" / "catalogue.db")) as conn, conn:
        conn.execute("update files set md5 = 'x'")
    code, out, _ = said(capsys, "verify", "--deep", "--rate", "100", served)
    assert code == UNHEALTHY
    assert "Differences: 2\n  row: demo-1.0-py3-none-any.whl is listed with another md5" in out
    assert "pidex verify --repair" in out
    code, out, _ = said(capsys, "verify", "--json", served)
    assert code == UNHEALTHY
    found = json.loads(out)
    assert [each["code"] for each in found["differences"]] == ["row", "row"]
    assert found["sound"] is False
    code, out, _ = said(capsys, "verify", "--repair", served)
    assert (code, out.splitlines()[-1]) == (DONE, "Now everything agrees.")
    assert said(capsys, "verify", served)[0] == DONE


def test_verify_beside_a_server_only_reads(served: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = DataLock(served.parent / ".pidex-packages")
    lock.acquire()
    try:
        assert said(capsys, "verify", served)[0] == DONE
        code, _, err = said(capsys, "verify", "--repair", served)
        assert (code, "Stop it first" in err) == (FAILED, True)
        samples.write(served, samples.wheel("late", "1.0"))
        code, out, _ = said(capsys, "verify", served)
        assert (code, "late-1.0-py3-none-any.whl was never read." in out) == (UNHEALTHY, True)
    finally:
        lock.release()


def test_an_edited_decision_has_to_be_accepted(served: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(served.parent / ".pidex-packages" / "catalogue.db")) as conn, conn:
        conn.execute("update admissions set by = 'eve'")
    code, out, _ = said(capsys, "verify", "--repair", served)
    assert code == UNHEALTHY
    assert "The table admissions was changed by something other than pidex" in out
    assert said(capsys, "verify", "--accept", served)[0] == DONE


def test_backup_and_restore(served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = tmp_path / "backups"
    code, out, _ = said(capsys, "backup", where, served)
    assert code == DONE
    assert "2 files" in out
    assert said(capsys, "backup", "--check", where)[:2] == (
        DONE,
        f"The backup {next(where.glob('2*'))} is sound.\n",
    )
    shutil.rmtree(served)
    shutil.rmtree(tmp_path / ".pidex-packages")
    code, out, err = said(capsys, "restore", where)
    assert code == DONE, err
    assert "Restored 2 files" in out
    assert said(capsys, "verify", "--deep", served)[0] == DONE
    assert said(capsys, "scan", served)[1] == "Listed: 2 files of 1 project.\n"


def test_restore_into_other_places(served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = tmp_path / "backups"
    assert said(capsys, "backup", where, served, "--keep", 2, "--json")[0] == DONE
    assert said(capsys, "restore", where, tmp_path / "other")[0] == DONE
    assert said(capsys, "verify", "--deep", tmp_path / "other")[0] == DONE
    code, out, _ = said(
        capsys,
        "restore",
        where,
        "--data",
        tmp_path / "d",
        "--folder",
        f"{served}={tmp_path / 'third'}",
        "--json",
    )
    assert code == DONE
    assert json.loads(out)["folders"] == [str(tmp_path / "third")]
    assert said(capsys, "verify", "--data", tmp_path / "d", tmp_path / "third")[0] == DONE
    assert said(capsys, "verify", "--deep", served)[0] == DONE


def test_a_start_goes_on_with_a_restore(
    served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / ".pidex-packages"
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    samples.write(fresh, samples.wheel("other", "1.0"))
    record = {"id": "1", "moves": [[str(fresh), str(served), str(tmp_path / "aside")]]}
    (data / RECORD).write_text(json.dumps(record))
    assert said(capsys, "scan", served)[0] == DONE
    assert [path.name for path in served.iterdir()] == ["other-1.0-py3-none-any.whl"]
    assert not (data / RECORD).exists()


def test_refusals(served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = tmp_path / "backups"
    for words, code, sentence in [
        (["backup", where], USAGE, ""),
        (["backup", "--check", where], FAILED, "There is no backup in"),
        (["backup", where, tmp_path / "nothing"], FAILED, ""),
        (["restore", served, "--folder", "a=b"], FAILED, "--folder is for backups"),
        (["verify", served, "--rate", "-1"], USAGE, ""),
    ]:
        found, _, err = said(capsys, *words)
        assert found in (code, USAGE), words
        assert sentence in err
    assert said(capsys, "backup", where, served)[0] == DONE
    lock = DataLock(served.parent / ".pidex-packages")
    lock.acquire()
    try:
        code, _, err = said(capsys, "restore", where)
        assert (code, "is already in use" in err) == (FAILED, True)
    finally:
        lock.release()
    for words, sentence in [
        (["--folder", "x"], "ROOT=DIR"),
        (["--folder", "/nowhere=/tmp/x"], "has no folder /nowhere"),
        ([tmp_path / "one", tmp_path / "two"], "none of the number 1"),
    ]:
        code, _, err = said(capsys, "restore", where, *words)
        assert (code, sentence in err) == (USAGE, True), err
    blob = next(path for path in (where / "blobs").rglob("*") if path.is_file())
    blob.unlink()
    assert said(capsys, "backup", "--check", where)[0] == UNHEALTHY
    assert said(capsys, "restore", where)[0] == FAILED
    assert said(capsys, "verify", served)[0] == DONE


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
