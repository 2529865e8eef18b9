"""Uploads that meet something unexpected, and what is finished or undone of those that were cut."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from pidex.backends.folder import Folder
from pidex.backends.sandbox import Sandbox
from pidex.catalogue import admissions, intents
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import Busy, Changing, Forbidden
from pidex.core.interfaces import Inspector, Staged
from pidex.core.model import Entry, Look, PlaceState, Stat
from pidex.intake import Intake
from tests.test_intake_delivery import DEMO, NOW, OTHER, Door, sandbox, sha256

__all__ = ["sandbox"]  # a fixture


@pytest.fixture
def door(tmp_path: Path, catalogue: Catalogue, sandbox: Sandbox) -> Door:
    return Door(tmp_path, catalogue, sandbox)


def intent(door: Door, data: bytes, at: int = 77, path: str = DEMO[0]) -> intents.Intent:
    """A publish of `DEMO`'s name that somebody began, and never ended."""
    made = intents.Intent(DEMO[0], 0, path, sha256(data), len(data), "ann", at)
    with door.catalogue.write() as conn:
        intents.put(conn, door.number, made)
    return made


def admitted(door: Door) -> str | None:
    with door.catalogue.read() as conn:
        found = admissions.find(conn, door.number, DEMO[0].casefold())
    return None if found is None else found.sha256


# --- what was cut -------------------------------------------------------------------------------------------


def test_kept_bytes_are_placed_where_only_the_name_was_missing(door: Door) -> None:
    """As of a release that was on its way to another index: all of it, or nothing."""
    door.send(DEMO)
    kept = door.storage.kept_path(sha256(DEMO[1]))
    assert Path(kept).exists()
    (door.folder / DEMO[0]).unlink()
    intent(door, DEMO[1])
    assert door.intake.recover("main") == (1, 0)
    assert (door.folder / DEMO[0]).read_bytes() == DEMO[1]
    assert door.live() == []
    door.scan()
    assert set(door.listed()) == {DEMO[0]}


def test_nothing_is_placed_over_what_lies_there(door: Door) -> None:
    door.send(DEMO)
    (door.folder / DEMO[0]).unlink()
    (door.folder / DEMO[0]).write_bytes(b"somebody else's")
    intent(door, DEMO[1])
    assert door.intake.recover("main") == (0, 1)
    assert (door.folder / DEMO[0]).read_bytes() == b"somebody else's"
    assert door.live() == []


def test_kept_bytes_that_are_damaged_are_not_placed(door: Door) -> None:
    door.send(DEMO)
    (door.folder / DEMO[0]).unlink()
    Path(door.storage.kept_path(sha256(DEMO[1]))).write_bytes(b"rotten")
    intent(door, DEMO[1])
    assert door.intake.recover("main") == (0, 1)
    assert not (door.folder / DEMO[0]).exists()


def test_kept_bytes_that_cannot_be_placed_are_all_that_is_left(door: Door) -> None:
    class Full(Folder):
        def restore(self, sha256: str, root: int, path: str, *, over: bool = False) -> Stat:
            raise OSError(28, "No space left on device")

    door.send(DEMO)
    (door.folder / DEMO[0]).unlink()
    intent(door, DEMO[1])
    assert door.another(Full(door.roots, door.place / "kept")).recover("main") == (0, 1)
    assert list(door.folder.iterdir()) == []
    assert Path(door.storage.kept_path(sha256(DEMO[1]))).read_bytes() == DEMO[1]
    door.at_rest()


def test_what_was_replaced_is_remembered_when_a_publish_is_finished(door: Door) -> None:
    door.send(DEMO)
    (door.folder / DEMO[0]).unlink()
    (door.folder / DEMO[0]).write_bytes(OTHER[1])
    intent(door, OTHER[1])
    assert door.intake.recover("main") == (1, 0)
    assert admitted(door) == sha256(OTHER[1])
    with door.catalogue.read() as conn:
        former = admissions.list_superseded(conn, door.number)
    assert [each.sha256 for each in former] == [sha256(DEMO[1])]


