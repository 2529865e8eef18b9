"""Backups: they hold all there is, share their bytes, and come back whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pidex.backends.git import Git
from pidex.backends.repositories import Repositories
from pidex.backup import Backups, Taken
from pidex.backup import manifest as manifests
from pidex.backup.restoring import RECORD, Restore, Restored, check, resume
from pidex.catalogue import (
    admissions,
    audit,
    files,
    indexes,
    intents,
    journal,
    tokens,
    tombstones,
    users,
    yanks,
)
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import BadRequest, Conflict, Forbidden, NotFound
from pidex.core.model import OPERATOR
from pidex.verify import Verifier
from tests import samples
from tests.test_reconciler import House
from tests.test_verify import Checked, curated


class Cut(BaseException):
    """What a test cuts with, where a real cut would leave no process to look into."""


@pytest.fixture(autouse=True)
def _unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power is cut here, and the disk of a busy machine is slow."""
    monkeypatch.setattr(os, "sync", lambda: None)


@pytest.fixture
def house(tmp_path: Path) -> Checked:
    """A data directory, and two folders in places of their own, with what people decided."""
    data = tmp_path / "data"
    data.mkdir()
    house = Checked(data, Catalogue.open(data / "catalogue.db"))
    for number in range(3):
        house.put(samples.wheel("demo", f"1.{number}"))
        house.put(samples.sdist("other", f"2.{number}"), folder="deep")
    (house.roots[0] / "demo-1.0-py3-none-any.whl.asc").write_text("signed")
    house.put(samples.wheel("second", "1.0"), root=1)
    house.reconciler.scan()
    curated(house)
    (data / "instance").write_text("me\n")
    return house


def backups(house: House) -> Backups:
    repositories = Repositories(house.base / "git", Git(os.environ["PATH"]))
    return Backups(house.base / "catalogue.db", house.storage, repositories, data=house.base, clock=time.time)


def restored(house: House, backup: str | Path, data: Path | None = None, **options: Any) -> Restored:
    folders = {} if data is None else {n: data / f"root{n}" for n in range(2)}
    if data is None:
        house.catalogue.close()
    else:
        data.mkdir(exist_ok=True)
    restore = Restore(Path(backup), data or house.base, folders, clock=time.time, by=OPERATOR)
    return restore.run(**options)


def opened(data: Path) -> Checked:
    """What a restore made, in the folders beside its data directory."""
    house = Checked.__new__(Checked)
    roots = [data / "root0", data / "root1"] if (data / "root0").exists() else [data / "one", data / "two"]
    house.base = data
    house.catalogue = Catalogue.open(data / "catalogue.db", create=False)
    from pidex.backends.folder import Folder

    house.storage = Folder(roots, data / "kept")
    house.roots = roots
    house.number = 1
    house.verifier = Verifier(house.catalogue, house.storage, time.time)
    return house


def state(house: House) -> dict[str, object]:
    """All that must be the same: decisions, listed files with their bytes, and what lies in the folders."""
    with house.catalogue.read() as conn:
        listed = list(files.list_all(conn, house.number))
        decided = {
            "admissions": [*admissions.list(conn, house.number)],
            "superseded": admissions.list_superseded(conn, house.number),
            "tombstones": tombstones.list(conn, house.number),
            "yanks": yanks.list(conn, house.number),
            "users": users.list(conn),
            "tokens": tokens.list(conn),
            "journal": [each for each in journal.since(conn, 0, 10_000) if each.action != "restore"],
            "audit": [each for each in audit.list(conn, limit=10_000) if each.action != "backup.restore"],
            "mutability": indexes.list(conn)[0].mutability,
        }
    return decided | {
        "listed": [(file.filename, file.sha256, file.upload_time, file.yanked) for file in listed],
        "bytes": {file.filename: hashlib.sha256(house.data(file.filename)).hexdigest() for file in listed},
        "folders": [
            sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
            for root in house.roots
        ],
    }


