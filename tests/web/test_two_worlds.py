"""An outsider's answers are the same, byte for byte, whether or not there is a private project (T26)."""

from __future__ import annotations

import gzip
import itertools
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.routing import Route

from pidex.catalogue import indexes, places, scans
from pidex.core.model import NO_STAT, OPERATOR, Place, PlaceState
from tests import samples
from tests.upstreams import local_upstream
from tests.web.driver import JSON, Answer
from tests.web.people import OPEN, Town, form, package

SECRET = "secret-thing"
PUBLIC = (package(OPEN), package(OPEN, "2.0"), package("pub-two"))
PRIVATE = (package(SECRET), samples.sdist(SECRET, "1.0"))
NEVER = "absent-thing"
HEX = "0" * 64
PATHS = (
    "/", "/health", "/-/health", "/-/livez", "/-/readyz", "/-/metrics",
    "/favicon.ico", "/robots.txt", "/-/static/a/b",
    "/simple", "/simple/", "/simple/?format=application/vnd.pypi.simple.v1%2Bjson", "/main/simple/",
    "/simple/{name}", "/simple/{name}/", "/main/simple/{name}/", "/simple/{spelled}/", "/simple/{name}/?x=1",
    "/packages", "/packages/", "/packages/{file}", "/packages/{file}.metadata", "/packages/{file}.asc",
    "/packages/{path}", "/packages/{path}.metadata", "/packages/{path}.asc", "/packages/{wrong}",
    "/packages/{sdist}", "/packages/x/{file}", "/main/packages/{path}",
    "/pypi", "/pypi/", "/pypi?:action=list_classifiers",
    "/pypi/{name}/json", "/pypi/{name}/json/", "/pypi/{spelled}/json", "/pypi/{name}/1.0/json",
    "/pypi/{name}/1.0/json/", "/pypi/{name}/9/json",
    "/rss/updates.xml", "/rss/packages.xml", "/rss/project/{name}/releases.xml",
    "/rss/project/{spelled}/releases.xml",
    "/@{moment}/simple", "/@{moment}/simple/", "/@{moment}/simple/{name}", "/@{moment}/simple/{name}/",
    "/@{moment}/packages/{path}", "/main/@{moment}/packages/{wrong}",
    "/{name}", "/{name}/", "/{name}/json", "/{spelled}/json",
    "/main.git/info/refs?service=git-upload-pack",
    "/-/api/openapi.json", "/-/api/v1/whoami", "/-/api/v1/indexes", "/-/api/v1/tokens",
    "/-/api/v1/tokens/99",
    "/-/api/v1/indexes/main/projects", "/-/api/v1/indexes/main/projects?after=r",
    "/-/api/v1/indexes/main/journal",
    "/-/api/v1/indexes/main/projects/{name}", "/-/api/v1/indexes/main/projects/{name}/status",
    "/-/api/v1/indexes/main/projects/{name}/restorable", "/-/api/v1/indexes/main/projects/{name}/owners",
    "/-/api/v1/indexes/main/projects/{name}/owners/ann",
    "/-/api/v1/indexes/main/downloads", "/-/api/v1/indexes/main/unused",
    "/-/api/v1/indexes/main/yanked-downloads", "/-/api/v1/indexes/main/projects/{name}/downloads",
    "/-/api/v1/indexes/main/projects/{name}/releases/1.0",
    "/-/api/v1/indexes/main/projects/{name}/releases/1.0/yank",
    "/-/api/v1/indexes/main/projects/{name}/files/{file}",
    "/-/api/v1/indexes/main/projects/{name}/files/{file}/yank",
    "/-/api/v1/indexes/main/projects/{name}/files/{file}/restore",
    "/-/api/v1/indexes/main", "/-/api/v1/indexes/main/settings", "/-/api/v1/upstreams",
    "/-/api/v1/upstreams/{name}", "/-/api/v1/indexes/main/origins",
    "/-/api/v1/indexes/main/origins/{name}", "/-/api/v1/indexes/main/reservations",
    "/-/api/v1/indexes/main/reservations/{name}", "/-/api/v1/indexes/main/rules",
    "/-/api/v1/indexes/main/exemptions/{name}",
    "/-/api/v1/indexes/main/projects/{name}/releases/1.0/hold",
    "/-/api/v1/indexes/main/projects/{name}/files/{file}/hold",
    "/-/api/v1/indexes/main/projects/{name}/releases/1.0/promote",
)  # fmt: skip
#: Pages for people.
PAGES = (
    "/-/search", "/-/search?q={name}", "/-/search?q=thing&order=newest", "/-/search?q={name}s&status=active",
    "/-/setup", "/-/why?subject={name}", "/-/why?subject={file}",
    "/-/why/{name}/1.0", "/-/why/{name}", "/-/upload", "/-/account", "/-/login",
    "/project/{name}/", "/project/{spelled}/", "/project/{name}/1.0/", "/project/{name}/-/files/",
    "/project/{name}/-/history/", "/project/{name}/-/dependencies/", "/project/{name}/-/manage/",
    "/project/{name}/-/yank", "/project/{name}/-/unyank", "/project/{name}/-/status",
    "/project/{name}/-/owners", "/project/{name}/-/restore", "/project/{name}/-/delete",
    "/project/{name}/-/file/{file}/", "/project/{name}/-/file/{file}/x", "/project/pub-one/-/dependencies/",
    "/-/index", "/-/statistics", "/-/origins?project={name}", "/-/folders", "/-/admin", "/-/admin/health",
    "/-/admin/people", "/-/admin/person?user={name}", "/-/admin/person/remove", "/-/admin/indexes",
    "/-/admin/audit?project={name}", "/-/admin/audit.csv?project={name}",
    "/-/admin/audit.json?project={name}",
    "/-/prefer", "/-/logout", "/-/tokens", "/-/tokens/9/revoke", "/-/sessions/end", "/-/password",
)  # fmt: skip
CALLS = (
    "<methodName>list_packages</methodName>",
    "<methodName>list_packages_with_serial</methodName>",
    "<methodName>changelog_last_serial</methodName>",
    "<methodName>changelog_since_serial</methodName><params><param><value><int>0</int></value></param></params>",
    "<methodName>changelog</methodName><params><param><value><int>0</int></value></param></params>",
    *(
        f"<methodName>{method}</methodName><params><param><value>{{name}}</value></param></params>"
        for method in ("package_releases", "package_roles", "user_packages")
    ),
    *(
        f"<methodName>{method}</methodName><params><param><value>{{name}}</value></param>"
        "<param><value>1.0</value></param></params>"
        for method in ("release_urls", "release_data")
    ),
    *(
        "<methodName>search</methodName><params><param><value><struct><member><name>name</name><value>"
        f"{term}</value></member></struct></value></param></params>"
        for term in ("{name}", "thing", "pub")
    ),
)

