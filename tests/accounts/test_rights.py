"""Rights: guards and grants together, and after any history exactly what a model of it allows (T25)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pidex.accounts import rights
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import PidexError
from pidex.core.model import ANONYMOUS, OPERATOR, Principal
from pidex.core.permissions import Action, Role, Visibility
from tests.accounts.desk import BY, Desk
from tests.accounts.test_htpasswd import HASHES

Make = Callable[..., Desk]

#: Written by hand from heritage 7.2: who may do what under which `-a`, with a password file.
GUARDS = [
    # guard, (stranger: list, read, upload, delete), (person of the file: the same)
    ("update", "list read", "list read upload overwrite yank delete"),
    ("list,update", "read", "list read upload overwrite yank delete"),
    ("download,update", "list", "list read upload overwrite yank delete"),
    ("list,download,update", "", "list read upload overwrite yank delete"),
    ("", "list read upload overwrite yank delete", "list read upload overwrite yank delete"),
]


@pytest.mark.parametrize(("guard", "strangers", "people"), GUARDS)
def test_guards(make_desk: Make, tmp_path: Path, guard: str, strangers: str, people: str) -> None:
    file = tmp_path / "htpasswd"
    file.write_text(f"eve:{HASHES['sha1']}\n")
    desk = make_desk(passwords=file, guard=frozenset(guard.split(",")) - {""})
    eve = Principal("eve", frozenset({"authenticated"}), via="htpasswd")
    for by, words in ((ANONYMOUS, strangers), (eve, people)):
        for action in Action:
            allowed = desk.accounts.allows(by, action, "main", "demo")
            assert allowed is (action.value in words.split()), (guard, by.name, action)
        assert desk.accounts.visibility(by, "main").everything is ("list" in words)
        assert desk.accounts.visibility(by, "main", Action.READ).nothing is ("read" not in words)
    assert [view.subject for view in desk.admin.list_grants(by=BY)] == ["group:anonymous"], (
        "settings, no rows"
    )
    assert desk.accounts.closed_sentence("main") is None


def test_a_guard_without_update_opens_nothing_that_was_not_granted(make_desk: Make) -> None:
    desk = make_desk(guard=frozenset({"list"}))
    assert not desk.accounts.allows(ANONYMOUS, Action.UPLOAD, "main", "demo")
    assert desk.accounts.closed_sentence("main") is not None
    desk.admin.grant("group:anonymous", "uploader", index="main", by=BY)
    assert desk.accounts.allows(ANONYMOUS, Action.UPLOAD, "main", "demo")


def test_an_upload_granted_to_strangers_still_needs_signing_in(desk: Desk) -> None:
    desk.admin.grant("group:anonymous", "uploader", index="main", by=BY)
    assert not desk.accounts.allows(ANONYMOUS, Action.UPLOAD, "main", "demo")
    assert desk.accounts.allows(desk.signed_in(desk.user()), Action.UPLOAD, "main", "demo")


def test_who_left_a_group_has_its_rights_no_longer_with_a_principal_from_before(desk: Desk) -> None:
    desk.user("ann")
    desk.admin.add_group("dev", by=BY)
    desk.admin.join_group("dev", "ann", by=BY)
    desk.admin.grant("group:dev", "uploader", index="main", project="acme-*", by=BY)
    held = desk.signed_in("ann")
    other = desk.again()
    assert "dev" in held.groups
    assert other.allows(held, Action.UPLOAD, "main", "acme-web")
    assert not other.allows(held, Action.UPLOAD, "main", "other")
    desk.admin.leave_group("dev", "ann", by=BY)
    assert not other.allows(held, Action.UPLOAD, "main", "acme-web")
    forged = Principal("ann", frozenset({"authenticated", "dev", "admins"}), via="password")
    assert not other.allows(forged, Action.UPLOAD, "main", "acme-web"), "groups are looked up, not believed"


def test_what_is_visible(desk: Desk) -> None:
    desk.admin.ungrant("group:anonymous", "reader", index="main", by=BY)
    desk.admin.grant("group:anonymous", "reader", index="main", project="public-*", by=BY)
    desk.user("ann")
    desk.admin.grant("user:ann", "owner", index="main", project="secret", by=BY)
    ann = desk.signed_in("ann")
    narrow = desk.signed_in("ann", "read", projects=["public-*"])
    seen = desk.accounts.visibility
    assert seen(ANONYMOUS, "main") == Visibility(frozenset({"public-*"}))
    assert seen(ann, "main") == Visibility(frozenset({"public-*", "secret"}))
    assert seen(narrow, "main").sees("public-a")
    assert not seen(narrow, "main").sees("secret")
    assert seen(ann, "other").nothing
    assert seen(desk.signed_in("ann", "upload"), "main").nothing
    assert seen(OPERATOR, "main").everything
    desk.user("bob")
    assert seen(desk.signed_in("bob"), "main") == seen(ANONYMOUS, "main"), "equal rights share pages"


def test_memory_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "DECISIONS", 50)
    monkeypatch.setattr(rights, "CALLERS", 5)
    for number in range(120):
        by = Principal(f"user{number}", frozenset({"authenticated"}), via="proxy")
        assert desk.accounts.allows(by, Action.READ, "main", f"project{number}")
    state = desk.accounts.rights._state
    assert len(state.decisions) <= 50
    assert len(state.held) <= 5


def test_thousands_of_own_projects_are_looked_up_by_name(desk: Desk) -> None:
    from pidex.catalogue import grants
    from pidex.core.permissions import Grant

    desk.user("ann")
    with desk.catalogue.write() as conn:
        for number in range(100):
            grants.add(conn, Grant("user:ann", Role.OWNER, "main", f"p{number}"), by="x", at=1)
    ann = desk.signed_in("ann", "delete", "read")
    held = desk.accounts.rights._hold(desk.accounts.rights._state, ann)
    assert len([*held.about("p7")]) == 2, "her own grant and everybody's"
    assert desk.accounts.allows(ann, Action.DELETE, "main", "p7")
    assert not desk.accounts.allows(ann, Action.DELETE, "main", "p100")


# --- any history --------------------------------------------------------------------------------------------

USERS, GROUPS, INDEXES = ("ann", "bob", "cid"), ("dev", "ops"), ("main", "other")
PROJECTS, GLOBS = ("acme-web", "demo"), ("*", "acme-*", "demo")
ROLES = ("reader", "uploader", "maintainer", "owner", "admin")
#: What each role may, once more by hand.
MAY = {
    "reader": {"list", "read"},
    "uploader": {"list", "read", "upload"},
    "maintainer": {"list", "read", "upload", "yank", "overwrite"},
    "owner": {"list", "read", "upload", "yank", "overwrite", "delete", "manage"},
    "admin": {"list", "read", "upload", "yank", "overwrite", "delete", "manage", "admin"},
}
SUBJECTS = (*(f"user:{name}" for name in USERS), *(f"group:{name}" for name in GROUPS),
            "group:anonymous", "group:authenticated")  # fmt: skip

_template: list[Path] = []


def matches(glob: str, project: str) -> bool:
    return glob in ("*", project) or (glob == "acme-*" and project.startswith("acme-"))


class History(RuleBasedStateMachine):
    """Users, groups, memberships, grants, tokens and locks in any order, beside a model of sets."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pidex-rights-"))
        path = self.folder / "catalogue.db"
        if _template:
            shutil.copy(_template[0], path)
        self.catalogue = Catalogue.open(path)
        if not _template:
            self.catalogue.close()
            _template.append(Path(shutil.copy(path, Path(tempfile.mkdtemp()) / "empty.db")))
        self.desk = Desk(self.catalogue, self.folder)
        from pidex.catalogue import indexes

        with self.catalogue.write() as conn:
            indexes.ensure(conn, "other", 1.0)
        self.other = self.desk.again()  # another process's, which hears of nothing but the catalogue
        self.users: dict[str, bool] = {}  # name: locked out
        self.groups: dict[str, set[str]] = {}
        self.grants = {("group:anonymous", "reader", index, "*") for index in INDEXES}
        self.held: list[tuple[Principal, int, str]] = []  # signed in by token; its number and owner
        self.tokens: dict[int, str] = {}  # those that work

    def teardown(self) -> None:
        if hasattr(self, "desk"):
            self.desk.expendable.close()
            self.catalogue.close()
            shutil.rmtree(self.folder)

    def attempt(self, act: Callable[[], Any], possible: bool) -> bool:
        """Do it, and see that it is done exactly where the model says it can be."""
        try:
            act()
        except PidexError:
            assert not possible
            return False
        assert possible
        return True

    @rule(name=st.sampled_from(USERS))
    def add_user(self, name: str) -> None:
        if self.attempt(lambda: self.desk.admin.add_user(name, by=BY), name not in self.users):
            self.users[name] = False

    @rule(name=st.sampled_from(USERS))
    def remove_user(self, name: str) -> None:
        if self.attempt(lambda: self.desk.admin.remove_user(name, by=BY), name in self.users):
            del self.users[name]
            for members in self.groups.values():
                members.discard(name)
            self.grants = {grant for grant in self.grants if grant[0] != f"user:{name}"}
            self.tokens = {number: owner for number, owner in self.tokens.items() if owner != name}

    @rule(name=st.sampled_from(USERS), locked=st.booleans())
    def lock(self, name: str, locked: bool) -> None:
        change = self.desk.admin.disable_user if locked else self.desk.admin.enable_user
        if self.attempt(lambda: change(name, by=BY), self.users.get(name) is (not locked)):
            self.users[name] = locked

    @rule(name=st.sampled_from(GROUPS))
    def add_group(self, name: str) -> None:
        if self.attempt(lambda: self.desk.admin.add_group(name, by=BY), name not in self.groups):
            self.groups[name] = set()

    @rule(name=st.sampled_from(GROUPS))
    def remove_group(self, name: str) -> None:
        if self.attempt(lambda: self.desk.admin.remove_group(name, by=BY), name in self.groups):
            del self.groups[name]
            self.grants = {grant for grant in self.grants if grant[0] != f"group:{name}"}

    @rule(group=st.sampled_from(GROUPS), name=st.sampled_from(USERS), joins=st.booleans())
    def change_membership(self, group: str, name: str, joins: bool) -> None:
        change = self.desk.admin.join_group if joins else self.desk.admin.leave_group
        known = name in self.users and group in self.groups
        possible = known and (name in self.groups[group]) is not joins
        if self.attempt(lambda: change(group, name, by=BY), possible):
            (self.groups[group].add if joins else self.groups[group].remove)(name)

    @rule(
        subject=st.sampled_from(SUBJECTS),
        role=st.sampled_from(ROLES),
        index=st.sampled_from((*INDEXES, None)),
        project=st.sampled_from(GLOBS),
        gives=st.booleans(),
    )
    def change_grant(self, subject: str, role: str, index: str | None, project: str, gives: bool) -> None:
        change = self.desk.admin.grant if gives else self.desk.admin.ungrant
        kind, _, name = subject.partition(":")
        known = name in (self.users if kind == "user" else {*self.groups, "anonymous", "authenticated"})
        grant = (subject, role, index, project)
        possible = known and (grant in self.grants) is not gives
        if self.attempt(lambda: change(subject, role, index=index, project=project, by=BY), possible):
            self.grants ^= {grant}  # type: ignore[arg-type]

    @rule(name=st.sampled_from(USERS))
    def sign_in(self, name: str) -> None:
        def act() -> None:
            made = self.desk.admin.create_token(name, scopes=("read", "upload", "delete", "admin"), by=BY)
            found = self.desk.accounts.authenticate(f"Bearer {made.text}")
            self.held.append((found, made.token.id, name))
            self.tokens[made.token.id] = name

        self.attempt(act, self.users.get(name) is False)

    @rule(number=st.integers(1, 6))
    def revoke(self, number: int) -> None:
        if number in self.tokens:
            self.desk.admin.revoke_token(number, by=BY)
            del self.tokens[number]

    def model(self, user: str | None, action: Action, index: str, project: str) -> bool:
        """What the words of the design say, by walking over everything."""
        subjects = {"group:anonymous"}
        if user is not None:
            subjects |= {f"user:{user}", "group:authenticated"}
            subjects |= {f"group:{group}" for group, members in self.groups.items() if user in members}
        guarded = action not in (Action.LIST, Action.READ)
        if user is None and guarded:
            subjects.discard("group:anonymous")
        return any(
            subject in subjects
            and action.value in MAY[role]
            and where in (None, index)
            and (glob == "*" if action is Action.ADMIN else matches(glob, project))
            for subject, role, where, glob in self.grants
        )

    @invariant()
    def rights_are_those_of_the_model(self) -> None:
        if not hasattr(self, "desk"):
            return
        callers: list[tuple[Principal, str | None]] = [(ANONYMOUS, None)]
        for principal, number, owner in self.held[-4:]:
            alive = self.tokens.get(number) == owner and self.users.get(owner) is False
            callers.append((principal, owner if alive else None))
        for by, user in callers:
            for action in (Action.LIST, Action.UPLOAD, Action.DELETE, Action.ADMIN):
                for index in INDEXES:
                    for project in PROJECTS:
                        expected = self.model(user, action, index, project)
                        asked = (by, action, index, None if action is Action.ADMIN else project)
                        assert self.desk.accounts.allows(*asked) is expected, asked
                        assert self.other.allows(*asked) is expected, asked
            for index in INDEXES:
                seen = self.other.visibility(by, index)
                for project in PROJECTS:
                    assert seen.sees(project) is self.model(user, Action.LIST, index, project)


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
