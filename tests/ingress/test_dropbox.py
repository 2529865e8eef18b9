"""A drop box over a real index: moved in once it is whole, never twice, never lost, refused with a note."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pidex import app
from pidex.app import Pidex
from pidex.backends.folder import Folder
from pidex.config import drop_boxes, load
from pidex.core.errors import Busy, ConfigError
from pidex.core.model import OPERATOR
from pidex.ingress import dropbox
from pidex.ingress.dropbox import DropBox
from pidex.intake import Intake
from tests.direct import DirectInspector
from tests.samples import Sample, sdist, wheel, write
from tests.walks.server import until

DEMO = wheel("demo", "1.0")


class House:
    """An index in a folder, and a drop box for it."""

    def __init__(self, top: Path) -> None:
        self.packages, self.drop = top / "packages", top / "drop"
        for folder in (self.packages, self.drop):
            folder.mkdir()
        self.pidex: Pidex = app.build(load({"folders": (str(self.packages),)}, {}), create=True)
        self.pidex.reconciler().scan()
        self.intake = Intake(self.pidex.catalogue, self.pidex.storage, self.pidex.clock, DirectInspector())

    def box(self) -> DropBox:
        return DropBox(Folder({0: self.drop}, None), "main", self.intake, watch="off")

    def listed(self) -> set[str]:
        return {file.filename for file in self.pidex.resolver.files("main", by=OPERATOR)}

    def lying(self) -> set[str]:
        return {path.name for path in self.drop.rglob("*") if path.is_file()}

    def give(self, sample: Sample, below: str = "") -> Path:
        return write(self.drop / below, sample)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    for name in ("SETTLE_SECONDS", "SETTLE_UNSEEN_SECONDS", "REFUSED_SECONDS"):
        monkeypatch.setattr(dropbox, name, 0.0)
    monkeypatch.setattr(dropbox, "pause", lambda looks, took: 0.0)
    made = House(tmp_path)
    yield made
    made.pidex.close()


def rounds(box: DropBox, count: int = 2) -> None:
    """So many looks: the first one of a file only remembers how it lies there."""
    for _ in range(count):
        box.look()


def test_what_is_whole_is_moved_with_its_signature_and_nothing_else_is(house: House) -> None:
    house.give(DEMO)
    house.give(sdist("other", "2.0"), below="deep/er")
    (house.drop / f"{DEMO[0]}.asc").write_bytes(b"-----BEGIN PGP SIGNATURE-----")
    (house.drop / "README").write_text("about this folder")
    (house.drop / ".hidden-1.0.tar.gz").write_bytes(b"")
    (house.drop / "coming-1.0.tar.gz.part").write_bytes(b"")
    rounds(house.box())
    assert house.listed() == {DEMO[0], "other-2.0.tar.gz"}
    assert house.lying() == {"README", ".hidden-1.0.tar.gz", "coming-1.0.tar.gz.part"}
    assert (house.packages / DEMO[0]).read_bytes() == DEMO[1]
    assert (house.packages / f"{DEMO[0]}.asc").exists()


def test_the_same_once_more_goes_and_other_bytes_stay_with_a_note(house: House) -> None:
    box = house.box()
    house.give(DEMO)
    rounds(box)
    house.give(DEMO)
    rounds(box)
    assert house.lying() == set()
    path = house.give((DEMO[0], wheel("demo", "1.0", files={"other": b"1"})[1]))
    rounds(box, 4)
    note = path.with_name(f"{path.name}.refused.txt")
    assert "File already exists" in note.read_text()
    assert house.lying() == {DEMO[0], note.name}
    assert (house.packages / DEMO[0]).read_bytes() == DEMO[1]
    # Whoever puts something better there instead is rid of the note.
    path.write_bytes(DEMO[1])
    rounds(box)
    assert house.lying() == set()


def test_what_is_still_coming_is_not_moved_before_it_is_whole(house: House) -> None:
    box, path = house.box(), house.drop / DEMO[0]
    path.write_bytes(DEMO[1][:-20])
    rounds(box, 3)
    assert house.listed() == set()
    assert "Invalid distribution file" in path.with_name(f"{path.name}.refused.txt").read_text()
    with path.open("ab") as file:
        file.write(DEMO[1][-20:])
    rounds(box)
    assert house.listed() == {DEMO[0]}
    assert house.lying() == set()


def test_a_file_lies_for_a_moment_before_it_is_looked_into(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dropbox, "SETTLE_SECONDS", 3_600.0)
    house.give(DEMO)
    rounds(house.box(), 3)
    assert house.lying() == {DEMO[0]}
    assert house.listed() == set()


def cut(house: House, monkeypatch: pytest.MonkeyPatch, step: Callable[[Path], None]) -> DropBox:
    """Give a file to a box that dies at the step in which it leaves the folder."""

    def killed(self: DropBox, path: Path, admitted: tuple[int, ...]) -> None:
        step(path)
        raise KeyboardInterrupt

    box = house.box()
    box.look()
    with monkeypatch.context() as patched:
        patched.setattr(DropBox, "_take_away", killed)
        with pytest.raises(KeyboardInterrupt):
            box.look()
    return house.box()


def begin(box: DropBox, done: Callable[[], bool]) -> None:
    """Run a box in a thread until something is so."""
    stop = threading.Event()
    thread = threading.Thread(target=box.run, args=(stop,))
    thread.start()
    try:
        until(done)
    finally:
        stop.set()
        thread.join()


def test_what_was_admitted_before_a_kill_is_taken_away_by_the_next_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.give(DEMO)
    after = cut(house, monkeypatch, lambda path: None)
    assert (house.listed(), house.lying()) == ({DEMO[0]}, {DEMO[0]})
    begin(after, lambda: house.lying() == set())
    assert house.listed() == {DEMO[0]}


def test_what_was_on_its_way_out_at_a_kill_comes_back_and_goes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.give(DEMO)
    hidden = f"{dropbox.TAKEN}0123abcd-{DEMO[0]}"
    after = cut(house, monkeypatch, lambda path: os.rename(path, path.with_name(hidden)))
    assert house.lying() == {hidden}
    begin(after, lambda: house.lying() == set())
    # One that the index has not, and whose name another one has by now: neither is lost.
    fresh = wheel("fresh", "1.0")
    (house.drop / f"{dropbox.TAKEN}0123abcd-{fresh[0]}").write_bytes(fresh[1])
    house.give(fresh)
    begin(house.box(), lambda: house.lying() == set())
    assert house.listed() == {DEMO[0], fresh[0]}


def test_what_is_replaced_at_the_last_moment_is_not_taken_away(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = house.give(DEMO), wheel("demo", "1.0", files={"other": b"1"})[1]
    box, whole = house.box(), DropBox._take_away

    def late(self: DropBox, path: Path, admitted: tuple[int, ...]) -> None:
        fresh = path.with_name("new.part")
        fresh.write_bytes(other)
        fresh.rename(path)
        whole(self, path, admitted)

    monkeypatch.setattr(DropBox, "_take_away", late)
    rounds(box)
    assert house.listed() == {DEMO[0]}
    assert path.read_bytes() == other
    assert house.lying() == {DEMO[0]}


def test_what_cannot_be_taken_now_is_tried_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.give(DEMO)
    box = house.box()
    monkeypatch.setattr(dropbox, "LOOK_SECONDS", 0.0)

    def busy(*_: object, **__: object) -> None:
        raise Busy("Another upload is under way.", retry_after=1)

    with monkeypatch.context() as patched:
        patched.setattr(house.intake, "receive", busy)
        rounds(box, 3)
    assert house.lying() == {DEMO[0]}  # and no note: nothing is wrong with it
    time.sleep(0.01)
    rounds(box)
    assert house.listed() == {DEMO[0]}
    assert house.lying() == set()


def test_links_and_what_is_no_file_do_no_harm(house: House, tmp_path: Path) -> None:
    secret = write(tmp_path / "elsewhere", wheel("linked", "1.0"))
    os.mkfifo(house.drop / "pipe-1.0.tar.gz")
    (house.drop / secret.name).symlink_to(secret)
    rounds(house.box(), 3)
    assert secret.exists()
    assert (house.drop / "pipe-1.0.tar.gz").exists()


@pytest.mark.parametrize("drop", ["{top}/packages", "{top}/packages/in", "{top}", "other={top}/packages"])
def test_a_drop_box_lies_in_no_other_folder(tmp_path: Path, drop: str) -> None:
    flags = {"folders": (str(tmp_path / "packages"),), "drop_folders": (drop.format(top=tmp_path),)}
    with pytest.raises(ConfigError, match="lie in one another"):
        drop_boxes(load(flags, {}))


def test_each_drop_box_has_its_index(tmp_path: Path) -> None:
    flags = {"drop_folders": (f"{tmp_path}/a", f"team={tmp_path}/b")}
    assert drop_boxes(load(flags, {})) == {tmp_path / "a": "main", tmp_path / "b": "team"}
    for wrong in ("relative/path", "a b=/x", "=/x"):
        with pytest.raises(ConfigError, match="absolute paths"):
            load({"drop_folders": (wrong,)}, {})
