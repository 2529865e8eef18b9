"""Indexes with bases on the web: their pages, what changes them, and that rights of the base hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.catalogue import grants, indexes, rights
from pidex.core.model import OPERATOR
from pidex.core.permissions import Grant, Role
from tests import samples
from tests.web.driver import JSON, House, listed


@pytest.fixture
def heir(tmp_path: Path) -> Iterator[House]:
    """`dev` with the contents of the default index, which has `demo` and `other`."""
    with House(tmp_path, samples.wheel("demo", "1.0"), samples.wheel("other", "1.0")) as house:
        house.pidex.indexing(house.pidex.intake()).create("dev", ["bases=main"], by=OPERATOR)
        house.pidex.reconciler("dev").scan()
        yield house


def names(house: House, path: str) -> list[str]:
    answer = house.get(path, JSON)
    assert answer.status == 200, answer.text
    return [line["name"] for line in answer.json()["projects"]]


def test_an_heir_has_what_its_base_has_and_hears_of_its_changes(heir: House) -> None:
    page = heir.get("/dev/simple/demo/", JSON)
    assert page.body == heir.get("/simple/demo/", JSON).body
    url = page.json()["files"][0]["url"].removeprefix("../../")
    for path in (f"/dev/{url}", f"/dev/{url}.metadata", "/dev/pypi/demo/json", "/dev/rss/packages.xml"):
        assert heir.get(path).status == 200
    assert names(heir, "/dev/simple/") == ["demo", "other"]
    heir.add(samples.wheel("demo", "2.0"))
    assert len(heir.get("/dev/simple/demo/", JSON).json()["files"]) == 2
    service = heir.pidex.indexing(heir.pidex.intake())
    service.set_index("dev", ["bases="], by=OPERATOR)
    for path in ("/dev/simple/demo/", f"/dev/{url}"):
        assert heir.get(path).status == 404
    assert names(heir, "/dev/simple/") == []
    service.remove_index("dev", by=OPERATOR)
    assert heir.get("/dev/simple/").status == 404


@pytest.mark.parametrize("first", ["stranger", "operator"])
def test_what_the_base_hides_its_heirs_hide(heir: House, first: str) -> None:
    """Whoever asked first, and whatever is kept of it."""
    url = heir.get("/simple/demo/", JSON).json()["files"][0]["url"].removeprefix("../../")
    if first == "operator":  # somebody who may see everything filled the caches
        for path in ("/dev/simple/demo/", "/dev/simple/", f"/dev/{url}", f"/dev/{url}.metadata"):
            assert heir.get(path, JSON if "simple" in path else None).status == 200
    with heir.pidex.catalogue.write() as conn:
        found = indexes.find(conn, "main")
        assert found is not None
        grants.remove(conn, Grant("group:anonymous", Role.READER, "main"))
        grants.add(conn, Grant("group:anonymous", Role.READER, "main", "other"), by="x", at=1)
        rights.announce(conn, found.id, at=1, by="x")
    for path in ("/dev/simple/demo/", f"/dev/{url}", f"/dev/{url}.metadata", "/dev/pypi/demo/json"):
        for _ in "built", "found":
            assert heir.get(path).status == 404, path
    assert names(heir, "/dev/simple/") == ["other"]
    assert listed(heir, "other")


def test_names_that_are_reserved_or_blocked_say_so(heir: House) -> None:
    service = heir.pidex.indexing(heir.pidex.intake())
    service.reserve("main", "acme-*", by=OPERATOR)
    service.block("main", "demo", reason="not good", by=OPERATOR)
    for index in ("", "/dev"):
        assert heir.get(f"{index}/simple/acme-x/").status == 403
        answer = heir.get(f"{index}/simple/demo/")
        assert answer.status == 403
        assert "not good" in answer.text
        assert names(heir, f"{index}/simple/") == ["other"]
