"""The catalogue in PostgreSQL: one query for all who wait, leases, and what is needed of the server."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.accounts.guessing import SharedThrottle
from pidex.catalogue import guesses as catalogue_guesses
from pidex.catalogue import intents, journal, leases, requirements, schema
from pidex.catalogue.engine import Catalogue
from pidex.catalogue.probe import PostgresProbe
from pidex.core import throttle
from pidex.core.errors import CatalogueError
from pidex.doctor import Target, contents
from tests.catalogue import rows
from tests.cluster.nodes import Database

pytestmark = pytest.mark.postgres


@pytest.fixture
def opened(postgres_url: str) -> Iterator[Catalogue]:
    catalogue = Catalogue.open(postgres_url)
    yield catalogue
    catalogue.close()


def probe_of(catalogue: Catalogue) -> PostgresProbe:
    probe = catalogue.probe()
    assert isinstance(probe, PostgresProbe)
    return probe


def write(catalogue: Catalogue, index_id: int) -> None:
    with catalogue.write() as conn:
        journal.record(conn, index_id, "a", "add", at=1, by="x")


# --- the group read -----------------------------------------------------------------------------------------


def test_who_asks_hears_of_what_was_committed_before(opened: Catalogue, postgres_url: str) -> None:
    index_id = rows.index(opened)
    other = Catalogue.open(postgres_url, create=False)

    async def ask() -> list[int]:
        probe = probe_of(opened)
        found = [await probe.ask()]
        for _ in range(20):
            await asyncio.to_thread(write, other, index_id)
            found.append(await probe.ask())
        return found

    found = asyncio.run(ask())
    assert found == sorted(set(found))
    other.close()


def test_one_query_serves_all_who_wait(opened: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    from pidex.catalogue.groupread import GroupRead

    sent = 0
    before = GroupRead._send

    def count(self: GroupRead) -> None:
        nonlocal sent
        sent += 1
        before(self)

    monkeypatch.setattr(GroupRead, "_send", count)

    async def ask() -> None:
        probe = probe_of(opened)
        await probe.ask()

        async def client() -> None:
            for _ in range(20):
                await probe.ask()

        await asyncio.gather(*(client() for _ in range(32)))

    asyncio.run(ask())
    assert 20 <= sent <= 200  # of 641 questions


def test_who_gives_up_takes_nothing_from_others(opened: Catalogue) -> None:
    async def ask() -> int:
        probe = probe_of(opened)
        first, second = probe.ask(), probe.ask()
        first.cancel()
        return await second

    assert asyncio.run(ask()) >= 0


def test_a_probe_that_was_told_asks_nothing_and_hears_of_own_writes(opened: Catalogue) -> None:
    index_id = rows.index(opened)

    async def ask() -> None:
        probe, rights = probe_of(opened), probe_of(opened)
        await probe.ask()
        assert rights.changed()
        assert not rights.changed()
        await asyncio.to_thread(write, opened, index_id)
        assert rights.changed()

    asyncio.run(ask())


def test_a_database_that_comes_back_is_found_again(postgres_programs: Path) -> None:
    with contextlib.closing(Database(postgres_programs)) as database:
        catalogue = Catalogue.open(database.url)
        index_id = rows.index(catalogue)

        async def ask() -> None:
            probe = probe_of(catalogue)
            before = await probe.ask()
            database.stop("immediate")
            for _ in range(3):
                with pytest.raises(CatalogueError) as caught:
                    await probe.ask()
                assert caught.value.retry_after
            database.start()
            while True:
                try:
                    assert await probe.ask() >= before
                    break
                except CatalogueError:
                    await asyncio.sleep(0.05)
            await asyncio.to_thread(write, catalogue, index_id)
            assert await probe.ask() > before

        asyncio.run(asyncio.wait_for(ask(), 60))
        catalogue.close()


# --- leases -------------------------------------------------------------------------------------------------


def test_a_lease_has_one_holder_until_it_ends(opened: Catalogue) -> None:
    with opened.beside() as conn:
        assert leases.take(conn, "keeper", "a")
        assert leases.take(conn, "keeper", "a")
        assert not leases.take(conn, "keeper", "b")
        assert leases.holder(conn, "keeper") == "a"
        assert leases.take(conn, "keeper", "a", seconds=-1)
        assert leases.holder(conn, "keeper") is None
        assert leases.take(conn, "keeper", "b")
        leases.release(conn, "keeper", "a")
        assert leases.holder(conn, "keeper") == "b"
        leases.release(conn, "keeper", "b")
        assert leases.holder(conn, "keeper") is None


def test_nodes_are_told_apart_by_whether_they_live(opened: Catalogue) -> None:
    with opened.beside() as conn:
        leases.take(conn, "node:a", "a")
        leases.take(conn, "node:b", "b", seconds=-1)
        assert leases.nodes(conn) == {"a": True, "b": False}
        leases.forget_node(conn, "a")
        leases.forget_node(conn, "b")
        assert leases.nodes(conn) == {"a": True}


def test_leases_wait_for_no_writer(opened: Catalogue) -> None:
    with opened.write(), opened.beside() as conn:
        assert leases.take(conn, "keeper", "a")
    probe = opened.probe()
    probe.changed()
    with opened.beside() as conn:
        leases.take(conn, "keeper", "a")
    assert not probe.changed()


def test_a_cluster_is_named_once(opened: Catalogue) -> None:
    with opened.write() as conn:
        assert leases.cluster(conn, "first") == "first"
        assert leases.cluster(conn, "second") == "first"


# --- guesses ------------------------------------------------------------------------------------------------


def test_wrong_guesses_count_at_every_node(opened: Catalogue, postgres_url: str) -> None:
    other = Catalogue.open(postgres_url, create=False)
    nodes = [SharedThrottle(opened), SharedThrottle(other)]
    for number in range(throttle.ACCOUNT_GUESSES):
        assert isinstance(nodes[number % 2].take("olga", f"10.0.0.{number}", 0.0), throttle.Ticket)
    wait = nodes[0].take("olga", "10.0.1.1", 0.0)
    assert isinstance(wait, float)
    assert 0 < wait <= throttle.ACCOUNT_SECONDS
    # What was refused cost the address nothing.
    for _ in range(throttle.ADDRESS_GUESSES):
        assert isinstance(nodes[1].take(f"user{_}", "10.0.1.1", 0.0), throttle.Ticket)
    other.close()


def test_who_signed_in_is_not_locked_out_by_others(opened: Catalogue) -> None:
    guesses = SharedThrottle(opened)
    ticket = guesses.take("olga", "10.0.0.1", 0.0)
    assert isinstance(ticket, throttle.Ticket)
    guesses.right(ticket, 0.0)
    for number in range(throttle.ACCOUNT_GUESSES):
        guesses.take("olga", f"10.0.2.{number}", 0.0)
    assert isinstance(guesses.take("olga", "10.0.2.99", 0.0), float)
    assert isinstance(guesses.take("olga", "10.0.0.1", 0.0), throttle.Ticket)
    with opened.beside() as conn:
        leases.take(conn, "keeper", "a")
        catalogue_guesses.prune(conn)
        assert leases.holder(conn, "keeper") == "a"


# --- what is needed of the server ---------------------------------------------------------------------------


def test_a_plain_server_lacks_nothing_that_matters(opened: Catalogue) -> None:
    with opened.read() as conn:
        assert [fault for fault in requirements.faults(conn) if fault.fatal] == []


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("alter database {} set default_transaction_read_only = on", "cannot be written|does not answer"),
        ("alter database {} set synchronous_commit = off", "synchronous_commit is off"),
        ("alter database {} set search_path = nowhere", "may not make tables"),
    ],
)
def test_what_a_server_lacks_is_said_at_the_start(
    postgres: object, postgres_url: str, setting: str, said: str
) -> None:
    from tests.conftest import Postgres

    assert isinstance(postgres, Postgres)
    postgres.command(setting.format(postgres_url.partition("@/")[2].partition("?")[0]))
    with pytest.raises(CatalogueError, match=said):
        Catalogue.open(postgres_url)


def test_another_encoding_is_refused(postgres: object) -> None:
    import psycopg

    from tests.conftest import Postgres

    assert isinstance(postgres, Postgres)
    latin = "create database latin template template0 encoding 'LATIN1' locale 'C'"
    try:
        postgres.command(f"{latin} locale_provider libc")
    except psycopg.errors.SyntaxError:  # before 15
        postgres.command(latin)
    try:
        with pytest.raises(CatalogueError, match="encoding LATIN1"):
            Catalogue.open(postgres.url("latin"))
    finally:
        postgres.command("drop database latin with (force)")


def test_doctor_says_what_the_server_is_and_what_it_lacks(
    postgres_url: str, opened: Catalogue, tmp_path: Path
) -> None:
    folder, data = tmp_path / "packages", tmp_path / "data"
    folder.mkdir()
    data.mkdir()

    def said(url: str) -> list[tuple[str, str]]:
        target = Target(folders=(folder,), data=data, port=0, catalogue=url)
        found = [*contents.catalogue(target, lambda: 0.0), *contents.snapshot(target, lambda: 0.0)]
        return [(each.state, each.sentence) for each in found]

    good = said(postgres_url)
    assert ("warn", "fsync is off: a loss of power may damage the database.") in good  # the test's own server
    assert good[-2][1].endswith("with all that is needed.")
    assert good[-1] == ("ok", f"The catalogue {opened.name} is of this version.")
    with pytest.raises(CatalogueError, match="does not answer"):
        said("postgresql://127.0.0.1:1/x")


def test_waiting_has_an_end_and_is_told(opened: Catalogue, postgres_url: str) -> None:
    quick = f"{postgres_url}&options=-c%20lock_timeout%3D100%20-c%20idle_in_transaction_session_timeout%3D100"
    index_id = rows.index(opened)
    with contextlib.closing(Catalogue.open(quick, create=False)) as other:
        with opened.write(), pytest.raises(CatalogueError, match="lock timeout") as caught:
            write(other, index_id)
        assert caught.value.retry_after

        def stay() -> None:
            with other.read() as conn:
                journal.serial(conn)
                time.sleep(0.5)
                journal.serial(conn)

        with pytest.raises(CatalogueError, match="does not answer") as caught:
            stay()
        assert caught.value.retry_after
        write(other, index_id)  # what it said of one connection is not said of the next


# --- two versions side by side ------------------------------------------------------------------------------


def test_migrations_only_add() -> None:
    """A program of the version before goes on reading and writing after a node of the next one has migrated.

    From 0005 on. What is no longer used is dropped by a later version, when nobody runs the one that used it.
    """
    allowed = {"add_column", "create_table", "create_index", "f", "get_bind"}
    for path in sorted((schema.MIGRATIONS / "versions").glob("*.py")):
        if path.name < "0005":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            if name.startswith("op."):
                assert name.removeprefix("op.") in allowed, f"{path.name}: {name} takes away or changes"
            if name == "op.add_column":
                text = ast.unparse(call)
                assert "nullable=True" in text or "server_default" in text, f"{path.name}: {text}"


def test_who_is_older_than_the_tables_still_writes_them(postgres_url: str) -> None:
    """What a program of 0004 says when it announces a publish, said to the tables of now."""
    from sqlalchemy import text

    catalogue = Catalogue.open(postgres_url)
    index_id = rows.index(catalogue)
    probe = catalogue.probe()
    probe.changed()
    with catalogue.write() as conn:
        conn.execute(
            text(
                'insert into intents (index_id, key, filename, root, path, sha256, size, "by", at)'
                " values (:index, 'a', 'a', 0, 'a', 'x', 1, 'me', 1)"
            ),
            {"index": index_id},
        )
    assert probe.changed()
    with catalogue.read() as conn:
        [found] = intents.list(conn, index_id)
        assert found.node == ""
    catalogue.close()
