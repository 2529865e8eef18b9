"""Users, groups, tokens, grants, sessions and audit, on both engines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import exc, text

from pidex.accounts.signing import Accounts
from pidex.catalogue import (
    audit,
    grants,
    groups,
    indexes,
    journal,
    rights,
    sessions,
    tokens,
    users,
)
from pidex.catalogue.engine import Catalogue
from pidex.catalogue.tables import metadata
from pidex.core.errors import CatalogueError, NotFound
from pidex.core.model import Principal
from pidex.core.permissions import Action, Grant, Role
from pidex.core.tokens import TokenScope, digest
from pidex.core.tokens import text as token_text
from tests.accounts.desk import BY, Desk, basic
from tests.catalogue import rows

AT = rows.NOW_US


def generation(catalogue: Catalogue) -> rights.Generation:
    with catalogue.read() as conn:
        return rights.generation(conn)


def counts(catalogue: Catalogue, *names: str) -> list[int]:
    with catalogue.read() as conn:
        return [len(conn.execute(metadata.tables[name].select()).all()) for name in names]


def test_users(catalogue: Catalogue) -> None:
    before = generation(catalogue)
    with catalogue.write() as conn:
        made = users.add(conn, "Ann", "hash", at=AT)
        assert users.ensure(conn, "ANN", at=AT + 1) == made
        other = users.ensure(conn, "bob", at=AT)
    with catalogue.read() as conn:
        assert users.find(conn, "aNN") == made == users.User(made.id, "ann", "Ann", False, AT, True)
        assert users.list(conn) == [made, other]
        assert users.find_secret(conn, "ANN") == "hash"
        assert users.find_secret(conn, "bob") is None
        assert users.any_password(conn)
        assert users.find(conn, "nobody") is None
    assert generation(catalogue) == (before.credentials + 2, before.grants)
    with pytest.raises((CatalogueError, exc.IntegrityError)), catalogue.write() as conn:
        users.add(conn, "ann", None, at=AT)
    with catalogue.write() as conn:
        users.set_disabled(conn, made.id, True)
    with catalogue.read() as conn:
        assert users.find_secret(conn, "ann") is None, "who is locked out has no password"
    with catalogue.write() as conn:
        users.set_disabled(conn, made.id, False)
        users.set_password(conn, made.id, None)
        assert not users.any_password(conn)


def test_groups(catalogue: Catalogue) -> None:
    with catalogue.write() as conn:
        ann, bob = users.ensure(conn, "ann", at=AT), users.ensure(conn, "bob", at=AT)
        group = groups.add(conn, "Dev", at=AT)
        groups.join(conn, group.id, ann.id)
        groups.join(conn, group.id, bob.id)
    with catalogue.read() as conn:
        assert groups.find(conn, "DEV") == group == groups.Group(group.id, "dev", AT)
        assert [each.name for each in groups.list(conn)] == ["anonymous", "authenticated", "dev"]
        assert groups.list_members(conn, group.id) == ["ann", "bob"]
        assert groups.list_of_user(conn, "ANN") == ["dev"]
        assert groups.is_member(conn, group.id, ann.id)
    before = generation(catalogue)
    with catalogue.write() as conn:
        groups.leave(conn, group.id, ann.id)
    assert generation(catalogue).credentials == before.credentials + 1
    with catalogue.read() as conn:
        assert not groups.is_member(conn, group.id, ann.id)
        assert groups.list_of_user(conn, "ann") == []


def test_tokens(catalogue: Catalogue) -> None:
    scope = TokenScope(0, ("main", "dev-*"), ("acme-*",), ("read", "upload"), rows.NOW + 10.5)
    with catalogue.write() as conn:
        ann = users.ensure(conn, "ann", at=AT)
        words = {"hint": "pidex_ab…", "comment": "CI", "at": AT}
        number = tokens.add(conn, ann.id, scope, digest="d1", **words)  # type: ignore[arg-type]
        plain = tokens.add(conn, ann.id, TokenScope(0), digest="d2", **words)  # type: ignore[arg-type]
        assert tokens.count_live(conn, ann.id, at=AT) == 2
        assert tokens.count_live(conn, ann.id, at=AT + 10_500_000) == 1
    with catalogue.read() as conn:
        found = tokens.find_by_digest(conn, "d1")
        assert found is not None
        assert found == tokens.find(conn, number)
        assert (found.user, found.hint, found.comment, found.created) == ("ann", "pidex_ab…", "CI", AT)
        assert found.scope == TokenScope(number, scope.indexes, scope.projects, scope.scopes, scope.expires)
        assert [each.id for each in tokens.list(conn)] == [each.id for each in tokens.list(conn, "ann")]
        assert tokens.list(conn, "bob") == []
        assert tokens.find_by_digest(conn, "D1") is None
    before = generation(catalogue)
    with catalogue.write() as conn:
        tokens.revoke(conn, plain, at=AT + 1)
        assert tokens.count_live(conn, ann.id, at=AT) == 1
        assert [each.revoked for each in tokens.list(conn)] == [None, AT + 1]
    after = generation(catalogue)
    assert (after.credentials, after.grants) == (before.credentials + 1, before.grants + 1)
    with catalogue.write() as conn:
        users.remove(conn, ann.id)
        again = users.ensure(conn, "ann", at=AT)
        assert tokens.add(conn, again.id, TokenScope(0), digest="d3", **words) > plain  # type: ignore[arg-type]


def test_grants(catalogue: Catalogue) -> None:
    rows.index(catalogue)
    everybody = Grant("group:anonymous", Role.READER, "main")
    with catalogue.write() as conn:
        ann = users.ensure(conn, "ann", at=AT)
        group = groups.add(conn, "dev", at=AT)
        groups.join(conn, group.id, ann.id)
        own = Grant("user:ann", Role.OWNER, "main", "demo")
        shared = Grant("group:dev", Role.UPLOADER, None, "acme-*")
        signed_in = Grant("group:authenticated", Role.UPLOADER, "main")
        for grant in (own, shared, signed_in):
            assert grants.add(conn, grant, by="root", at=AT)
            before = rights.generation(conn)
            assert not grants.add(conn, grant, by="other", at=AT + 1)
            assert rights.generation(conn) == before
        for absent in (
            Grant("user:x", Role.READER),
            Grant("group:x", Role.READER),
            Grant("user:ann", Role.READER, "x"),
        ):
            for change in (
                lambda each: grants.add(conn, each, by="x", at=1),
                lambda each: grants.remove(conn, each),
            ):
                with pytest.raises(NotFound):
                    change(absent)
    with catalogue.read() as conn:
        assert [each.grant for each in grants.list(conn)] == [everybody, own, shared, signed_in]
        assert {*grants.list_of_user(conn, "ANN")} == {own, shared}
        assert {*grants.list_of_everybody(conn, authenticated=False)} == {everybody}
        assert {*grants.list_of_everybody(conn, authenticated=True)} == {everybody, signed_in}
        found = grants.find(conn, own)
        assert found is not None
        assert (found.by, found.at) == ("root", AT)
        assert grants.find(conn, Grant("user:ann", Role.OWNER, None, "demo")) is None
    with catalogue.write() as conn:
        assert grants.remove(conn, signed_in)
        assert not grants.remove(conn, signed_in)
        groups.leave(conn, group.id, ann.id)
        assert grants.list_of_user(conn, "ann") == [own]
        groups.remove(conn, group.id)
        assert [each.grant for each in grants.list(conn)] == [everybody, own]


def test_everything_of_a_user_goes_with_them(catalogue: Catalogue) -> None:
    rows.index(catalogue)
    with catalogue.write() as conn:
        ann = users.ensure(conn, "ann", at=AT)
        group = groups.add(conn, "dev", at=AT)
        groups.join(conn, group.id, ann.id)
        grants.add(conn, Grant("user:ann", Role.OWNER, "main"), by="root", at=AT)
        tokens.add(conn, ann.id, TokenScope(0), digest="d", hint="h", comment="", at=AT)
        sessions.add(conn, ann.id, "s", via="password", csrf="c", at=AT, expires=AT + 1, most=5)
    tables = ("users", "memberships", "grants", "tokens", "sessions")
    assert counts(catalogue, *tables) == [1, 1, 2, 1, 1]
    with catalogue.write() as conn:
        users.remove(conn, ann.id)
    assert counts(catalogue, *tables) == [0, 0, 1, 0, 0]


def test_sessions(catalogue: Catalogue) -> None:
    with catalogue.write() as conn:
        ann = users.ensure(conn, "ann", at=AT)
        for number in range(4):
            words = {"via": "password", "csrf": f"c{number}", "expires": AT + 100}
            sessions.add(conn, ann.id, f"s{number}", at=AT + number, most=3, **words)  # type: ignore[arg-type]
    with catalogue.read() as conn:
        assert sessions.find(conn, "s0", at=AT) is None, "the oldest went"
        assert sessions.find(conn, "s1", at=AT) == sessions.Session("ann", "password", AT + 1, AT + 100, "c1")
        assert sessions.find(conn, "s1", at=AT + 100) is None
    with catalogue.write() as conn:
        assert sessions.remove(conn, "s1")
        assert not sessions.remove(conn, "s1")
        users.set_disabled(conn, ann.id, True)
        assert sessions.find(conn, "s2", at=AT) is None
        users.set_disabled(conn, ann.id, False)
        sessions.remove_of_user(conn, ann.id)
        assert sessions.find(conn, "s2", at=AT) is None


def test_audit(catalogue: Catalogue) -> None:
    by = Principal("ann", frozenset(), TokenScope(7), "token", "10.0.0.1")
    with catalogue.write() as conn:
        audit.record(conn, Principal(), "user.add", subject="x", at=AT)
        audit.record(
            conn, by, "file.delete", index="main", project="demo", subject="f", before={"é": 1}, at=AT
        )
    with catalogue.read() as conn:
        last, first = audit.list(conn, limit=10)
        assert audit.list(conn, since=first.id, limit=10) == [last]
        assert audit.list(conn, limit=1) == [last]
    assert (first.actor, first.via, first.address, first.before) == ("anonymous", "", None, None)
    assert (last.actor, last.via, last.token_id, last.address) == ("ann", "token", 7, "10.0.0.1")
    assert (last.index_name, last.project, last.subject) == ("main", "demo", "f")
    assert json.loads(last.before or "") == {"é": 1}


def test_what_an_index_asks(catalogue: Catalogue) -> None:
    number = rows.index(catalogue)
    before = generation(catalogue)
    with catalogue.write() as conn:
        indexes.set_challenge(conn, number, True)
        indexes.set_policy(conn, number, {"strict": True})
        found = indexes.find(conn, "main")
    assert found is not None
    assert found.challenge
    assert json.loads(found.policy or "") == {"strict": True}
    assert generation(catalogue).grants == before.grants + 1
    with catalogue.write() as conn:
        indexes.set_policy(conn, number, None)
        assert [each.policy for each in indexes.list(conn)] == [None]


def test_a_change_of_rights_is_announced(catalogue: Catalogue) -> None:
    first, second = rows.index(catalogue), rows.index(catalogue, "other")
    with catalogue.write() as conn:
        rights.announce(conn, None, at=AT, by="root")
        rights.announce(conn, second, at=AT, by="root")
        assert [(each.index_id, each.project, each.action) for each in journal.since(conn, 0, 10)] == [
            (first, "", "rights"),
            (second, "", "rights"),
            (second, "", "rights"),
        ]
        assert {*journal.touched(conn, 0)} == {("main", ""), ("other", "")}


def test_every_process_hears_of_changes(catalogue: Catalogue, tmp_path: Path) -> None:
    """The same on both engines, whose change probes work in different ways."""
    desk = Desk(catalogue, tmp_path)
    other: Accounts = desk.again()
    desk.user("bob")
    desk.user("ann")
    header = basic("__token__", desk.token("ann", "read", "upload", "delete"))
    by = other.authenticate(header)
    assert not other.allows(by, Action.DELETE, "main", "demo")
    desk.admin.grant("user:ann", "owner", index="main", by=BY)
    assert other.allows(by, Action.DELETE, "main", "demo")
    assert other.remembered(header) == by
    desk.admin.add_group("dev", by=BY)
    desk.admin.join_group("dev", "ann", by=BY)
    assert other.remembered(header) is None
    assert other.authenticate(header).groups == {"authenticated", "dev"}
    desk.admin.revoke_token(1, by=BY)
    assert other.remembered(header) is None
    assert not other.allows(by, Action.DELETE, "main", "demo")
    desk.expendable.close()


def test_secrets_are_stored_as_hashes(catalogue: Catalogue, tmp_path: Path) -> None:
    desk = Desk(catalogue, tmp_path)
    desk.user("ann")
    made = desk.token("ann")
    with catalogue.read() as conn:
        stored = conn.execute(text("select digest from tokens")).scalar_one()
    assert stored == digest(made)
    assert made == token_text((1).to_bytes(32))
    desk.expendable.close()
