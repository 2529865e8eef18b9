"""Administration: who may, one row in the audit for each change, and what follows at once."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pidex.accounts.administration import TOKENS, Administration
from pidex.catalogue import journal, users
from pidex.catalogue.tables import metadata
from pidex.core.errors import BadRequest, CatalogueError, Conflict, Forbidden, NotFound, PidexError
from pidex.core.model import ANONYMOUS, Principal
from pidex.core.permissions import Action, Role
from pidex.core.tokens import is_token
from tests.accounts.desk import BY, NOW, PASSWORD, Desk, basic

#: Every method: what makes it possible, how it is called, and the audit's word for it (None: it only reads).
METHODS: Mapping[str, tuple[Callable[[Administration], object], Callable[..., object], str | None]] = {
    "add_user": (lambda a: None, lambda a, by: a.add_user("new", PASSWORD, by=by), "user.add"),
    "set_password": (
        lambda a: None,
        lambda a, by: a.set_password("ann", "other one", by=by),
        "user.password",
    ),
    "disable_user": (lambda a: None, lambda a, by: a.disable_user("ann", by=by), "user.disable"),
    "enable_user": (
        lambda a: a.disable_user("ann", by=BY),
        lambda a, by: a.enable_user("ann", by=by),
        "user.enable",
    ),
    "remove_user": (lambda a: None, lambda a, by: a.remove_user("ann", by=by), "user.remove"),
    "list_users": (lambda a: None, lambda a, by: a.list_users(by=by), None),
    "add_group": (lambda a: None, lambda a, by: a.add_group("new", by=by), "group.add"),
    "remove_group": (lambda a: None, lambda a, by: a.remove_group("dev", by=by), "group.remove"),
    "join_group": (lambda a: None, lambda a, by: a.join_group("dev", "ann", by=by), "group.join"),
    "leave_group": (
        lambda a: a.join_group("dev", "ann", by=BY),
        lambda a, by: a.leave_group("dev", "ann", by=by),
        "group.leave",
    ),
    "list_groups": (lambda a: None, lambda a, by: a.list_groups(by=by), None),
    "create_token": (lambda a: None, lambda a, by: a.create_token("ann", by=by), "token.create"),
    "revoke_token": (
        lambda a: a.create_token("ann", by=BY),
        lambda a, by: a.revoke_token(1, by=by),
        "token.revoke",
    ),
    "list_tokens": (lambda a: None, lambda a, by: a.list_tokens(by=by), None),
    "grant": (lambda a: None, lambda a, by: a.grant("user:ann", "uploader", by=by), "grant.add"),
    "ungrant": (
        lambda a: a.grant("user:ann", "uploader", by=BY),
        lambda a, by: a.ungrant("user:ann", "uploader", by=by),
        "grant.remove",
    ),
    "list_grants": (lambda a: None, lambda a, by: a.list_grants(by=by), None),
}


@pytest.fixture
def house(desk: Desk) -> Desk:
    desk.user("ann")
    desk.admin.add_group("dev", by=BY)
    return desk


def rows(desk: Desk) -> tuple[int, int]:
    """How many rows of the audit there are, and the newest serial."""
    with desk.catalogue.read() as conn:
        return len(desk.audit()), journal.serial(conn)


def test_every_method_is_known_here() -> None:
    public = {name for name, _ in inspect.getmembers(Administration, inspect.isfunction) if name[0] != "_"}
    assert public == set(METHODS)
    for name in public:
        by = inspect.signature(getattr(Administration, name)).parameters["by"]
        assert by.kind is inspect.Parameter.KEYWORD_ONLY, name


@pytest.mark.parametrize("name", METHODS)
def test_each_change_is_one_row_of_the_audit(house: Desk, name: str) -> None:
    prepare, act, word = METHODS[name]
    prepare(house.admin)
    root = Principal("root", frozenset({"operator", "authenticated"}), None, "command", "10.0.0.9")
    before, serial = rows(house)
    act(house.admin, root)
    after, later = rows(house)
    assert after == before + (word is not None)
    if word is None:
        assert later == serial
        return
    row = house.audit()[0]
    assert (row.action, row.actor, row.via, row.address) == (word, "root", "command", "10.0.0.9")
    assert row.at == int(NOW * 1_000_000)
    assert PASSWORD not in f"{row}"
    assert "other one" not in f"{row}"
    for text in (row.before, row.after):
        assert text is None or json.loads(text) is not None
    with house.catalogue.read() as conn:
        told = journal.since(conn, serial, 10)
    assert [(each.project, each.action) for each in told] == (
        [] if word == "token.create" else [("", "rights")]
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_change_that_is_refused_leaves_no_trace(house: Desk, name: str) -> None:
    prepare, act, word = METHODS[name]
    prepare(house.admin)
    bob = house.signed_in(house.user("bob", Role.OWNER), "read", "upload", "delete", "admin")
    before = rows(house)
    if name == "list_grants":
        assert [view.subject for view in house.admin.list_grants(by=bob)] == ["user:bob"]
        assert house.admin.list_grants(by=ANONYMOUS) == []
    else:
        for by in (ANONYMOUS, bob):
            with pytest.raises(Forbidden):
                act(house.admin, by)
    assert rows(house) == before
    if word is not None and name not in ("set_password", "create_token"):
        act(house.admin, BY)
        before = rows(house)
        with pytest.raises((Conflict, NotFound)):  # the same again changes nothing
            act(house.admin, BY)
        assert rows(house) == before


@pytest.mark.parametrize("name", [name for name, (_, _, word) in METHODS.items() if word is not None])
def test_a_failure_in_the_middle_undoes_everything(
    house: Desk, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from pidex.catalogue import audit

    def fail(*_: object, **__: object) -> None:
        raise CatalogueError("the disk is gone")

    def everything() -> list[object]:
        with house.catalogue.read() as conn:
            return [conn.execute(table.select()).all() for table in metadata.sorted_tables]

    prepare, act, _ = METHODS[name]
    prepare(house.admin)
    before = everything()
    monkeypatch.setattr(audit, "record", fail)
    with pytest.raises(CatalogueError, match="the disk is gone"):
        act(house.admin, BY)
    assert everything() == before


# --- users for themselves -----------------------------------------------------------------------------------


def test_users_change_their_own_password_with_the_current_one(desk: Desk) -> None:
    desk.admin.add_user("ann", PASSWORD, by=BY)
    ann = desk.accounts.authenticate(basic("ann"))
    text, _ = desk.sessions.begin(by=ann)
    for current in (None, "", "wrong one"):
        with pytest.raises(Forbidden, match="current password is wrong"):
            desk.admin.set_password("ann", "another one", current=current, by=ann)
    with pytest.raises(Forbidden, match="Only administrators"):
        desk.admin.set_password("ann", None, current=PASSWORD, by=ann)
    with pytest.raises(BadRequest, match="8 to 1024 characters"):
        desk.admin.set_password("ann", "short", current=PASSWORD, by=ann)
    desk.admin.set_password("Ann", "another one", current=PASSWORD, by=ann)
    assert desk.sessions.find(text) is None
    assert desk.accounts.authenticate(basic("ann", "another one")).name == "ann"
    token = desk.signed_in("ann", "read", "admin")
    with pytest.raises(Forbidden, match="Only administrators"):
        desk.admin.set_password("ann", "a third one", current="another one", by=token)


def test_a_current_password_that_an_administrator_gives_has_to_be_right(desk: Desk) -> None:
    desk.admin.add_user("ann", PASSWORD, by=BY)
    desk.admin.grant("user:ann", "admin", by=BY)
    ann = desk.accounts.authenticate(basic("ann"))
    with pytest.raises(Forbidden, match="current password is wrong"):
        desk.admin.set_password("ann", "another one", current="wrong one", by=ann)
    desk.admin.set_password("ann", "another one", by=ann)
    assert desk.accounts.authenticate(basic("ann", "another one")).name == "ann"


def test_users_have_tokens_of_their_own(desk: Desk) -> None:
    desk.admin.add_user("ann", PASSWORD, by=BY)
    desk.user("bob")
    ann = desk.accounts.authenticate(basic("ann"))
    made = desk.admin.create_token("Ann", scopes=["upload", "read"], comment="laptop", by=ann)
    assert is_token(made.text)
    assert made.text not in str(made.token)
    assert made.token.scopes == ("read", "upload")
    desk.token("bob")
    assert [view.comment for view in desk.admin.list_tokens("ann", by=ann)] == ["laptop"]
    for refused in (
        lambda: desk.admin.list_tokens("bob", by=ann),
        lambda: desk.admin.list_tokens(by=ann),
        lambda: desk.admin.create_token("bob", by=ann),
        lambda: desk.admin.revoke_token(2, by=ann),
        lambda: desk.admin.revoke_token(99, by=ann),
    ):
        with pytest.raises(Forbidden):
            refused()
    assert desk.admin.revoke_token(1, by=ann).state == "revoked"
    assert desk.admin.list_tokens("ann", by=ann)[0].state == "revoked"


def test_a_token_makes_no_token_that_reaches_further(desk: Desk) -> None:
    desk.user("ann", Role.ADMIN, None)
    soon = desk.clock.now + 100
    by = desk.signed_in("ann", "read", "admin", indexes=["main"], projects=["acme-*"], expires=soon)
    plain = desk.signed_in("ann", "read", "upload")
    inside = {"scopes": ["read"], "indexes": ["main"], "projects": ["acme-*"], "expires": soon}
    assert desk.admin.create_token("ann", by=by, **inside).token.state == "valid"  # type: ignore[arg-type]
    outside: list[dict[str, Any]] = [
        {**inside, "scopes": ["read", "upload"]},
        {**inside, "indexes": ["*"]},
        {**inside, "projects": ["acme-*", "other"]},
        {**inside, "expires": None},
        {**inside, "expires": soon + 1},
    ]
    for each in outside:
        with pytest.raises(Forbidden):
            desk.admin.create_token("ann", by=by, **each)
    with pytest.raises(Forbidden):
        desk.admin.create_token("ann", by=plain, **inside)  # type: ignore[arg-type]
    with pytest.raises(Forbidden):
        desk.admin.add_user("bob", by=by)  # its projects are not the whole server
    with pytest.raises(Forbidden):
        desk.admin.list_tokens("ann", by=plain)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scopes": []},
        {"scopes": ["write"]},
        {"scopes": "read"},
        {"indexes": []},
        {"indexes": ["a b"]},
        {"indexes": ["x" * 201]},
        {"projects": ["a/b"]},
        {"projects": [f"p{number}" for number in range(101)]},
        {"expires": NOW},
        {"comment": "x" * 201},
        {"comment": "a\nb"},
    ],
)
def test_what_a_token_cannot_be(house: Desk, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        house.admin.create_token("ann", by=BY, **wrong)


def test_tokens_of_a_user_are_limited(house: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from pidex.accounts import administration

    assert TOKENS > 100
    monkeypatch.setattr(administration, "TOKENS", 2)
    house.token("ann", expires=NOW + 10)
    house.token("ann")
    with pytest.raises(Conflict, match="2 tokens"):
        house.token("ann")
    house.clock.now += 11
    house.token("ann")
    with pytest.raises(Conflict):
        house.token("ann")
    house.admin.revoke_token(2, by=BY)
    house.token("ann")
    assert [view.state for view in house.admin.list_tokens(by=BY)] == ["expired", "revoked", "valid", "valid"]
    house.admin.disable_user("ann", by=BY)
    assert house.admin.list_tokens("ann", by=BY)[2].state == "locked"
    with pytest.raises(Conflict, match="locked out"):
        house.token("ann")


def test_whom_a_proxy_knows_gets_a_row_with_the_first_token(desk: Desk) -> None:
    by = desk.accounts.authenticate(None, login="Pia")
    made = desk.admin.create_token("pia", by=by)
    assert made.token.user == "pia"
    assert desk.accounts.authenticate(f"Bearer {made.text}").name == "pia"


# --- names, groups, grants ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a b", "a:b", "é", "anonymous", "Authenticated", "operator", "pidex"])
def test_names_that_cannot_be(desk: Desk, name: str) -> None:
    with pytest.raises(BadRequest):
        desk.admin.add_user(name, by=BY)
    with pytest.raises(BadRequest):
        desk.admin.add_group(name, by=BY)


@pytest.mark.parametrize(
    "password", ["short", "x" * 1025, "with\0nul in it", "two\nlines of it", "pidex_" * 4]
)
def test_passwords_that_cannot_be(house: Desk, password: str) -> None:
    with pytest.raises(BadRequest):
        house.admin.add_user("new", password, by=BY)
    with pytest.raises(BadRequest):
        house.admin.set_password("ann", password, by=BY)


def test_a_name_is_one_person_in_any_case(desk: Desk) -> None:
    assert desk.admin.add_user("Ann", by=BY).display == "Ann"
    with pytest.raises(Conflict):
        desk.admin.add_user("ANN", by=BY)
    desk.admin.grant("user:ANN", "uploader", by=BY)
    with pytest.raises(Conflict):
        desk.admin.grant("user:ann", "uploader", by=BY)


def test_groups_that_are_always_there_stay_as_they_are(house: Desk) -> None:
    for name in ("anonymous", "authenticated", "Anonymous"):
        for change in (
            lambda name=name: house.admin.join_group(name, "ann", by=BY),
            lambda name=name: house.admin.leave_group(name, "ann", by=BY),
            lambda name=name: house.admin.remove_group(name, by=BY),
        ):
            with pytest.raises(BadRequest):
                change()
    house.admin.grant("group:authenticated", "uploader", index="main", by=BY)
    assert house.accounts.allows(house.signed_in("ann"), Action.UPLOAD, "main", "demo")


def test_who_manages_a_project_decides_about_it_alone(house: Desk) -> None:
    house.admin.grant("user:ann", "owner", index="main", project="Acme_Web", by=BY)
    house.user("bob")
    ann = house.signed_in("ann", "read", "admin")
    made = house.admin.grant("user:bob", "maintainer", index="main", project="acme.web", by=ann)
    assert (made.project, made.by) == ("acme-web", "ann")
    for words in (
        {"role": "admin", "index": "main", "project": "acme-web"},
        {"role": "reader", "index": "main", "project": "acme-*"},
        {"role": "reader", "index": "main", "project": "other"},
        {"role": "reader", "index": "main"},
        {"role": "reader", "project": "acme-web"},
        {"role": "reader", "index": "other", "project": "acme-web"},
    ):
        with pytest.raises(Forbidden):
            house.admin.grant("user:bob", by=ann, **words)
    with pytest.raises(Forbidden):
        house.admin.grant(
            "user:bob", "owner", index="main", project="acme-web", by=house.signed_in("ann", "read", "upload")
        )
    seen = {(view.subject, view.project) for view in house.admin.list_grants("main", by=ann)}
    assert seen == {("user:ann", "acme-web"), ("user:bob", "acme-web")}
    house.admin.ungrant("user:bob", "maintainer", index="main", project="acme-web", by=ann)


def test_an_administrator_of_an_index_decides_there_alone(house: Desk) -> None:
    house.admin.grant("user:ann", "admin", index="main", by=BY)
    ann = house.signed_in("ann", "read", "admin")
    house.admin.grant("group:dev", "admin", index="main", by=ann)
    for refused in (
        lambda: house.admin.grant("group:dev", "reader", by=ann),
        lambda: house.admin.add_user("new", by=ann),
        lambda: house.admin.join_group("dev", "ann", by=ann),
    ):
        with pytest.raises(Forbidden):
            refused()
    house.admin.grant("user:ann", "admin", by=BY)
    house.admin.add_user("new", by=ann)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ({"subject": "ann", "role": "reader"}, BadRequest),
        ({"subject": "token:ann", "role": "reader"}, BadRequest),
        ({"subject": "user:", "role": "reader"}, BadRequest),
        ({"subject": "user:ann", "role": "king"}, BadRequest),
        ({"subject": "user:ann", "role": "reader", "project": "a/b"}, BadRequest),
        ({"subject": "user:ann", "role": "reader", "project": ""}, BadRequest),
        ({"subject": "user:nobody", "role": "reader"}, NotFound),
        ({"subject": "group:nobody", "role": "reader"}, NotFound),
        ({"subject": "user:ann", "role": "reader", "index": "absent"}, NotFound),
    ],
)
def test_grants_that_cannot_be(house: Desk, words: dict[str, Any], error: type[PidexError]) -> None:
    with pytest.raises(error):
        house.admin.grant(by=BY, **words)
    with pytest.raises(error):
        house.admin.ungrant(by=BY, **words)


def test_a_user_of_the_same_name_inherits_nothing(house: Desk) -> None:
    """T25: rights, memberships and tokens go with the user, and do not come back with the name."""
    house.admin.grant("user:ann", "owner", index="main", by=BY)
    house.admin.join_group("dev", "ann", by=BY)
    house.admin.grant("group:dev", "admin", by=BY)
    token = house.token("ann", "read", "admin")
    house.admin.remove_user("ann", by=BY)
    after = json.loads(house.audit()[0].before or "")
    assert after == {"groups": ["dev"], "grants": ["owner on main, project *"]}
    house.user("ann")
    again = house.signed_in("ann", "read", "upload", "delete", "admin")
    assert again.token is not None
    assert again.token.token_id == 2, "numbers of tokens never come back"
    for action in set(Action) - {Action.LIST, Action.READ}:
        assert not house.accounts.allows(again, action, "main", "demo")
    with pytest.raises(PidexError):
        house.accounts.authenticate(f"Bearer {token}")


def test_the_stored_password_is_a_hash_and_the_token_none(desk: Desk) -> None:
    desk.admin.add_user("ann", PASSWORD, by=BY)
    token = desk.token("ann")
    with desk.catalogue.read() as conn:
        stored = users.find_secret(conn, "ann")
    assert stored is not None
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    desk.catalogue.close()
    data = b"".join(path.read_bytes() for path in desk.folder.iterdir())
    assert token.encode() not in data
    assert PASSWORD.encode() not in data
