"""The door: what a batch of looks writes, all of it at once, and what it leaves alone."""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.backends.folder import Folder
from pidex.catalogue import admissions, contents, files, indexes, journal, places, projects
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import BadName, NotFound, StorageDown
from pidex.core.model import OPERATOR, Entry, File, Look, PackageType, Place, PlaceState, Shelf
from pidex.intake import Adoption, Inspection, Intake
from tests import samples
from tests.direct import DirectInspector
from tests.test_intake_lock import Stored, mirrored

NOW = 1_700_000_000.0


class Door:
    """An intake over one folder, and looks as an inspector would have them."""

    def __init__(self, catalogue: Catalogue, base: Path) -> None:
        self.root = base / "root"
        self.root.mkdir()
        self.catalogue = catalogue
        self.storage = Folder([self.root], base / "kept")
        self.intake = Intake(catalogue, self.storage, lambda: NOW)
        with catalogue.write() as conn:
            self.number = indexes.ensure(conn, "main", NOW)

    def look(self, sample: samples.Sample, folder: str = "") -> Look:
        samples.write(self.root / folder, sample)
        path = f"{folder}/{sample[0]}".lstrip("/")
        entry = next(item for item in self.storage.list(0, path) if isinstance(item, Entry))
        return DirectInspector().inspect(self.storage.path(0, path), entry, "whole")

    def file(self, filename: str) -> File | None:
        with self.catalogue.read() as conn:
            return files.find_by_key(conn, self.number, filename)

    def place(self, path: str) -> Place | None:
        with self.catalogue.read() as conn:
            return places.find(conn, self.number, 0, path)

    def serial(self) -> int:
        with self.catalogue.read() as conn:
            return journal.serial(conn)


@pytest.fixture
def door(_empty_sqlite: Path, tmp_path: Path) -> Iterator[Door]:
    catalogue = Catalogue.open(shutil.copy(_empty_sqlite, tmp_path / "catalogue.db"), create=False)
    yield Door(catalogue, tmp_path)
    catalogue.close()


WHEEL = samples.wheel("foo", "1.0", requires_python=">=3.9")
NAME = WHEEL[0]
SHA = hashlib.sha256(WHEEL[1]).hexdigest()


def test_a_whole_file_gets_place_contents_admission_row_journal_and_project(door: Door) -> None:
    adoption = door.intake.adopt("main", [door.look(WHEEL)])
    assert adoption.listed == (NAME,)
    file, place = door.file(NAME), door.place(NAME)
    assert file is not None
    assert place is not None
    assert (place.state, place.sha256) == (PlaceState.WHOLE, SHA)
    assert (file.sha256, file.shelf, file.stat) == (SHA, Shelf.KEPT, place.stat)
    assert file.upload_time == int(NOW * 1e6)
    with door.catalogue.read() as conn:
        assert contents.find(conn, SHA, PackageType.WHEEL) is not None
        admission = admissions.find(conn, door.number, NAME)
        project = projects.find(conn, door.number, "foo")
    assert admission is not None
    assert (admission.by, admission.how, admission.source) == (OPERATOR.name, "folder", "seen")
    assert project is not None
    assert (project.files, project.serial) == (1, door.serial())


def test_the_same_look_again_tells_nobody_anything(door: Door) -> None:
    look = door.look(WHEEL)
    door.intake.adopt("main", [look])
    serial = door.serial()
    entry = next(item for item in door.storage.list(0, NAME) if isinstance(item, Entry))
    again = door.intake.adopt("main", [Look(entry, look.state, look.facts)])
    assert (again.listed, again.replaced, again.changed) == ((), (), ())
    assert door.serial() == serial


def test_a_file_that_moved_on_since_its_look_is_left_for_another(door: Door) -> None:
    look = door.look(WHEEL)
    (door.root / NAME).write_bytes(b"other")
    adoption = door.intake.adopt("main", [look])
    assert adoption.changed == ((0, NAME),)
    assert door.file(NAME) is None
    assert door.place(NAME) is None


def test_a_file_that_vanished_since_its_look_is_left_out(door: Door) -> None:
    look = door.look((NAME, WHEEL[1][:100]))
    (door.root / NAME).unlink()
    assert door.intake.adopt("main", [look]).changed == ((0, NAME),)
    assert door.place(NAME) is None


def test_looks_at_what_is_not_whole_are_counted(door: Door) -> None:
    for looks in (1, 2, 3):
        adoption = door.intake.adopt("main", [door.look((NAME, WHEEL[1][: looks * 10]))])
        assert [place.looks for place in adoption.places] == [looks]
        assert adoption.places[0].next_look is not None
        assert adoption.places[0].next_look > NOW
    assert door.serial() == 0


