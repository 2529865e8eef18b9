"""Who is asking: every way to send credentials, what is remembered, refused, counted and timed."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pidex.accounts import hashing, htpasswd
from pidex.accounts.signing import MEMORY_LIMIT, MEMORY_SECONDS, WRONG, WRONG_TOKEN
from pidex.core.errors import Forbidden, NotFound, PidexError, TooMany, Unauthenticated
from pidex.core.model import ANONYMOUS, Principal
from pidex.core.permissions import Action, Role
from pidex.core.tokens import text
from tests.accounts.desk import BY, PASSWORD, Desk, basic
from tests.accounts.test_htpasswd import HASHES
from tests.accounts.test_htpasswd import PASSWORD as FILE_PASSWORD

Make = Callable[..., Desk]


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    path.write_text(f"Eve:{HASHES['sha1']}\nfay:{HASHES['bcrypt']}\n")
    return path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every hash that is evaluated: 'argon2', 'argon2 dummy', or a scheme of htpasswd."""
    evaluated: list[str] = []
    ours, theirs = hashing.verify, htpasswd.verify

    def verify(stored: str | None, password: str) -> bool:
        evaluated.append("argon2")
        return ours(stored, password)

    def verify_theirs(*args: str) -> bool:
        evaluated.append("htpasswd")
        return theirs(*args)

    monkeypatch.setattr(hashing, "verify", verify)
    monkeypatch.setattr(htpasswd, "verify", verify_theirs)
    return evaluated


def tries(desk: Desk, headers: list[str], addresses: Callable[[int], str]) -> dict[type[PidexError], int]:
    """How often each refusal came."""
    found: dict[type[PidexError], int] = {}
    for number, header in enumerate(headers):
        with pytest.raises(PidexError) as caught:
            desk.accounts.authenticate(header, addresses(number))
        found[type(caught.value)] = found.get(type(caught.value), 0) + 1
    return found


# --- forms --------------------------------------------------------------------------------------------------


def test_a_password_signs_in_whatever_the_case_of_the_name(desk: Desk) -> None:
    desk.admin.add_user("Ann", PASSWORD, by=BY)
    for name in ("ann", "ANN", "Ann"):
        found = desk.accounts.authenticate(basic(name), "10.0.0.1")
        assert found == Principal("ann", frozenset({"authenticated"}), via="password", address="10.0.0.1")
    for wrong in ("", "Correct horse", f"{PASSWORD} ", "\0", "x" * 5000):
        with pytest.raises(Unauthenticated, match=WRONG):
            desk.accounts.authenticate(basic("ann", wrong))


def test_a_token_is_taken_wherever_clients_put_it(desk: Desk) -> None:
    token = desk.token(desk.user())
    headers = [
        basic("__token__", token),
        basic("anybody", token),
        basic("", token),
        basic(token, ""),
        f"Bearer {token}",
        f"bearer  {token}",
        f"token {token}",
        basic("__token__", f"{token}\n"),
    ]
    for header in headers:
        found = desk.accounts.authenticate(header)
        assert (found.name, found.via) == ("ann", "token"), header
        assert found.token is not None
        assert found.token.scopes == ("read", "upload")
    with pytest.raises(Unauthenticated):
        desk.accounts.authenticate(basic(token, "x"))


@pytest.mark.parametrize(
    "wrong",
    [
        "Basic",
        "Basic !",
        "Basic \udcff",
        "Digest username=x",
        "x" * 9000,
        "Basic " + base64.b64encode(b"nocolon").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        "Bearer",
        "Bearer x",
        f"Bearer {text(bytes(32))}",
        f"Bearer {text(bytes(32))[:-1]}",
        basic(""),
        basic("", ""),
        basic("nobody"),
        basic("__token__", "secret"),
        basic("n" * 4000, "x"),
    ],
)
def test_a_wrong_header_is_refused(desk: Desk, wrong: str) -> None:
    desk.admin.add_user("ann", PASSWORD, by=BY)
    assert desk.accounts.remembered(wrong) is None
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            desk.accounts.authenticate(wrong, "10.0.0.1")


def test_nobody_is_anonymous(desk: Desk) -> None:
    assert desk.accounts.authenticate(None) == ANONYMOUS
    assert desk.accounts.remembered(None) == ANONYMOUS
    assert desk.accounts.authenticate(None, "10.0.0.1") == ANONYMOUS._replace(address="10.0.0.1")


