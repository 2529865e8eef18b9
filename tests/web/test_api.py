"""The API: every operation, who may, what is refused and how, and that its description is true."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from pidex.catalogue import audit
from pidex.core.model import DEFAULT_INDEX, OPERATOR
from pidex.core.tokens import SCOPES
from pidex.web import resources
from pidex.web.api import BODY_BYTES, DOCUMENT, OPERATIONS
from pidex.web.resources import BASE
from tests import samples
from tests.web.driver import Answer, House, listed

ONE, TWO, NEXT = "demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz", "demo-1.1-py3-none-any.whl"
PROJECT = "/indexes/main/projects/demo"
PACKAGES = (
    samples.wheel("demo", "1.0", requires_python=">=3.8"),
    samples.sdist("demo", "1.0"),
    samples.wheel("demo", "1.1"),
    samples.wheel("other", "1.0"),
)


#: What has to be sent with some operations, by the end of the path.
NEEDED = {"status": {"status": "active"}, "hold": {"reason": "x"}, "promote": {"target": "stage"}}


class Desk:
    """A house with people: rita reads, mia maintains, olaf owns demo, ada administers."""

    def __init__(self, place: Path) -> None:
        self.house = House(place, *PACKAGES)
        people = self.house.pidex.administration()
        self.tokens = {}
        for name in ("rita", "mia", "olaf", "ada"):
            people.add_user(name, by=OPERATOR)
            made = people.create_token(name, scopes=SCOPES, by=OPERATOR)
            self.tokens[name] = made.text
        people.grant("user:mia", "maintainer", index=DEFAULT_INDEX, by=OPERATOR)
        people.grant("user:olaf", "owner", index=DEFAULT_INDEX, project="demo", by=OPERATOR)
        people.grant("user:ada", "admin", by=OPERATOR)
        self.began = len(self.audit())

    def audit(self) -> list[audit.Entry]:
        with self.house.pidex.catalogue.read() as conn:
            return [*audit.list(conn, limit=1000)][::-1]

    def ask(
        self,
        method: str,
        path: str,
        who: str | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        given = {"accept": "application/problem+json", **(headers or {})}
        if who is not None:
            given.setdefault("authorization", f"Bearer {self.tokens[who]}")
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        if data:
            given.setdefault("content-type", "application/json")
        answer: Answer = self.house.run(
            self.house.ask(
                path if path.startswith("/-/") else BASE + path, [*given.items()], method=method, body=data
            )
        )[0]
        return answer

    def done(self, method: str, path: str, who: str | None = None, body: object = None) -> Any:
        answer = self.ask(method, path, who, body)
        assert answer.status in (200, 201), answer.text
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        return answer.json()

    def refused(self, method: str, path: str, who: str | None = None, body: object = None) -> tuple[int, str]:
        answer = self.ask(method, path, who, body)
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        told = answer.json()
        assert told["status"] == answer.status
        return answer.status, told["code"]


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Nobody changes this one."""
    desk = Desk(tmp_path_factory.mktemp("api"))
    yield desk
    desk.house.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.house.close()


# --- what is there ------------------------------------------------------------------------------------------


def test_whoami(reading: Desk) -> None:
    assert reading.done("GET", "/whoami")["name"] is None
    told = reading.done("GET", "/whoami", "mia")
    assert (told["name"], told["via"], sorted(told["scopes"])) == ("mia", "token", sorted(SCOPES))
    wrong = reading.ask("GET", "/whoami", headers={"authorization": "Bearer nothing"})
    assert (wrong.status, wrong.headers["www-authenticate"][:5]) == (401, "Basic")