def test_a_batch_is_seen_whole_or_not_at_all(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [door.look(samples.wheel("foo", f"{number}.0")) for number in range(5)]
    real = projects.refresh
    seen: list[int] = []

    def watched(*arguments: object) -> None:
        with door.catalogue.read() as conn:
            seen.append(files.count(conn, door.number))
        real(*arguments)  # type: ignore[arg-type]
        raise RuntimeError("killed")

    monkeypatch.setattr(projects, "refresh", watched)
    with pytest.raises(RuntimeError):
        door.intake.adopt("main", looks)
    assert seen == [0]
    assert door.serial() == 0
    monkeypatch.setattr(projects, "refresh", real)
    again = [
        Look(entry, look.state, look.facts)
        for look in looks
        for entry in door.storage.list(0, look.entry.path)
        if isinstance(entry, Entry)
    ]
    assert len(door.intake.adopt("main", again).listed) == 5


def test_a_move_is_one_step(door: Door) -> None:
    door.intake.adopt("main", [door.look(WHEEL)])
    (door.root / NAME).unlink()
    adoption = door.intake.adopt("main", [door.look(WHEEL, "below")], gone=[(0, NAME)])
    assert (adoption.listed, adoption.unlisted) == ((), ())
    file = door.file(NAME)
    assert file is not None
    assert file.path == f"below/{NAME}"
    assert door.place(NAME) is None


def test_forgotten_files_are_unlisted(door: Door) -> None:
    door.intake.adopt("main", [door.look(WHEEL)])
    (door.root / NAME).unlink()
    assert door.intake.forget("main", [(0, NAME), (0, "unknown.zip")]).unlisted == (NAME,)
    assert door.file(NAME) is None


def test_only_what_a_first_listing_announced_is_as_old_as_its_mtime(door: Door) -> None:
    announced, dropped = door.look(WHEEL), door.look(samples.wheel("foo", "2.0"))
    door.intake.announce("main", [announced.entry])
    door.intake.adopt("main", [announced, dropped], first=True)
    with door.catalogue.read() as conn:
        found = {one.filename: one.source for one in admissions.list(conn, door.number)}
    assert found == {NAME: "mtime", dropped.entry.path: "seen"}


def test_nothing_to_write_is_written_as_nothing(door: Door) -> None:
    assert door.intake.adopt("main", []) == Adoption()
    assert door.serial() == 0


def test_bytes_of_which_nothing_is_known_any_more_are_read_again_before_they_are_listed(door: Door) -> None:
    first, second = door.look(WHEEL, "a"), door.look(WHEEL, "b")
    door.intake.adopt("main", [first, second])
    with door.catalogue.write() as conn:
        conn.exec_driver_sql("delete from contents")
    (door.root / first.entry.path).unlink()
    adoption = door.intake.forget("main", [(0, first.entry.path)])
    assert adoption.changed == ((0, second.entry.path),)
    before = door.file(NAME)
    assert before is not None
    assert before.path == first.entry.path, "the row stays as it was"
    door.intake.adopt("main", [door.look(WHEEL, "b")])
    after = door.file(NAME)
    assert after is not None
    assert (after.path, after.sha256) == (second.entry.path, SHA)


def test_whoever_runs_it_is_told_of_names_that_an_upstream_has(door: Door) -> None:
    alarms: list[int] = []
    stored = mirrored(Stored(up={"foo"}))
    intake = Intake(door.catalogue, door.storage, lambda: NOW, mirror=stored, alarmed=alarms.append)
    with door.catalogue.write() as conn:
        indexes.set_upstreams(conn, door.number, ["up"])
    adoption = intake.adopt("main", [door.look(WHEEL), door.look(samples.wheel("mine", "1.0"))])
    assert ["project foo of index main" in said for said in adoption.alarms] == [True]
    assert alarms == [1]
    assert [line for level, line in adoption.lines() if level == logging.WARNING] == [*adoption.alarms]
    assert intake.adopt("main", [door.look(samples.wheel("foo", "2.0"))]).alarms == ()
    assert alarms == [1]


class Broken(DirectInspector):
    """Cannot look into some files, for one reason or another."""

    def inspect(self, path: str, entry: Entry, check: str) -> Look:
        if entry.path.startswith("down"):
            raise StorageDown("The bucket does not answer.")
        if entry.path.startswith("bug"):
            raise ZeroDivisionError("a slip")
        return super().inspect(path, entry, check)


def test_a_look_that_fails_costs_no_file_its_turn(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    ended = threading.Semaphore(0)
    inspection = Inspection(Broken(), door.storage, check="whole", threads=2, wake=ended.release)
    try:
        for sample in (WHEEL, samples.wheel("down", "1.0"), samples.wheel("bug", "1.0")):
            inspection.start(door.look(sample).entry)
        inspection.start(Entry(0, "no package.txt", door.look(WHEEL).entry.stat))
        for _ in range(4):
            assert ended.acquire(timeout=60)
        found = {look.entry.path.partition("-")[0]: look for look, _ in inspection.ended()}
    finally:
        inspection.close()
    assert {name: (look.state, look.code) for name, look in found.items()} == {
        "foo": (PlaceState.WHOLE, None),
        "down": (PlaceState.UNREAD, "sandbox"),
        "bug": (PlaceState.UNREAD, "sandbox"),
        "no package.txt": (PlaceState.REFUSED, BadName.code),
    }
    assert found["down"].reason == "The bucket does not answer."
    assert [record.getMessage() for record in caplog.records] == [
        f"{found['bug'].entry.path} could not be looked into"
    ]
    assert inspection.has_room
    assert not [*inspection.ended()]


def test_an_unknown_index_is_refused(door: Door) -> None:
    with pytest.raises(NotFound):
        door.intake.adopt("other", [door.look(WHEEL)])


def test_the_log_says_what_happened_to_each_file(door: Door) -> None:
    whole = door.intake.adopt("main", [door.look(WHEEL)])
    broken = door.intake.adopt(
        "main", [door.look(("bar-1.0.zip", b"<html>")), door.look(("baz-1.zip", b"PK"))]
    )
    lines = [line for adoption in (whole, broken) for _, line in adoption.lines()]
    assert [line.partition(":")[0] for line in lines] == ["listed", "refused", "not whole yet"]
