"""Verifying: what is whole agrees, every damage is found, and what can be mended is."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pidex.accounts import Accounts
from pidex.backends.quarantine import Quarantine
from pidex.catalogue import admissions, audit, indexes
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import CatalogueError
from pidex.core.model import OPERATOR
from pidex.curator import Curator
from pidex.intake import Intake
from pidex.verify import Difference, Healer, Repair, Stock, Verifier
from tests import samples
from tests.mirror.scripted import Rig, rigged
from tests.test_reconciler import House


class Checked(House):
    """A house with somebody who verifies and mends it."""

    def __init__(self, base: Path, catalogue: Catalogue) -> None:
        super().__init__(base, catalogue)
        self.intake = Intake(catalogue, self.storage, time.time)
        self.verifier = Verifier(catalogue, self.storage, time.time)
        self.quarantine = Quarantine(base / "quarantine")
        self.healer = Healer(catalogue, self.storage, self.intake, self.quarantine, clock=time.time)

    def differences(self, *, deep: bool = False) -> tuple[Difference, ...]:
        return self.verifier.verify(deep=deep, by=OPERATOR).differences

    def codes(self, *, deep: bool = False) -> list[str]:
        return [each.code for each in self.differences(deep=deep)]

    def mend(self, *, deep: bool = False) -> tuple[Difference, ...]:
        found = self.differences(deep=deep)
        for each in found:
            if each.repair is Repair.BYTES:
                self.healer.heal(each, by=OPERATOR)
        self.healer.forget([*found], by=OPERATOR)
        self.restart()
        self.reconciler.scan()
        self.healer.seal({each.subject for each in found if each.repair is Repair.SCAN})
        return self.differences(deep=deep)

    def change(self, statement: str, *values: object) -> None:
        """Edit a row by other means than pidex."""
        with closing(sqlite3.connect(self.base / "catalogue.db")) as conn, conn:
            assert conn.execute(statement, values).rowcount > 0, statement

    def rot(self, path: Path) -> None:
        """Change a byte as a disk does: nothing of the stat tells."""
        before = path.stat()
        with path.open("r+b") as file:
            file.seek(before.st_size // 2)
            byte = file.read(1)
            file.seek(before.st_size // 2)
            file.write(bytes([byte[0] ^ 0x10]))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        now = path.stat()
        for table in ("places", "files"):
            with closing(sqlite3.connect(self.base / "catalogue.db")) as conn, conn:
                conn.execute(
                    f"update {table} set ctime_ns = ? where inode = ?", (now.st_ctime_ns, now.st_ino)
                )


@pytest.fixture
def house(tmp_path: Path) -> Checked:
    house = Checked(tmp_path, Catalogue.open(tmp_path / "catalogue.db"))
    for number in range(3):
        house.put(samples.wheel("demo", f"1.{number}"))
        house.put(samples.sdist("other", f"2.{number}"), folder="deep")
    (house.roots[0] / "broken-1.0-py3-none-any.whl").write_bytes(b"PK\x03\x04 and no more" * 10)
    os.symlink("nowhere", house.roots[0] / "gone-1.0.tar.gz")
    house.reconciler.scan()
    return house


def curated(house: Checked) -> None:
    """What people do to an index: each kind of decision once."""
    accounts = Accounts(house.catalogue, house.catalogue.probe(), clock=time.time, key=b"key")
    curator = Curator(house.catalogue, house.storage, house.intake, accounts, time.time)
    curator.yank("main", "demo", version="1.1", reason="bad", by=OPERATOR)
    curator.delete("main", "other", version="2.0", by=OPERATOR)
    curator.delete("main", "demo", filename="demo-1.2-py3-none-any.whl", by=OPERATOR)
    curator.restore_file("main", "demo-1.2-py3-none-any.whl", by=OPERATOR)
    curator.set_status("main", "other", "deprecated", reason="old", by=OPERATOR)


def test_what_is_whole_agrees(house: Checked) -> None:
    report = house.verifier.verify(deep=True, by=OPERATOR)
    assert report.differences == ()
    assert report.files == 6


def test_what_people_decided_agrees(house: Checked) -> None:
    curated(house)
    assert house.differences(deep=True) == ()
    house.restart()
    house.reconciler.scan()
    assert house.differences(deep=True) == ()


def test_files_that_nobody_read_yet_are_told(house: Checked) -> None:
    house.put(samples.wheel("late", "1.0"))
    (house.roots[0] / "demo-1.0-py3-none-any.whl").unlink()
    assert sorted(house.codes()) == ["missing", "unread"]
    house.reconciler.scan()
    assert house.codes() == []


def test_a_moment_is_no_difference(house: Checked) -> None:
    house.put(samples.wheel("late", "1.0"))
    first = house.verifier.verify(by=OPERATOR)
    assert len(first.differences) == 1
    assert house.verifier.confirmed(first, by=OPERATOR).differences == first.differences
    house.reconciler.scan()
    assert house.verifier.confirmed(first, by=OPERATOR).differences == ()


ROWS = [
    (
        "places",
        "update places set sha256 = replace(sha256, substr(sha256, 1, 1), 'x') where path like 'demo-1.0%'",
    ),
    ("places", "update places set state = 'refused' where path like 'demo-1.0%'"),
    ("places", "update places set project = 'else' where path like 'demo-1.0%'"),
    ("places", "update places set mtime_ns = mtime_ns + 1 where path like 'demo-1.0%'"),
    ("places", "update places set inode = 1 where path like 'demo-1.0%'"),
    ("places", "update places set key = 'k' where path like 'demo-1.0%'"),
    ("places", "update places set root = 1 where path like 'demo-1.0%'"),
    ("places", "delete from places where path like 'demo-1.0%'"),
    ("files", "update files set name = 'Else' where key like 'demo-1.0%'"),
    ("files", "update files set sha256 = blake2b_256 where key like 'demo-1.0%'"),
    ("files", "update files set packagetype = 'nonsense' where key like 'demo-1.0%'"),
    ("files", "update files set upload_time = 1 where key like 'demo-1.0%'"),
    ("files", "update files set requires_python = '>9' where key like 'demo-1.0%'"),
    ("files", "update files set shelf = 'none' where key like 'demo-1.0%'"),
    ("files", "update files set inode = 1 where key like 'demo-1.0%'"),
    ("files", "update files set key = 'else' where key like 'demo-1.0%'"),
    ("files", "delete from files where key like 'demo-1.0%'"),
    ("contents", "update contents set md5 = sha256 where version = '1.0'"),
    ("contents", "update contents set metadata = x'00' where version = '1.0'"),
    ("contents", "update contents set metadata = null where version = '1.0'"),
    ("contents", "update contents set summary = 'Else' where version = '1.0'"),
    ("contents", "update contents set kind = 'nonsense' where version = '1.0'"),
    ("contents", "delete from contents where version = '1.0'"),
    ("projects", "update projects set files = 9 where project = 'demo'"),
    ("projects", "update projects set serial = 1 where project = 'other'"),
    ("projects", "update projects set name = 'Else' where project = 'demo'"),
    ("projects", "delete from projects where project = 'demo'"),
    ("projects", "insert into projects select index_id, 'more', name, files, serial from projects limit 1"),
    ("problems", "delete from problems"),
    ("problems", "update problems set reason = 'else'"),
    ("scans", "update scans set finished = null"),
]


@pytest.mark.parametrize(("table", "statement"), ROWS, ids=[statement for _, statement in ROWS])
def test_a_derived_row_that_is_wrong_is_found_and_made_again(
    house: Checked, table: str, statement: str
) -> None:
    with house.catalogue.read() as conn:
        before = [*admissions.list(conn, house.number)]
    listed = house.listed()
    house.change(statement)
    assert house.codes(), f"{table} was edited"
    assert house.mend() == ()
    assert house.listed() == listed
    with house.catalogue.read() as conn:
        assert [*admissions.list(conn, house.number)] == before


DECISIONS = [
    "update admissions set by = 'eve'",
    "delete from admissions where key like 'demo-1.0%'",
    "update superseded set replaced = 1",
    "delete from tombstones",
    "update yanks set reason = ''",
    "update statuses set status = 'active'",
    "delete from journal where serial = 2",
    "update journal set action = 'else' where serial = 2",
    "update counters set value = value - 1 where name = 'serial'",
    "update audit set actor = 'eve' where id = 1",
    "update indexes set mutability = 'volatile'",
    "update grants set role = 'admin'",
    "insert into users (name, display, created) values ('eve', 'Eve', 1)",
]


@pytest.mark.parametrize("statement", DECISIONS)
def test_an_edited_decision_is_found_and_never_made_up(house: Checked, statement: str) -> None:
    curated(house)
    house.change(statement)
    found = house.differences()
    assert found
    assert house.mend(), "nobody but a person can say what was right"


def test_accepting_what_is_there(house: Checked) -> None:
    house.change("insert into users (name, display, created) values ('eve', 'Eve', 1)")
    assert house.codes() == ["seal"]
    house.healer.accept(by=OPERATOR)
    assert house.codes() == []
    with house.catalogue.read() as conn:
        [row] = audit.list(conn, limit=1)
        assert (row.action, row.after) == ("catalogue.accept", '{"tables": ["users"]}')


def test_an_upload_that_was_given_up_is_told(house: Checked) -> None:
    with house.catalogue.write() as conn:
        conn.exec_driver_sql(
            "insert into intents values (1, 'k', 'k-1.0.tar.gz', 0, 'k-1.0.tar.gz', 's', 1, 'ann', 1, null)"
        )
    [found] = house.differences()
    assert (found.code, found.repair) == ("intent", Repair.START)


def test_rot_is_found_and_put_aside(house: Checked) -> None:
    path = house.roots[0] / "demo-1.0-py3-none-any.whl"
    house.rot(path)
    assert house.codes() == []
    [found] = house.differences(deep=True)
    assert (found.code, found.path) == ("bytes", path.name)
    damaged = path.read_bytes()
    assert house.mend(deep=True) == ()
    assert not path.exists()
    assert house.file(path.name) is None
    aside = [each for each in house.quarantine.folder.iterdir() if each.suffix != ".json"]
    assert {each.read_bytes() for each in aside} == {damaged}
    assert house.quarantine.count() == 2  # the folder's name and the kept one
    # The same bytes again: what is known of the file is known again.
    with house.catalogue.read() as conn:
        before = admissions.find(conn, house.number, path.name)
    house.put(samples.wheel("demo", "1.0"))
    house.reconciler.scan()
    with house.catalogue.read() as conn:
        assert admissions.find(conn, house.number, path.name) == before
    assert house.differences(deep=True) == ()


def test_rot_of_a_copy_is_healed_from_the_other(house: Checked) -> None:
    path = house.roots[0] / "demo-1.0-py3-none-any.whl"
    sound = path.read_bytes()
    apart(path)
    house.reconciler.scan()
    assert house.differences(deep=True) == ()
    house.rot(path)
    assert house.codes(deep=True) == ["bytes"]
    assert house.mend(deep=True) == ()
    assert path.read_bytes() == sound
    assert house.data(path.name) == sound
    file = house.file(path.name)
    assert file is not None
    apart(path)
    house.reconciler.scan()
    kept = Path(house.storage.kept_path(file.sha256))
    house.rot(kept)
    assert house.codes(deep=True) == ["kept"]
    assert house.mend(deep=True) == ()
    assert kept.read_bytes() == sound
    assert house.data(path.name) == sound


def test_a_file_that_cannot_be_moved_is_no_longer_served(house: Checked) -> None:
    (house.roots[0] / ".git").mkdir()
    path = house.roots[0] / "demo-1.0-py3-none-any.whl"
    house.rot(path)
    assert house.mend(deep=True) == ()
    assert path.exists()
    assert house.file(path.name) is None
    place = house.place(path.name)
    assert place is not None
    assert place.code == "damaged-on-disk"


def test_a_source_brings_bytes_back(house: Checked) -> None:
    """The seam for whoever can fetch a file again."""
    path = house.roots[0] / "demo-1.0-py3-none-any.whl"
    sound = path.read_bytes()
    asked: list[str] = []

    class Source:
        def refetch(self, sha256: str) -> bool:
            asked.append(sha256)
            kept = Path(house.storage.kept_path(sha256))
            kept.write_bytes(sound)
            return True

    house.healer = Healer(
        house.catalogue, house.storage, house.intake, house.quarantine, clock=time.time, source=Source()
    )
    house.rot(path)
    assert house.mend(deep=True) == ()
    assert len(asked) == 1
    assert path.read_bytes() == sound


def test_a_catalogue_that_sqlite_cannot_read_is_one_sentence(house: Checked) -> None:
    house.catalogue.close()
    path = house.base / "catalogue.db"
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    path.write_bytes(data)
    shutil.rmtree(house.base / "catalogue.db-wal", ignore_errors=True)
    found = house.differences()
    assert "catalogue" in {each.code for each in found}


def test_a_value_that_is_no_text_is_one_sentence(house: Checked) -> None:
    """Found by `scripts/faults verify`: SQLite takes any bytes for text, its driver does not."""
    house.change("update files set sha256 = cast(x'ff41' as text) where key like 'demo-1.0%'")
    assert [each.code for each in house.differences(deep=True)] == ["catalogue"]
    with pytest.raises(CatalogueError, match="damaged"):
        house.file("demo-1.0-py3-none-any.whl")


def apart(path: Path) -> None:
    """Make a file of its own of a path, with the same bytes and times."""
    before = path.stat()
    copy = path.with_name(".copy")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    copy.rename(path)


def test_each_engine_is_compared_and_mended(catalogue: Catalogue, tmp_path: Path) -> None:
    house = Checked(tmp_path, catalogue)
    house.put(samples.wheel("demo", "1.0"))
    house.put(samples.sdist("demo", "1.0"))
    house.reconciler.scan()
    curated_release(house)
    assert house.differences(deep=True) == ()
    with catalogue.write() as conn:
        conn.exec_driver_sql("update files set md5 = 'x'")
        conn.exec_driver_sql("delete from contents")
        conn.exec_driver_sql("update projects set files = 9")
    assert {"row", "contents", "project"} & set(house.codes())
    assert house.mend() == ()
    with catalogue.write() as conn:
        conn.exec_driver_sql("update audit set actor = 'eve' where id = 1")
    assert house.codes() == ["audit"]


def curated_release(house: Checked) -> None:
    accounts = Accounts(house.catalogue, house.catalogue.probe(), clock=time.time, key=b"key")
    curator = Curator(house.catalogue, house.storage, house.intake, accounts, time.time)
    curator.yank("main", "demo", version="1.0", reason="bad", by=OPERATOR)


def test_each_index_is_compared(house: Checked) -> None:
    with house.catalogue.write() as conn:
        indexes.ensure(conn, "second", time.time())
    assert house.differences() == ()


# --- files of upstreams -------------------------------------------------------------------------------------


@contextmanager
def held(house: Checked, *, fetch: bool) -> Iterator[tuple[Rig, Path]]:
    """A house with an own file and two of an upstream, of which one has rotted: where that lies."""
    house.put(samples.wheel("mine", "1.0"))
    house.reconciler.scan()
    with rigged(house.base) as rig:
        files = [rig.upstream.file(*samples.wheel(name, "1.0")) for name in ("sound", "rotten")]

        async def fetched() -> None:
            for file in files:
                await rig.mirror.refresh(file.origin, file.project)
                (await rig.mirror.files.fetch(file)).close()

        rig.mirror.run(fetched)
        stock = Stock(rig.mirror, fetch=fetch)
        house.verifier = Verifier(house.catalogue, house.storage, time.time, stock)
        house.healer = Healer(
            house.catalogue, house.storage, house.intake, house.quarantine, clock=time.time, stock=stock
        )
        rotten = Path(stock.path(files[1].sha256))
        flip(rotten)
        yield rig, rotten


def test_damaged_files_of_upstreams_are_found_and_fetched_again(tmp_path: Path) -> None:
    house = Checked(tmp_path, Catalogue.open(tmp_path / "catalogue.db"))
    with held(house, fetch=True) as (rig, rotten):
        assert house.codes() == []
        (found,) = house.differences(deep=True)
        assert (found.code, found.repair, found.subject) == ("mirrored", Repair.MIRROR, rotten.name)
        assert "rotten-1.0-py3-none-any.whl of upstream up" in found.sentence
        report = house.verifier.verify(deep=True, by=OPERATOR)
        assert house.verifier.confirmed(report, by=OPERATOR).differences == (found,)
        assert "fetched again" in house.healer.heal(found, by=OPERATOR)
        assert hashlib.sha256(rotten.read_bytes()).hexdigest() == rotten.name
        assert house.codes(deep=True) == []
        assert rig.upstream.asked["download"] == 3
        # Where the upstream is gone, what is wrong goes all the same.
        flip(rotten)
        rig.upstream.bodies.clear()
        assert "when somebody asks" in house.healer.heal(found, by=OPERATOR)
        assert not rotten.exists()
        assert house.codes(deep=True) == []


def flip(path: Path) -> None:
    """Change a byte; the time stays."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.chmod(0o600)
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
