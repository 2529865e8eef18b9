"""Sessions of the web pages: begun, found, ended, bounded, and gone with their user."""

from __future__ import annotations

import pytest

from pidex.accounts.sessions import SESSION_SECONDS, SESSIONS, is_form_of
from pidex.core.errors import Forbidden
from pidex.core.model import ANONYMOUS, Principal
from pidex.core.permissions import Action, Role
from tests.accounts.desk import BY, PASSWORD, Desk, basic


@pytest.fixture
def ann(desk: Desk) -> Principal:
    desk.admin.add_user("ann", PASSWORD, by=BY)
    desk.user("ann", Role.UPLOADER)
    return desk.accounts.authenticate(basic("ann"))


def test_a_session_is_found_by_its_text_alone(desk: Desk, ann: Principal) -> None:
    text, begun = desk.sessions.begin(by=ann)
    found = desk.sessions.find(text, "10.0.0.1")
    assert found is not None
    assert found.principal == ann._replace(via="session", address="10.0.0.1")
    assert (found.csrf, found.expires) == (begun.csrf, desk.clock.now + SESSION_SECONDS)
    assert desk.accounts.allows(found.principal, Action.UPLOAD, "main", "demo")
    assert is_form_of(found, begun.csrf)
    other, second = desk.sessions.begin(by=ann)
    assert other != text, "a new one for each signing in"
    assert not is_form_of(found, second.csrf)
    assert not is_form_of(found, "\udcff")
    for wrong in ("", "x", text[:-1], "x" * 10_000, "\udcff"):
        assert desk.sessions.find(wrong) is None


def test_a_session_ends(desk: Desk, ann: Principal) -> None:
    text, _ = desk.sessions.begin(by=ann)
    desk.sessions.end(text, by=ann)
    assert desk.sessions.find(text) is None
    desk.sessions.end(text, by=ann)
    assert [row.action for row in desk.audit()][:2] == ["session.end", "session.begin"]
    text, _ = desk.sessions.begin(by=ann)
    desk.clock.now += SESSION_SECONDS
    assert desk.sessions.find(text) is None


@pytest.mark.parametrize("how", ["disable", "remove", "password"])
def test_a_session_ends_with_what_it_came_by(desk: Desk, ann: Principal, how: str) -> None:
    text, _ = desk.sessions.begin(by=ann)
    found = desk.sessions.find(text)
    assert found is not None
    if how == "disable":
        desk.admin.disable_user("ann", by=BY)
    elif how == "remove":
        desk.admin.remove_user("ann", by=BY)
    else:
        desk.admin.set_password("ann", "another one", by=BY)
    assert desk.sessions.find(text) is None
    assert desk.accounts.allows(found.principal, Action.UPLOAD, "main", "demo") is (how == "password")
    if how == "disable":
        desk.admin.enable_user("ann", by=BY)
        assert desk.sessions.find(text) is None


def test_sessions_are_for_who_signed_in_as_themselves(desk: Desk, ann: Principal) -> None:
    for by in (ANONYMOUS, desk.signed_in("ann")):
        with pytest.raises(Forbidden):
            desk.sessions.begin(by=by)
    desk.admin.disable_user("ann", by=BY)
    with pytest.raises(Forbidden, match="locked out"):
        desk.sessions.begin(by=ann)


def test_sessions_of_a_user_are_bounded(desk: Desk, ann: Principal) -> None:
    texts = []
    for _ in range(SESSIONS + 5):
        desk.clock.now += 1
        texts.append(desk.sessions.begin(by=ann)[0])
    alive = [desk.sessions.find(text) is not None for text in texts]
    assert alive == [False] * 5 + [True] * SESSIONS


def test_ones_sessions_are_listed_and_ended_but_for_the_one_that_asks(desk: Desk, ann: Principal) -> None:
    texts = [desk.sessions.begin(by=ann)[0] for _ in range(3)]
    bob = Principal("bob", frozenset({"authenticated"}), via="password")
    theirs, _ = desk.sessions.begin(by=bob)
    found = desk.sessions.list_own(texts[1], by=ann)
    assert len(found) == 3
    assert sorted(each.here for each in found) == [False, False, True]
    assert all(each.created < each.expires for each in found)
    assert desk.sessions.end_others(texts[1], by=ann) == 2
    assert [desk.sessions.find(text) is not None for text in texts] == [False, True, False]
    assert desk.sessions.find(theirs) is not None
    assert desk.sessions.end_others(texts[1], by=ann) == 0
    assert [row.action for row in desk.audit()].count("session.end") == 1


def test_strangers_and_tokens_end_no_sessions(desk: Desk, ann: Principal) -> None:
    text, _ = desk.sessions.begin(by=ann)
    assert desk.sessions.list_own(text, by=ANONYMOUS) == []
    with pytest.raises(Forbidden):
        desk.sessions.end_others("", by=ANONYMOUS)
    made = desk.admin.create_token("ann", scopes=["read"], by=BY)
    token = desk.accounts.authenticate(basic("__token__", made.text))
    with pytest.raises(Forbidden):
        desk.sessions.end_others("", by=token)
    assert desk.sessions.find(text) is not None