def test_a_publish_that_ends_meanwhile_is_left_alone(door: Door) -> None:
    """Somebody else finished it between the list of what was cut and the turn to write."""
    made = intent(door, DEMO[1])

    class Ending(Folder):
        def digest(self, root: int, path: str) -> str | None:
            with door.catalogue.write() as conn:
                intents.done(conn, door.number, made.key)
            return super().digest(root, path)

    ending = Ending(door.roots, door.place / "kept")
    door.another(ending).recover("main")
    assert door.live() == []
    assert admitted(door) is None


# --- what is unexpected -------------------------------------------------------------------------------------


class Odd:
    """An inspector that sees something else than what is there."""

    def __init__(self, sandbox: Sandbox, **other: Any) -> None:
        self._sandbox, self._other = sandbox, other

    def examine(self, descriptor: int, entry: Entry, check: str) -> Look:
        look = self._sandbox.examine(descriptor, entry, check)
        if "state" in self._other:
            return Look(entry, **self._other)
        assert look.facts is not None
        return replace(look, facts=replace(look.facts, **self._other))


def receiving(door: Door, inspector: object) -> Intake:
    return Intake(door.catalogue, door.storage, lambda: NOW, cast(Inspector, inspector))


def test_a_file_that_nobody_can_look_into_now_is_asked_for_again(door: Door) -> None:
    odd = Odd(door.sandbox, state=PlaceState.UNREAD, code="sandbox", reason="there is no memory")
    with pytest.raises(Busy, match="there is no memory"):
        door.send(DEMO, intake=receiving(door, odd))
    door.at_rest()
    assert door.send(DEMO).status == "stored"


def test_a_file_that_is_another_one_by_the_time_it_is_read_is_refused(door: Door) -> None:
    odd = Odd(door.sandbox, sha256="0" * 64)
    with pytest.raises(Changing, match="changed while it was received"):
        door.send(DEMO, intake=receiving(door, odd))
    assert list(door.folder.iterdir()) == []
    door.at_rest()


@pytest.mark.parametrize("data", [OTHER[1], None])
def test_a_file_that_somebody_changes_before_it_is_listed_is_not_ours(door: Door, data: bytes | None) -> None:
    """What lies there then was put there by somebody else: it stays, and is read like any file."""

    class Touched(Folder):
        def put(self, staged: Staged, root: int, path: str, *, sync: bool = True) -> Stat:
            found = super().put(staged, root, path, sync=sync)
            (door.folder / path).unlink()
            if data is not None:
                (door.folder / path).write_bytes(data)
            return found

    with pytest.raises(Changing, match="was changed in the folder while it was received"):
        door.send(DEMO, intake=door.another(Touched(door.roots, door.place / "kept")))
    assert door.listed() == {}
    assert door.live() == []
    door.scan()
    assert door.listed() == ({} if data is None else {DEMO[0]: sha256(data)})


def test_a_signature_that_cannot_be_kept_undoes_its_file(door: Door) -> None:
    class Full(Folder):
        def replace(self, staged: Staged, root: int, path: str) -> Stat:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        door.send(DEMO, intake=door.another(Full(door.roots, door.place / "kept")), signature=b"signed")
    assert list(door.folder.iterdir()) == []
    assert door.live() == []


def test_a_file_in_another_folder_is_not_replaced(
    tmp_path: Path, catalogue: Catalogue, sandbox: Sandbox
) -> None:
    door = Door(tmp_path, catalogue, sandbox, "packages", "more")
    door.mutable("volatile")
    samples_path = door.roots[1] / DEMO[0]
    samples_path.write_bytes(DEMO[1])
    door.scan()
    assert set(door.listed()) == {DEMO[0]}
    with pytest.raises(Forbidden, match="another folder than uploads go to"):
        door.send(OTHER, overwrite=True)
    assert samples_path.read_bytes() == DEMO[1]
    assert hashlib.sha256(samples_path.read_bytes()).hexdigest() == door.listed()[DEMO[0]]
    assert door.live() == []
