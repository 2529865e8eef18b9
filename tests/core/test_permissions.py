"""Rights: the table of roles by hand, tokens that only narrow, one filter for what is seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core.model import ANONYMOUS, OPERATOR, Principal
from pidex.core.permissions import GUARDED, Action, Grant, Role, decide, visible
from pidex.core.tokens import TokenScope

ALICE = Principal("alice", frozenset({"authenticated", "dev"}))

#: Written by hand from the words of the design: role -> what it may.
TABLE = {
    Role.LISTER: "list",
    Role.DOWNLOADER: "read",
    Role.UPDATER: "list read upload yank overwrite delete",
    Role.READER: "list read",
    Role.UPLOADER: "list read upload",
    Role.MAINTAINER: "list read upload yank overwrite",
    Role.OWNER: "list read upload yank overwrite delete manage",
    Role.ADMIN: "list read upload yank overwrite delete manage admin",
}


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("action", list(Action))
def test_roles(role: Role, action: Action) -> None:
    grants = [Grant("user:alice", role, "main")]
    assert decide(grants, ALICE, action, "main", "demo") is (action.value in TABLE[role].split())
    assert decide(grants, ANONYMOUS, action, "main", "demo") is False
    assert decide(grants, ALICE, action, "other", "demo") is False


def test_groups_and_globs() -> None:
    grants = [
        Grant("group:dev", Role.UPLOADER, None, "acme-*"),
        Grant("group:anonymous", Role.READER, "main"),
    ]
    assert decide(grants, ALICE, Action.UPLOAD, "main", "acme-web")
    assert decide(grants, ALICE, Action.UPLOAD, "other", "acme-web")
    assert not decide(grants, ALICE, Action.UPLOAD, "main", "acme")
    assert decide(grants, ALICE, Action.UPLOAD, "main", None), "something there may be uploaded"
    assert decide(grants, ANONYMOUS, Action.READ, "main", "anything")
    assert decide(grants, ALICE, Action.READ, "main", "anything"), "signing in takes nothing away"


@pytest.mark.parametrize("word", GUARDED)
def test_what_is_guarded_needs_signing_in(word: str) -> None:
    grants = [Grant("group:anonymous", Role.OWNER, "main")]
    assert set().union(*GUARDED.values()) == set(Action)
    for action in set(Action) - {Action.ADMIN}:
        guard = GUARDED[word]
        assert decide(grants, ANONYMOUS, action, "main", "demo", guard=guard) is (action not in guard)
        assert decide(grants, ALICE, action, "main", "demo", guard=guard)
        assert visible(grants, ANONYMOUS, "main", action, guard=guard).nothing is (action in guard)
        assert visible(grants, ALICE, "main", action, guard=guard).everything


def test_admin_is_of_an_index_or_of_the_server() -> None:
    on_index = [Grant("user:alice", Role.ADMIN, "main")]
    on_projects = [Grant("user:alice", Role.ADMIN, "main", "acme-*")]
    on_server = [Grant("user:alice", Role.ADMIN)]
    assert decide(on_index, ALICE, Action.ADMIN, "main")
    assert not decide(on_index, ALICE, Action.ADMIN, None)
    assert not decide(on_projects, ALICE, Action.ADMIN, "main")
    assert decide(on_projects, ALICE, Action.DELETE, "main", "acme-web")
    assert decide(on_server, ALICE, Action.ADMIN, None)
    assert decide(on_server, ALICE, Action.ADMIN, "main")
    assert decide([], OPERATOR, Action.ADMIN, None)


NAMES = st.sampled_from(["acme-web", "acme-db", "demo", "x"])
GLOBS = st.sampled_from(["*", "acme-*", "demo", "?"])
GRANTS = st.lists(
    st.builds(
        Grant,
        st.sampled_from(["user:alice", "user:bob", "group:dev", "group:anonymous", "group:authenticated"]),
        st.sampled_from(list(Role)),
        st.sampled_from([None, "main", "other"]),
        GLOBS,
    ),
    max_size=6,
)
TOKENS = st.builds(
    TokenScope,
    st.just(1),
    st.lists(st.sampled_from(["*", "main", "o*"]), max_size=2).map(tuple),
    st.lists(GLOBS, max_size=2).map(tuple),
    st.lists(st.sampled_from(["read", "upload", "delete", "admin"]), max_size=4).map(tuple),
)


@given(GRANTS, TOKENS, st.sampled_from(list(Action)), st.sampled_from(["main", "other"]), NAMES | st.none())
def test_a_token_never_widens(
    grants: list[Grant], token: TokenScope, action: Action, index: str, project: str | None
) -> None:
    narrowed = decide(grants, ALICE._replace(token=token), action, index, project)
    assert not narrowed or decide(grants, ALICE, action, index, project)


@given(GRANTS, st.none() | TOKENS, st.sampled_from(["main", "other"]), NAMES)
def test_the_filter_is_the_decision(
    grants: list[Grant], token: TokenScope | None, index: str, project: str
) -> None:
    for action in (Action.LIST, Action.READ):
        caller = ALICE._replace(token=token)
        seen = visible(grants, caller, index, action)
        assert seen.sees(project) == decide(grants, caller, action, index, project)
        if seen.everything:
            assert seen.sees(project)
        if seen.nothing:
            assert not seen.sees(project)
