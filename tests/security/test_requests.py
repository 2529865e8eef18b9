"""T6, T13, T23, T36, T39, T43: ways out, forms of others, hosted files, secrets, first starts, and names."""

# ruff: noqa: E501  # tables of attacks are read by line

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pidex.core import names
from pidex.core.model import OPERATOR
from tests import samples
from tests.walks.server import Server, fetch
from tests.web.driver import Answer, House, file_url
from tests.web.people import OPEN, OTHER, Town, form, package
from tests.web.test_rights import LINES, ORIGIN, Line
from tests.web.ui.browser import Browser

#: What lies beside everything that is served, and must never be seen.
SECRET = "canary-of-a-file-outside"
CLIMBS = (
    *("..", "../", "../../", "../../../../../../etc/passwd", "..%2f..%2foutside.txt", "%2e%2e/%2e%2e/outside.txt"),
    *("%2e%2e%2f%2e%2e%2foutside.txt", "..%5c..%5coutside.txt", "..%252f..%252foutside.txt", "/etc/passwd"),
    *("%2fetc%2fpasswd", "//etc/passwd", "....//....//outside.txt", "..;/outside.txt", ".%00./outside.txt"),
    *("outside.txt%00.whl", "../outside.txt", "../../outside.txt", "..%c0%af..%c0%afoutside.txt", "C:%5cx", "~root"),
    *("file:%2f%2f%2fetc%2fpasswd", "%2e", ".", "...", "demo/../../outside.txt", "%ef%bc%8e%ef%bc%8e/outside.txt"),
    *("CON", "aux.whl", "a%0a../outside.txt", "../data/catalogue.db", "..%2fdata%2fcatalogue.db", ".git%2fconfig"),
    *("%2e%2e%2fdata%2fcache.db", "demo-1.0.tar.gz%2f..%2f..%2foutside.txt", "-rf", "*", "$(id)", "%7bx%7d"),
)  # fmt: skip
FIELDS = (
    "name",
    "version",
    "filename",
    "filetype",
    "pyversion",
    "metadata_version",
    "gpg",
    ":action",
    "comment",
)
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    place = tmp_path_factory.mktemp("town")
    (place / "outside.txt").write_text(SECRET)
    built = Town(place, *(package(each) for each in (OPEN, OTHER)))
    yield built
    built.close()


def tree(town: Town) -> set[str]:
    """Everything that lies beside the data directory, and in the folder."""
    place = town.house.folder.parent
    return {str(path) for path in place.rglob("*") if place / "data" not in path.parents}


def targets(line: Line) -> Iterator[str]:
    """A route with a way out in each of its places in turn."""
    places = re.findall(r"\{[^}]+\}", line.route)
    for climb in CLIMBS:
        for place in places:
            target = line.route.replace(place, climb)
            for other in places:
                target = target.replace(other, {"{index}": "main", "{version}": "1.0"}.get(other, OPEN))
            yield target


@pytest.mark.parametrize("line", [line for line in LINES if "{" in line.route], ids=str)
def test_no_path_leads_out(town: Town, line: Line) -> None:
    """T6: 42 ways out in each place of each route, by somebody who may do everything."""
    before = tree(town)
    for target in targets(line):
        answer = town.ask(line.method, target, "admin", [("origin", ORIGIN)])
        assert 200 <= answer.status < 500, (target, answer.text)
        assert SECRET.encode() not in answer.body, target
        assert b"root:x:" not in answer.body, target
        assert b"SQLite format" not in answer.body, target
        assert not answer.headers.get("location", "").startswith("//"), (target, answer.headers)
    assert tree(town) == before