def test_projects_and_files(reading: Desk) -> None:
    assert reading.done("GET", "/indexes") == [{"name": "main", "path": ""}]
    told = reading.done("GET", "/indexes/main/projects?limit=1")
    assert ([line["project"] for line in told["projects"]], told["more"]) == (["demo"], True)
    told = reading.done("GET", "/indexes/main/projects?after=demo&limit=1")
    assert ([line["project"] for line in told["projects"]], told["more"]) == (["other"], False)
    project = reading.done("GET", "/indexes/main/projects/Demo")
    assert (project["project"], project["status"], project["reason"]) == ("demo", "active", None)
    assert [release["version"] for release in project["releases"]] == ["1.0", "1.1"]
    release = reading.done("GET", f"{PROJECT}/releases/1.0.0")
    assert release == project["releases"][0]
    file = reading.done("GET", f"{PROJECT}/files/{ONE}")
    assert file in release["files"]
    assert (file["requires_python"], file["yanked"]) == (">=3.8", None)
    assert reading.house.get("/" + file["path"]).body == PACKAGES[0][1]


def test_the_journal(reading: Desk) -> None:
    told = reading.done("GET", "/indexes/main/journal?limit=2")
    assert (len(told["changes"]), told["more"]) == (2, True)
    last = told["changes"][-1]["serial"]
    rest = reading.done("GET", f"/indexes/main/journal?since={last}")
    assert rest["changes"][0]["serial"] > last
    assert {line["project"] for line in rest["changes"]} == {"demo", "other"}


@pytest.mark.parametrize(
    "path",
    [
        "/indexes/nothing/projects", "/indexes/nothing/journal", "/indexes/main/projects/nothing",
        "/indexes/main/projects/--", f"{PROJECT}/releases/9", f"{PROJECT}/files/demo-9.zip",
        f"{PROJECT}/files/other-1.0-py3-none-any.whl", "/nothing", "/",
    ],
)  # fmt: skip
def test_what_is_not_there(reading: Desk, path: str) -> None:
    assert reading.ask("GET", path).status == 404


# --- changes ------------------------------------------------------------------------------------------------


def test_yank_status_owners(desk: Desk) -> None:
    done = desk.done("PUT", f"{PROJECT}/releases/1.0/yank", "mia", {"reason": "broken"})
    assert (done["changed"], sorted(done["files"])) == (True, [ONE, TWO])
    assert desk.done("GET", f"{PROJECT}/files/{TWO}")["yanked"] == "broken"
    assert desk.done("GET", f"{PROJECT}/releases/1.0")["yanked"] is True
    desk.done("DELETE", f"{PROJECT}/releases/1.0/yank", "mia")
    desk.done("PUT", f"{PROJECT}/files/{NEXT}/yank", "mia")
    assert desk.done("GET", f"{PROJECT}/files/{NEXT}")["yanked"] == ""
    desk.done("DELETE", f"{PROJECT}/files/{NEXT}/yank", "mia")
    desk.done("PUT", f"{PROJECT}/status", "olaf", {"status": "archived", "reason": "old"})
    told = desk.done("GET", PROJECT)
    assert (told["status"], told["reason"]) == ("archived", "old")
    desk.done("PUT", f"{PROJECT}/owners/rita", "olaf", {"role": "maintainer"})
    assert [one["subject"] for one in desk.done("GET", f"{PROJECT}/owners")] == ["user:olaf", "user:rita"]
    desk.done("DELETE", f"{PROJECT}/owners/user:rita?role=maintainer", "olaf")
    rows = desk.audit()[desk.began :]
    assert [(row.action, row.actor, row.address) for row in rows] == [
        ("release.yank", "mia", "127.0.0.1"), ("release.unyank", "mia", "127.0.0.1"),
        ("file.yank", "mia", "127.0.0.1"), ("file.unyank", "mia", "127.0.0.1"),
        ("project.status", "olaf", "127.0.0.1"),
        ("owner.add", "olaf", "127.0.0.1"), ("owner.remove", "olaf", "127.0.0.1"),
    ]  # fmt: skip
    assert all(row.token_id is not None for row in rows)


