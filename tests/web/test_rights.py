"""Roles by routes by methods by ownership: routes from the router, what is expected from `rights`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from starlette.routing import Route

from pidex.core.errors import Conflict
from pidex.core.model import DEFAULT_INDEX, OPERATOR
from pidex.curator import Curator
from pidex.web import welcome
from pidex.web.api import DOCUMENT, OPERATIONS
from pidex.web.resources import BASE
from tests.web.people import MINE, OPEN, OTHER, ROLES, Town, form, package
from tests.web.rights import RULES, TABLE, TOKENS

PROJECTS = {"mine": MINE, "other": OTHER, "open": OPEN}


#: What a browser says of itself, and what the forms of pages send, by path or by its end.
ORIGIN = "http://index.test:8080"
FORMS = {
    "/-/prefer": "language=en",
    "/-/login": "name=&password=",
    "/-/logout": "",
    "/-/tokens": "scope=read&days=7",
    "/-/sessions/end": "",
    "/-/password": "",
    "yank": "version=1.0",
    "unyank": "version=1.0",
    "status": "status=active",
    "owners": "subject=spare&role=owner",
    "restore": "filename={}",
    "delete": "",
    "/-/index": "do=",
    "/-/origins": "do=",
    "/-/admin/health": "",
    "/-/admin/people": "do=",
    "/-/admin/person": "do=",
    "/-/admin/person/remove": "do=",
    "/-/admin/indexes": "do=",
}


#: A file that is not there yet: keeping it back changes nothing.
LATER = "later-9.9.tar.gz"
#: What is sent to operations, by the whole route or by its end.
BODIES: Mapping[str, Mapping[str, object]] = {
    "status": {"status": "active"},
    "tokens": {"scopes": ["read"]},
    "indexes": {"name": "spare"},
    "upstreams": {"name": "spare", "url": "http://127.0.0.1:1/simple/"},
    "upstreams/{upstream}": {"max_age": 60},
    "settings": {"edits": ["challenge=no"]},
    "rules": {"edits": ["min_age="]},
    "hold": {"reason": "looked at"},
    "promote": {"target": "stage"},
    "indexes/{index}/origins/{project}": {"origin": "local"},
    "indexes/{index}/exemptions/{subject}": {"reason": "known"},
}


class Line(NamedTuple):
    """A line of the table."""

    method: str
    route: str
    rule: str
    good: str

    def __str__(self) -> str:
        return f"{self.method} {self.route}"


def lines() -> list[Line]:
    found = []
    for text in TABLE.strip().splitlines():
        method, route, rule, *good = text.split()
        found.append(Line(method, route, rule, good[0] if good else "200"))
    return found


LINES = lines()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Whatever is done here is undone, or may be done again."""
    packages = [package(name, version) for name in PROJECTS.values() for version in ("1.0", "2.0")]
    built = Town(tmp_path_factory.mktemp("town"), *packages)
    pidex = built.house.pidex
    pidex.indexing(pidex.intake()).create("stage", by=OPERATOR)
    pidex.reconciler("stage").scan()
    built.people.grant("user:admin", "uploader", index="stage", by=OPERATOR)
    yield built
    built.close()


def filename(project: str) -> str:
    return package(project)[0]


