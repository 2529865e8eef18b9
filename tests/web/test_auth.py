"""How a request's caller is known, who shares what is kept for whom, and that rights change at once."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.accounts.sessions import Sessions
from pidex.app import Source, administration
from pidex.core.errors import PidexError
from pidex.core.model import DEFAULT_INDEX, OPERATOR, Principal
from tests import samples
from tests.walks.server import Server
from tests.web.driver import JSON, House
from tests.web.people import OPEN, OTHER, Town, form, package

ACCEPT = [("accept", JSON)]
SECRET_PAGE, OPEN_PAGE = f"/simple/{OTHER}/", f"/simple/{OPEN}/"


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    built = Town(tmp_path, package(OPEN), package(OTHER))
    yield built
    built.close()


def file_of(town: Town, project: str) -> str:
    page = town.ask("GET", f"/simple/{project}/", "reader", ACCEPT).json()
    path: str = page["files"][0]["url"].removeprefix("../..")
    return path


# --- what is kept, and for whom -----------------------------------------------------------------------------


def test_headers_say_who_else_may_have_it(town: Town) -> None:
    for _ in range(2):
        for who in ("stranger", "reader"):
            for path in (OPEN_PAGE, file_of(town, OPEN), f"/pypi/{OPEN}/json"):
                headers = town.ask("GET", path, who, ACCEPT).headers
                assert "private" not in headers["cache-control"]
                assert headers["access-control-allow-origin"] == "*"
        for path in (
            SECRET_PAGE,
            file_of(town, OTHER),
            f"{file_of(town, OTHER)}.metadata",
            f"/pypi/{OTHER}/json",
        ):
            headers = town.ask("GET", path, "reader", ACCEPT).headers
            assert headers["cache-control"].startswith("private, ")
            assert "public" not in headers["cache-control"]
            assert "Authorization" in headers["vary"]
            assert "access-control-allow-origin" not in headers
        mine, theirs = (town.ask("GET", "/simple/", who, ACCEPT) for who in ("reader", "stranger"))
        assert mine.headers["cache-control"].startswith("private, ")
        assert "private" not in theirs.headers["cache-control"]
        assert all("Authorization" in answer.headers["vary"] for answer in (mine, theirs))
        assert mine.headers["etag"] != theirs.headers["etag"]
        assert mine.headers["x-pypi-last-serial"] != theirs.headers["x-pypi-last-serial"]
        assert [line["name"] for line in theirs.json()["projects"]] == [OPEN]
        assert [line["name"] for line in mine.json()["projects"]] == [OTHER, OPEN]


def test_a_public_setting_for_files_does_not_publish_private_ones(tmp_path: Path) -> None:
    town = Town(tmp_path, package(OPEN), package(OTHER), file_cache_control="public, max-age=60")
    assert town.ask("GET", file_of(town, OPEN)).headers["cache-control"] == "public, max-age=60"
    assert town.ask("GET", file_of(town, OTHER), "reader").headers["cache-control"] == "private, max-age=60"
    town.close()


def test_equal_rights_share_a_page(town: Town) -> None:
    kept = town.house.site.pages.shelf.entries
    for who in ("stranger", "outsider", "reader", "admin", "owner"):
        town.ask("GET", OPEN_PAGE, who, ACCEPT)
    assert len(kept) == 1
    for who in ("stranger", "outsider"):
        town.ask("GET", "/simple/", who, ACCEPT)
    assert len(kept) == 2
    for who in ("reader", "admin", "maintainer"):
        town.ask("GET", "/simple/", who, ACCEPT)
    assert len(kept) == 3


def test_what_is_kept_is_for_who_may_see_it(town: Town) -> None:
    path = file_of(town, OTHER)
    for target in (SECRET_PAGE, path, f"{path}.metadata"):
        tag = town.ask("GET", target, "reader", ACCEPT).headers["etag"]
        for who in ("stranger", "outsider"):
            for headers in (ACCEPT, [*ACCEPT, ("if-none-match", tag)], [("range", "bytes=0-1")]):
                for _ in range(2):
                    assert town.ask("GET", target, who, headers).status == 404
        assert town.ask("GET", target, "reader", [*ACCEPT, ("if-none-match", tag)]).status == 304


# --- rights change ------------------------------------------------------------------------------------------


def test_what_strangers_see_changes_at_once(town: Town) -> None:
    path = file_of(town, OTHER)
    right = {"index": DEFAULT_INDEX, "project": OTHER}
    for _ in range(2):
        for target in (SECRET_PAGE, path):
            assert town.ask("GET", target, "stranger", ACCEPT).status == 404
            assert "private" in town.ask("GET", target, "reader", ACCEPT).headers["cache-control"]
        assert len(town.ask("GET", "/simple/", "stranger", ACCEPT).json()["projects"]) == 1
        town.people.grant("group:anonymous", "reader", **right, by=OPERATOR)
        for _ in range(2):
            for target in (SECRET_PAGE, path):
                answer = town.ask("GET", target, "stranger", ACCEPT)
                assert (answer.status, "private" in answer.headers["cache-control"]) == (200, False)
        assert len(town.ask("GET", "/simple/", "stranger", ACCEPT).json()["projects"]) == 2
        town.people.ungrant("group:anonymous", "reader", **right, by=OPERATOR)


def test_rights_of_somebody_take_nothing_from_the_cache(town: Town) -> None:
    town.ask("GET", OPEN_PAGE, "stranger", ACCEPT)
    kept = town.house.site.pages.shelf.entries[OPEN_PAGE]
    town.people.grant("user:spare", "reader", index=DEFAULT_INDEX, by=OPERATOR)
    assert town.ask("GET", SECRET_PAGE, "spare", ACCEPT).status == 200
    town.people.ungrant("user:spare", "reader", index=DEFAULT_INDEX, by=OPERATOR)
    assert town.ask("GET", SECRET_PAGE, "spare", ACCEPT).status == 404
    assert town.house.site.pages.shelf.entries[OPEN_PAGE] is kept


def test_rights_taken_away_end_on_every_worker(tmp_path: Path) -> None:
    """By another process, as commands without a server change them; each request on its own connection."""
    folder = tmp_path / "packages"
    folder.mkdir()
    samples.write(folder, package(OTHER))
    data = tmp_path / "data"
    options = ["--workers", "2", "--data", str(data), "--guard", "list,download,update"]
    source = Source({"folders": (str(folder),), "data": str(data), "guard": "list,download,update"}, {})
    with Server(folder, options=options) as server:  # noqa: SIM117  # the server makes what the other opens
        with administration(source.settings(), data, create=False) as people:
            people.add_user("ann", by=OPERATOR)
            text = people.create_token("ann", by=OPERATOR).text
            signed = {"Authorization": f"Bearer {text}", "Accept": JSON}
            right = ("group:authenticated", "reader")

            def statuses() -> set[int]:
                return {server.get(SECRET_PAGE, signed).status for _ in range(24)}

            for _ in range(2):
                people.grant(*right, index=DEFAULT_INDEX, project=OTHER, by=OPERATOR)
                people.ungrant("group:anonymous", "reader", index=DEFAULT_INDEX, by=OPERATOR)
                assert statuses() == {200}
                people.ungrant(*right, index=DEFAULT_INDEX, project=OTHER, by=OPERATOR)
                assert statuses() == {404}
                people.grant("group:anonymous", "reader", index=DEFAULT_INDEX, by=OPERATOR)
                assert statuses() == {200}
            people.disable_user("ann", by=OPERATOR)
            assert statuses() == {401}
            people.enable_user("ann", by=OPERATOR)
            assert statuses() == {200}
            token = people.list_tokens("ann", by=OPERATOR)[0]
            people.revoke_token(token.id, by=OPERATOR)
            assert statuses() == {401}


# --- challenges, guesses ------------------------------------------------------------------------------------


def test_strangers_are_asked_to_sign_in_where_they_see_nothing(tmp_path: Path) -> None:
    town = Town(tmp_path, package(OTHER))
    town.people.ungrant("group:anonymous", "reader", index=DEFAULT_INDEX, project="pub-*", by=OPERATOR)
    for path in (
        SECRET_PAGE,
        "/simple/absent/",
        "/simple/",
        "/packages/x.whl",
        "/pypi/absent/json",
        "/rss/updates.xml",
    ):
        assert town.ask("GET", path).status == 401
        assert town.ask("GET", path, "outsider").status == 404
    assert "Sign in" in town.ask("GET", "/").text
    town.close()


def test_too_many_guesses(town: Town) -> None:
    last = None
    for number in range(200):
        last = town.ask("GET", OPEN_PAGE, f"pidex_guess{number}")
        if last.status == 429:
            break
        assert last.status == 401
    assert last is not None
    assert last.status == 429
    assert int(last.headers["retry-after"]) > 0
    assert town.ask("GET", OPEN_PAGE).status == 200


def test_an_upload_with_wrong_credentials_is_read_and_refused(town: Town) -> None:
    headers, body = form(package(OPEN, "9.0"))
    answer = town.ask("POST", "/legacy/", "wrong", headers, body)
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")


# --- sessions and proxies -----------------------------------------------------------------------------------


@pytest.fixture
def session(town: Town) -> tuple[str, str]:
    """A session of the administrator: its cookie, and the secret of its forms."""
    pidex = town.house.pidex
    begin = Sessions(pidex.catalogue, clock=pidex.clock, random=secrets.token_bytes).begin
    text, found = begin(by=Principal("admin", frozenset({"authenticated"}), via="password"))
    return f"other=1; pidex_session={text}", found.csrf


def test_a_session_reads(town: Town, session: tuple[str, str]) -> None:
    cookie = session[0]
    for path in (SECRET_PAGE, file_of(town, OTHER)):
        for _ in range(2):
            assert town.ask("GET", path, "stranger", [("cookie", cookie)]).status == 200
            # One that is over, or nonsense, is nobody's: a browser sends it all the same.
            for old in ("pidex_session=0", "pidex_session=", 'pidex_session="', "x" * 9000, f"{cookie}0"):
                assert town.ask("GET", path, "stranger", [("cookie", old)]).status == 404
    assert town.ask("GET", OPEN_PAGE, "stranger", [("cookie", "pidex_session=0")]).status == 200


def test_a_session_changes_something_only_from_its_own_pages(town: Town, session: tuple[str, str]) -> None:
    cookie, csrf = session
    path = f"/-/api/v1/indexes/main/projects/{OTHER}/releases/1.0/yank"
    for forged in ([], [("x-csrf-token", "guess")], [("x-csrf-token", "")]):
        assert town.ask("PUT", path, "stranger", [("cookie", cookie), *forged]).status == 401
    assert town.ask("PUT", path, "stranger", [("cookie", cookie), ("x-csrf-token", csrf)]).status == 200


def test_a_trusted_proxy_says_who_it_is(tmp_path: Path) -> None:
    flags = {"login_header": "X-Remote-User", "trusted_proxies": "10.0.0.1"}
    town = Town(tmp_path, package(OPEN), package(OTHER), **flags)

    def ask(path: str, peer: str, *headers: tuple[str, str]) -> int:
        asked = town.house.ask(path, [*ACCEPT, *headers], client=(peer, 1))
        return int(town.house.run(asked)[0].status)

    login = ("x-remote-user", "reader")
    for path in (SECRET_PAGE, file_of(town, OTHER)):
        for _ in range(3):
            assert ask(path, "10.0.0.1", login) == 200
            assert ask(path, "10.0.0.2", login) == 404
            assert ask(path, "10.0.0.1", ("x-remote-user", "")) == 404
            assert ask(path, "10.0.0.1", ("x-remote-user", "outsider")) == 404
            assert ask(path, "10.0.0.1", ("x-remote-user", "no name")) == 401
    town.close()


# --- what is decided quickly --------------------------------------------------------------------------------


def test_a_password_file_that_changes_is_heard_of_at_once(tmp_path: Path) -> None:
    passwords = tmp_path / "htpasswd"
    sha = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="  # secret
    passwords.write_text(f"ann:{sha}\n")
    header = "Basic " + base64.b64encode(b"ann:secret").decode()
    guard = "list,download,update"
    with House(tmp_path, package(OTHER), passwords=str(passwords), guard=guard) as house:
        for _ in range(3):
            assert house.get(SECRET_PAGE, authorization=header).status == 200
        passwords.write_text(f"bob:{sha}\nanother:{sha}\n")
        assert house.get(SECRET_PAGE, authorization=header).status == 401


def test_decisions_end_with_the_token(tmp_path: Path) -> None:
    town = Town(tmp_path, package(OTHER))
    now = town.house.pidex.clock()
    clock = [now]
    site = town.house.site
    for part in (site.gate, site.accounts, site.accounts.rights):
        part._clock = lambda: clock[0]
    token = town.token("reader", expires=now + 100)
    for _ in range(3):
        assert town.ask("GET", SECRET_PAGE, token, ACCEPT).status == 200
    clock[0] = now + 101
    assert town.ask("GET", SECRET_PAGE, token, ACCEPT).status == 401
    town.close()


def test_a_catalogue_that_cannot_be_asked_hides_what_it_may_hide(town: Town) -> None:
    gate = town.house.site.gate
    gate.strangers(DEFAULT_INDEX, "list")

    class Broken:
        def visibility(self, *_: object) -> None:
            raise PidexError("no")

    gate._accounts = Broken()  # type: ignore[assignment]
    assert gate.changed(None)
    with pytest.raises(PidexError):
        gate.is_open(DEFAULT_INDEX)