def test_people_of_the_password_file(make_desk: Make, passwords: Path) -> None:
    desk = make_desk(passwords=passwords)
    found = desk.accounts.authenticate(basic("eve", FILE_PASSWORD))
    assert found == Principal("eve", frozenset({"authenticated"}), via="htpasswd")
    desk.user("eve")
    desk.admin.add_group("dev", by=BY)
    desk.admin.join_group("dev", "eve", by=BY)
    assert desk.accounts.authenticate(basic("Eve", FILE_PASSWORD)).groups == {"authenticated", "dev"}
    desk.admin.set_password("eve", PASSWORD, by=BY)
    with pytest.raises(Unauthenticated):
        desk.accounts.authenticate(basic("eve", FILE_PASSWORD))  # her own password counts now
    desk.admin.disable_user("eve", by=BY)
    for password in (PASSWORD, FILE_PASSWORD):
        with pytest.raises(Unauthenticated, match=WRONG):
            desk.accounts.authenticate(basic("eve", password))


def test_a_trusted_proxy_says_who_it_is(desk: Desk) -> None:
    assert desk.accounts.remembered(None, login="Ann") is None
    found = desk.accounts.authenticate(basic("proxy", "its own"), "10.0.0.1", login=" Ann ")
    assert found == Principal("ann", frozenset({"authenticated"}), via="proxy", address="10.0.0.1")
    assert desk.accounts.remembered(None, login="") == ANONYMOUS
    desk.user("ann")
    desk.admin.disable_user("ann", by=BY)
    with pytest.raises(Unauthenticated, match="locked out"):
        desk.accounts.authenticate(None, login="ann")
    for name in ("a:b", "pidex", "anonymous", "operator", "x" * 65, "a\nb", "é"):
        with pytest.raises(Unauthenticated):
            desk.accounts.authenticate(None, login=name)


def test_a_header_cannot_pass_for_what_a_proxy_said(desk: Desk) -> None:
    desk.user("ada")
    desk.user("bob")
    desk.user("ada")  # where nobody is known, headers mean nothing
    desk.accounts.authenticate(None, login="ann")
    for header in ("ann", "\0ann", "login ann", " ann"):
        assert desk.accounts.remembered(header) is None


# --- tokens that end ----------------------------------------------------------------------------------------


def test_an_expired_token_says_so_to_who_has_it(desk: Desk) -> None:
    token = desk.token(desk.user(), expires=desk.clock.now + 100)
    header = basic("__token__", token)
    held = desk.accounts.authenticate(header)
    assert desk.accounts.allows(held, Action.READ, "main", "demo")
    desk.clock.now += 101
    assert desk.accounts.remembered(header) is None
    assert not desk.accounts.allows(held, Action.READ, "main", "demo")
    assert desk.accounts.visibility(held, "main").nothing
    with pytest.raises(
        Unauthenticated, match=r"pidex_0{4}… expired on 2027-01-15 .* `pidex token create ann`"
    ):
        desk.accounts.authenticate(header)
    other = text((7).to_bytes(32))
    with pytest.raises(Unauthenticated, match="not known"):
        desk.accounts.authenticate(basic("__token__", other))


@pytest.mark.parametrize("how", ["revoked", "locked out", "removed"])
def test_a_token_ends_at_once_in_every_process(desk: Desk, how: str) -> None:
    header = basic("__token__", desk.token(desk.user("ann", Role.OWNER), "read", "delete"))
    desk.user("bob")  # without anybody, credentials mean nothing
    other = desk.again()
    held = [accounts.authenticate(header) for accounts in (desk.accounts, other)]
    assert other.allows(held[1], Action.DELETE, "main", "demo")
    if how == "revoked":
        desk.admin.revoke_token(1, by=BY)
    elif how == "removed":
        desk.admin.remove_user("ann", by=BY)
    else:
        desk.admin.disable_user("ann", by=BY)
    for accounts, by in zip((desk.accounts, other), held, strict=True):
        assert accounts.remembered(header) is None
        assert not accounts.allows(by, Action.DELETE, "main", "demo")
        with pytest.raises(Unauthenticated, match=WRONG_TOKEN):
            accounts.authenticate(header)