def asked(line: Line, project: str, town: Town) -> tuple[str, Sequence[tuple[str, str]], bytes]:
    """Target, headers and body of a request on a line's route about a project. It does no harm that lasts."""
    icon = welcome.assets()["icon.svg"]
    page = town.ask("GET", f"/pypi/{project}/1.0/json", "admin").json()
    parts = page["urls"][0]["url"].rpartition("/packages/")[2].split("/")
    filled: Mapping[str, str] = {
        "{one}/{two}/{rest}/{filename}": "/".join(parts),
        "{path:path}": filename(project),
        "{hash}/{name}": f"{icon.hash}/{icon.name}",
        "{repository}.git/{service:path}": "main.git/"
        + ("info/refs?service=git-upload-pack" if line.method == "GET" else "git-receive-pack"),
        "{index}": DEFAULT_INDEX,
        "{moment}": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "{project}": project,
        "{name}": "legacy" if line.method == "POST" and line.route[:9] != "/project/" else project,
        "{version}": "9.9" if line.route.endswith("/hold") else "1.0",
        "{filename}": LATER if line.route.endswith("/hold") else filename(project),
        "{subject}": "gone-thing==1.0" if "exemptions" in line.route else "spare",
        "{upstream}": "nowhere",
        "{pattern}": "acme-*",
        "{part}": "1.0",
        "{token}": "123456",
    }
    target = line.route
    for name, value in filled.items():
        target = target.replace(name, value)
    if line.rule == "upload":
        headers, body = form(package(project))
        return target, [*headers, ("origin", ORIGIN)], body
    if line.method == "POST" and (line.route in FORMS or line.route.startswith(("/project/", "/-/tokens/"))):
        sent = FORMS.get(line.route, FORMS.get(line.route.rpartition("/")[2], ""))
        kind = "application/x-www-form-urlencoded"
        return target, [("content-type", kind), ("origin", ORIGIN)], sent.format(filename(project)).encode()
    if not line.route.startswith(BASE):
        return target, (), b""
    curated = line.route.startswith(f"{BASE}/indexes/{{index}}/projects/")
    if line.method == "DELETE" and curated and not line.route.endswith(("/yank", "/hold", "{subject}")):
        target += "?dry_run=true"
    ends = (line.route.removeprefix(f"{BASE}/"), line.route.rpartition("/")[2])
    told = next((BODIES[end] for end in ends if end in BODIES), None)
    if told is None or line.method not in ("PUT", "POST"):
        return target, (), b""
    return target, [("content-type", "application/json")], json.dumps(told).encode()


def curator(town: Town) -> Curator:
    return town.house.pidex.curator(town.house.pidex.intake(), town.house.pidex.accounts())


def prepare(line: Line, project: str, town: Town) -> None:
    """Have what the request is about."""
    if line.route.endswith("/restore"):
        curator(town).delete(DEFAULT_INDEX, project, filename=filename(project), by=OPERATOR)
    if line.method == "DELETE" and line.route.endswith("/hold"):
        whole = "{version}" in line.route
        target = {"version": "9.9"} if whole else {"filename": LATER}
        curator(town).hold(DEFAULT_INDEX, project, **target, reason="looked at", by=OPERATOR)
    if line.method == "DELETE" and line.route.endswith("exemptions/{subject}"):
        curator(town).exempt(DEFAULT_INDEX, "gone-thing==1.0", reason="known", by=OPERATOR)
    if line.method == "DELETE" and line.route.endswith("{pattern}"):
        pidex = town.house.pidex
        pidex.indexing(pidex.intake()).reserve(DEFAULT_INDEX, "acme-*", by=OPERATOR)
    if line.method == "DELETE" and line.route.endswith("/owners/{subject}"):
        with suppress(Conflict):
            town.people.grant("user:spare", "owner", index=DEFAULT_INDEX, project=project, by=OPERATOR)


def targets(line: Line) -> list[tuple[str, list[str]]]:
    """Each project with what the roles are answered about it."""
    return [
        (PROJECTS.get(where, OPEN), row.replace("+", line.good).split())
        for where, row in RULES[line.rule].items()
    ]


def test_every_route_has_its_line(town: Town) -> None:
    routes = {route.path for route in town.house.site.router.routes if isinstance(route, Route)}
    assert len(routes) == len(town.house.site.router.routes), "a route of another kind"
    operations = {(each.method, BASE + each.path) for each, _ in OPERATIONS} | {("GET", DOCUMENT)}
    written = {(line.method, line.route) for line in LINES}
    assert len(written) == len(LINES)
    assert {route for _, route in written} == routes
    assert {each for each in written if each[1].startswith("/-/api/")} == operations


