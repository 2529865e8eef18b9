"""Changing what is there: rights, one row in the audit, the journal, and what the index says afterwards."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pidex.accounts import Accounts
from pidex.backends.folder import Folder
from pidex.catalogue import admissions, audit, grants, indexes, journal, tokens, tombstones, users
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import (
    BadName,
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    PidexError,
    Unauthenticated,
    Withheld,
)
from pidex.core.model import ANONYMOUS, DEFAULT_INDEX, OPERATOR, File, Principal, Status
from pidex.core.permissions import Grant, Role
from pidex.core.tokens import TokenScope
from pidex.curator import Curator
from pidex.curator.advising import Advising
from pidex.curator.ruling import Ruling
from pidex.intake import KEPT_SECONDS, Intake
from pidex.reconciler import Reconciler
from pidex.resolver import Resolver
from tests import samples
from tests.direct import DirectInspector
from tests.nobody import UID, as_nobody, let_in, needs_root

MAIN = DEFAULT_INDEX


def person(name: str) -> Principal:
    return Principal(name, frozenset({"authenticated"}), via="password", address="192.0.2.7")


READER, MIA, OLAF, ADA, STRANGER = map(person, ("rita", "mia", "olaf", "ada", "stan"))
#: In the index `main`: who may what. Stan may only what strangers may: read demo.
GRANTS = [
    Grant("user:rita", Role.READER, MAIN),
    Grant("user:mia", Role.MAINTAINER, MAIN),
    Grant("user:olaf", Role.OWNER, MAIN, "demo"),
    Grant("user:olaf", Role.READER, MAIN),
    Grant("user:ada", Role.ADMIN),
    Grant("group:anonymous", Role.READER, MAIN, "demo"),
]


def grant(catalogue: Catalogue, given: Grant) -> None:
    """Write a grant, and the user whom it is for."""
    with catalogue.write() as conn:
        if given.subject.startswith("user:"):
            users.ensure(conn, given.subject.removeprefix("user:"), at=1)
        grants.add(conn, given, by="pidex", at=1)


class House:
    """A folder with three releases of `demo` and one of `other`, and everything that changes it."""

    def __init__(self, catalogue: Catalogue, place: Path, mutability: str | None = None) -> None:
        self.catalogue = catalogue
        self.folder = place / "packages"
        self.folder.mkdir()
        self.now = 0.0
        self.clock = lambda: time.time() + self.now
        self.storage = Folder([self.folder], place / "kept")
        with catalogue.write() as conn:
            self.number = indexes.ensure(conn, MAIN, time.time(), mutability)
            grants.remove(conn, Grant("group:anonymous", Role.READER, MAIN))
            users.ensure(conn, "stan", at=1)
        for given in GRANTS:
            grant(catalogue, given)
        self.accounts = Accounts(catalogue, catalogue.probe(), clock=self.clock, key=b"key")
        self.intake = Intake(catalogue, self.storage, self.clock)
        self.curator = Curator(catalogue, self.storage, self.intake, self.accounts, self.clock)
        self.resolver = Resolver(catalogue, self.storage, self.clock)
        self.reconciler = Reconciler(
            catalogue, None, self.storage, DirectInspector(), self.intake, self.clock, index=MAIN
        )
        for package in (
            samples.wheel("demo", "1.0"),
            samples.sdist("demo", "1.0"),
            samples.wheel("demo", "1.1"),
            samples.wheel("demo", "2.0rc1"),
            samples.wheel("other", "1.0"),
        ):
            samples.write(self.folder, package)
        self.scan()

    def scan(self) -> None:
        self.reconciler.scan()

    def listed(self, project: str = "demo") -> dict[str, File]:
        return {file.filename: file for file in self.resolver.page(MAIN, project, by=OPERATOR).files}

    def written(self) -> tuple[list[audit.Entry], list[str]]:
        """The rows of the audit, oldest first, and the actions in the journal."""
        with self.catalogue.read() as conn:
            changes = journal.since(conn, 0, 1000)
            return [*audit.list(conn, limit=1000)][::-1], [change.action for change in changes]

    def read(self, file: File) -> bytes:
        handle = self.resolver.open(file)
        try:
            return handle.read(0, file.size)
        finally:
            handle.close()


@pytest.fixture
def house(catalogue: Catalogue, tmp_path: Path) -> House:
    return House(catalogue, tmp_path)


WHEEL, SDIST, NEXT, EARLY = (
    "demo-1.0-py3-none-any.whl",
    "demo-1.0.tar.gz",
    "demo-1.1-py3-none-any.whl",
    "demo-2.0rc1-py3-none-any.whl",
)


# --- yanks --------------------------------------------------------------------------------------------------


def test_a_release_is_yanked_and_unyanked(house: House) -> None:
    _, before = house.written()
    done = house.curator.yank(MAIN, "Demo", version="1.0.0", reason="broken on Tuesdays", by=MIA)
    assert done.changed
    assert sorted(done.files) == [WHEEL, SDIST]
    page = house.resolver.page(MAIN, "demo", by=OPERATOR)
    assert {file.filename: file.yanked for file in page.files} == {
        WHEEL: "broken on Tuesdays", SDIST: "broken on Tuesdays", NEXT: None, EARLY: None,
    }  # fmt: skip
    house.curator.unyank(MAIN, "demo", version="1.0", by=MIA)
    assert {file.yanked for file in house.listed().values()} == {None}
    rows, actions = house.written()
    assert actions[len(before) :] == ["yank release", "unyank release"]
    assert [(row.action, row.actor, row.via, row.address, row.subject) for row in rows] == [
        ("release.yank", "mia", "password", "192.0.2.7", "1.0"),
        ("release.unyank", "mia", "password", "192.0.2.7", "1.0"),
    ]
    assert (rows[0].before, json.loads(rows[0].after or "")) == (None, {"yanked": "broken on Tuesdays"})
    assert (json.loads(rows[1].before or ""), rows[1].after) == ({"yanked": "broken on Tuesdays"}, None)
    assert house.resolver.page(MAIN, "demo", by=OPERATOR).serial > page.serial


def test_a_file_is_yanked_alone(house: House) -> None:
    house.curator.yank(MAIN, "demo", filename=WHEEL.upper(), by=MIA)
    assert {name: file.yanked for name, file in house.listed().items()} == {
        WHEEL: "", SDIST: None, NEXT: None, EARLY: None,
    }  # fmt: skip
    assert house.written()[1][-1] == f"yank file {WHEEL}"
    with pytest.raises(Conflict, match=f"single files of it are: unyank {WHEEL}"):
        house.curator.unyank(MAIN, "demo", version="1.0", by=MIA)
    house.curator.yank(MAIN, "demo", version="1.0", by=MIA)
    with pytest.raises(Conflict, match=r"unyank demo==1\.0"):
        house.curator.unyank(MAIN, "demo", filename=SDIST, by=MIA)
    house.curator.unyank(MAIN, "demo", filename=WHEEL, by=MIA)
    assert {file.yanked for file in house.listed().values() if file.version == "1.0"} == {""}


def test_yanking_again_changes_the_reason_or_nothing(house: House) -> None:
    house.curator.yank(MAIN, "demo", version="1.0", reason="one", by=MIA)
    assert not house.curator.yank(MAIN, "demo", version="1.0", reason="one", by=OLAF).changed
    assert not house.curator.unyank(MAIN, "demo", version="1.1", by=MIA).changed
    assert len(house.written()[0]) == 1
    assert house.curator.yank(MAIN, "demo", version="1.0", reason="two", by=OLAF).changed
    row = house.written()[0][-1]
    assert (json.loads(row.before or ""), json.loads(row.after or "")) == (
        {"yanked": "one"},
        {"yanked": "two"},
    )


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"version": "9"}, NotFound, "no release 9"),
        ({"filename": "demo-9.zip"}, NotFound, "no file demo-9.zip"),
        ({"filename": "other-1.0-py3-none-any.whl"}, NotFound, "of project demo"),
        ({}, BadRequest, "Name a release"),
        ({"version": "1.0", "filename": WHEEL}, BadRequest, "Name a release"),
        ({"version": "1.0", "reason": "a\x1b[2J"}, BadRequest, "printable"),
        ({"version": "1.0", "reason": "two\nlines"}, BadRequest, "one line"),
        ({"version": "1.0", "reason": "x" * 1001}, BadRequest, "1000 characters"),
        ({"project": "nothing", "version": "1.0"}, NotFound, "no project nothing"),
        ({"project": "../x", "version": "1.0"}, NotFound, "cannot be the name of a project"),
        ({"index": "elsewhere", "version": "1.0"}, NotFound, "no index elsewhere"),
    ],
)
def test_what_cannot_be_yanked(
    house: House, changed: dict[str, str], error: type[PidexError], words: str
) -> None:
    with pytest.raises(error, match=words):
        house.curator.yank(**{"index": MAIN, "project": "demo", **changed}, by=OPERATOR)
    assert house.written()[0] == []


# --- status -------------------------------------------------------------------------------------------------


def test_a_project_gets_a_status(house: House) -> None:
    house.curator.set_status(MAIN, "demo", "archived", reason="see other", by=OLAF)
    page = house.resolver.page(MAIN, "demo", by=OPERATOR)
    assert (page.status, page.status_reason, len(page.files)) == (Status.ARCHIVED, "see other", 4)
    house.curator.set_status(MAIN, "demo", "quarantined", by=OLAF)
    assert house.resolver.page(MAIN, "demo", by=OPERATOR).files == ()
    with pytest.raises(Withheld):
        house.resolver.find(MAIN, WHEEL, by=OPERATOR)
    assert "demo" not in [line.project for line in house.resolver.names(MAIN, by=OPERATOR)[1]]
    house.curator.set_status(MAIN, "demo", "active", by=OLAF)
    assert len(house.listed()) == 4
    assert not house.curator.set_status(MAIN, "demo", "active", by=OLAF).changed
    rows, actions = house.written()
    assert [row.action for row in rows] == ["project.status"] * 3
    assert json.loads(rows[1].before or "") == {"status": "archived", "reason": "see other"}
    assert json.loads(rows[1].after or "") == {"status": "quarantined", "reason": None}
    assert actions[-3:] == ["set status archived", "set status quarantined", "set status active"]


def test_what_has_no_status(house: House) -> None:
    with pytest.raises(BadRequest, match="active, deprecated, archived, quarantined"):
        house.curator.set_status(MAIN, "demo", "sleeping", by=OLAF)
    with pytest.raises(NotFound):
        house.curator.set_status(MAIN, "nothing", "archived", by=ADA)
    assert house.written()[0] == []


# --- deletion -----------------------------------------------------------------------------------------------


def test_a_release_is_deleted_and_stays_burnt(house: House) -> None:
    wheel = house.folder / WHEEL
    data = wheel.read_bytes()
    _, before = house.written()
    done = house.curator.delete(MAIN, "demo", version="1.0", reason="leaked", by=OLAF)
    assert [(one.filename, one.restorable) for one in done.files] == [(WHEEL, True), (SDIST, True)]
    assert done.left == ()
    assert not wheel.exists()
    assert sorted(house.listed()) == [NEXT, EARLY]
    assert house.resolver.find(MAIN, WHEEL, by=OPERATOR) is None
    rows, actions = house.written()
    assert [(row.action, row.subject) for row in rows] == [("release.delete", "1.0")]
    assert {file["filename"] for file in json.loads(rows[0].before or "")["files"]} == {WHEEL, SDIST}
    assert json.loads(rows[0].after or "") == {"reason": "leaked"}
    assert sorted(actions[len(before) :]) == [
        f"remove file {WHEEL}",
        f"remove file {SDIST}",
        "remove release",
    ]
    # Against the folder: the same bytes and others, under any spelling of the name.
    wheel.write_bytes(data)
    (house.folder / "sub").mkdir()
    (house.folder / "sub" / "Demo-1.0.tar.gz").write_bytes(samples.sdist("demo", "1.0", files={"x": b"x"})[1])
    house.scan()
    assert sorted(house.listed()) == [NEXT, EARLY]
    report = house.resolver.report(MAIN, by=OPERATOR)
    assert {path for path, _ in report.withheld} == {WHEEL, "sub/Demo-1.0.tar.gz"}
    assert "was deleted by olaf, and the name stays burnt: leaked" in report.withheld[0][1]
    assert wheel.exists(), "what somebody put there is theirs"


def test_a_file_and_a_project_are_deleted(house: House) -> None:
    house.curator.delete(MAIN, "demo", filename=SDIST, by=OLAF)
    assert sorted(house.listed()) == sorted([WHEEL, NEXT, EARLY])
    house.curator.delete(MAIN, "demo", by=OLAF)
    with pytest.raises(NotFound):
        house.resolver.page(MAIN, "demo", by=OPERATOR)
    rows, actions = house.written()
    assert [row.action for row in rows] == ["file.delete", "project.delete"]
    assert actions[-1] == "remove project"
    assert [line.project for line in house.resolver.names(MAIN, by=OPERATOR)[1]] == ["other"]
    house.scan()
    with pytest.raises(NotFound):
        house.resolver.page(MAIN, "demo", by=OPERATOR)


def test_a_dry_run_deletes_nothing(house: House) -> None:
    done = house.curator.delete(MAIN, "demo", dry_run=True, by=OLAF)
    assert len(done.files) == 4
    assert len(house.listed()) == 4
    assert house.written()[0] == []


def test_copies_with_other_bytes_stay_and_are_withheld(house: House) -> None:
    (house.folder / "old").mkdir()
    other = house.folder / "old" / NEXT
    other.write_bytes(samples.wheel("demo", "1.1", files={"old.txt": b"old"})[1])
    twin = house.folder / "old" / EARLY
    os.link(house.folder / EARLY, twin)
    house.scan()
    house.curator.delete(MAIN, "demo", by=OLAF)
    assert other.exists()
    assert not twin.exists(), "the same bytes are the same file"
    house.scan()
    assert [path for path, _ in house.resolver.report(MAIN, by=OPERATOR).withheld] == [f"old/{NEXT}"]


def test_a_file_that_is_being_replaced_stays_in_the_folder(house: House) -> None:
    path = house.folder / NEXT
    path.unlink()
    path.write_bytes(samples.wheel("demo", "1.1", files={"new.txt": b"new"})[1])
    done = house.curator.delete(MAIN, "demo", filename=NEXT, by=OLAF)
    assert done.left == (NEXT,)
    assert path.exists()
    house.scan()
    assert NEXT not in house.listed()


@needs_root
def test_a_read_only_folder_refuses_with_the_reason(house: House, tmp_path: Path) -> None:
    if house.catalogue.path is None:
        pytest.skip("asked of the storage alone, which is the same")
    let_in(tmp_path)
    storage = Folder([house.folder], None)
    text = as_nobody(lambda: storage.fixed(0, WHEEL) or "")
    assert "cannot be written" in text
    os.chown(house.folder, UID, UID)
    assert as_nobody(lambda: storage.fixed(0, WHEEL) or "fine") == "fine"


class Fixed(Folder):
    """A folder from which nothing can be taken away."""

    def fixed(self, root: int, path: str) -> str | None:
        return "it lies on a file system that is mounted read-only"


def test_what_cannot_be_taken_away_is_not_deleted(house: House, tmp_path: Path) -> None:
    storage = Fixed([house.folder], tmp_path / "kept")
    curator = Curator(house.catalogue, storage, house.intake, house.accounts, house.clock)
    with pytest.raises(Forbidden, match="mounted read-only"):
        curator.delete(MAIN, "demo", version="1.0", by=OLAF)
    assert len(house.listed()) == 4
    assert house.written()[0] == []


def test_a_git_work_tree_is_left_to_git(house: House) -> None:
    (house.folder / ".git").mkdir()
    with pytest.raises(Forbidden, match="commit and push"):
        house.curator.delete(MAIN, "demo", version="1.0", by=OLAF)


class Cut(Exception):
    """The process was killed here."""


class Killed(Folder):
    """A folder whose process dies before the second file is taken away."""

    def delete(self, root: int, path: str) -> bool:
        if not getattr(self, "alive", True):
            raise Cut
        self.alive = False
        return super().delete(root, path)


def test_a_deletion_that_was_cut_is_finished_at_the_next_start(house: House, tmp_path: Path) -> None:
    curator = Curator(
        house.catalogue, Killed([house.folder], tmp_path / "kept"), house.intake, house.accounts, house.clock
    )
    with pytest.raises(Cut):
        curator.delete(MAIN, "demo", version="1.0", by=OLAF)
    left = [name for name in (WHEEL, SDIST) if (house.folder / name).exists()]
    assert len(left) == 1
    assert sorted(house.listed()) == [NEXT, EARLY], "nothing lists them, wherever they lie"
    house.scan()
    assert sorted(house.listed()) == [NEXT, EARLY]
    assert house.curator.finish(MAIN, by=OPERATOR) == 1
    assert not (house.folder / left[0]).exists()
    assert house.curator.finish(MAIN, by=OPERATOR) == 0
    house.scan()
    assert house.resolver.report(MAIN, by=OPERATOR).withheld == ()


def test_what_was_put_back_after_a_deletion_is_not_taken_for_a_leftover(house: House) -> None:
    data = (house.folder / WHEEL).read_bytes()
    house.curator.delete(MAIN, "demo", version="1.0", by=OLAF)
    time.sleep(0.02)  # a tick of the file system's clock
    (house.folder / WHEEL).write_bytes(data)
    os.utime(house.folder / WHEEL, (1, 1))
    house.scan()
    assert house.curator.finish(MAIN, by=OPERATOR) == 0
    assert (house.folder / WHEEL).exists()


# --- bringing back ------------------------------------------------------------------------------------------


def test_a_deleted_file_comes_back_as_it_was(house: House) -> None:
    (house.folder / "deep").mkdir()
    (house.folder / WHEEL).rename(house.folder / "deep" / WHEEL)
    house.scan()
    before = house.listed()[WHEEL]
    data = house.read(before)
    house.curator.yank(MAIN, "demo", version="1.0", by=MIA)
    house.curator.delete(MAIN, "demo", by=OLAF)
    kept = house.curator.list_restorable(MAIN, "demo", by=OLAF)
    assert {one.filename for one in kept} == {WHEEL, SDIST, NEXT, EARLY}
    assert {(one.by, one.how) for one in kept} == {("olaf", "delete")}
    done = house.curator.restore_file(MAIN, WHEEL.upper().replace(".WHL", ".whl"), by=OLAF)
    assert (done.path, done.listed, done.filename) == (f"deep/{WHEEL}", True, WHEEL)
    after = house.listed()[WHEEL]
    assert (after.sha256, after.upload_time, after.yanked) == (before.sha256, before.upload_time, "")
    assert house.read(after) == data
    house.scan()
    assert [*house.listed()] == [WHEEL]
    row = house.written()[0][-1]
    assert (row.action, row.subject, row.actor) == ("file.restore", WHEEL, "olaf")
    with house.catalogue.read() as conn:
        assert tombstones.find(conn, house.number, WHEEL) is None
        admission = admissions.find(conn, house.number, WHEEL)
        assert admission is not None
        assert (admission.first_seen, admission.how) == (before.upload_time, "restore")
    # And again: it is a file like any other.
    house.curator.delete(MAIN, "demo", filename=WHEEL, by=OLAF)
    assert house.curator.restore_file(MAIN, WHEEL, by=OLAF).listed


def test_a_file_that_somebody_removed_comes_back(house: House) -> None:
    (house.folder / WHEEL).unlink()
    house.scan()
    assert WHEEL not in house.listed()
    assert house.curator.restore_file(MAIN, WHEEL, by=OLAF).listed
    assert WHEEL in house.listed()


def test_replaced_bytes_come_back_by_their_hash(house: House) -> None:
    before = house.listed()[WHEEL]
    (house.folder / WHEEL).unlink()
    (house.folder / WHEEL).write_bytes(samples.wheel("demo", "1.0", files={"new.txt": b"new"})[1])
    house.scan()
    newer = house.listed()[WHEEL]
    assert newer.sha256 != before.sha256
    with pytest.raises(Conflict, match="is listed"):
        house.curator.restore_file(MAIN, WHEEL, by=OLAF)
    house.curator.restore_file(MAIN, WHEEL, sha256=before.sha256[:8].upper(), by=OLAF)
    assert house.listed()[WHEEL].sha256 == before.sha256
    house.scan()
    assert house.listed()[WHEEL].sha256 == before.sha256
    kept = house.curator.list_restorable(MAIN, "demo", by=OLAF)
    assert [one.sha256 for one in kept] == [newer.sha256]
    house.curator.restore_file(MAIN, WHEEL, sha256=newer.sha256, by=OLAF)
    assert house.listed()[WHEEL].sha256 == newer.sha256


def test_an_immutable_index_keeps_its_bytes(catalogue: Catalogue, tmp_path: Path) -> None:
    house = House(catalogue, tmp_path, "immutable")
    house.curator.delete(MAIN, "demo", filename=WHEEL, by=OLAF)
    assert house.curator.restore_file(MAIN, WHEEL, by=OLAF).listed
    with pytest.raises((Conflict, NotFound)):
        house.curator.restore_file(MAIN, WHEEL, sha256="0" * 64, by=OLAF)


def test_a_restoring_that_was_cut_goes_on_when_it_is_called_again(house: House, tmp_path: Path) -> None:
    house.curator.delete(MAIN, "demo", filename=WHEEL, by=OLAF)

    class Dies(Folder):
        def restore(self, sha256: str, root: int, path: str, *, over: bool = False) -> None:  # type: ignore[override]
            super().restore(sha256, root, path, over=over)
            raise Cut

    curator = Curator(
        house.catalogue, Dies([house.folder], tmp_path / "kept"), house.intake, house.accounts, house.clock
    )
    time.sleep(0.02)  # a tick of the file system's clock
    with pytest.raises(Cut):
        curator.restore_file(MAIN, WHEEL, by=OLAF)
    house.scan()
    assert WHEEL not in house.listed()
    assert house.curator.finish(MAIN, by=OPERATOR) == 0
    assert house.curator.restore_file(MAIN, WHEEL, by=OLAF).listed
    assert WHEEL in house.listed()


def test_what_cannot_come_back(house: House) -> None:
    with pytest.raises(NotFound, match="never had"):
        house.curator.restore_file(MAIN, "demo-7.0.tar.gz", by=OLAF)
    with pytest.raises(Conflict, match="is listed"):
        house.curator.restore_file(MAIN, WHEEL, by=OLAF)
    with pytest.raises(BadName):
        house.curator.restore_file(MAIN, "demo", by=OLAF)
    house.curator.delete(MAIN, "demo", by=OLAF)
    (house.folder / SDIST).write_bytes(b"something else")
    with pytest.raises(Conflict, match="other bytes"):
        house.curator.restore_file(MAIN, SDIST, by=OLAF)
    with house.catalogue.read() as conn:
        stone = tombstones.find(conn, house.number, WHEEL)
    assert stone is not None
    house.storage.release([stone.sha256])
    with pytest.raises(NotFound, match="no longer kept"):
        house.curator.restore_file(MAIN, WHEEL, by=OLAF)
    assert WHEEL not in [one.filename for one in house.curator.list_restorable(MAIN, "demo", by=OLAF)]


# --- dropping -----------------------------------------------------------------------------------------------


def test_kept_bytes_are_dropped_after_their_time(house: House) -> None:
    house.curator.delete(MAIN, "demo", version="1.0", by=OLAF)
    assert house.curator.prune(by=OPERATOR).files == 0
    house.now = KEPT_SECONDS + 10
    preview = house.curator.prune(dry_run=True, by=OPERATOR)
    assert (preview.files, preview.bytes > 100) == (2, True)
    assert len(house.curator.list_restorable(MAIN, "demo", by=OLAF)) == 2
    assert house.curator.prune(by=ADA) == preview
    assert house.curator.list_restorable(MAIN, "demo", by=OLAF) == []
    assert [row.action for row in house.written()[0]] == ["release.delete", "kept.prune"]
    assert len(house.listed()) == 2
    for by, error in ((OLAF, Forbidden), (ANONYMOUS, Unauthenticated)):
        with pytest.raises(error):
            house.curator.prune(by=by)


def test_old_releases_are_deleted(house: House) -> None:
    for version in ("0.1", "1.0rc1", "1.0.post1"):
        samples.write(house.folder, samples.wheel("demo", version))
    house.scan()
    preview = house.curator.prune_releases(MAIN, keep_latest=2, by=ADA)
    gone = [file.version for one in preview for file in one.files]
    assert sorted(set(gone)) == ["0.1", "1.0"]
    assert len(house.listed()) == 7
    with pytest.raises(Forbidden):
        house.curator.prune_releases(MAIN, keep_latest=2, by=OLAF)
    house.curator.prune_releases(MAIN, keep_latest=1, project="demo", dry_run=False, by=OLAF)
    assert sorted({file.version for file in house.listed().values()}) == ["1.1", "2.0rc1"]
    assert {row.action for row in house.written()[0]} == {"release.delete"}
    with pytest.raises(BadRequest):
        house.curator.prune_releases(MAIN, keep_latest=0, by=ADA)


# --- owners -------------------------------------------------------------------------------------------------


def test_owners_come_and_go(house: House) -> None:
    with house.catalogue.write() as conn:
        users.add(conn, "Nina", None, at=1)
        users.add(conn, "otto", None, at=1)
    with pytest.raises(NotFound, match="There is no user nobody"):
        house.curator.add_owner(MAIN, "demo", "nobody", by=OLAF)
    assert house.curator.add_owner(MAIN, "demo", "nina", by=OLAF).changed
    assert not house.curator.add_owner(MAIN, "demo", "user:nina", by=OLAF).changed
    house.curator.add_owner(MAIN, "demo", "user:otto", role="uploader", by=OLAF)
    assert [
        (one.subject, one.role, one.by) for one in house.curator.list_owners(MAIN, "demo", by=READER)
    ] == [
        ("user:olaf", "owner", "pidex"),
        ("user:nina", "owner", "olaf"),
        ("user:otto", "uploader", "olaf"),
    ]
    house.curator.remove_owner(MAIN, "demo", "otto", role="uploader", by=OLAF)
    assert not house.curator.remove_owner(MAIN, "demo", "otto", by=OLAF).changed
    house.curator.remove_owner(MAIN, "demo", "olaf", by=ADA)
    with pytest.raises(Conflict, match="without an owner"):
        house.curator.remove_owner(MAIN, "demo", "nina", by=person("nina"))
    house.curator.remove_owner(MAIN, "demo", "nina", by=ADA)
    rows, actions = house.written()
    assert [(row.action, row.subject) for row in rows] == [
        ("owner.add", "user:nina"), ("owner.add", "user:otto"),
        ("owner.remove", "user:otto"), ("owner.remove", "user:olaf"), ("owner.remove", "user:nina"),
    ]  # fmt: skip
    assert [action for action in actions if action.startswith(("add Own", "remove Own"))] == [
        "add Owner nina", "remove Owner olaf", "remove Owner nina",
    ]  # fmt: skip
    for subject, role in (("robot:x", "owner"), ("", "owner"), ("nina", "reader"), ("nina", "king")):
        with pytest.raises(BadRequest):
            house.curator.add_owner(MAIN, "demo", subject, role=role, by=ADA)
    with pytest.raises(NotFound):
        house.curator.add_owner(MAIN, "nothing", "nina", by=ADA)


# --- rights -------------------------------------------------------------------------------------------------

Act = Callable[[Curator, str, Principal], object]
ACTS: dict[str, Act] = {
    "yank": lambda curator, project, by: curator.yank(MAIN, project, version="1.0", by=by),
    "unyank": lambda curator, project, by: curator.unyank(MAIN, project, version="1.0", by=by),
    "set_status": lambda curator, project, by: curator.set_status(MAIN, project, "archived", by=by),
    "delete": lambda curator, project, by: curator.delete(MAIN, project, by=by),
    "list_restorable": lambda curator, project, by: curator.list_restorable(MAIN, project, by=by),
    "restore_file": lambda curator, project, by: curator.restore_file(
        MAIN, f"{project}-9.tar.gz", by=by
    ),
    "prune_releases": lambda curator, project, by: curator.prune_releases(
        MAIN, keep_latest=9, project=project, by=by
    ),
    "list_owners": lambda curator, project, by: curator.list_owners(MAIN, project, by=by),
    "add_owner": lambda curator, project, by: curator.add_owner(MAIN, project, "group:anonymous", by=by),
    "remove_owner": lambda curator, project, by: curator.remove_owner(
        MAIN, project, "group:anonymous", by=by
    ),
}  # fmt: skip
#: Who may, of: a maintainer of the index, the owner of demo, an admin.
MAY = {
    "yank": "mia olaf ada", "unyank": "mia olaf ada", "set_status": "olaf ada", "delete": "olaf ada",
    "list_restorable": "olaf ada", "restore_file": "olaf ada", "prune_releases": "olaf ada",
    "list_owners": "rita mia olaf ada stan anonymous", "add_owner": "olaf ada", "remove_owner": "olaf ada",
}  # fmt: skip


def test_every_method_is_in_the_table() -> None:
    methods = {name for name in dir(Curator) if not name.startswith("_")}
    of_rules = {name for name in vars(Ruling) if not name.startswith("_")}  # tests/test_curator_ruling.py
    advising = {name for name in vars(Advising) if not name.startswith("_")}  # tests/test_curator_advising.py
    assert methods == {*ACTS, "finish", "prune", *of_rules, *advising}


@pytest.mark.parametrize("act", ACTS)
def test_who_may(house: House, act: str) -> None:
    may = MAY[act].split()
    refused: list[tuple[Principal, type[PidexError]]] = [
        (READER, Forbidden), (MIA, Forbidden), (STRANGER, Forbidden), (ANONYMOUS, Unauthenticated),
    ]  # fmt: skip
    for by, error in refused:
        if (by.name or "anonymous") not in may:
            with pytest.raises(error):
                ACTS[act](house.curator, "demo", by)
    assert house.written()[0] == []
    for by in (OLAF, ADA):
        with suppress(NotFound, Conflict):  # let through, and nothing to do
            ACTS[act](house.curator, "demo", by)
    with pytest.raises(NotFound):
        ACTS[act](house.curator, "other", STRANGER)
    if act not in ("yank", "unyank", "list_owners"):
        with pytest.raises(Forbidden, match=r"olaf may not .* on project other"):
            ACTS[act](house.curator, "other", OLAF)


@pytest.mark.parametrize("act", ACTS)
def test_what_is_hidden_answers_like_what_is_absent(house: House, act: str) -> None:
    seen = person("sven")
    grant(house.catalogue, Grant("user:sven", Role.OWNER, MAIN, "absent"))
    grant(house.catalogue, Grant("user:tina", Role.READER, MAIN, "nothing"))
    asked = [(seen, "other"), (person("tina"), "other"), (seen, "absent"), (ADA, "absent")]
    if act in ("restore_file", "list_restorable", "prune_releases"):
        asked = asked[:2]  # who may change a project is told what there is of it: nothing
    answers = []
    for by, project in asked:
        with pytest.raises(NotFound) as refusal:
            ACTS[act](house.curator, project, by)
        answers.append(str(refusal.value).replace(project, "X"))
    assert {*answers} == {"There is no project X."}


def test_a_token_narrows(house: House) -> None:
    with house.catalogue.write() as conn:
        olaf = users.find(conn, "olaf")
        assert olaf is not None
        scopes = TokenScope(0, scopes=("read", "upload")), TokenScope(0, scopes=("read", "delete"))
        first, second = (
            tokens.add(conn, olaf.id, scope, digest=f"{number}", hint="", comment="", at=1)
            for number, scope in enumerate(scopes)
        )
    narrow = OLAF._replace(token=replace(scopes[0], token_id=first), via="token")
    with pytest.raises(Forbidden, match="This token does not reach that far"):
        house.curator.delete(MAIN, "demo", version="1.0", by=narrow)
    wide = OLAF._replace(token=replace(scopes[1], token_id=second), via="token")
    house.curator.delete(MAIN, "demo", version="1.0", by=wide)
    assert [row.token_id for row in house.written()[0]] == [second]


@pytest.fixture(autouse=True)
def _closed(catalogue: Catalogue) -> Iterator[None]:
    yield
    catalogue.close()