def test_delete_and_restore(desk: Desk) -> None:
    assert len(desk.done("DELETE", f"{PROJECT}?dry_run=true", "olaf")["files"]) == 3
    assert len(listed(desk.house, "demo")) == 3
    desk.done("DELETE", f"{PROJECT}/files/{ONE}?reason=leaked", "olaf")
    assert listed(desk.house, "demo") == [TWO, NEXT]
    assert [one["filename"] for one in desk.done("GET", f"{PROJECT}/restorable", "olaf")] == [ONE]
    assert desk.done("POST", f"{PROJECT}/files/{ONE}/restore", "olaf")["listed"] is True
    assert listed(desk.house, "demo") == [ONE, TWO, NEXT]
    assert desk.refused("POST", f"{PROJECT}/files/{ONE}/restore", "olaf") == (409, "conflict")
    assert desk.refused("POST", "/indexes/main/projects/other/files/demo-1.0.zip/restore", "ada")[0] == 400
    desk.done("DELETE", f"{PROJECT}/releases/1.0", "olaf")
    desk.done("DELETE", PROJECT, "olaf")
    assert desk.ask("GET", PROJECT).status == 404
    assert [row.action for row in desk.audit()[desk.began :]] == [
        "file.delete", "file.restore", "release.delete", "project.delete",
    ]  # fmt: skip


def test_tokens(desk: Desk) -> None:
    assert desk.refused("GET", "/tokens") == (401, "unauthenticated")
    assert desk.refused("POST", "/tokens", None, {}) == (401, "unauthenticated")
    body = {"scopes": ["read"], "projects": ["demo"], "comment": "for ci", "expires": 4_000_000_000_000_000}
    answer = desk.ask("POST", "/tokens", "mia", body)
    assert answer.status == 201
    made = answer.json()
    assert made["token"]["expires"] == 4_000_000_000_000_000
    desk.tokens["ci"] = made["text"]
    assert desk.done("GET", "/whoami", "ci")["projects"] == ["demo"]
    assert desk.refused("POST", "/tokens", "ci", {"scopes": ["admin"]})[0] == 403
    assert made["text"] not in desk.ask("GET", "/tokens", "mia").text
    assert len(desk.done("GET", "/tokens", "mia")) == 2
    assert desk.refused("DELETE", f"/tokens/{made['token']['id']}", "rita") == (404, "not-found")
    assert desk.refused("DELETE", "/tokens/x", "mia") == (404, "not-found")
    assert desk.done("DELETE", f"/tokens/{made['token']['id']}", "mia")["state"] == "revoked"
    assert desk.refused("GET", "/whoami", "ci") == (401, "unauthenticated")


# --- rights -------------------------------------------------------------------------------------------------

#: Who may do what besides ada; strangers and rita read what everybody reads.
CHANGES = {
    ("PUT", f"{PROJECT}/releases/1.0/yank"): "mia olaf",
    ("DELETE", f"{PROJECT}/releases/1.0/yank"): "mia olaf",
    ("PUT", f"{PROJECT}/files/{ONE}/yank"): "mia olaf",
    ("DELETE", f"{PROJECT}/files/{ONE}/yank"): "mia olaf",
    ("PUT", f"{PROJECT}/status"): "olaf",
    ("PUT", f"{PROJECT}/owners/rita"): "olaf",
    ("DELETE", f"{PROJECT}/owners/rita"): "olaf",
    ("GET", f"{PROJECT}/restorable"): "olaf",
    ("POST", f"{PROJECT}/files/{ONE}/restore"): "olaf",
    ("DELETE", f"{PROJECT}/files/{ONE}"): "olaf",
    ("DELETE", f"{PROJECT}/releases/1.0"): "olaf",
    ("DELETE", PROJECT): "olaf",
}


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_who_may_not(reading: Desk, change: tuple[str, str]) -> None:
    method, path = change
    body = {"status": "archived"} if path.endswith("status") else None
    for who in {"rita", "mia"} - set(CHANGES[change].split()):
        assert reading.refused(method, path, who, body) == (403, "forbidden")
    assert reading.refused(method, path, None, body) == (401, "unauthenticated")
    assert reading.refused(method, path.replace("demo", "other"), "olaf", body)[0] == 403
    assert len(reading.audit()) == reading.began


def test_every_change_is_in_the_table() -> None:
    import re

    shapes = {(method, re.sub("main|demo[^/]*|1[.]0|rita", "*", path)) for method, path in CHANGES}
    for operation, _ in resources.OPERATIONS:
        shape = (operation.method, re.sub(r"{\w+}", "*", operation.path))
        if operation.method != "GET" and "/tokens" not in operation.path:
            assert shape in {(method, path.replace("*-*", "*")) for method, path in shapes}


