"""Whatever happens to folders, and whichever notices get lost: the catalogue is that of the folders alone."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import insert, select

from pidex.backends.folder import Folder
from pidex.catalogue import tables
from pidex.catalogue.engine import Catalogue
from pidex.core import archives, folder
from pidex.core.errors import Changing, Unsound
from pidex.core.limits import Limits
from pidex.core.model import Place, PlaceState
from pidex.intake import Intake
from pidex.reconciler import Reconciler
from tests import samples
from tests.direct import AGE, DirectInspector

#: Two bytes of a name differ from each other, and two names from each other by case alone.
NAMES = ("foo-1.0-py3-none-any.whl", "Foo-1.0-py3-none-any.whl", "bar-2.tar.gz")
FOLDERS = ("", "a", "a/b", "c")
DECIDED = (tables.indexes, tables.admissions, tables.superseded, tables.tombstones)


def _bytes(name: str, variant: int) -> bytes:
    files = {"variant.txt": b"%d" % variant}
    if name.endswith(".whl"):
        return samples.wheel(name.partition("-")[0], "1.0", files=files, filename=name)[1]
    return samples.sdist("bar", "2", files=files)[1]


CONTENTS = {(name, variant): _bytes(name, variant) for name in NAMES for variant in range(3)}

paths = st.tuples(st.integers(0, 1), st.sampled_from(FOLDERS), st.sampled_from(NAMES))
variants = st.integers(0, 2)
cuts = st.sampled_from((0, 1, 40, -30, -1))


class Folders(RuleBasedStateMachine):
    """Two roots, one catalogue, and everything that cp, git, FTP and people do."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Path(tempfile.mkdtemp(prefix="pidex-states-"))
        self.roots = [self.base / "one", self.base / "two"]
        for root in self.roots:
            root.mkdir()
        (self.base / "outside").mkdir()
        self.numbers = itertools.count()
        self.catalogue = Catalogue.open(self.base / "catalogue.db")
        self.storage = Folder(self.roots, self.base / "kept")
        self.notices: list[tuple[int, str]] = []
        self.start()

    def teardown(self) -> None:
        self.catalogue.close()
        shutil.rmtree(self.base)

    # --- what happens in the folders ---

    def at(self, path: tuple[int, str, str]) -> Path:
        root, below, name = path
        target = self.roots[root] / below / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self.notices.append((root, f"{below}/{name}".lstrip("/")))
        return target

    @rule(path=paths, variant=variants)
    def write(self, path: tuple[int, str, str], variant: int) -> None:
        self.at(path).write_bytes(CONTENTS[path[2], variant])  # into the same inode, where there is one

    @rule(path=paths, variant=variants)
    def write_and_set_the_time_back(self, path: tuple[int, str, str], variant: int) -> None:
        target = self.at(path)
        if target.is_file():
            then = target.stat().st_mtime_ns
            target.write_bytes(CONTENTS[path[2], variant])
            os.utime(target, ns=(then, then))

    @rule(path=paths, variant=variants, cut=cuts)
    def write_a_part(self, path: tuple[int, str, str], variant: int, cut: int) -> None:
        self.at(path).write_bytes(CONTENTS[path[2], variant][:cut])

    @rule(path=paths, variant=variants)
    def write_another_file(self, path: tuple[int, str, str], variant: int) -> None:
        self.at(path).write_bytes(b"<html>%d" % variant)

    @rule(path=paths, variant=variants)
    def grow(self, path: tuple[int, str, str], variant: int) -> None:
        target, data = self.at(path), CONTENTS[path[2], variant]
        if target.is_file():
            with target.open("ab") as file:
                file.write(data[target.stat().st_size :])

    @rule(path=paths, variant=variants, cut=st.sampled_from((None, -30)))
    def checkout(self, path: tuple[int, str, str], variant: int, cut: int | None) -> None:
        target = self.at(path)
        target.unlink(missing_ok=True)
        target.write_bytes(CONTENTS[path[2], variant][:cut])

    @rule(path=paths, variant=variants)
    def rename_over(self, path: tuple[int, str, str], variant: int) -> None:
        target = self.at(path)
        part = target.with_name(target.name + ".part")
        part.write_bytes(CONTENTS[path[2], variant])
        part.replace(target)

    @rule(path=paths)
    def delete(self, path: tuple[int, str, str]) -> None:
        self.at(path).unlink(missing_ok=True)

    @rule(path=paths, other=paths)
    def move(self, path: tuple[int, str, str], other: tuple[int, str, str]) -> None:
        source, target = self.at(path), self.at((other[0], other[1], path[2]))
        if os.path.lexists(source):
            source.replace(target)

    @rule(root=st.integers(0, 1), source=st.sampled_from(FOLDERS[1:]), number=st.integers(0, 3))
    def move_a_folder(self, root: int, source: str, number: int) -> None:
        folder_, target = self.roots[root] / source, self.roots[root] / f"moved{number}"
        if folder_.is_dir() and not target.exists():
            folder_.rename(target)
            self.notices += [(root, source), (root, target.name)]

    @rule(path=paths, variant=variants, broken=st.booleans())
    def link(self, path: tuple[int, str, str], variant: int, broken: bool) -> None:
        target = self.at(path)
        target.unlink(missing_ok=True)
        elsewhere = self.base / "outside" / f"{next(self.numbers)}"
        if not broken:
            elsewhere.write_bytes(CONTENTS[path[2], variant])
        target.symlink_to(elsewhere)

    @rule(path=paths, other=paths)
    def link_hard(self, path: tuple[int, str, str], other: tuple[int, str, str]) -> None:
        source, target = self.at(path), self.at((other[0], other[1], path[2]))
        if source.is_file() and not os.path.lexists(target):
            os.link(source, target)

    @rule(path=paths, ago=st.sampled_from((0, 3_600, 10**9)))
    def touch(self, path: tuple[int, str, str], ago: int) -> None:
        target = self.at(path)
        if target.is_file():
            then = time.time_ns() - ago * 10**9
            os.utime(target, ns=(then, then))

    @rule(path=paths, mode=st.sampled_from((0o600, 0o644)))
    def chmod(self, path: tuple[int, str, str], mode: int) -> None:
        target = self.at(path)
        if target.is_file():
            target.chmod(mode)

    @rule(root=st.integers(0, 1))
    def delete_everything(self, root: int) -> None:
        for item in self.roots[root].iterdir():
            if item.is_dir():
                shutil.rmtree(item)
            else:
                item.unlink()
            self.notices.append((root, item.name))

    @rule(root=st.integers(0, 1), there=st.booleans())
    def make_a_bare_repository(self, root: int, there: bool) -> None:
        names = [self.roots[root] / "a" / name for name in ("HEAD", "objects", "refs")]
        if there:
            names[0].parent.mkdir(exist_ok=True)
        if names[0].parent.is_dir():
            for name in names:
                name.unlink(missing_ok=True)
                if there:
                    name.touch()
            self.notices.append((root, "a"))

    # --- what pidex does ---

    def start(self) -> None:
        intake = Intake(self.catalogue, self.storage, time.time)
        self.reconciler = Reconciler(
            self.catalogue, None, self.storage, DirectInspector(), intake, time.time, index="main"
        )

    @rule(keep=st.floats(0, 1), again=st.booleans())
    def notice(self, keep: float, again: bool) -> None:
        """Some of what happened is told, perhaps twice, in no order; the rest is lost."""
        told = sorted(set(self.notices))[: round(len(self.notices) * keep)]
        self.reconciler.nudge(told * 2 if again else told)
        self.notices.clear()
        self.reconciler.catch_up()

    @rule()
    def kill(self) -> None:
        """The process is gone, and the next one has the catalogue only."""
        self.start()

    @rule()
    def scan(self) -> None:
        self.reconciler.scan()
        self.compare()

    @rule()
    def kill_and_scan(self) -> None:
        self.start()
        self.reconciler.scan()
        self.compare()

    # --- what must hold ---

    @invariant()
    def bytes_are_those_of_the_row(self) -> None:
        with self.catalogue.read() as conn:
            rows = conn.execute(select(tables.files.c.key)).scalars().all()
            found = [file for key in rows if (file := _file(conn, key)) is not None]
        for file in found:
            try:
                handle = self.storage.open(file)
            except Changing:
                continue
            data = handle.read(0, file.size + 1)
            handle.check()
            handle.close()
            assert hashlib.sha256(data).hexdigest() == file.sha256

    def compare(self) -> None:
        """The catalogue equals one made anew over the same folders and decided rows."""
        target = self.base / f"fresh-{next(self.numbers)}.db"
        fresh = Catalogue.open(target)
        try:
            with self.catalogue.read() as conn, fresh.write() as other:
                for table in DECIDED:
                    for row in conn.execute(select(table)).mappings():
                        other.execute(insert(table).values(dict(row)))
            intake = Intake(fresh, self.storage, time.time)
            Reconciler(fresh, None, self.storage, DirectInspector(), intake, time.time, index="main").scan()
            one, two = _rows(self.catalogue), _rows(fresh)
        finally:
            fresh.close()
            target.unlink()
        self.leave_out_held(one, two)
        for rows in (one, two):  # what was read out of bytes stays known; it is never wrong
            used = {row["sha256"] for row in rows["files"].values()}
            rows["contents"] = {key: row for key, row in rows["contents"].items() if key[0] in used}
        assert one == two
        self.agree_with_the_disk(one)

    def leave_out_held(self, one: dict[str, Any], two: dict[str, Any]) -> None:
        """Rows whose bytes are gone stay while a file grows; an empty catalogue cannot know them."""
        with self.catalogue.read() as conn:
            for key in sorted(one["files"].keys() - two["files"].keys()):
                file = _file(conn, key)
                assert file is not None
                try:
                    self.storage.open(file).close()
                except Changing:
                    pass
                else:
                    raise AssertionError(f"{key} can be had, and would not be listed anew")
                growing = [p for p in one["places"].values() if p["key"] == key and p["state"] == "pending"]
                assert growing, f"{key} is held, and nothing grows"
                del one["files"][key]
                project = one["projects"][file.project]
                project["files"] -= 1
                if not project["files"]:
                    del one["projects"][file.project]
                elif file.project in two["projects"]:
                    project["name"] = two["projects"][file.project]["name"]

    def agree_with_the_disk(self, rows: dict[str, Any]) -> None:
        """Asked of the files themselves: a name whose first path is whole is listed with its bytes."""
        found: dict[str, list[tuple[Place, bytes]]] = {}
        for number in range(2):
            for item in self.storage.list(number):
                if not isinstance(item, folder.Entry):
                    continue
                place = Place(item.root, item.path, item.stat, PlaceState.PENDING)
                data = (self.roots[number] / item.path).read_bytes()
                found.setdefault(place.key, []).append((place, data))
        assert rows["files"].keys() <= found.keys()
        for key, there in found.items():
            first, data = min(there, key=lambda pair: folder.rank(pair[0]))
            if _is_whole(first.filename, data):
                listed = rows["files"][key]
                assert listed["sha256"] == hashlib.sha256(data).hexdigest()
                assert (listed["root"], listed["path"]) == (first.root, first.path)


