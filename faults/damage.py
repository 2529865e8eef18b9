"""Damages done past pidex: bits, ends, files, rows and pages; `pidex verify --deep` has to find each."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.wheels import wheel
from faults.server import Broken
from pidex import app
from pidex.app import upkeep
from pidex.catalogue import snapshots
from pidex.catalogue.tables import metadata
from pidex.core.errors import CatalogueError
from pidex.core.model import DEFAULT_INDEX, OPERATOR

FILES = 40
#: Values that mean nothing by themselves: a device's number changes by a mount, the ctime of listed bytes by
#: each name that they get (then their hash decides), and looks at what is not whole are a matter of patience.
MEANINGLESS = {
    ("places", "device"), ("places", "looks"), ("places", "next_look"), ("files", "device"),
    ("files", "ctime_ns"),
}  # fmt: skip
#: Bytes of a page of the catalogue.
PAGE_BYTES = 4096


class Grounds:
    """A data directory that is damaged, verified, and made as it was."""

    def __init__(self, base: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.base, self.folder = base, base / "packages"
        self.folder.mkdir()
        for number in range(FILES):
            name, data = wheel(f"project-{number % 13}", f"1.{number}")
            (self.folder / name).write_bytes(data)
        (self.folder / "broken-1.0-py3-none-any.whl").write_bytes(b"PK\x03\x04")
        self.settings = app.Source({"folders": (str(self.folder),), "no_upstream": True}, {}).settings()
        self._decide()
        self.data = base / ".pidex-packages"
        self.catalogue = self.data / "catalogue.db"
        snapshots.copy(self.catalogue, base / "one.db")  # all of it in one file
        self.pristine = (base / "one.db").read_bytes()
        self.heal()
        self.state = self._dump()
        self._undo: Callable[[], object] = lambda: None  # of what is beside the catalogue

    def _decide(self) -> None:
        """List the files, and have people decide something of each kind."""
        pidex = app.build(self.settings, {}, create=True)
        with closing(pidex):
            pidex.reconciler().scan()
            people, curator = pidex.administration(), pidex.curator(pidex.intake(), pidex.accounts())
            for name in ("ann", "bob"):
                people.add_user(name, by=OPERATOR)
                people.create_token(name, by=OPERATOR)
            people.add_group("team", by=OPERATOR)
            people.join_group("team", "ann", by=OPERATOR)
            people.grant("group:team", "uploader", index=DEFAULT_INDEX, by=OPERATOR)
            curator.yank(DEFAULT_INDEX, "project-1", version="1.1", reason="bad", by=OPERATOR)
            curator.delete(DEFAULT_INDEX, "project-2", version="1.2", by=OPERATOR)
            curator.set_status(DEFAULT_INDEX, "project-3", "deprecated", reason="old", by=OPERATOR)

    def found(self) -> bool:
        """Whether verifying says that something is wrong."""
        try:
            with closing(app.build(self.settings, {}, create=False)) as pidex:
                return bool(upkeep.verifier(pidex).verify(deep=True, by=OPERATOR).differences)
        except CatalogueError:
            return True

    def heal(self) -> None:
        """Make the catalogue as it was."""
        for end in ("-wal", "-shm", "-journal"):
            Path(f"{self.catalogue}{end}").unlink(missing_ok=True)
        self._put(self.pristine)

    def _put(self, data: bytes) -> None:
        """Another file each time: connections that are open somewhere do not know it."""
        part = self.base / "part.db"
        part.write_bytes(data)
        part.replace(self.catalogue)

    # --- damages: each returns what was done, or None where that is no damage ----------------------------

    def rot(self) -> str | None:
        """A bit of a file flips, and no time tells."""
        path = self._file()
        data = bytearray(path.read_bytes())
        at = self.random.randrange(len(data))
        data[at] ^= 1 << self.random.randrange(8)
        return self._silently(path, bytes(data), f"bit {at} of {path.name}")

    def cut(self) -> str | None:
        """A file loses its end."""
        path = self._file()
        data = path.read_bytes()
        return self._silently(path, data[: self.random.randrange(len(data))], f"end of {path.name}")

    def swap(self) -> str | None:
        """A file has the bytes of another one."""
        one, two = self._file(), self._file()
        if one.read_bytes() == two.read_bytes():
            return None
        return self._silently(one, two.read_bytes(), f"{one.name} has the bytes of {two.name}")

    def lose(self) -> str | None:
        """A file, or a kept copy that is listed, is gone."""
        kept = sorted((self.data / "kept").glob("*/*"))
        path = self.random.choice([*self._files(), *[each for each in kept if each.stat().st_nlink > 1]])
        aside = self.base / "aside"
        aside.unlink(missing_ok=True)
        os.link(path, aside)
        path.unlink()
        self._note_ctime(aside)
        self._undo = lambda: self._back(aside, path)
        return f"{path.name} is gone"

    def edit(self) -> str | None:
        """A value of a row is another one."""
        table = self._table()
        columns = [each for each in table.columns if (table.name, each.name) not in MEANINGLESS]
        column = self.random.choice(columns).name
        with closing(sqlite3.connect(self.catalogue)) as conn:
            [row] = (
                conn.execute(f'select rowid, "{column}" from "{table.name}" order by random() limit 1')
                if (table.name != "places")
                else [(None, None)]
            )
            new: Any = self.random.choice([0, 7, "x", "", None, b"\x00", "1" * 64])
            try:
                if row[0] is not None:
                    conn.execute(f'update "{table.name}" set "{column}" = ? where rowid = ?', (new, row[0]))
                else:
                    path = self.random.choice(conn.execute("select path from places").fetchall())[0]
                    conn.execute(f'update places set "{column}" = ? where path = ?', (new, path))
                conn.commit()
            except sqlite3.Error:
                return None  # SQLite itself does not let that be
        return self._changed(f"{table.name}.{column} = {new!r}")

    def remove(self) -> str | None:
        """A row is gone."""
        table = self._table()
        keys = [each.name for each in table.primary_key]
        names = ", ".join(f'"{key}"' for key in keys)
        with closing(sqlite3.connect(self.catalogue)) as conn:
            [row] = conn.execute(f'select {names} from "{table.name}" order by random() limit 1')
            where = " and ".join(f'"{key}" = ?' for key in keys)
            conn.execute(f'delete from "{table.name}" where {where}', row)
            conn.commit()
        return self._changed(f"{table.name} {row} is gone")

    def page(self) -> str | None:
        """A bit of the catalogue's file flips."""
        data = bytearray(self.pristine)
        at = self.random.randrange(len(data))
        data[at] ^= 1 << self.random.randrange(8)
        self._put(bytes(data))
        return self._changed(f"bit in byte {at % PAGE_BYTES} of page {at // PAGE_BYTES + 1}")

    # --- how ------------------------------------------------------------------------------------------------

    def undo(self) -> None:
        """Make everything as it was."""
        self._undo()
        self._undo = lambda: None
        self.heal()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("project*.whl"))

    def _file(self) -> Path:
        return self.random.choice(self._files())

    def _table(self) -> Any:
        """A table that has rows."""
        skipped = {"meta"}
        filled = [
            table
            for table in metadata.sorted_tables
            if self.state.get(table.name) and table.name not in skipped
        ]
        return self.random.choice(filled)

    def _silently(self, path: Path, data: bytes, what: str) -> str | None:
        """Write as a failing disk does: in place, and the stat as it is known."""
        before, old = path.stat(), path.read_bytes()
        if data == old:
            return None
        self._write(path, data, before)
        self._undo = lambda: self._write(path, old, before)
        return what

    def _write(self, path: Path, data: bytes, before: os.stat_result) -> None:
        with path.open("r+b") as file:
            file.write(data)
            file.truncate()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        self._note_ctime(path)

    def _note_ctime(self, path: Path) -> None:
        """Have the rows know the ctime: nobody can set that back, and a disk that rots does not move it."""
        now = path.stat()
        self.heal()
        with closing(sqlite3.connect(self.catalogue)) as conn, conn:
            for table in ("places", "files"):
                conn.execute(
                    f"update {table} set ctime_ns = ? where inode = ?", (now.st_ctime_ns, now.st_ino)
                )
        self.pristine = self.catalogue.read_bytes()
        self.state = self._dump()

    def _back(self, aside: Path, path: Path) -> None:
        os.link(aside, path)
        aside.unlink()
        self._note_ctime(path)

    def _changed(self, what: str) -> str | None:
        """Only what changes a value, or what SQLite cannot read, is a damage."""
        return None if self._dump() == self.state else what

    def _dump(self) -> dict[str, list[Any]]:
        """All values of all tables; what cannot be read is a value, too."""
        found: dict[str, list[Any]] = {}
        with closing(sqlite3.connect(f"file:{self.catalogue}?mode=ro", uri=True)) as conn:
            for table in metadata.sorted_tables:
                names = ", ".join(
                    f'"{each.name}"' for each in table.columns if (table.name, each.name) not in MEANINGLESS
                )
                try:
                    rows = conn.execute(f'select {names} from "{table.name}"').fetchall()
                except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
                    rows = [str(error)]
                found[table.name] = sorted(map(repr, rows))
        return found


def run(rounds: int, seed: int) -> dict[str, object]:
    """So many damages, one at a time. Raises `Broken` for one that is not found, or a whole state that is."""
    base = Path(tempfile.mkdtemp(prefix="pidex-damage-"))
    grounds = Grounds(base, seed)
    if grounds.found():
        raise Broken(f"seed {seed}: what was never damaged is said to be: {base}")
    kinds: list[Callable[[], str | None]] = [
        grounds.rot, grounds.cut, grounds.swap, grounds.lose, grounds.edit, grounds.remove, grounds.page,
    ]  # fmt: skip
    done: Counter[str] = Counter()
    turn = 0
    while sum(done.values()) < rounds:
        kind = kinds[turn % len(kinds)]
        turn += 1
        what = kind()
        if what is not None and not grounds.found():
            raise Broken(f"seed {seed}, turn {turn}: {kind.__name__}: {what} is not found: {base}")
        grounds.undo()
        done[kind.__name__] += what is not None
        if turn % 50 == 0 and grounds.found():
            raise Broken(f"seed {seed}, turn {turn}: what was made whole is said to be damaged: {base}")
    shutil.rmtree(base)
    return {"damages": sum(done.values()), "not found": 0, **dict(sorted(done.items()))}