def test_a_hidden_project_answers_like_an_absent_one(desk: Desk) -> None:
    people = desk.house.pidex.administration()
    people.ungrant("group:anonymous", "reader", index=DEFAULT_INDEX, by=OPERATOR)
    for operation, _ in OPERATIONS:
        if "{project}" not in operation.path:
            continue
        for who in ("rita", None):
            answers = set()
            for project in ("demo", "nothing"):
                path = operation.path.format(
                    index="main",
                    project=project,
                    version="1.0",
                    subject="x",
                    filename=f"{project}-1.0.tar.gz",
                )
                answer = desk.ask(
                    operation.method,
                    path,
                    who,
                    NEEDED.get(path.rpartition("/")[2], {"origin": "local"} if "origins" in path else None),
                )
                assert answer.status in (401, 404)
                answers.add((answer.status, answer.text.replace(project, "X")))
            assert len(answers) == 1, operation.name
    assert desk.done("GET", "/indexes", "rita") == []
    assert desk.refused("GET", "/indexes/main/projects", "rita")[0] == 404
    assert desk.refused("GET", "/indexes/main/journal", "rita")[0] == 404
    told = desk.done("GET", "/indexes/main/projects", "olaf")
    assert [line["project"] for line in told["projects"]] == ["demo"]
    told = desk.done("GET", "/indexes/main/journal", "olaf")
    assert {line["project"] for line in told["changes"]} == {"demo"}


# --- requests that make no sense ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "status is missing"),
        ({"status": "asleep"}, "one of active"),
        ({"status": 1}, "kind string"),
        ({"status": ["active"]}, "kind string"),
        ({"status": "active", "by": "me"}, "There is no 'by' here"),
        ([], "JSON object"),
    ],
)
def test_bodies_are_checked(reading: Desk, body: object, words: str) -> None:
    answer = reading.ask("PUT", f"{PROJECT}/status", "ada", body)
    assert answer.status == 400
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("raw", [b"{", b"\xff", b"[" * 60_000, b"null"])
def test_bodies_that_are_not_json(reading: Desk, raw: bytes) -> None:
    assert reading.ask("PUT", f"{PROJECT}/status", "ada", raw=raw).status == 400


def test_bodies_of_another_kind_and_size(reading: Desk) -> None:
    form = {"content-type": "text/plain"}
    body = {"status": "archived"}
    assert reading.ask("PUT", f"{PROJECT}/status", "ada", body, headers=form).status == 400
    long = b" " * BODY_BYTES + b"{}"
    assert reading.ask("PUT", f"{PROJECT}/status", "ada", raw=long).status == 413
    assert len(reading.audit()) == reading.began


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=-1",
        "sort=name",
        "since=" + "9" * 30,
        "limit=" + "9" * 30,
        "%ff=1",
    ],
)
def test_queries_are_checked(reading: Desk, query: str) -> None:
    assert reading.ask("GET", f"/indexes/main/journal?{query}").status == 400


def test_methods(reading: Desk) -> None:
    answer = reading.ask("POST", PROJECT)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, DELETE, HEAD, OPTIONS")
    for accept in ("*/*", "text/html", "application/json"):
        answer = reading.ask("POST", PROJECT, headers={"accept": accept})
        assert answer.headers["content-type"] == "application/problem+json"
    answer = reading.ask("OPTIONS", PROJECT)
    assert (answer.status, answer.headers["allow"]) == (204, "GET, DELETE, HEAD, OPTIONS")
    answer = reading.ask("HEAD", PROJECT)
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) == len(reading.ask("GET", PROJECT).body)
    assert reading.ask("GET", "/-/api/v2/whoami").status == 404
    assert reading.ask("GET", "/main" + BASE + "/whoami").status == 404


# --- the description ----------------------------------------------------------------------------------------