def test_no_field_of_a_form_leads_out(town: Town) -> None:
    """T6: the same in each field of an upload, and as the name of the file."""
    before = tree(town)
    # A field that does not matter lets the file in, which takes its time: a few ways out in each of those.
    asked = [(climb, field) for climb in CLIMBS for field in FIELDS[:3]]
    asked += [(climb, field) for climb in CLIMBS[::6] for field in FIELDS[3:]]
    assert len(asked) > 150
    for climb, field in asked:
        headers, body = form(samples.wheel(OPEN, "7.0"), **{field: climb})
        if field == "filename":
            headers, body = form((f"{climb}-1-py3-none-any.whl", samples.wheel(OPEN, "7.0")[1]))
        answer = town.ask("POST", "/legacy/", "admin", headers, body)
        assert answer.status < 500, (field, climb, answer.text)
        if answer.status == 200:  # a field that does not matter: the file is where it belongs
            (town.house.folder / "pub_one-7.0-py3-none-any.whl").unlink(missing_ok=True)
            town.house.scan()
        assert tree(town) == before, (field, climb)


# --- forms of others (T23) ---

POSTS = [
    line
    for line in LINES
    if line.method != "GET" and line.route != "/-/login" and "{repository}" not in line.route
]


@pytest.fixture(scope="module")
def signed_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with House(tmp_path_factory.mktemp("csrf"), package(OPEN)) as house:
        desk = house.pidex.administration()
        desk.add_user("ann", PASSWORD, by=OPERATOR)
        desk.grant("user:ann", "admin", index="main", by=OPERATOR)
        browser = Browser(house)
        browser.sign_in("ann", PASSWORD)
        yield browser


@pytest.mark.parametrize("line", POSTS, ids=str)
def test_a_session_alone_changes_nothing(signed_in: Browser, line: Line) -> None:
    """Every route that changes something, with the cookie of somebody who may, and no secret of a page of ours."""
    target = line.route
    for place, value in (
        ("{index}", "main"),
        ("{version}", "1.0"),
        ("{filename}", package(OPEN)[0]),
        ("{subject}", "ann"),
    ):
        target = target.replace(place, value)
    target = re.sub(r"\{[^}]+\}", OPEN, target)
    cookie = "; ".join(f"{name}={value}" for name, value in signed_in.cookies.items())
    house = signed_in.house
    before = house.pidex.administration().list_tokens("ann", by=OPERATOR)
    for headers in ([], [("origin", ORIGIN)], [("origin", "http://evil.test")], [("origin", "null")]):
        for kind, body in FORMS:
            given = [("cookie", cookie), ("content-type", kind), *headers]
            answer: Answer = house.run(house.ask(target, given, method=line.method, body=body))[0]
            if line.route in ("/-/prefer",) and headers == [("origin", ORIGIN)]:
                continue  # a language, and nothing else: for this browser alone
            assert answer.status in (400, 401, 403, 404, 405, 413, 415), (target, headers, answer.status)
    assert house.pidex.administration().list_tokens("ann", by=OPERATOR) == before
    assert house.get(f"/simple/{OPEN}/").status == 200


FORMS = (
    (
        "application/x-www-form-urlencoded",
        b"version=1.0&scope=read&days=7&confirm=pub-one&subject=ann&role=owner",
    ),
    ("application/json", b'{"scopes": ["read"], "status": "archived"}'),
    ("text/plain", b"{}"),
    (form(package(OPEN))[0][0][1], form(package(OPEN))[1]),
)


def test_the_cookie_of_a_session_is_the_servers_alone(signed_in: Browser) -> None:
    flags = signed_in.flags["pidex_session"].lower()
    assert "httponly" in flags
    assert "samesite=lax" in flags


# --- files that are hosted (T13) ---


def test_no_hosted_file_is_a_page(tmp_path: Path) -> None:
    """Whatever it holds: no type that a browser shows, a name to save it under, and no script if it did."""
    page = b"<!doctype html><script>alert(1)</script>"
    kinds = [
        samples.wheel("demo", "1.0", metadata=page + b"\nName: demo\nVersion: 1.0\n"),
        samples.wheel("demo", "2.0"),
        samples.sdist("demo", "1.0"),
        samples.sdist("demo", "1.0", "zip"),
        samples.egg("demo", "1.0"),
    ]
    with House(tmp_path, *kinds) as house:
        (house.folder / f"{kinds[1][0]}.asc").write_bytes(page)
        house.scan()
        asked = 0
        for number in range(
            len(house.get("/simple/demo/", "application/vnd.pypi.simple.v1+json").json()["files"])
        ):
            for ending in ("", ".metadata", ".asc"):
                answer = house.get(file_url(house, "demo", number) + ending, "text/html")
                if answer.status != 200:
                    continue
                asked += 1
                kind = answer.headers["content-type"].partition(";")[0]
                assert kind in ("application/octet-stream", "text/plain", "application/pgp-signature"), kind
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert "sandbox" in answer.headers["content-security-policy"]
                assert ending or answer.headers["content-disposition"] == "attachment"
        assert asked >= 6