def _is_whole(name: str, data: bytes) -> bool:
    try:
        archives.inspect(io.BytesIO(data), name, limits=Limits(), age=AGE)
    except Unsound:
        return False
    return True


def _file(conn: Any, key: str) -> Any:
    from pidex.catalogue import files

    return files.find_by_key(conn, 1, key)


def _rows(catalogue: Catalogue) -> dict[str, Any]:
    """Every derived row, without what tells of the way there."""
    with catalogue.read() as conn:

        def read(table: Any, by: tuple[str, ...], without: tuple[str, ...] = ()) -> Mapping[Any, Any]:
            rows = [dict(row) for row in conn.execute(select(table)).mappings()]
            return {
                tuple(row[name] for name in by) if len(by) > 1 else row[by[0]]: {
                    name: value for name, value in row.items() if name not in without
                }
                for row in rows
            }

        found: dict[str, Any] = {
            "places": read(tables.places, ("root", "path"), ("looks", "next_look")),
            "problems": read(tables.problems, ("root", "path")),
            "files": read(tables.files, ("key",)),
            "projects": read(tables.projects, ("project",), ("serial",)),
            "admissions": read(tables.admissions, ("key",), ("id",)),
        }
        found["contents"] = read(tables.contents, ("sha256", "kind"))
    return found


TestFolders = Folders.TestCase
TestFolders.settings = settings(
    max_examples=int(os.environ.get("PIDEX_STATES", "12")),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