def test_the_description_has_every_route(reading: Desk) -> None:
    told = reading.done("GET", DOCUMENT)
    assert told["openapi"] == "3.1.0"
    served = {
        route.path.removeprefix(BASE)
        for route in reading.house.site.router.routes
        if isinstance(route, Route) and route.path.startswith(BASE + "/")
    }
    assert served == set(told["paths"])
    described = {(method.upper(), path) for path, methods in told["paths"].items() for method in methods}
    assert described == {(each.method, each.path) for each, _ in OPERATIONS}
    names = [each.name for each, _ in OPERATIONS]
    assert len(set(names)) == len(names)


def test_the_description_is_sound(reading: Desk) -> None:
    told = reading.done("GET", DOCUMENT)

    def refs(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            for each in value.values():
                yield from refs(each)
        elif isinstance(value, list):
            for each in value:
                yield from refs(each)

    for ref in refs(told):
        found = told
        for part in ref.removeprefix("#/").split("/"):
            found = found[part]
        assert found, ref


def _fits(value: Any, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> bool:
    """Whether a value is what a schema (of the kinds that the description uses) says, and nothing else."""
    if "$ref" in schema:
        return _fits(value, schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        return any(_fits(value, each, schemas) for each in schema["anyOf"])
    if schema == {"type": "object"}:
        return isinstance(value, dict)
    kind = schema["type"]
    if kind == "array":
        return isinstance(value, list) and all(_fits(each, schema["items"], schemas) for each in value)
    if kind == "object":
        members = schema["properties"]
        return (
            isinstance(value, dict)
            and set(value) == set(members) >= set(schema["required"])
            and all(_fits(value[name], members[name], schemas) for name in value)
        )
    kinds: dict[str, type] = {
        "number": float,
        "string": str,
        "integer": int,
        "boolean": bool,
        "null": type(None),
    }
    return type(value) is kinds[kind]


def test_answers_are_as_described(desk: Desk) -> None:
    told = desk.done("GET", DOCUMENT)
    schemas = told["components"]["schemas"]
    path = {"index": "main", "project": "demo", "version": "1.0", "filename": ONE, "subject": "rita"}
    path |= {"upstream": "corp", "pattern": "acme-*"}
    bodies: dict[str, object] = {"setStatus": {"status": "deprecated", "reason": "x"}, "createToken": {}}
    bodies |= {
        "createIndex": {"name": "spare"}, "setIndex": {"edits": ["challenge=yes"]},
        "addUpstream": {"name": "corp", "url": "https://corp.test/"}, "setUpstream": {"max_age": 9},
        "setOrigin": {"origin": "local"}, "setRules": {"edits": ["min_age=1d"]}, "exempt": {"reason": "x"},
        "holdRelease": {"reason": "x"}, "holdFile": {"reason": "x"}, "promoteRelease": {"target": "stage"},
    }  # fmt: skip
    others = {"removeIndex": {"index": "spare"}}
    desk.done("POST", "/indexes", "ada", {"name": "stage"})
    desk.house.pidex.reconciler("stage").scan()
    last = ["deleteFile", "restoreFile", "listRestorable", "deleteRelease", "deleteProject", "revokeToken"]
    order = sorted(OPERATIONS, key=lambda each: last.index(each[0].name) if each[0].name in last else -1)
    for operation, _ in order:
        path["token"] = str(desk.done("GET", "/tokens", "ada")[-1]["id"])
        target = operation.path.format(**path | others.get(operation.name, {}))
        answer = desk.ask(operation.method, target, "ada", bodies.get(operation.name))
        assert answer.status == operation.status, (operation.name, answer.text)
        described = told["paths"][operation.path][operation.method.lower()]
        schema = described["responses"][str(operation.status)]["content"]["application/json"]["schema"]
        assert _fits(answer.json(), schema, schemas), (operation.name, answer.text)


@pytest.mark.parametrize(
    "path", ["/nothing", "/indexes/*/projects/a%0Eb", "/indexes/../x", "/" + "a" * 9_000]
)
def test_what_no_operation_sees_is_refused_as_described(reading: Desk, path: str) -> None:
    """A path that is none, or that leads nowhere: a problem document, whatever is asked for."""
    for accept in ("*/*", "text/html", "application/json"):
        answer = reading.house.get(f"{BASE}{path}", accept)
        assert answer.status in (400, 404, 414)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status