Request = tuple[str, str, Sequence[tuple[str, str]], bytes]


def moment() -> str:
    """A time at which everything was there that is there now."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def names_of(project: str, digest: str) -> dict[str, str]:
    file = package(project)[0]
    return {
        "{name}": project,
        "{spelled}": project.replace("-", "_").title(),
        "{file}": file,
        "{sdist}": samples.sdist(project, "1.0")[0],
        "{path}": f"{digest[:2]}/{digest[2:4]}/{digest[4:]}/{file}",
        "{wrong}": f"{HEX[:2]}/{HEX[2:4]}/{HEX[4:]}/{file}",
    }


def requests(project: str, digest: str, tag: str, *, briefly: bool = False) -> Iterator[Request]:
    """Every way to ask by which somebody could learn of a project. `tag`: the ETag of its page.

    `briefly`: every path, each once by GET and once by POST.
    """
    values = names_of(project, digest)

    def filled(text: str) -> str:
        for key, value in values.items():
            text = text.replace(key, value)
        return text

    for path in map(filled, PATHS):
        if briefly:
            yield "GET", path, [("accept", JSON)], b""
            yield "GET", path, (), b""
            if path != "/-/api/v1/tokens":
                yield "POST", path, (), b""
            continue
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "POST"):
            if (method, path) != ("POST", "/-/api/v1/tokens"):  # that would make tokens, each time more
                yield method, path, (), b""
        for accept in (JSON, "application/json", "text/html", "application/problem+json", "image/png"):
            yield "GET", path, [("accept", accept)], b""
        yield "GET", path, [("if-none-match", tag), ("accept", JSON)], b""
        yield "GET", path, [("if-none-match", "*")], b""
        yield "GET", path, [("range", "bytes=0-9")], b""
        yield "GET", path, [("accept-encoding", "gzip")], b""
        yield "GET", path, [("origin", "https://app.test")], b""
    for page in map(filled, PAGES):
        kind = "application/x-www-form-urlencoded"
        yield "GET", page, [("accept", "text/html")], b""
        if not briefly:
            yield "GET", page, [("accept", "text/html"), ("accept-encoding", "gzip")], b""
        if page != "/-/tokens":
            form_of = b"version=1.0&status=active&subject=ann&filename=" + values["{file}"].encode()
            yield "POST", page, [("content-type", kind), ("origin", "http://index.test:8080")], form_of
    for call in map(filled, CALLS):
        body = f"<?xml version='1.0'?><methodCall>{call}</methodCall>".encode()
        yield "POST", "/pypi", [("content-type", "text/xml")], body
    for sample in (package(project), package(project, "3.0"), samples.sdist(project, "1.0")):
        for path in ("/legacy/", "/", "/pypi/", "/main/legacy/"):
            yield "POST", path, *form(sample, name=project, version="1.0")
    removal = f":action=remove_pkg&name={project}&version=1.0".encode()
    yield "POST", "/legacy/", [("content-type", "application/x-www-form-urlencoded")], removal


def of_heir(asked: Sequence[Request]) -> Iterator[Request]:
    """The same questions to an index that has `main` among its bases."""
    for method, target, headers, body in asked:
        if target.startswith("/-/api/"):
            yield method, target.replace("/indexes/main", "/indexes/dev"), headers, body
        elif not target.startswith("/-/admin"):  # not below an index
            yield method, "/dev" + target.removeprefix("/main"), headers, body


def told(answer: Answer, now: str) -> tuple[object, ...]:
    """What an answer says, but for the time of the question."""
    headers = {name: value.replace(now, "NOW") for name, value in answer.headers.items() if name != "date"}
    body = answer.body
    if headers.get("content-encoding") == "gzip":  # what is compressed beside the name goes by its letters
        del headers["content-length"]
        body = gzip.decompress(body)
    if headers.get("content-type", "").startswith("text/html"):  # how long ago something was, in words
        headers.pop("content-length", None)
        body = re.sub(rb"(<time [^>]*>)[^<]*", rb"\1", body)
    # When a token was noted, and which day it is, are the clock's matter.
    body = re.sub(rb'"(used|day)":[0-9]+', rb'"\1":0', body)
    return answer.status, headers, body.replace(now.encode(), b"NOW"), answer.complete


def answers(town: Town, who: str, asked: Sequence[Request]) -> dict[str, tuple[object, ...]]:
    found = {}
    for number, (method, target, headers, body) in enumerate(asked):
        now = moment()
        answer = town.ask(method, target.replace("{moment}", now), who, headers, body)
        found[f"{number} {method} {target} {headers}"] = told(answer, now)
    return found


def same(before: dict[str, tuple[object, ...]], after: dict[str, tuple[object, ...]]) -> None:
    differing = {key: (value, after[key]) for key, value in before.items() if value != after[key]}
    assert not differing, f"{[*differing]} of {len(before)}: {next(iter(differing.items()))}"


class Tags:
    """What only who may see the project knows of it: found in a town of its own."""

    def __init__(self, place: Path) -> None:
        town = Town(place, *PUBLIC, *PRIVATE)
        page = town.ask("GET", f"/simple/{SECRET}/", "reader", [("accept", JSON)])
        self.tag = page.headers["etag"]
        url = next(file["url"] for file in page.json()["files"] if file["filename"] == package(SECRET)[0])
        self.digest = "".join(url.rpartition("/packages/")[2].split("/")[:3])
        town.close()


@pytest.fixture(scope="module")
def tags(tmp_path_factory: pytest.TempPathFactory) -> Tags:
    return Tags(tmp_path_factory.mktemp("tags"))


def built(place: Path, challenge: bool = False, **flags: object) -> Town:
    town = Town(place, *PUBLIC, **flags)
    if challenge:
        with town.house.pidex.catalogue.write() as conn:
            found = indexes.find(conn, "main")
            assert found is not None
            indexes.set_challenge(conn, found.id, True)
    return town


WAYS = [(False, {}), (True, {}), (False, {"fallback_url": "https://elsewhere.test/simple"})]


@pytest.mark.parametrize(("challenge", "flags"), WAYS, ids=["plain", "challenge", "fallback"])
@pytest.mark.parametrize("who", ["stranger", "outsider"])
def test_a_private_project_changes_no_answer(
    tmp_path: Path, tags: Tags, challenge: bool, flags: dict[str, object], who: str
) -> None:
    """One server, before the project comes, while it is there and asked for by who may, and after it went."""
    town = built(tmp_path, challenge, **flags)
    # Once in every form; what is set up otherwise, or who asks, changes what is seen, and not the forms.
    briefly = challenge or bool(flags) or who != "stranger"
    asked = [*requests(SECRET, tags.digest, tags.tag, briefly=briefly)]
    before = answers(town, who, asked)
    for sample in PRIVATE:
        town.house.add(sample)
    same(before, answers(town, who, asked))
    # Those who may see it have it in every cache; it is yanked, deleted in part, and quarantined.
    for role in ("admin", "reader"):
        seen = answers(town, role, [each for each in asked if each[0] == "GET"])
        assert any(SECRET.encode() in value[2] for value in seen.values() if isinstance(value[2], bytes))
    same(before, answers(town, who, asked))
    curator = town.house.pidex.curator(town.house.pidex.intake(), town.house.pidex.accounts())
    curator.yank("main", SECRET, version="1.0", reason="broken", by=OPERATOR)
    curator.delete("main", SECRET, filename=PRIVATE[1][0], by=OPERATOR)
    same(before, answers(town, who, asked))
    curator.set_status("main", SECRET, "quarantined", reason="bad", by=OPERATOR)
    same(before, answers(town, who, asked))
    town.close()


def test_a_private_project_changes_no_answer_of_an_heir(tmp_path: Path, tags: Tags) -> None:
    """Of an index that everybody may read, with the private project's index and an upstream behind it."""
    with local_upstream(samples.wheel("pub-three", "1.0")) as upstream:
        town = built(tmp_path)
        pidex = town.house.pidex
        service = pidex.indexing(pidex.intake())
        service.add_upstream("up", upstream.url, settings={"private": True}, by=OPERATOR)
        service.create("dev", ["bases=main", "upstreams=up"], by=OPERATOR)
        pidex.reconciler("dev").scan()
        town.people.grant("user:reader", "reader", index="dev", by=OPERATOR)
        asked = [*of_heir([*requests(SECRET, tags.digest, tags.tag, briefly=True)])]
        for project in (OPEN, "pub-three"):
            assert town.ask("GET", f"/dev/simple/{project}/").status == 200
        before = answers(town, "stranger", asked)
        assert any(b"pub-two" in value[2] for value in before.values() if isinstance(value[2], bytes))
        for sample in PRIVATE:
            town.house.add(sample)
        seen = answers(town, "reader", [each for each in asked if each[0] == "GET"])
        assert any(SECRET.encode() in value[2] for value in seen.values() if isinstance(value[2], bytes))
        curator = pidex.curator(pidex.intake(), pidex.accounts())
        curator.yank("main", SECRET, version="1.0", reason="broken", by=OPERATOR)
        same(before, answers(town, "stranger", asked))
        service.block("main", SECRET, reason="stolen", by=OPERATOR)
        same(before, answers(town, "stranger", asked))
        town.house.run(pidex.mirror.stop())
        town.close()