def test_what_is_restored_elsewhere_is_the_same(house: Checked, tmp_path: Path) -> None:
    before = state(house)
    taken = backups(house).take(tmp_path / "backups")
    assert taken.missing == ()
    with house.catalogue.read() as conn:
        serial = journal.serial(conn)
    done = restored(house, taken.path, tmp_path / "new")
    assert done.serial == serial + 1
    again = opened(tmp_path / "new")
    assert state(again) == before
    assert again.differences(deep=True) == ()
    assert (tmp_path / "new" / "instance").read_text() == "me\n"
    assert (tmp_path / "new" / "root0" / "demo-1.0-py3-none-any.whl.asc").read_text() == "signed"
    assert list((tmp_path / "new").glob("restoring*")) == []
    # What is written into a restored file does not reach the backup.
    for path in (tmp_path / "new" / "root0").glob("*.whl"):
        with path.open("ab") as file:
            file.write(b"more")
    check(Path(taken.path))


def test_backups_share_their_bytes(house: Checked, tmp_path: Path) -> None:
    one = backups(house).take(tmp_path / "backups")
    assert one.copied > 0
    house.put(samples.wheel("late", "1.0"))
    house.reconciler.scan()
    two = backups(house).take(tmp_path / "backups")
    assert two.fresh == 1
    assert one.path != two.path
    blobs = [path for path in (tmp_path / "backups" / "blobs").rglob("*") if path.is_file()]
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in blobs} == {p.name for p in blobs}
    assert set(check(Path(one.path)).hashes) < set(check(Path(two.path)).hashes)


