"""The loop over the folders: what a person drops, replaces, moves and deletes, and what is listed then."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pidex.backends.folder import Folder
from pidex.catalogue import admissions, files, indexes, journal, places, projects, scans, tombstones
from pidex.catalogue.engine import Catalogue
from pidex.catalogue.expendable import Expendable
from pidex.catalogue.tombstones import Tombstone
from pidex.core.errors import CatalogueError, Changing
from pidex.core.model import Entry, File, Look, Place, PlaceState, Shelf
from pidex.intake import Intake
from pidex.intake.inspection import AHEAD_FILES
from pidex.reconciler import Reconciler
from tests import samples
from tests.direct import DirectInspector

#: How long a loop may take until a test gives up on it, in seconds.
PATIENCE = 20.0


class House:
    """Two folders, a catalogue, and a reconciler that a test runs step by step or lets run."""

    def __init__(self, base: Path, catalogue: Catalogue, mutability: str | None = None) -> None:
        self.roots = [base / "one", base / "two"]
        for root in self.roots:
            root.mkdir(exist_ok=True)
        self.base = base
        self.catalogue = catalogue
        self.storage = Folder(self.roots, base / "kept")
        self.inspector = DirectInspector()
        self.expendable = Expendable(base / "cache.db")
        with catalogue.write() as conn:
            self.number = indexes.ensure(conn, "main", time.time(), mutability)
        self.restart()

    def restart(self, **options: object) -> None:
        """The process is another one."""
        intake = Intake(self.catalogue, self.storage, time.time)
        self.reconciler = Reconciler(
            self.catalogue, self.expendable, self.storage, self.inspector, intake, time.time, index="main",
            **options,  # type: ignore[arg-type]
        )  # fmt: skip

    def put(self, sample: samples.Sample, *, root: int = 0, folder: str = "") -> Path:
        return samples.write(self.roots[root] / folder, sample)

    def file(self, filename: str) -> File | None:
        with self.catalogue.read() as conn:
            return files.find_by_key(conn, self.number, filename.casefold())

    def listed(self) -> set[str]:
        with self.catalogue.read() as conn:
            return {file.filename for file in files.list_all(conn, self.number)}

    def place(self, path: str, root: int = 0) -> Place | None:
        with self.catalogue.read() as conn:
            return places.find(conn, self.number, root, path)

    def actions(self) -> list[str]:
        with self.catalogue.read() as conn:
            return [change.action for change in journal.since(conn, 0, 1_000)]

    def data(self, filename: str) -> bytes:
        file = self.file(filename)
        assert file is not None
        handle = self.storage.open(file)
        try:
            handle.check()
            return handle.read(0, file.size + 1)
        finally:
            handle.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=self.reconciler.run, args=(stop,))
        thread.start()
        try:
            until(lambda: self.scan().listed, "listed")
            yield
        finally:
            stop.set()
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def scan(self) -> scans.Scan:
        with self.catalogue.read() as conn:
            return scans.find(conn, self.number)


def until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not {what} after {PATIENCE} s"
        time.sleep(0.005)


@pytest.fixture
def catalogue(_empty_sqlite: Path, tmp_path: Path) -> Iterator[Catalogue]:
    """SQLite only: that PostgreSQL does the same, the catalogue's own tests say, and two of these."""
    opened = Catalogue.open(shutil.copy(_empty_sqlite, tmp_path / "catalogue.db"), create=False)
    yield opened
    opened.close()


@pytest.fixture
def house(tmp_path: Path, catalogue: Catalogue) -> Iterator[House]:
    made = House(tmp_path, catalogue)
    yield made
    made.expendable.close()


@pytest.fixture
def anywhere(tmp_path: Path, address: str | Path) -> Iterator[House]:
    """A house on each engine."""
    catalogue = Catalogue.open(address, create=False)
    made = House(tmp_path, catalogue)
    yield made
    made.expendable.close()
    catalogue.close()


def wheel(version: str = "1.0", variant: int = 0) -> samples.Sample:
    return samples.wheel("foo", version, files={"variant.txt": b"%d" % variant})


NAME = wheel()[0]
OLD, NEW = wheel()[1], wheel(variant=1)[1]


# --- scans ---


