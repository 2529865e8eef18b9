"""Whose a name is, as files meet it that come in: by what was decided, and by what is stored of upstreams."""

from __future__ import annotations

import json
from typing import cast

import pytest

from pidex.catalogue import audit, indexes, origins, reservations
from pidex.catalogue.engine import Catalogue, Connection
from pidex.core.errors import Forbidden
from pidex.core.interfaces import Mirrored
from pidex.core.layers import Claim, Origin, Reservation
from pidex.core.model import OPERATOR
from pidex.intake import lock

NOW = 1_800_000_000.0


class Stored:
    """What is held of upstreams: names by upstream. Says which were asked for."""

    def __init__(self, **names: set[str]) -> None:
        self.names = names
        self.asked: list[tuple[str, str]] = []

    def has_name(self, upstream: str, project: str) -> bool:
        self.asked.append((upstream, project))
        return project in self.names.get(upstream, ())


def mirrored(stored: Stored) -> Mirrored:
    return cast(Mirrored, stored)


def house(conn: Connection, *upstreams: str) -> indexes.Index:
    """The default index, with upstreams."""
    number = indexes.ensure(conn, "main", NOW)
    indexes.set_upstreams(conn, number, upstreams)
    found = indexes.find(conn, "main")
    assert found is not None
    return found


def decide(conn: Connection, here: indexes.Index, kind: Origin) -> None:
    upstream = "up" if kind is Origin.UPSTREAM else None
    origins.put(conn, here.id, Claim("main", "demo", kind, upstream, "ann", 1, ""))


@pytest.mark.parametrize("claim", [False, True])
def test_a_blocked_name_takes_nothing(catalogue: Catalogue, claim: bool) -> None:
    with catalogue.write() as conn:
        here = house(conn, "up")
        decide(conn, here, Origin.BLOCKED)
        with pytest.raises(Forbidden, match="is blocked in index main"):
            lock.check(conn, here, "demo", mirrored(Stored()), claim=claim)


def test_a_name_of_an_upstream_has_to_be_claimed(catalogue: Catalogue) -> None:
    with catalogue.write() as conn:
        here = house(conn, "up")
        decide(conn, here, Origin.UPSTREAM)
        with pytest.raises(Forbidden, match=r"as was decided here.*pidex origin claim demo"):
            lock.check(conn, here, "demo", None)
        lock.check(conn, here, "demo", None, claim=True)


@pytest.mark.parametrize("kind", [Origin.LOCAL, Origin.MERGED])
def test_a_name_of_ours_is_not_looked_for_elsewhere(catalogue: Catalogue, kind: Origin) -> None:
    stored = Stored(up={"demo"})
    with catalogue.write() as conn:
        here = house(conn, "up")
        decide(conn, here, kind)
        lock.check(conn, here, "demo", mirrored(stored))
    assert stored.asked == []


def test_a_name_that_an_upstream_has_is_refused_by_what_is_stored(catalogue: Catalogue) -> None:
    stored = Stored(other={"demo"})
    with catalogue.write() as conn:
        here = house(conn, "up", "other")
        with pytest.raises(Forbidden, match="upstream other has a project of that name"):
            lock.check(conn, here, "demo", mirrored(stored))
        assert stored.asked == [("up", "demo"), ("other", "demo")]
        lock.check(conn, here, "demo", mirrored(stored), claim=True)
        lock.check(conn, here, "else", mirrored(stored))
        lock.check(conn, here, "demo", None)


def test_a_reservation_keeps_a_name_whatever_upstreams_have(catalogue: Catalogue) -> None:
    with catalogue.write() as conn:
        here = house(conn, "up")
        reservations.put(conn, here.id, Reservation("main", "de*", "ann", 1, ""))
        lock.check(conn, here, "demo", mirrored(Stored(up={"demo"})))


def test_names_of_ours_that_an_upstream_has_are_an_alarm(catalogue: Catalogue) -> None:
    with catalogue.write() as conn:
        here = house(conn, "up")
        stored = mirrored(Stored(up={"demo"}))
        said = lock.alarm(conn, here, ["demo", "mine"], stored, by=OPERATOR, at=7)
        assert len(said) == 1
        assert "project demo of index main" in said[0]
        assert lock.alarm(conn, here, ["demo"], None, by=OPERATOR, at=7) == ()
        assert lock.alarm(conn, here, [], stored, by=OPERATOR, at=7) == ()
    with catalogue.read() as conn:
        [entry] = [each for each in audit.list(conn, limit=10) if each.action == lock.SHADOWING]
    assert (entry.project, json.loads(entry.after or "")) == ("demo", {"upstream": "up"})