def test_old_backups_go_with_bytes_that_nobody_else_has(house: Checked, tmp_path: Path) -> None:
    first = backups(house).take(tmp_path / "backups")
    only = hashlib.sha256((house.roots[1] / "second-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    (house.roots[1] / "second-1.0-py3-none-any.whl").unlink()
    house.reconciler.scan()
    house.storage.release([only])
    backups(house).take(tmp_path / "backups")
    third = backups(house).take(tmp_path / "backups", keep=2)
    assert third.dropped == (Path(first.path).name,)
    assert not (tmp_path / "backups" / "blobs" / only[:2] / only).exists()
    for each in manifests.list_backups(tmp_path / "backups"):
        check(each)


def test_linked_bytes_that_were_written_to_are_stored_anew(house: Checked, tmp_path: Path) -> None:
    assert backups(house).take(tmp_path / "backups", link=True).copied < 10_000  # not the files themselves
    blobs = [path for path in (tmp_path / "backups" / "blobs").rglob("*") if path.is_file()]
    for blob in blobs:
        data = blob.read_bytes()
        blob.unlink()
        blob.write_bytes(data[:-1] + b"!")
    with pytest.raises(BadRequest, match="damaged"):
        check(manifests.list_backups(tmp_path / "backups")[0])
    check(Path(backups(house).take(tmp_path / "backups", link=True).path))


def test_a_file_that_is_gone_is_told(house: Checked, tmp_path: Path) -> None:
    path = house.roots[1] / "second-1.0-py3-none-any.whl"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    path.unlink()
    house.storage.release([sha256])
    taken = backups(house).take(tmp_path / "backups")
    assert taken.missing == ("second-1.0-py3-none-any.whl", sha256)


def test_the_bytes_of_deleted_files_come_back_too(house: Checked, tmp_path: Path) -> None:
    taken = backups(house).take(tmp_path / "backups")
    restored(house, taken.path, tmp_path / "new")
    again = opened(tmp_path / "new")
    with again.catalogue.read() as conn:
        [stone] = tombstones.list(conn, 1)
    assert again.storage.sound(stone.sha256) is not None


def test_an_upload_that_was_under_way_is_forgotten(house: Checked, tmp_path: Path) -> None:
    """Found by `scripts/faults backup`: after a restore it was an upload that nobody finished."""
    with house.catalogue.write() as conn:
        intents.put(conn, 1, intents.Intent("late-1.0.tar.gz", 0, "late-1.0.tar.gz", "0" * 64, 1, "ann", 1))
    taken = backups(house).take(tmp_path / "backups")
    restored(house, taken.path, tmp_path / "new")
    assert opened(tmp_path / "new").differences(deep=True) == ()


def test_what_was_decided_since_the_backup_stays(house: Checked, tmp_path: Path) -> None:
    taken = backups(house).take(tmp_path / "backups")
    house.put(samples.wheel("late", "1.0"))
    house.reconciler.scan()
    with house.catalogue.write() as conn:
        stone = tombstones.Tombstone("late-0.9.tar.gz", "0" * 64, 5, "ann", "a secret in it")
        tombstones.put(conn, house.number, stone)
        serial = journal.serial(conn)
    done = restored(house, taken.path)
    assert done.burnt == 1
    assert done.serial > serial
    again = opened(house.base)
    with again.catalogue.read() as conn:
        assert stone in tombstones.list(conn, 1)
    assert again.differences(deep=True) == ()
    assert [Path(each).name for each in done.replaced if "one" in each]
    assert not (again.roots[0] / "late-1.0-py3-none-any.whl").exists()


def test_a_damaged_backup_changes_nothing(house: Checked, tmp_path: Path) -> None:
    taken = Path(backups(house).take(tmp_path / "backups").path)
    before = state(house)

    def refused(error: type[Exception], match: str) -> None:
        with pytest.raises(error, match=match):
            restored(house, taken)
        assert state(house) == before

    [blob, *_] = [path for path in (tmp_path / "backups" / "blobs").rglob("*") if path.is_file()]
    data = blob.read_bytes()
    blob.write_bytes(data[:-1])
    refused(BadRequest, "1 of its files")
    blob.unlink()
    refused(BadRequest, blob.name)
    blob.write_bytes(data)
    copied = (taken / "catalogue.db").read_bytes()
    (taken / "catalogue.db").write_bytes(copied[:100] + b"!" + copied[101:])
    refused(BadRequest, r"catalogue\.db")
    (taken / "catalogue.db").write_bytes(copied)
    text = (taken / "manifest.json").read_text()
    (taken / "manifest.json").write_text(text.replace("one", "two"))
    refused(BadRequest, "manifest")
    evil = json.loads(text)
    evil["files"]["0"][0][0] = "../../outside"
    made = json.dumps(evil)
    (taken / "manifest.json").write_text(made)
    (taken / "manifest.sha256").write_text(hashlib.sha256(made.encode()).hexdigest())
    refused(BadRequest, "cannot be understood")
    (taken / "manifest.json").unlink()
    refused(NotFound, "no backup")


def test_folders_that_have_to_stay(house: Checked, tmp_path: Path) -> None:
    taken = backups(house).take(tmp_path / "backups")
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").write_text("of value")
    data = tmp_path / "new"
    data.mkdir()
    with pytest.raises(Conflict, match="not empty"):
        Restore(Path(taken.path), data, {0: other}, clock=time.time, by=OPERATOR).run()
    with pytest.raises(Conflict, match="contains the data directory"):
        Restore(Path(taken.path), data, {0: data}, clock=time.time, by=OPERATOR).run()
    with pytest.raises(Forbidden, match="mount point"):
        Restore(Path(taken.path), data, {0: Path("/proc")}, clock=time.time, by=OPERATOR).run()
    assert (other / "mine").read_text() == "of value"


def steps(run: Callable[[Callable[[str], None]], object]) -> list[str]:
    """The names of the steps of something that is run to its end."""
    found: list[str] = []
    run(found.append)
    return found


def in_child(run: Callable[[], object]) -> int:
    """Run in a process of its own that is allowed to die at once; its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def cut_at(name: str, count: int = 0) -> Callable[[str], None]:
    def step(at: str) -> None:
        if at == name:
            os._exit(9)

    return step


def test_a_backup_that_is_cut_anywhere_leaves_the_others_whole(house: Checked, tmp_path: Path) -> None:
    target = tmp_path / "backups"
    found = steps(lambda step: backups(house).take(target, step=step))
    assert found == ["catalogue", "files", "data", "manifest", "name", "prune"]
    house.put(samples.wheel("late", "1.0"))
    house.reconciler.scan()
    for name in found:
        assert in_child(lambda name=name: backups(house).take(target, keep=1, step=cut_at(name))) == 9
        left = manifests.list_backups(target)
        assert left
        for each in left:
            check(each)
    taken: Taken = backups(house).take(target, keep=1)
    assert [str(each) for each in manifests.list_backups(target)] == [taken.path]
    assert [path.name for path in target.iterdir() if path.name.startswith(".")] == []
    check(Path(taken.path))


def test_a_restore_that_is_cut_anywhere_is_the_old_or_the_new(house: Checked, tmp_path: Path) -> None:
    new = state(house)
    taken = backups(house).take(tmp_path / "backups")
    house.put(samples.wheel("late", "1.0"))
    (house.roots[0] / "demo-1.0-py3-none-any.whl").unlink()
    house.reconciler.scan()
    old = state(house)
    assert old != new
    house.catalogue.close()
    shutil.copytree(house.base, tmp_path / "aside", symlinks=True)
    found = steps(lambda step: restored(house, taken.path, step=step))
    assert found[:7] == ["check", "stage", "folders", "kept", "data", "catalogue", "sync"]
    assert {"record", "move-6", "moved-6", "done"} <= set(found)
    outcomes = []
    # Of the renames: before the first, and each time after what was there has gone and nothing has come.
    for name in [name for name in found if not name.startswith("move-") or name == "move-0"]:
        shutil.rmtree(house.base)
        shutil.copytree(tmp_path / "aside", house.base, symlinks=True)
        os.utime(house.base)
        ended = in_child(lambda name=name: restored(house, taken.path, step=cut_at(name)))
        # Whether a write-ahead log lies there (the first two moves), SQLite decides each time.
        assert ended == 9 or (ended == 0 and name in ("moved-0", "moved-1")), name
        recorded = ended == 0 or (house.base / RECORD).exists()
        assert in_child(lambda: resume(house.base)) == 0  # as each start does
        house_now = opened(house.base)
        found_state = state_without_bytes(house_now)
        assert found_state == without_bytes(new if recorded else old), name
        outcomes.append(recorded)
        assert not (house.base / RECORD).exists()
        assert not any(house.base.rglob("*restoring*"))
        house_now.catalogue.close()
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {False, True}


def test_a_cut_restore_can_be_cut_again(house: Checked, tmp_path: Path) -> None:
    new = state(house)
    taken = backups(house).take(tmp_path / "backups")
    house.catalogue.close()
    assert in_child(lambda: restored(house, taken.path, step=cut_at("move-0"))) == 9
    cuts = 0
    while (house.base / RECORD).exists():
        seen: list[str] = []

        def once(name: str, seen: list[str] = seen) -> None:
            seen.append(name)
            if name.startswith("moved-") or name == "done":
                raise Cut

        try:
            resume(house.base, once)
        except Cut:
            cuts += 1
            if seen[-1] == "done":
                resume(house.base)
    assert cuts > 4
    again = opened(house.base)
    assert state(again) == new
    assert again.differences(deep=True) == ()


def without_bytes(found: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in found.items() if name != "bytes"}


def state_without_bytes(house: House) -> dict[str, object]:
    """A copied tree has other inodes: its bytes are the folder's, and a start reads them again."""
    full = house.data
    house.data = lambda filename: b""  # type: ignore[method-assign]
    try:
        return without_bytes(state(house))
    finally:
        house.data = full  # type: ignore[method-assign]


def test_a_disk_that_does_not_answer_is_not_taken_for_one_that_has_nothing(
    house: Checked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which move is done is seen by what is there: where nobody can say, nothing is taken for done."""
    taken = backups(house).take(tmp_path / "backups")
    before = state(house)
    house.put(samples.wheel("later", "1.0"))
    house.reconciler.scan()
    genuine, failing = os.lstat, False

    def lstat(path: Any, **more: Any) -> os.stat_result:
        if failing and "restoring-" in str(path):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return genuine(path, **more)

    def step(name: str) -> None:
        nonlocal failing
        failing = failing or name == "move-3"

    monkeypatch.setattr(os, "lstat", lstat)
    with pytest.raises(OSError, match="Input/output"):
        restored(house, taken.path, step=step)
    assert (house.base / RECORD).exists(), "it goes on at the next start"
    failing = False
    resume(house.base)
    assert state(opened(house.base)) == before


def test_bytes_are_not_dropped_where_the_other_backups_cannot_be_listed(
    house: Checked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that the disk does not give is not one without backups: what they need would go."""
    target = tmp_path / "backups"
    for number in range(3):
        house.put(samples.wheel("late", f"1.{number}"))
        house.reconciler.scan()
        backups(house).take(target)
    genuine, listed = os.listdir, 0

    def listdir(path: Any = ".") -> list[str]:
        nonlocal listed
        listed += str(path) == str(target)
        if listed == 3 and str(path) == str(target):  # what was known, what is old, and now what is needed
            raise OSError(errno.EIO, "Input/output error", str(path))
        return genuine(path)

    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(OSError, match="Input/output"):
        backups(house).take(target, keep=2)
    assert listed == 3
    monkeypatch.undo()
    left = manifests.list_backups(target)
    assert len(left) == 2
    for each in left:
        check(each)
