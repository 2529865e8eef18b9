"""Old addresses of indexes: answered as our own, and nothing beside them."""

from __future__ import annotations

import json

import pytest

from pidex.web.aliases import place
from tests.web.driver import House

INDEXES = ("main", "dev", "pypi-copy")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/root/pypi/+simple/", ("main", 2, "/simple/")),
        ("/root/pypi/+simple/demo/", ("main", 2, "/simple/demo/")),
        ("/root/dev/+simple/demo", ("dev", 2, "/simple/demo")),
        ("/root/dev/+simple", ("dev", 2, "/simple")),
        ("/repository/dev/simple/demo/", ("dev", 2, "/simple/demo/")),
        ("/api/pypi/dev/simple/demo/", ("dev", 3, "/simple/demo/")),
        ("/api/pypi/dev/packages/a/b/c/d.whl", ("dev", 3, "/packages/a/b/c/d.whl")),
        ("/repository/pypi/simple/", None),
        ("/root/other/+simple/", None),
        ("/root/dev/project/demo/", None),
        ("/root/dev", None),
        ("/root/", None),
        ("/api/pypi/simple/", None),
    ],
)
def test_which_addresses_are_known(path: str, found: object) -> None:
    assert place(path, INDEXES, "main") == found


def test_an_installer_with_an_old_address_gets_what_it_asks_for(house: House) -> None:
    new = house.get("/simple/demo/", accept="application/vnd.pypi.simple.v1+json")
    for old in ("/root/pypi/+simple/demo/", "/root/main/+simple/demo/", "/repository/main/simple/demo/"):
        answer = house.get(old, accept="application/vnd.pypi.simple.v1+json")
        assert (answer.status, answer.body) == (200, new.body)
        url = json.loads(answer.body)["files"][0]["url"]
        base = old.removesuffix("simple/demo/").removesuffix("+")
        assert house.get(base + url.removeprefix("../../")).status == 200
        assert house.get(base + url.removeprefix("../../") + ".metadata").status == 200
        moved = house.get(old.rstrip("/"))
        assert (moved.status, moved.headers["location"]) == (301, "../simple/demo/")
    assert house.get("/root/nowhere/+simple/demo/").status == 404