def test_the_last_use_is_noted_once_a_minute(desk: Desk) -> None:
    header = basic("__token__", desk.token(desk.user()))
    desk.accounts.authenticate(header)
    first = int(desk.clock.now * 1_000_000)
    assert desk.expendable.uses() == {1: first}
    desk.clock.now += 30
    desk.accounts.authenticate(f"Bearer {desk.token('ann')}")
    desk.accounts.authenticate(header)
    assert desk.expendable.uses()[1] == first
    desk.clock.now += MEMORY_SECONDS
    desk.accounts.authenticate(header)
    assert desk.expendable.uses()[1] == int(desk.clock.now * 1_000_000)
    assert next(view.used for view in desk.admin.list_tokens(by=BY)) == int(desk.clock.now * 1_000_000)


# --- what is remembered -------------------------------------------------------------------------------------


def test_what_was_verified_is_remembered_for_a_while(desk: Desk, counted: list[str]) -> None:
    desk.admin.add_user("ann", PASSWORD, by=BY)
    header = basic("ann")
    known = desk.accounts.authenticate(header)
    for _ in range(3):
        assert desk.accounts.remembered(header) == desk.accounts.authenticate(header) == known
    assert desk.accounts.remembered(basic("ann", "other one")) is None
    assert counted == ["argon2"]
    desk.clock.now += MEMORY_SECONDS + 1
    assert desk.accounts.remembered(header) is None
    desk.accounts.authenticate(header)
    assert counted == ["argon2"] * 2


def test_a_change_of_passwords_is_noticed_at_once_in_every_process(desk: Desk) -> None:
    desk.admin.add_user("ann", PASSWORD, by=BY)
    other = desk.again()
    assert desk.accounts.authenticate(basic("ann")) == other.authenticate(basic("ann"))
    desk.admin.set_password("ann", "another one", by=BY)
    for accounts in (desk.accounts, other):
        assert accounts.remembered(basic("ann")) is None
        with pytest.raises(Unauthenticated):
            accounts.authenticate(basic("ann"))
        assert accounts.authenticate(basic("ann", "another one")).name == "ann"


def test_a_grant_makes_nobody_sign_in_again(desk: Desk, counted: list[str]) -> None:
    desk.admin.add_user("ann", PASSWORD, by=BY)
    by = desk.accounts.authenticate(basic("ann"))
    assert not desk.accounts.allows(by, Action.UPLOAD, "main")
    desk.admin.grant("user:ann", "uploader", index="main", by=BY)
    assert desk.accounts.remembered(basic("ann")) == by
    assert desk.accounts.allows(by, Action.UPLOAD, "main")
    assert counted == ["argon2"]


def test_the_file_is_read_again_when_it_changes(make_desk: Make, passwords: Path) -> None:
    desk = make_desk(passwords=passwords)
    by = desk.accounts.authenticate(basic("eve", FILE_PASSWORD))
    assert desk.accounts.allows(by, Action.DELETE, "main", "demo")
    passwords.write_text(f"new:{HASHES['sha1']}\n")
    assert desk.accounts.remembered(basic("eve", FILE_PASSWORD)) is None
    assert not desk.accounts.allows(by, Action.DELETE, "main", "demo"), "who has gone may nothing"
    with pytest.raises(Unauthenticated):
        desk.accounts.authenticate(basic("eve", FILE_PASSWORD))
    assert desk.accounts.authenticate(basic("new", FILE_PASSWORD)).name == "new"


