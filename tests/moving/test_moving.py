"""Moves between folders and data directories of one machine: what comes along, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pidex import app
from pidex.app import gits, moving
from pidex.catalogue import admissions, moves
from pidex.catalogue.engine import Catalogue
from pidex.config import Settings, load
from pidex.core.errors import CatalogueError, Conflict, Moving, PidexError, StorageFull
from pidex.core.model import OPERATOR
from pidex.moving import Outcome
from tests import samples
from tests.cluster.test_migrate import answers
from tests.web.driver import House

DEMO, NEXT, OTHER = samples.wheel("demo", "1.0"), samples.wheel("demo", "1.1"), samples.sdist("other", "2.0")


def place(home: Path) -> Settings:
    """The settings of a house at another place."""
    (home / "packages").mkdir(parents=True, exist_ok=True)
    given = {"folders": (str(home / "packages"),), "data": str(home / "data"), "page_wait": "0.2"}
    return load(given, {})


def moved(house: House, home: Path, step: Callable[[str], None] = lambda _name: None) -> Outcome:
    return moving.move(house.source.settings(), place(home), step=step)


def test_everything_is_the_same_at_another_place(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with House(tmp_path / "old", DEMO, NEXT, OTHER) as house:
        deep = samples.write(house.folder / "deep" / "er", samples.wheel("other", "2.1"))
        house.scan()
        before = answers(house)
        outcome = moved(house, tmp_path / "new")
        assert (outcome.done, outcome.files, outcome.ways) == (True, 4, {"main": "folder"})
        with pytest.raises(Moving, match="This server was moved"):
            house.pidex.administration().add_user("late", by=OPERATOR)
    with House(tmp_path / "new") as other:
        assert (other.folder / "deep" / "er" / deep.name).read_bytes() == deep.read_bytes()
        assert answers(other) == before
        assert not other.pidex.verifier().verify(deep=True, by=OPERATOR).differences


def test_files_stay_where_the_folder_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with House(tmp_path / "old", DEMO, OTHER) as house:
        before = answers(house)
        settings = house.source.settings()
        target = replace(settings, data=tmp_path / "elsewhere")
        outcome = moving.move(settings, target)
        assert (outcome.done, outcome.ways) == (True, {"main": "links"})
    with House(tmp_path / "old", data=str(tmp_path / "elsewhere")) as other:
        assert answers(other) == before
        kept = {each.sha256: each.links for each in other.pidex.storage.list_kept()}
        assert set(kept.values()) == {3}, "in the folder, and kept by both"


def test_the_last_good_bytes_come_along(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with House(tmp_path / "old", DEMO, NEXT, OTHER) as house:
        path = house.folder / DEMO[0]
        path.unlink()
        path.write_bytes(DEMO[1][:100])
        house.scan()
        before = answers(house)
        assert moved(house, tmp_path / "new").done
    with House(tmp_path / "new") as other:
        assert answers(other) == before
        assert (other.folder / DEMO[0]).read_bytes() == DEMO[1]


@pytest.mark.parametrize("step", ["copy", "stop", "rest", "rows", "also", "verify", "switch"])
def test_what_fails_leaves_the_old_place_as_it_was(tmp_path: Path, step: str) -> None:
    class Cut(Exception):
        pass

    def cut(name: str) -> None:
        if name == step:
            raise Cut

    (tmp_path / "old").mkdir()
    with House(tmp_path / "old", DEMO, OTHER) as house:
        with pytest.raises(Cut):
            moved(house, tmp_path / "new", cut)
        house.pidex.administration().add_user("after", by=OPERATOR)
        house.add(NEXT)
        (house.folder / DEMO[0]).unlink()
        house.scan()
        with pytest.raises(CatalogueError, match="is not all there yet"):
            Catalogue.open(tmp_path / "new" / "data" / "catalogue.db")
        before = answers(house)
        assert moved(house, tmp_path / "new").files == 2
    with House(tmp_path / "new") as other:
        assert answers(other) == before
        assert not (other.folder / DEMO[0]).exists(), "an earlier run had brought it"


def test_nothing_is_written_while_it_is_carried_over(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    refused: list[str] = []
    with House(tmp_path / "old", DEMO) as house:
        people = house.pidex.administration()

        def write(name: str) -> None:
            try:
                people.add_user(f"at-{name}", by=OPERATOR)
            except Moving:
                refused.append(name)
            with house.pidex.catalogue.read() as conn:
                assert [*admissions.list(conn, 1)]

        assert moved(house, tmp_path / "new", write).done
    assert refused == ["rest", "rows", "also", "verify", "switch", "open"]


def test_a_branch_goes_into_a_bucket_and_back_to_its_paths(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with House(tmp_path / "old", OTHER) as house:
        samples.write(house.folder / "by hand", NEXT)
        samples.write(house.folder / "pushed", DEMO)
        house.scan()
        repository = house.pidex.repositories().create("main", ["true"])
        blob = (f"pushed/{DEMO[0]}", len(DEMO[1]), iter([DEMO[1]]))
        repository.commit_files([blob], by="ann", message="first", now=1.0)
        before, tip = answers(house), repository.tip()
        there = load({"storage": f"file://{tmp_path}/bucket", "data": str(tmp_path / "there")}, {})
        assert moving.move(house.source.settings(), there).ways == {"main": "bucket"}
    with closing(app.build(there, {})) as pidex:
        assert gits.branches(pidex).refresh("main").tip() == tip
        assert not pidex.verifier().verify(deep=True, by=OPERATOR).differences
    assert moving.move(there, place(tmp_path / "back")).ways == {"main": "folder"}
    with House(tmp_path / "back") as other:
        assert answers(other) == before
        lying = {str(path.relative_to(other.folder)) for path in other.folder.rglob("*.*") if path.is_file()}
        assert lying == {f"pushed/{DEMO[0]}", NEXT[0], OTHER[0]}
        assert other.pidex.repositories().get("main").tip() == tip
        assert not other.pidex.verifier().verify(deep=True, by=OPERATOR).differences


def test_what_was_moved_can_be_taken_back(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with House(tmp_path / "old", DEMO) as house:
        settings = house.source.settings()
        assert moved(house, tmp_path / "new").done
        with pytest.raises(Conflict, match="was moved to"):
            moved(house, tmp_path / "third")
        taken = moving.cancel(settings)
        assert taken is not None
        assert taken.state == moves.MOVED
        house.pidex.administration().add_user("after", by=OPERATOR)
        assert moving.cancel(settings) is None


def test_missing_bytes_are_named_and_nothing_is_moved(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with House(tmp_path / "old", DEMO, OTHER) as house:
        (house.folder / OTHER[0]).unlink()
        house.pidex.storage.release([each.sha256 for each in house.pidex.storage.list_kept()])
        outcome = moved(house, tmp_path / "new")
        assert (outcome.done, outcome.missing) == (False, (OTHER[0],))
        house.pidex.administration().add_user("after", by=OPERATOR)


def test_what_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").mkdir()
    with House(tmp_path / "old", DEMO) as house:
        settings = house.source.settings()

        def refused(target: Settings) -> PidexError:
            with pytest.raises(PidexError) as caught:
                moving.move(settings, target)
            return caught.value

        assert "needs a database, or a data directory" in str(refused(settings))
        inside = place(tmp_path / "old" / "packages" / "inside")
        assert "lie in each other" in str(refused(replace(inside, data=tmp_path / "inside-data")))
        more = replace(settings, folders=(*settings.folders, tmp_path / "more"), data=tmp_path / "more-data")
        (tmp_path / "more").mkdir()
        assert "lie in each other" in str(refused(more))
        samples.write(tmp_path / "full" / "packages", OTHER)
        assert "is in use: there are files in it" in str(refused(place(tmp_path / "full")))
        (tmp_path / "used").mkdir()
        with House(tmp_path / "used", OTHER):
            pass
        assert "is in use: it has rows in" in str(refused(place(tmp_path / "used")))
        (tmp_path / "third").mkdir()
        with closing(Catalogue.open(place_of(tmp_path / "third"))) as catalogue, catalogue.write() as conn:
            moves.arrive(conn, moves.Arrival(7, "somebody"))
        assert "out of another catalogue" in str(refused(place(tmp_path / "third")))
        full = os.statvfs_result((4096, 4096, 100, 10, 10, 100, 10, 10, 0, 255))
        monkeypatch.setattr(os, "statvfs", lambda _path: full)
        small = refused(place(tmp_path / "small"))
        assert isinstance(small, StorageFull)
        assert "are free there" in str(small)


def place_of(home: Path) -> Path:
    """Where the catalogue of a place is."""
    (home / "data").mkdir(parents=True)
    return home / "data" / "catalogue.db"
