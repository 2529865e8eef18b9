"""The scrub: every byte once a round, on from where it was, pausing for others; what it finds is mended."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from pidex.catalogue import audit
from pidex.catalogue.engine import Catalogue
from pidex.verify import scrub
from pidex.verify.reading import Pace, Stopped, digests
from pidex.verify.scrub import Scrub, State
from tests import samples
from tests.test_verify import Checked, apart, held


@pytest.fixture
def house(tmp_path: Path) -> Checked:
    house = Checked(tmp_path, Catalogue.open(tmp_path / "catalogue.db"))
    for number in range(4):
        house.put(samples.wheel("demo", f"1.{number}"))
    house.reconciler.scan()
    return house


class Turn:
    """A clock and a machine; `busy` answers in turn. The loop is stopped at the end of a round."""

    def __init__(self, house: Checked, *, busy: tuple[bool, ...] = (), days: float = 30.0) -> None:
        self.now, self.stop, self.answers = 1_000_000.0, threading.Event(), list(busy)
        self.path = house.base / scrub.NAME
        self.scrub = Scrub(
            house.verifier, house.healer, self.path, days=days, clock=lambda: self.now,
            busy=self.busy, log=logging.getLogger("pidex.scrub"),
        )  # fmt: skip

    def busy(self) -> bool:
        return self.answers.pop(0) if self.answers else False

    def round(self) -> State:
        """Run until a round is finished."""
        waited = self.stop.wait

        def wait(timeout: float | None = None) -> bool:
            if timeout in (scrub.LOOK_SECONDS, scrub.PAUSE_SECONDS):
                self.stop.set()  # the rest is the pace of reading
            return self.stop.is_set()

        self.stop.wait = wait  # type: ignore[method-assign]
        try:
            self.scrub.run(self.stop)
        finally:
            self.stop.wait = waited  # type: ignore[method-assign]
            self.stop.clear()
        return scrub.read(self.path)


def test_a_round_reads_everything_and_rests(house: Checked) -> None:
    turn = Turn(house)
    state = turn.round()
    assert (state.files, state.finished, state.damaged) == (4, turn.now, ())
    turn.now += 29 * scrub.DAY
    assert turn.round() == state
    turn.now += 2 * scrub.DAY
    assert turn.round().began == turn.now


def test_it_goes_on_where_it_was(house: Checked) -> None:
    hashes = sorted(item.sha256 for item in house.verifier.items())
    turn = Turn(house)
    scrub.write(turn.path, State(began=turn.now - 5, cursor=hashes[1], files=2, bytes=10))
    state = turn.round()
    assert (state.began, state.files, state.cursor) == (turn.now - 5, 4, hashes[3])


def test_a_busy_machine_comes_first(house: Checked) -> None:
    turn = Turn(house, busy=(False, False, True))
    state = turn.round()  # it was stopped while it paused
    assert state.finished is None
    assert turn.round().finished is not None


def test_a_state_that_cannot_be_read_is_a_beginning(house: Checked) -> None:
    turn = Turn(house)
    for text in ("", "{}", '{"damaged": 1}', "[1]", '{"damaged": [], "else": 1}'):
        turn.path.write_text(text)
        assert scrub.read(turn.path) == State()
    assert turn.round().files == 4


def test_rot_is_mended_and_told(house: Checked, caplog: pytest.LogCaptureFixture) -> None:
    one, two = (house.roots[0] / f"demo-1.{number}-py3-none-any.whl" for number in (0, 1))
    sound = one.read_bytes()
    apart(one)
    house.reconciler.scan()
    house.rot(one)
    house.rot(two)
    state = Turn(house).round()
    assert len(state.damaged) == 2
    assert one.read_bytes() == sound
    assert not two.exists()
    assert house.listed() == {f"demo-1.{number}-py3-none-any.whl" for number in (0, 2, 3)}
    assert "sound ones in their place" in caplog.text
    assert "restore it from a backup" in caplog.text
    house.restart()
    house.reconciler.scan()
    assert house.differences(deep=True) == ()
    with house.catalogue.read() as conn:
        rows = [row for row in audit.list(conn, limit=10) if row.action == "file.quarantine"]
    assert len(rows) == 3
    assert {row.via for row in rows} == {"scrub"}


def test_files_of_upstreams_are_read_too_and_dropped_where_they_rotted(tmp_path: Path) -> None:
    house = Checked(tmp_path, Catalogue.open(tmp_path / "catalogue.db"))
    with held(house, fetch=False) as (rig, rotten):
        state = Turn(house).round()
        assert state.files == 3
        assert len(state.damaged) == 1
        assert "They are fetched when somebody asks for them" in state.damaged[0]
        assert not rotten.exists()
        assert rig.upstream.asked["download"] == 2


def test_what_changes_meanwhile_is_no_damage(house: Checked) -> None:
    path = house.roots[0] / "demo-1.0-py3-none-any.whl"
    path.write_bytes(b"written over")
    assert Turn(house).round().damaged == ()


def test_reading_keeps_its_pace(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 3

    with pytest.raises(Stopped):
        digests(str(path), Pace(1_000_000, wait))
    assert waits[0] == pytest.approx(1.05, abs=0.1)
    assert sum(waits) > 5  # nobody slept: the waits add up
    assert digests(str(path), Pace()) is not None