def test_a_verification_that_a_change_overtakes_is_not_remembered(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.admin.add_user("ann", PASSWORD, by=BY)

    def verify(*_: object) -> bool:
        desk.admin.set_password("ann", "another one", by=BY)
        return True

    monkeypatch.setattr(hashing, "verify", verify)
    desk.accounts.authenticate(basic("ann"))
    assert desk.accounts.remembered(basic("ann")) is None


def test_the_same_header_is_verified_once_at_a_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.admin.add_user("ann", PASSWORD, by=BY)
    started, go_on = threading.Event(), threading.Event()
    asked: list[str] = []

    def verify(_stored: str | None, password: str) -> bool:
        asked.append(password)
        started.set()
        return go_on.wait(30)

    monkeypatch.setattr(hashing, "verify", verify)
    found: list[Principal] = []
    threads = [
        threading.Thread(target=lambda: found.append(desk.accounts.authenticate(basic("ann"))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    assert started.wait(30)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8
    assert asked == [PASSWORD]


def test_the_memory_is_bounded_and_holds_no_passwords(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.admin.add_user("ann", PASSWORD, by=BY)
    monkeypatch.setattr(hashing, "verify", lambda *_: True)
    for number in range(MEMORY_LIMIT + 10):
        desk.accounts.authenticate(basic("ann", str(number)))
    assert desk.accounts.remembered(basic("ann", "0")) is None
    assert desk.accounts.remembered(basic("ann", str(MEMORY_LIMIT + 9))) is not None
    memory = desk.accounts._memory
    assert len(memory) == MEMORY_LIMIT
    assert all(len(mark) == 32 for mark in memory)


# --- guesses ------------------------------------------------------------------------------------------------


def test_of_a_thousand_guesses_few_are_evaluated(desk: Desk, counted: list[str]) -> None:
    desk.admin.add_user("ann", PASSWORD, by=BY)
    guesses = [basic("ann", f"guess {number}") for number in range(1000)]
    refused = tries(desk, guesses, lambda number: f"10.0.{number % 250}.{number // 250}")
    assert len(counted) <= 20, "one account, many addresses"
    assert refused == {Unauthenticated: len(counted), TooMany: 1000 - len(counted)}
    counted.clear()
    names = [basic(f"user{number}", "guess") for number in range(1000)]
    tries(desk, names, lambda _: "192.0.2.1")
    assert len(counted) <= 20, "one address, many accounts"
    counted.clear()
    spread = [basic(f"other{number}", "guess") for number in range(1000)]
    tries(desk, spread, lambda number: f"2001:db8:1:1::{number:x}")
    assert len(counted) <= 20, "one customer's IPv6 network"


def test_of_a_thousand_guessed_tokens_few_are_looked_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from pidex.catalogue import tokens

    desk.user("ann")
    looked_up: list[str] = []
    find = tokens.find_by_digest

    def find_by_digest(conn: Any, digest: str) -> Any:
        looked_up.append(digest)
        return find(conn, digest)

    monkeypatch.setattr(tokens, "find_by_digest", find_by_digest)
    guesses = [f"Bearer {text(number.to_bytes(32))}" for number in range(1000)]
    refused = tries(desk, guesses, lambda _: "192.0.2.1")
    assert 0 < len(looked_up) <= 20
    assert refused[TooMany] >= 980


def test_who_is_throttled_is_told_when_to_come_back(desk: Desk) -> None:
    desk.admin.add_user("ann", PASSWORD, by=BY)
    tries(desk, [basic("ann", f"guess {number}") for number in range(30)], lambda _: "192.0.2.1")
    with pytest.raises(TooMany, match=r"Try again in \d+ s") as caught:
        desk.accounts.authenticate(basic("ann"), "192.0.2.1")
    assert caught.value.retry_after is not None
    desk.clock.now += caught.value.retry_after
    assert desk.accounts.authenticate(basic("ann"), "192.0.2.1").name == "ann"


def test_guessers_lock_nobody_out(desk: Desk) -> None:
    desk.admin.add_user("ann", PASSWORD, by=BY)
    desk.accounts.authenticate(basic("ann"), "10.0.0.1")
    tries(desk, [basic("ann", f"guess {number}") for number in range(50)], lambda number: f"192.0.2.{number}")
    tries(desk, [basic(f"user{number}", "guess") for number in range(50)], lambda _: "10.0.0.1")
    desk.admin.add_group("dev", by=BY)
    desk.admin.join_group("dev", "ann", by=BY)  # nothing is remembered any more
    assert desk.accounts.remembered(basic("ann")) is None
    assert desk.accounts.authenticate(basic("ann"), "10.0.0.1").name == "ann"


def test_the_same_wrong_password_again_is_no_new_guess(desk: Desk, counted: list[str]) -> None:
    desk.admin.add_user("ann", PASSWORD, by=BY)
    assert tries(desk, [basic("ann", "old one")] * 100, lambda _: "10.0.0.1") == {Unauthenticated: 100}
    assert counted == ["argon2"]
    assert desk.accounts.authenticate(basic("ann"), "10.0.0.1").name == "ann"
    desk.admin.set_password("ann", "old one again", by=BY)
    with pytest.raises(Unauthenticated):
        desk.accounts.authenticate(basic("ann", "old one"), "10.0.0.1")
    assert counted == ["argon2"] * 3


@pytest.mark.parametrize("who", ["nobody", "ann", "locked", "empty", "eve"])
def test_every_wrong_password_costs_the_same(
    make_desk: Make, passwords: Path, counted: list[str], who: str
) -> None:
    """T21: whether a name is known cannot be told by what is evaluated for it."""
    desk = make_desk(passwords=passwords)
    desk.admin.add_user("ann", PASSWORD, by=BY)
    desk.admin.add_user("locked", PASSWORD, by=BY)
    desk.admin.disable_user("locked", by=BY)
    desk.admin.add_user("empty", by=BY)
    with pytest.raises(Unauthenticated) as caught:
        desk.accounts.authenticate(basic(who, "wrong one"))
    assert str(caught.value) == WRONG
    assert counted == ["argon2", "htpasswd"]


def test_the_hash_of_nobody_costs_what_a_new_one_costs() -> None:
    made = hashing.hashed("something")
    assert made.split("$")[:4] == hashing.NOBODY.split("$")[:4]
    assert not hashing.verify(None, "something")
    assert hashing.verify(made, "something")
    assert not hashing.verify("no hash at all", "something")


# --- refusals -----------------------------------------------------------------------------------------------


def test_who_is_refused_is_told_what_helps(desk: Desk) -> None:
    accounts = desk.accounts
    ann = desk.signed_in(desk.user("ann"))
    with pytest.raises(Unauthenticated, match="pidex user add NAME"):
        accounts.require(ANONYMOUS, Action.UPLOAD, "main")
    with pytest.raises(Forbidden, match="Uploads are closed"):
        accounts.require(ann, Action.UPLOAD, "main", "demo")
    bob = desk.signed_in(desk.user("bob", Role.UPLOADER))
    assert accounts.closed_sentence("main") is None
    accounts.require(bob, Action.UPLOAD, "main", "demo")
    with pytest.raises(Unauthenticated, match="Sign in to upload"):
        accounts.require(ANONYMOUS, Action.UPLOAD, "main")
    with pytest.raises(Forbidden, match=r"`pidex grant add user:ann uploader --index main --project demo`"):
        accounts.require(ann, Action.UPLOAD, "main", "demo")
    with pytest.raises(Forbidden, match="This token does not reach that far"):
        accounts.require(desk.signed_in("bob", "read"), Action.UPLOAD, "main", "demo")
    accounts.require(ANONYMOUS, Action.READ, "main", "demo")


def test_strangers_are_told_the_same_of_what_is_hidden_and_what_is_absent(desk: Desk) -> None:
    admin, accounts = desk.admin, desk.accounts
    ann = desk.signed_in(desk.user("ann"))
    admin.ungrant("group:anonymous", "reader", index="main", by=BY)
    with pytest.raises(Unauthenticated, match="Sign in to read"):
        accounts.require(ANONYMOUS, Action.LIST, "main", "secret")
    with pytest.raises(NotFound, match="There is no project secret"):
        accounts.require(ann, Action.LIST, "main", "secret")
    with pytest.raises(NotFound):
        accounts.require(ann, Action.UPLOAD, "main", "secret")
    admin.grant("group:anonymous", "reader", index="main", project="public-*", by=BY)
    with pytest.raises(NotFound):
        accounts.require(ANONYMOUS, Action.LIST, "main", "secret")
    from pidex.catalogue import indexes

    with desk.catalogue.write() as conn:
        found = indexes.find(conn, "main")
        assert found is not None
        indexes.set_challenge(conn, found.id, True)
    with pytest.raises(Unauthenticated):
        accounts.require(ANONYMOUS, Action.LIST, "main", "secret")


def test_where_nobody_signs_in_credentials_mean_nothing(make_desk: Make) -> None:
    desk = make_desk(guard=frozenset())
    for header in (basic("x", "y"), "Bearer nonsense", "Nonsense"):
        assert desk.accounts.authenticate(header) == ANONYMOUS
    assert desk.accounts.closed_sentence("main") is None
    assert desk.accounts.allows(ANONYMOUS, Action.DELETE, "main", "demo")
    assert not desk.accounts.allows(ANONYMOUS, Action.ADMIN, "main")
    assert desk.signed_in(desk.user("ann")).name == "ann"


def test_where_there_is_nobody_credentials_mean_nothing(desk: Desk) -> None:
    for header in (basic("x", "y"), "Bearer nonsense", "Nonsense"):
        assert desk.accounts.remembered(header) == desk.accounts.authenticate(header) == ANONYMOUS
    desk.user("ann")
    with pytest.raises(Unauthenticated):
        desk.accounts.authenticate(basic("x", "y"))