# --- secrets (T36), and what is not closed at first (T39) ---


def test_no_secret_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A password and a token, right and wrong, wherever clients put them: in no line, in no row of the audit."""
    caplog.set_level(logging.DEBUG)
    town = Town(tmp_path, package(OPEN))
    town.people.set_password("owner", PASSWORD, by=OPERATOR)
    secrets = [PASSWORD, town.tokens["owner"], "wrong-canary-password"]
    house = town.house
    for secret in secrets:
        for target in ("/simple/", f"/simple/?token={secret}", "/-/api/v1/whoami", f"/{secret}/x/y/z"):
            for header in (f"Bearer {secret}", f"token {secret}", f"Basic {secret}"):
                house.get(target, authorization=header)
        Browser(house).sign_in("owner", secret)
        headers, body = form(package(OPEN), password=secret)
        town.ask("POST", "/legacy/", secret, headers, body)
    town.close()
    for secret in secrets:
        assert not [each for each in caplog.messages if secret in each]
        for path in tmp_path.rglob("*"):
            if path.is_file():
                assert secret.encode() not in path.read_bytes(), path


def test_a_first_start_is_closed_to_others(tmp_path: Path) -> None:
    """T39: this machine alone, nobody known, nothing to upload with, no name or password that lets anybody in."""
    folder = tmp_path / "packages"
    folder.mkdir()
    samples.write(folder, package(OPEN))
    with Server(folder) as server:
        assert f"0100007F:{server.port:04X}" in Path("/proc/net/tcp").read_text(), "not on 127.0.0.1"
        assert f"00000000:{server.port:04X}" not in Path("/proc/net/tcp").read_text()
        headers, body = form(samples.wheel("mine", "1.0"))
        for who in (
            {},
            *({"Authorization": f"Basic {each}"} for each in ("YWRtaW46YWRtaW4=", "cm9vdDo=", "YWRtaW46")),
        ):
            answer = fetch(f"{server.url}/legacy/", {**dict(headers), **who}, method="POST", body=body)
            assert answer.status in (401, 403), (who, answer.text)
        assert not (folder / "mine-1.0-py3-none-any.whl").exists()
        assert fetch(f"{server.url}/-/api/v1/tokens", method="POST", body=b"{}").status in (
            400,
            401,
            403,
            415,
        )
        data = next(path for path in tmp_path.glob(".pidex*") if path.is_dir())
        assert data.stat().st_mode & 0o077 == 0


# --- names that look alike (T43) ---


@settings(max_examples=500)
@given(st.text(st.sampled_from("aAbIiıİlL1oO0-_.é\u0430\u200bｄ\u00ad"), min_size=1, max_size=8))
def test_names_that_look_alike_are_one_or_none(text: str) -> None:
    normal = names.normalize(text)
    assert names.normalize(normal) == normal
    if names.is_name(text):
        assert text.isascii()
        assert normal == normal.lower()
        assert not re.search(r"[-_.]{2}|[_.]", normal)


def test_one_project_has_one_page_whatever_it_is_called(town: Town) -> None:
    asked: Sequence[str] = ("Pub-One", "pub_one", "pub.one", "PUB--ONE", "pub-_.one")
    for spelled in asked:
        answer = town.ask("GET", f"/simple/{spelled}/", "admin")
        assert answer.status == 301
        assert answer.headers["location"].endswith("/pub-one/")
    for spelled in ("pub-onе", "pub\u2010one", "ｐub-one", "pub-one\u200b"):
        assert town.ask("GET", f"/simple/{spelled}/", "admin").status == 404
