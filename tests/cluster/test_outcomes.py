"""A connection that breaks while an upload is committed: the node finds out what became of it, and tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, exc

from pidex.app import nodes
from pidex.app.ground import node_of
from pidex.catalogue import intents, leases
from pidex.cli.group import DONE, pidex, run
from tests import samples
from tests.web.driver import Answer, House, listed
from tests.web.test_upload import MULTIPART, fields_of, packed

pytestmark = pytest.mark.postgres

DEMO = samples.wheel("demo", "1.0")
FILENAME = DEMO[0]


@pytest.fixture
def house(tmp_path: Path, postgres_url: str) -> Iterator[House]:
    with House(tmp_path, catalogue=postgres_url, guard="") as built:
        yield built


@contextmanager
def broken(
    house: House, number: int, *, done: bool, then: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """The connection breaks at the writing commit of that number: the server has made it, or has not.

    `then` happens before anybody notices.
    """
    engine: Any = house.pidex.catalogue._writer
    seen = 0

    def hook(conn: Any) -> None:
        nonlocal seen
        if conn.get_execution_options().get("isolation_level") is not None:
            return  # a reader's, or one that takes no turn
        seen += 1
        if seen == number:
            if done:
                conn.connection.driver_connection.commit()
            conn.connection.driver_connection.close()
            then()
            raise exc.OperationalError("commit", {}, OSError("the connection is gone"))

    event.listen(engine, "commit", hook)
    try:
        yield
    finally:
        event.remove(engine, "commit", hook)
    assert seen >= number


def upload(house: House) -> Answer:
    answer: Answer = house.run(
        house.ask("/legacy/", [("content-type", MULTIPART)], method="POST", body=packed(fields_of(DEMO)))
    )[0]
    return answer


def left(house: House) -> list[str]:
    with house.pidex.catalogue.read() as conn:
        return [intent.filename for intent in intents.list(conn, 1)]


def test_what_was_admitted_is_confirmed(house: House) -> None:
    with broken(house, 2, done=True):
        assert upload(house).status == 200
    assert listed(house, "demo") == [FILENAME]
    assert (house.folder / FILENAME).read_bytes() == DEMO[1]
    assert left(house) == []


def test_what_was_not_admitted_is_undone(house: House) -> None:
    with broken(house, 2, done=False):
        answer = upload(house)
    assert answer.status == 503
    assert answer.headers["retry-after"]
    assert house.get("/simple/demo/").status == 404
    assert not (house.folder / FILENAME).exists()
    assert upload(house).status == 200
    assert listed(house, "demo") == [FILENAME]


@pytest.mark.parametrize("done", [True, False])
def test_what_was_only_announced_stands_in_nobodys_way(house: House, done: bool) -> None:
    with broken(house, 1, done=done):
        assert upload(house).status == 503
    assert left(house) == ([FILENAME] if done else [])
    assert not (house.folder / FILENAME).exists()
    assert upload(house).status == 200
    assert listed(house, "demo") == [FILENAME]
    assert left(house) == []


def test_what_another_node_took_for_given_up_and_finished_is_confirmed_once_it_is_listed(
    house: House,
) -> None:
    other = house.pidex.intake()

    def bury() -> None:
        assert other.recover("main", given_up=lambda _: True) == (1, 0)

    with broken(house, 2, done=False, then=bury):
        assert upload(house).status == 503  # it is admitted, and no page has it yet
    assert left(house) == []
    assert (house.folder / FILENAME).read_bytes() == DEMO[1]
    house.pidex.reconciler().scan()
    assert listed(house, "demo") == [FILENAME]
    assert upload(house).status == 200


def test_what_another_node_announces_is_left_alone(house: House, postgres_url: str) -> None:
    catalogue = house.pidex.catalogue
    other = intents.Intent(FILENAME, 0, FILENAME, "0" * 64, 1, "olga", 1, "node:process")
    with catalogue.write() as conn:
        intents.put(conn, 1, other)
    intake = house.pidex.intake()
    mine = house.pidex.owner.partition(":")[0]
    assert intake.recover("main", given_up=lambda intent: intent.node == mine) == (0, 0)
    assert left(house) == [FILENAME]
    assert intake.recover("main", given_up=lambda intent: intent.node == "node") == (0, 1)
    assert left(house) == []


def test_repairing_leaves_what_living_nodes_are_publishing(
    house: House, postgres_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, now = node_of(house.pidex.data), int(house.pidex.clock() * 1_000_000)
    old = now - 3_600_000_000
    with house.pidex.catalogue.write() as conn:
        for filename, node, at in (
            ("mine-1.0.tar.gz", mine, old),  # for its sake there is something to repair
            ("dead-1.0.tar.gz", "dead", now),
            ("living-1.0.tar.gz", "living", now),
        ):
            intents.put(conn, 1, intents.Intent(filename, 0, filename, "0" * 64, 1, "olga", at, f"{node}:1"))
    with house.pidex.catalogue.beside() as conn:
        leases.take(conn, "node:dead", "dead", seconds=-1)
        leases.take(conn, "node:living", "living", seconds=3600)
    monkeypatch.setenv("PIDEX_CATALOGUE", postgres_url)
    words = ["verify", "--repair", str(house.folder), "--data", str(house.pidex.data)]
    assert run(pidex, words) == DONE, capsys.readouterr()
    assert "What was cut off is finished or undone." in capsys.readouterr().out
    assert left(house) == ["living-1.0.tar.gz"]
    with house.pidex.catalogue.beside() as conn:
        leases.release(conn, "node:living", "living")
    nodes.settle(house.pidex)  # nobody is there any more whose it could be
    assert left(house) == []
