"""The API about indexes, upstreams, names, rules and promotion: done, told, refused and written down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.driver import listed
from tests.web.test_api import NEXT, ONE, PROJECT, TWO, Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.house.close()


def actions(desk: Desk) -> list[tuple[str, str | None]]:
    """What was written down since the start, and of whom."""
    return [(row.action, row.actor) for row in desk.audit()[desk.began :]]


def test_indexes_and_upstreams(desk: Desk) -> None:
    made = desk.done("POST", "/upstreams", "ada", {"name": "corp", "url": "https://corp.test/simple"})
    assert (made["url"], made["secret"], made["used_by"]) == ("https://corp.test/simple/", False, [])
    secret = {"auth": "basic", "secret": "user:hidden-word"}
    told = desk.ask("PUT", "/upstreams/corp", "ada", secret)
    assert (told.json()["secret"], "hidden-word" in told.text) == (True, False)
    made = desk.done("POST", "/indexes", "ada", {"name": "dev", "edits": ["bases=main", "upstreams=corp"]})
    assert (made["line"], made["upstreams"]) == (["dev", "main"], ["corp"])
    assert [line["name"] for line in desk.done("GET", "/indexes", "ada")] == ["main", "dev"]
    assert desk.done("GET", "/upstreams", "ada")[0]["used_by"] == ["dev"]
    assert desk.refused("DELETE", "/upstreams/corp", "ada") == (409, "conflict")
    told = desk.done("PUT", "/indexes/dev/settings", "ada", {"edits": ["upstreams=", "challenge=yes"]})
    assert (told["upstreams"], told["challenge"], told["changed"]) == ([], True, True)
    assert desk.done("GET", "/indexes/dev/settings", "ada") == {**told, "changed": False}
    desk.done("DELETE", "/upstreams/corp", "ada")
    desk.done("DELETE", "/indexes/dev", "ada")
    assert [line["name"] for line in desk.done("GET", "/indexes", "ada")] == ["main"]
    assert actions(desk) == [
        ("upstream.add", "ada"), ("upstream.set", "ada"), ("index.create", "ada"), ("index.set", "ada"),
        ("upstream.remove", "ada"), ("index.remove", "ada"),
    ]  # fmt: skip
    assert "hidden-word" not in str(desk.audit())


def test_whose_names_are_whose(desk: Desk) -> None:
    told = desk.done("PUT", "/indexes/main/origins/demo", "olaf", {"origin": "local", "reason": "ours"})
    assert (told["answer"], told["claims"][0]["reason"]) == ("own", "ours")
    assert desk.refused("PUT", "/indexes/main/origins/demo", "olaf", {"origin": "blocked"})[0] == 403
    desk.done("PUT", "/indexes/main/origins/other", "ada", {"origin": "blocked", "reason": "not good"})
    assert desk.house.get("/simple/other/").status == 403
    found = desk.done("GET", "/indexes/main/origins", "ada")
    assert {(each["project"], each["origin"]) for each in found} >= {("demo", "local"), ("other", "blocked")}
    assert desk.done("DELETE", "/indexes/main/origins/other", "ada")["answer"] == "own"
    assert listed(desk.house, "other")
    assert [each["pattern"] for each in desk.done("PUT", "/indexes/main/reservations/acme-*", "ada")] == [
        "acme-*"
    ]
    assert desk.house.get("/simple/acme-x/").status == 403
    assert desk.done("GET", "/indexes/main/origins/acme-x", "ada")["answer"] == "reserved"
    assert len(desk.done("GET", "/indexes/main/reservations", "ada")) == 1
    assert desk.done("DELETE", "/indexes/main/reservations/acme-%2A", "ada") == []
    assert actions(desk) == [
        ("origin.claim", "olaf"), ("origin.block", "ada"), ("origin.release", "ada"),
        ("origin.reserve", "ada"), ("origin.unreserve", "ada"),
    ]  # fmt: skip


def test_rules_exemptions_and_holds(desk: Desk) -> None:
    desk.done("PUT", "/indexes/main/rules", "ada", {"edits": ["scope=all", "deny=demo"]})
    assert desk.house.get("/simple/demo/").status in (200, 403, 404)
    assert ONE not in desk.house.get("/simple/demo/").text
    until = {"reason": "looked at", "until": "2999-01-01"}
    assert desk.done("PUT", "/indexes/main/exemptions/demo==1.0", "ada", until)["changed"] is True
    assert listed(desk.house, "demo") == [ONE, TWO]
    told = desk.done("GET", "/indexes/main/rules", "ada")
    assert (told["rules"]["scope"], [each["subject"] for each in told["exemptions"]]) == (
        "all",
        ["demo==1.0"],
    )
    desk.done("DELETE", "/indexes/main/exemptions/demo==1.0", "ada")
    desk.done("PUT", "/indexes/main/rules", "ada", {"edits": ["deny=", "scope="]})
    desk.done("PUT", f"{PROJECT}/releases/1.0/hold", "ada", {"reason": "stolen token"})
    assert listed(desk.house, "demo") == [NEXT]
    desk.done("PUT", f"{PROJECT}/files/{NEXT}/hold", "ada", {"reason": "this, too"})
    assert {each["target"] for each in desk.done("GET", "/indexes/main/rules", "ada")["holds"]} == {"1", NEXT}
    desk.done("DELETE", f"{PROJECT}/releases/1.0/hold", "ada")
    desk.done("DELETE", f"{PROJECT}/files/{NEXT}/hold", "ada")
    assert listed(desk.house, "demo") == [ONE, TWO, NEXT]
    assert [action for action, _ in actions(desk)] == [
        "index.rules", "index.exempt", "index.unexempt", "index.rules",
        "release.hold", "file.hold", "release.unhold", "file.unhold",
    ]  # fmt: skip


def test_a_release_goes_to_another_index(desk: Desk) -> None:
    desk.done("POST", "/indexes", "ada", {"name": "stage"})
    desk.house.pidex.reconciler("stage").scan()
    where = {"target": "stage"}
    told = desk.done("POST", f"{PROJECT}/releases/1.0/promote", "ada", where)
    assert (sorted(told["files"]), told["there"]) == ([ONE, TWO], [])
    told = desk.done("POST", f"{PROJECT}/releases/1.0/promote", "ada", where)
    assert (told["files"], sorted(told["there"])) == ([], [ONE, TWO])
    assert desk.refused("POST", f"{PROJECT}/releases/1.0/promote", "olaf", where)[0] in (403, 404)
    assert desk.refused("POST", f"{PROJECT}/releases/9/promote", "ada", where)[0] == 404
    assert desk.house.get("/stage/simple/demo/").text.count(ONE) == 2  # in its URL and as its text


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/indexes", {"name": "../x"}, 400),
        ("POST", "/indexes", {"name": "main"}, 409),
        ("POST", "/indexes", {}, 400),
        ("POST", "/indexes", {"name": "x", "folders": ["/etc"]}, 400),
        ("POST", "/indexes", {"name": "x", "edits": ["bases=nowhere"]}, 400),
        ("POST", "/indexes", {"name": "x", "edits": ["nonsense"]}, 400),
        ("DELETE", "/indexes/main", None, 409),
        ("DELETE", "/indexes/nowhere", None, 404),
        ("PUT", "/indexes/main/settings", {"edits": [3]}, 400),
        ("PUT", "/indexes/main/settings", {"edits": "bases=x"}, 400),
        ("PUT", "/indexes/main/settings", None, 400),
        ("POST", "/upstreams", {"name": "x", "url": "file:///etc/passwd"}, 400),
        ("POST", "/upstreams", {"name": "x", "url": "https://u:p@corp.test/"}, 400),
        ("POST", "/upstreams", {"name": "x", "url": "https://corp.test/", "private": True}, 400),
        ("POST", "/upstreams", {"name": "x", "url": "https://corp.test/", "ca": "/etc/passwd"}, 400),
        ("POST", "/upstreams", {"name": "x"}, 400),
        ("PUT", "/upstreams/nowhere", {"max_age": 5}, 404),
        ("DELETE", "/upstreams/nowhere", None, 404),
        ("GET", "/indexes/main/origins/--", None, 400),
        ("PUT", "/indexes/main/origins/demo", {"origin": "mine"}, 400),
        ("PUT", "/indexes/main/origins/demo", {"origin": "upstream"}, 400),
        ("PUT", "/indexes/main/origins/demo", {"origin": "local", "upstream": "corp"}, 400),
        ("PUT", "/indexes/main/origins/demo", {"origin": "upstream", "upstream": "corp"}, 400),
        ("PUT", "/indexes/main/reservations/a b", None, 400),
        ("DELETE", "/indexes/main/reservations/acme-*", None, 404),
        ("PUT", "/indexes/main/rules", {"edits": ["min_age=soon"]}, 400),
        ("PUT", "/indexes/main/rules", {"edits": ["nonsense=1"]}, 400),
        ("PUT", "/indexes/main/exemptions/demo", {}, 400),
        ("PUT", "/indexes/main/exemptions/demo", {"reason": "x", "until": "2001-01-01"}, 400),
        ("PUT", "/indexes/main/exemptions/a b", {"reason": "x"}, 400),
        ("DELETE", "/indexes/main/exemptions/demo", None, 404),
        ("PUT", f"{PROJECT}/releases/1.0/hold", {}, 400),
        ("DELETE", f"{PROJECT}/releases/1.0/hold", None, 404),
        ("POST", f"{PROJECT}/releases/1.0/promote", {"target": "main"}, 400),
        ("POST", f"{PROJECT}/releases/1.0/promote", {"target": "nowhere"}, 404),
        ("POST", "/indexes/nowhere/projects/demo/releases/1.0/promote", {"target": "main"}, 404),
    ],
)
def test_what_is_refused_changes_nothing(
    reading: Desk, method: str, path: str, body: object, status: int
) -> None:
    before = reading.audit()
    told = reading.refused(method, path, "ada", body)
    assert told[0] == status, told
    assert reading.audit() == before


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Nothing that is asked of this one is done."""
    desk = Desk(tmp_path_factory.mktemp("estates"))
    yield desk
    desk.house.close()