def test_a_first_scan_lists_what_is_whole_and_reports_the_rest(anywhere: House) -> None:
    house = anywhere
    house.put(wheel("1.0"))
    house.put(samples.sdist("bar", "2"), folder="sub/deep")
    house.put(samples.egg("baz", "3"), root=1)
    house.put((wheel("2.0")[0], wheel("2.0")[1][:-9]))
    house.put(("lfs-1.0.zip", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"))
    house.put(("docs.zip", samples.sdist("docs", "1", format="zip")[1]))
    (house.roots[0] / "broken-1.zip").symlink_to("nowhere")
    report = house.reconciler.scan()
    assert report.listed == 3
    assert house.listed() == {NAME, "bar-2.tar.gz", "baz-3-py2.7.egg"}
    assert [place.code for place in report.pending] == ["truncated"]
    assert {place.path: place.code for place in report.refused} == {
        "lfs-1.0.zip": "lfs-pointer",
        "docs.zip": "bad-filename",
    }
    assert [(problem.path, problem.code) for problem in report.problems] == [("broken-1.zip", "broken-link")]
    assert house.scan().finished is not None
    assert os.fspath(house.roots[0] / "docs.zip") not in house.inspector.paths  # its name says enough


def test_a_second_scan_reads_nothing(house: House) -> None:
    for version in range(5):
        house.put(wheel(f"{version}.0"))
    house.reconciler.scan()
    house.inspector.paths.clear()
    house.restart()
    assert house.reconciler.scan().listed == 5
    assert house.inspector.paths == []


def test_a_rebuild_reads_everything(house: House) -> None:
    house.put(wheel())
    house.reconciler.scan()
    house.inspector.paths.clear()
    assert house.reconciler.scan(rebuild=True).listed == 1
    assert len(house.inspector.paths) == 1
    assert house.actions() == ["create", "new release", f"add py3 file {NAME}"]


def test_progress_is_told(house: House) -> None:
    for version in range(5):
        house.put(wheel(f"{version}.0"))
    told: list[tuple[int, int]] = []
    house.reconciler.scan(lambda done, total: told.append((done, total)))
    assert (0, 5) in told
    assert [done for done, _ in told[:-1]] == sorted(done for done, _ in told[:-1])


def test_upload_times_of_a_first_scan_are_mtimes_and_later_ones_are_now(house: House) -> None:
    path = house.put(wheel("1.0"))
    os.utime(path, (1_500_000_000, 1_500_000_000))
    future = house.put(wheel("3.0"))
    os.utime(future, (time.time() + 10**6, time.time() + 10**6))
    house.reconciler.scan()
    later = house.put(wheel("2.0"))
    os.utime(later, (1_500_000_000, 1_500_000_000))
    before = int(time.time() * 1e6)
    house.reconciler.scan()
    with house.catalogue.read() as conn:
        first, second, third = (
            admissions.find(conn, house.number, one.name.casefold()) for one in (path, later, future)
        )
    assert first is not None
    assert (first.first_seen, first.source) == (1_500_000_000_000_000, "mtime")
    assert second is not None
    assert second.first_seen >= before
    assert second.source == "seen"
    assert third is not None
    assert third.first_seen <= before
    file = house.file(path.name)
    assert file is not None
    assert file.upload_time == first.first_seen


# --- the last good version ---


def test_a_replacement_by_git_is_invisible_until_it_is_whole(anywhere: House) -> None:
    house = anywhere
    path = house.put((NAME, OLD))
    house.reconciler.scan()
    for cut in (0, 10, len(NEW) - 1):
        path.unlink(missing_ok=True)
        path.write_bytes(NEW[:cut])
        house.reconciler.scan()
        assert house.data(NAME) == OLD
        place = house.place(NAME)
        assert place is not None
        assert place.state is PlaceState.PENDING
    path.write_bytes(NEW)
    house.reconciler.scan()
    assert house.data(NAME) == NEW
    assert house.actions()[-2:] == [f"remove file {NAME}", f"add py3 file {NAME}"]
    with house.catalogue.read() as conn:
        assert [old.sha256 for old in admissions.list_superseded(conn, house.number, NAME)] == [
            hashlib.sha256(OLD).hexdigest()
        ]


def test_bytes_written_over_in_place_answer_busy_until_they_are_whole_or_refused(house: House) -> None:
    path = house.put((NAME, OLD))
    house.reconciler.scan()
    path.write_bytes(NEW[:50])
    house.reconciler.scan()
    assert house.listed() == {NAME}
    with pytest.raises(Changing):
        house.data(NAME)
    path.write_bytes(b"<html>404</html>")
    house.reconciler.scan()
    assert house.listed() == set()
    path.write_bytes(NEW)
    house.reconciler.scan()
    assert house.data(NAME) == NEW


def test_bytes_that_come_back_get_back_their_time(house: House) -> None:
    path = house.put((NAME, OLD))
    os.utime(path, (1_500_000_000, 1_500_000_000))
    house.reconciler.scan()
    for data in (NEW, OLD):
        path.unlink()
        path.write_bytes(data)
        house.reconciler.scan()
    file = house.file(NAME)
    assert file is not None
    assert file.upload_time == 1_500_000_000_000_000
    assert house.data(NAME) == OLD


def test_a_deleted_file_is_unlisted_and_remembered(house: House) -> None:
    path = house.put((NAME, OLD))
    house.reconciler.scan()
    file = house.file(NAME)
    path.unlink()
    house.reconciler.scan()
    assert house.listed() == set()
    assert house.actions()[-3:] == [f"remove file {NAME}", "remove release", "remove project"]
    with house.catalogue.read() as conn:
        assert projects.find(conn, house.number, "foo") is None
        assert admissions.find(conn, house.number, NAME) is not None
    path.write_bytes(OLD)
    house.reconciler.scan()
    again = house.file(NAME)
    assert file is not None
    assert again is not None
    assert again.upload_time == file.upload_time


def test_the_last_good_version_survives_an_emptied_catalogue(house: House) -> None:
    path = house.put((NAME, OLD))
    house.reconciler.scan()
    path.unlink()
    path.write_bytes(NEW[:50])
    with house.catalogue.write() as conn:
        found = places.list(conn, house.number)
        places.delete_many(conn, house.number, [(place.root, place.path) for place in found])
        files.replace(conn, house.number, NAME, None)
        projects.refresh(conn, house.number, ["foo"])
        conn.exec_driver_sql("delete from contents")
    house.restart()
    house.reconciler.scan()
    assert house.data(NAME) == OLD


# --- several places ---


def test_the_first_root_wins_and_the_other_takes_over(house: House) -> None:
    first = house.put((NAME, OLD))
    house.put((NAME, NEW), root=1)
    report = house.reconciler.scan()
    assert report.shadowed == ((NAME, NAME),)
    assert house.data(NAME) == OLD
    first.unlink()
    assert house.reconciler.scan().shadowed == ()
    assert house.data(NAME) == NEW


def test_the_same_bytes_twice_are_one_file(house: House) -> None:
    path = house.put((NAME, OLD))
    house.put((NAME, OLD), root=1, folder="copy")
    assert house.reconciler.scan().shadowed == ()
    path.unlink()
    house.reconciler.scan()
    file = house.file(NAME)
    assert file is not None
    assert (file.root, file.path) == (1, f"copy/{NAME}")
    assert house.data(NAME) == OLD
    assert house.actions()[-1] == "refresh"


def test_names_that_differ_by_case_are_one(house: House) -> None:
    house.put((NAME, OLD), folder="b")
    house.put((NAME.replace("foo", "Foo"), NEW), folder="a")
    assert len(house.reconciler.scan().shadowed) == 1
    assert house.listed() == {NAME.replace("foo", "Foo")}


def test_two_names_of_one_inode(house: House) -> None:
    path = house.put((NAME, OLD))
    os.link(path, house.roots[1] / NAME)
    house.reconciler.scan()
    house.inspector.paths.clear()
    house.reconciler.scan()
    assert house.inspector.paths == []


# --- decisions ---


def test_an_immutable_index_keeps_its_bytes(tmp_path: Path, catalogue: Catalogue) -> None:
    house = House(tmp_path, catalogue, mutability="immutable")
    path = house.put((NAME, OLD))
    house.reconciler.scan()
    path.unlink()
    path.write_bytes(NEW)
    report = house.reconciler.scan()
    assert [one for one, _ in report.withheld] == [NAME]
    assert house.data(NAME) == OLD
    house.expendable.close()


def test_a_burnt_name_does_not_come_back(house: House) -> None:
    with house.catalogue.write() as conn:
        tombstones.put(conn, house.number, Tombstone(NAME, "0" * 64, 1, "ann", "broken build"))
    house.put((NAME, OLD))
    report = house.reconciler.scan()
    assert house.listed() == set()
    assert [one for one, _ in report.withheld] == [NAME]
    assert "broken build" in report.withheld[0][1]


# --- folders that cannot be seen ---


def test_a_root_that_went_away_forgets_nothing(house: House) -> None:
    house.put((NAME, OLD))
    house.reconciler.scan()
    house.roots[0].rename(house.base / "elsewhere")
    report = house.reconciler.scan()
    assert [problem.code for problem in report.problems] == ["root-missing"]
    assert house.data(NAME) == OLD
    house.restart()
    house.reconciler.scan()
    assert house.listed() == {NAME}
    (house.base / "elsewhere").rename(house.roots[0])
    house.inspector.paths.clear()
    assert house.reconciler.scan().problems == ()
    assert house.inspector.paths == []


# --- the running loop ---


def test_a_dropped_file_is_listed_when_the_loop_is_nudged(house: House) -> None:
    with house.running():
        house.put((NAME, OLD))
        house.reconciler.nudge([(0, NAME)])
        until(lambda: house.listed() == {NAME}, "listed")
        house.put(samples.sdist("bar", "1"), folder="new/folder")
        house.reconciler.nudge([(0, "new")])
        until(lambda: len(house.listed()) == 2, "listed")
        shutil.rmtree(house.roots[0] / "new")
        house.reconciler.nudge([(0, "new")])
        until(lambda: house.listed() == {NAME}, "unlisted")


def test_a_growing_file_is_looked_at_again_without_any_notice(house: House) -> None:
    path = house.put((NAME, OLD[:50]))
    with house.running():
        until(lambda: (place := house.place(NAME)) and place.looks >= 2, "looked at twice")
        path.write_bytes(OLD)
        until(lambda: house.listed() == {NAME}, "listed")


def test_a_file_that_is_moved_is_listed_all_the_while(house: House) -> None:
    house.put((NAME, OLD), folder="a")
    with house.running():
        until(house.listed, "listed")
        (house.roots[0] / "a").rename(house.roots[0] / "b")
        house.reconciler.nudge([(0, "a"), (0, "b")])
        until(lambda: (file := house.file(NAME)) and file.path == f"b/{NAME}", "listed from there")
    assert house.actions()[-1] == "refresh"
    assert not any(action.startswith("remove") for action in house.actions())


def test_pages_that_are_waited_for_come_first(house: House) -> None:
    """One look at a time, the first held up until the loop has taken the wish."""
    for version in range(AHEAD_FILES + 30):
        house.put(samples.sdist("small", f"{version}"))
    house.put(samples.wheel("wanted", "1.0", files={"large.bin": os.urandom(5_000_000)}))
    gate = threading.Event()
    house.inspector.during = lambda path: (gate.wait(PATIENCE), None)[1]
    house.restart(lookers=1)
    with house.running():
        house.expendable.want("main", "wanted")
        with closing(sqlite3.connect(house.base / "cache.db")) as cache:
            until(lambda: not cache.execute("select * from wanted").fetchall(), "taken")
        gate.set()
        until(lambda: len(house.listed()) == AHEAD_FILES + 31, "listed")
    order = [Path(path).name for path in house.inspector.paths]
    assert order.index("wanted-1.0-py3-none-any.whl") <= AHEAD_FILES + 2  # the largest file of all


def test_a_scan_can_be_asked_for_through_the_cache_file(house: House) -> None:
    with house.running():
        house.put((NAME, OLD))
        house.expendable.want("main", None)
        until(lambda: house.listed() == {NAME}, "listed")


def test_the_end_of_a_scan_that_found_nothing_new_is_noted_too(house: House) -> None:
    house.put((NAME, OLD))
    with house.running():
        for _ in range(2):
            until(lambda: house.scan().finished is not None and house.reconciler._resting, "at rest")
            before = house.scan().finished
            house.expendable.want("main", None)
            until(lambda before=before: house.scan().finished != before, "noted")


def test_first_listing_makes_pages_wait_and_later_drops_do_not(house: House) -> None:
    house.put((NAME, OLD))
    gate = threading.Event()
    house.inspector.during = lambda path: (gate.wait(PATIENCE), None)[1]
    with house.running():
        place = house.place(NAME)
        assert place is not None
        assert place.state is PlaceState.UNREAD
        dropped = house.put(wheel("2.0"))
        house.reconciler.nudge([(0, dropped.name)])
        time.sleep(0.2)
        assert house.place(dropped.name) is None
        gate.set()
        until(lambda: len(house.listed()) == 2, "listed")


def test_a_kill_in_the_middle_of_a_first_scan_costs_nothing_but_time(house: House) -> None:
    for version in range(8):
        path = house.put(wheel(f"{version}.0"))
        os.utime(path, (1_500_000_000, 1_500_000_000))
    gate = threading.Event()
    house.inspector.during = lambda path: (gate.wait(PATIENCE), None)[1]
    house.reconciler.prepare()
    stop = threading.Event()
    thread = threading.Thread(target=house.reconciler.run, args=(stop,))
    thread.start()
    until(lambda: house.place(wheel("7.0")[0]), "announced")
    stop.set()
    gate.set()
    thread.join(PATIENCE)
    house.restart()
    house.reconciler.scan()
    assert len(house.listed()) == 8
    with house.catalogue.read() as conn:
        assert {one.source for one in admissions.list(conn, house.number)} == {"mtime"}


def test_a_file_written_while_it_is_read_is_read_again(house: House) -> None:
    path = house.put((NAME, OLD))

    def write(_: str) -> None:
        house.inspector.during = lambda _: None
        path.write_bytes(NEW)

    house.inspector.during = write
    house.reconciler.scan()
    assert house.data(NAME) == NEW


def test_a_file_that_changes_under_every_look_is_pending(house: House) -> None:
    path = house.put((NAME, OLD))
    house.inspector.during = lambda _: os.utime(path)
    report = house.reconciler.scan()
    assert [place.code for place in report.pending] == ["changing"]


def test_nobody_there_to_look_is_no_fault_of_the_file(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.put((NAME, OLD))
    real, calls = house.inspector.inspect, iter(range(10))

    def busy(path: str, entry: Entry, check: str) -> Look:
        if next(calls) == 0:
            return Look(entry, PlaceState.UNREAD, code="sandbox", reason="no process could be started")
        return real(path, entry, check)

    monkeypatch.setattr(house.inspector, "inspect", busy)
    house.reconciler.scan()
    assert house.listed() == {NAME}
    assert "no process could be started" in caplog.text


def test_a_scan_ends_though_nobody_can_look_and_the_next_one_tries_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`scripts/faults calls --acts adopt`: without a descriptor left a scan went on for ever."""
    monkeypatch.setattr("pidex.reconciler.NOBODY_SECONDS", 0.001)
    house.put((NAME, OLD))
    other = house.put(wheel("2.0")).name
    real = house.inspector.inspect

    def busy(path: str, entry: Entry, check: str) -> Look:
        if path.endswith(NAME):
            return Look(entry, PlaceState.UNREAD, code="sandbox", reason="no process could be started")
        return real(path, entry, check)

    with monkeypatch.context() as patched:
        patched.setattr(house.inspector, "inspect", busy)
        report = house.reconciler.scan()
    assert house.listed() == {other}
    assert [place.path for place in report.pending] == [NAME]
    time.sleep(0.01)
    house.reconciler.scan()
    assert house.listed() == {NAME, other}


def test_the_loop_outlives_an_error_of_the_catalogue(
    house: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pidex.reconciler.FIRST_REST_SECONDS", 0.01)
    real, calls = house.catalogue.write, iter(range(100))

    def failing() -> object:
        if next(calls) == 3:
            raise CatalogueError("the disk is full")
        return real()

    with house.running():
        monkeypatch.setattr(house.catalogue, "write", failing)
        for version in range(4):
            name = house.put(wheel(f"{version}.0")).name
            house.reconciler.nudge([(0, name)])
            until(lambda name=name: name in house.listed(), "listed")  # type: ignore[misc]
    assert "the disk is full" in caplog.text


def test_a_burst_of_notices_ends_in_a_scan(house: House) -> None:
    with house.running():
        for version in range(30):
            house.put(wheel(f"{version}.0"))
        house.reconciler.nudge([(0, f"nothing-{number}.zip") for number in range(500)])
        until(lambda: len(house.listed()) == 30, "listed")


def test_problems_are_logged_once(house: House, caplog: pytest.LogCaptureFixture) -> None:
    (house.roots[0] / "broken-1.zip").symlink_to("nowhere")
    with caplog.at_level(logging.WARNING):
        house.reconciler.scan()
        house.reconciler.scan()
    assert caplog.text.count("broken-1.zip is not served") == 1


def test_check_none_serves_everything(house: House) -> None:
    house.restart(check="none")
    house.put((NAME, b"not a zip at all"))
    house.reconciler.scan()
    assert house.data(NAME) == b"not a zip at all"


def test_without_second_names_the_folder_serves(house: House) -> None:
    house.storage = Folder(house.roots, None)
    house.restart()
    house.put((NAME, OLD))
    house.reconciler.scan()
    file = house.file(NAME)
    assert file is not None
    assert file.shelf is Shelf.FOLDER
    assert house.data(NAME) == OLD


def test_old_bytes_that_nobody_lists_are_dropped_in_time(house: House) -> None:
    path = house.put((NAME, OLD))
    house.reconciler.scan()
    path.unlink()
    house.reconciler.scan()
    sha256 = hashlib.sha256(OLD).hexdigest()
    assert house.storage.kept(sha256) is not None
    later = Intake(house.catalogue, house.storage, lambda: time.time() + 8 * 86_400)
    assert later.prune() == 1
    assert house.storage.kept(sha256) is None