def test_a_hidden_name_is_answered_as_an_absent_one(tmp_path: Path, tags: Tags) -> None:
    """Also where its files are still to be read: nobody waits for what is not there."""
    town = built(tmp_path)
    for sample in PRIVATE:
        town.house.add(sample)
    with town.house.pidex.catalogue.write() as conn:
        found = indexes.find(conn, "main")
        assert found is not None
        unread = Place(0, package(SECRET, "7.0")[0], NO_STAT, PlaceState.UNREAD)
        places.upsert_many(conn, found.id, [unread])
        scans.put(conn, found.id, scans.Scan(listed=True, finished=None))
    assert town.ask("GET", f"/simple/{SECRET}/", "reader").status == 503
    there = answers(town, "stranger", [*requests(SECRET, tags.digest, tags.tag)])
    absent = answers(town, "stranger", [*requests(NEVER, tags.digest, tags.tag)])
    renamed = [str(value).lower().replace("secret", "absent") for value in there.values()]
    # Lengths of texts, and hashes of bodies that repeat what was asked, go by the name: it is as long.
    assert len(SECRET) == len(NEVER)
    for key, one, other in zip(there, renamed, absent.values(), strict=True):
        assert one == str(other).lower().replace("secret", "absent"), key
    town.close()


def test_every_route_is_asked(tmp_path: Path) -> None:
    """A new route has to be asked here, too."""
    town = built(tmp_path)
    values = names_of(SECRET, HEX) | {"{moment}": moment()}
    every = (*PATHS, *PAGES)
    paths = {"".join(values.get(part, part) for part in _parts(path)).partition("?")[0] for path in every}
    routes = [route for route in town.house.site.router.routes if isinstance(route, Route)]
    for route in routes:
        assert any(route.path_regex.match(path) for path in paths), route.path
    town.close()


def _parts(path: str) -> list[str]:
    pieces = path.replace("{", "\0{").replace("}", "}\0").split("\0")
    return [*itertools.chain(pieces)]
