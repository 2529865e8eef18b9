"""Uploads of which nobody knows whether their commit was made, and those that fail beside others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from pidex.backends.folder import Folder
from pidex.backends.sandbox import Sandbox
from pidex.catalogue import intents
from pidex.catalogue.engine import Catalogue, Connection
from pidex.core.errors import Busy, CatalogueError
from pidex.core.interfaces import Staged
from pidex.core.model import Entry, Stat
from pidex.intake import Intake
from tests import samples
from tests.test_intake_delivery import DEMO, NOW, Door, Fault, sandbox, sha256

__all__ = ["sandbox"]  # a fixture

#: Who has begun what a node has to finish or undo: its name, and its process.
OWNER = "node:1"
PATIENCE_SECONDS = 60.0


class Losing(Catalogue):
    """Loses the answers to some commits, counted from `lose` on; `done`: they were made."""

    turns = 0
    lost: frozenset[int] = frozenset()
    done = False
    meanwhile: Callable[[], object] | None = None

    def lose(self, *turns: int, done: bool) -> None:
        self.turns, self.lost, self.done = 0, frozenset(turns), done

    @contextmanager
    def write(self) -> Iterator[Connection]:
        self.turns += 1
        if self.turns == 3 and self.meanwhile is not None:
            self.meanwhile()
        lost = self.turns in self.lost
        with super().write() as conn:
            yield conn
            if lost and not self.done:
                raise CatalogueError("the answer was lost", retry_after=1)
        if lost:
            raise CatalogueError("the answer was lost", retry_after=1)


class Node(Door):
    """A door of a node that knows what it has begun itself."""

    def another(self, storage: Folder | None = None, clock: object = None) -> Intake:
        return Intake(self.catalogue, storage or self.storage, lambda: NOW, self.sandbox, owner=OWNER)


@pytest.fixture
def losing(address: str | Path) -> Iterator[Losing]:
    opened = Losing.open(address, create=False)
    yield opened
    opened.close()


@pytest.fixture
def node(tmp_path: Path, losing: Losing, sandbox: Sandbox) -> Node:
    return Node(tmp_path, losing, sandbox)


# --- the first turn announces a file, the second admits it --------------------------------------------------


def test_what_was_admitted_is_confirmed(node: Node, losing: Losing) -> None:
    losing.lose(2, done=True)
    assert node.send(DEMO).status == "stored"
    assert set(node.listed()) == {DEMO[0]}
    node.at_rest()


def test_what_was_not_admitted_is_undone(node: Node, losing: Losing) -> None:
    losing.lose(2, done=False)
    with pytest.raises(CatalogueError, match="lost"):
        node.send(DEMO)
    assert list(node.folder.iterdir()) == []
    node.at_rest()
    assert node.send(DEMO).status == "stored"


@pytest.mark.parametrize("done", [True, False])
def test_what_was_only_announced_stands_in_nobodys_way(node: Node, losing: Losing, done: bool) -> None:
    losing.lose(1, done=done)
    with pytest.raises(CatalogueError, match="lost"):
        node.send(DEMO)
    assert len(node.live()) == int(done)
    assert list(node.folder.iterdir()) == []
    assert node.send(DEMO).status == "stored"
    node.at_rest()


def test_where_nobody_answers_all_stays_as_it_lies_until_the_next(node: Node, losing: Losing) -> None:
    """The question what became of it is lost, too: who comes next has it finished, and the loop lists it."""
    losing.lose(2, 3, done=False)
    with pytest.raises(CatalogueError, match="lost"):
        node.send(DEMO)
    assert (node.folder / DEMO[0]).read_bytes() == DEMO[1]
    with pytest.raises(Busy):
        node.send(DEMO)
    node.scan()
    assert node.listed() == {DEMO[0]: sha256(DEMO[1])}
    assert node.send(DEMO).status == "identical"
    node.at_rest()


def test_what_another_node_has_finished_meanwhile_is_left_to_be_read(node: Node, losing: Losing) -> None:
    """It took it for given up: the file is a member, and not listed before the loop has read it."""
    losing.lose(2, done=False)
    outcome: list[tuple[int, int]] = []
    losing.meanwhile = lambda: outcome.append(node.intake.recover("main", given_up=lambda _: True))
    with pytest.raises(CatalogueError, match="lost"):
        node.send(DEMO)
    assert outcome == [(1, 0)]
    assert node.listed() == {}
    assert (node.folder / DEMO[0]).read_bytes() == DEMO[1]
    node.at_rest()
    node.scan()
    assert node.listed() == {DEMO[0]: sha256(DEMO[1])}
    assert node.send(DEMO).status == "identical"


def test_what_one_began_oneself_and_forgot_is_undone(node: Node) -> None:
    """As a thread leaves it that ended in the middle; of others it is waited for."""
    with node.catalogue.write() as conn:
        made = intents.Intent(DEMO[0], 0, DEMO[0], "0" * 64, 3, "ann", 77, OWNER)
        intents.put(conn, node.number, made)
    assert node.send(DEMO).status == "stored"
    node.at_rest()


# --- together -----------------------------------------------------------------------------------------------


def test_of_those_admitted_together_one_that_fails_takes_no_other_with_it(
    tmp_path: Path, catalogue: Catalogue, sandbox: Sandbox
) -> None:
    door = Door(tmp_path, catalogue, sandbox)
    first, good, bad = (samples.wheel(name, "1.0") for name in ("first", "good", "bad"))

    begun = threading.Event()

    class Slow(Folder):
        """Holds the first file up until two others wait; cannot keep the bad one."""

        def put(self, staged: Staged, root: int, path: str, *, sync: bool = True) -> Stat:
            end = time.monotonic() + PATIENCE_SECONDS
            begun.set()
            while path == first[0] and len(intake._deliveries._group("main")._waiting) < 2:
                assert time.monotonic() < end, "nobody else came"
                time.sleep(0.01)
            return super().put(staged, root, path, sync=sync)

        def keep(self, entry: Entry, sha256: str, *, instead_of: str | None = None) -> Stat | None:
            if entry.path == bad[0]:
                raise Fault("keep")
            return super().keep(entry, sha256, instead_of=instead_of)

    intake = door.another(Slow(door.roots, door.place / "kept"))
    with ThreadPoolExecutor(3) as pool:
        sent = [pool.submit(door.send, first, intake=intake)]
        assert begun.wait(PATIENCE_SECONDS)
        sent += [pool.submit(door.send, each, intake=intake) for each in (good, bad)]
        assert [sent[0].result().status, sent[1].result().status] == ["stored", "stored"]
        with pytest.raises(Fault):
            sent[2].result()
    assert set(door.listed()) == {first[0], good[0]}
    assert sorted(path.name for path in door.folder.iterdir()) == sorted((first[0], good[0]))
    door.at_rest()