@pytest.mark.parametrize("line", LINES, ids=str)
def test_what_each_role_is_answered(town: Town, line: Line) -> None:
    for project, expected in targets(line):
        target, headers, body = asked(line, project, town)
        told = []
        for role, status in zip(ROLES, expected, strict=True):
            if status in ("200", line.good):
                prepare(line, project, town)
            answer = town.ask(line.method, target, role, headers, body)
            told.append(str(answer.status))
            assert ("www-authenticate" in answer.headers) == (answer.status == 401)
            if role == "stranger" and answer.status == 200:
                assert "private" not in answer.headers.get("cache-control", "")
        assert told == expected, f"{target}: {dict(zip(ROLES, told, strict=True))}"


@pytest.mark.parametrize("line", LINES, ids=str)
def test_wrong_credentials_come_first(town: Town, line: Line) -> None:
    target, headers, body = asked(line, OPEN, town)
    for method in (line.method, "GET", "HEAD", "OPTIONS", "PUT", "PATCH"):
        answer = town.ask(method, target, "wrong", headers, body if method == line.method else b"")
        assert answer.status == 401, method
        assert answer.headers["www-authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize("line", [line for line in LINES if line.method == "GET"], ids=str)
def test_head_options_and_other_methods(town: Town, line: Line) -> None:
    """HEAD is answered as GET. Which methods there are says nothing of what is there, to anybody."""
    for project, expected in targets(line):
        target, _, _ = asked(line, project, town)
        for role, status in zip(ROLES, expected, strict=True):
            if "{repository}" in line.route:
                continue  # git asks by GET and POST alone
            head = town.ask("HEAD", target, role)
            assert (str(head.status), head.body) == (status, b"")
            assert town.ask("OPTIONS", target, role).status == 204
            assert town.ask("PATCH", target, role).status == 405


READ_UPLOAD_YANK_DELETE = ("read", "upload", "yank", "delete")


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_reaches_no_further_than_it_says(town: Town, kind: str) -> None:
    scope, expected = TOKENS[kind]
    token = town.token("admin", **scope)
    told = []
    about = f"{BASE}/indexes/main/projects/{OTHER}"
    headers, body = form(package(OTHER))
    for method, target, head, data in (
        ("GET", f"/simple/{OTHER}/", [], b""),
        ("POST", "/legacy/", headers, body),
        ("PUT", f"{about}/releases/1.0/yank", [], b""),
        ("DELETE", f"{about}?dry_run=true", [], b""),
        ("GET", f"/simple/{OPEN}/", [], b""),
    ):
        told.append(str(town.ask(method, target, token, head, data).status))
    assert told == expected.split()


def test_a_token_ends(town: Town) -> None:
    made = town.people.create_token("admin", scopes=["read"], by=OPERATOR)
    path = f"/simple/{OTHER}/"
    for _ in range(2):
        assert town.ask("GET", path, made.text).status == 200
    town.people.revoke_token(made.token.id, by=OPERATOR)
    for target in (path, f"/simple/{OPEN}/", "/robots.txt"):
        assert town.ask("GET", target, made.text).status == 401


def test_rights_end_with_what_they_came_by(town: Town) -> None:
    people, path = town.people, f"/simple/{OTHER}/"
    people.add_user("guest", by=OPERATOR)
    people.add_group("team", by=OPERATOR)
    people.grant("group:team", "reader", index=DEFAULT_INDEX, by=OPERATOR)
    token = town.token("guest")
    assert town.ask("GET", path, token).status == 404
    people.join_group("team", "guest", by=OPERATOR)
    for _ in range(2):
        assert town.ask("GET", path, token).status == 200
    people.leave_group("team", "guest", by=OPERATOR)
    assert town.ask("GET", path, token).status == 404
    people.disable_user("guest", by=OPERATOR)
    assert town.ask("GET", path, token).status == 401
