"""T33, T34: what a rule, a hold or a quarantine keeps back is served by no route, whatever was cached."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pidex.core.model import DEFAULT_INDEX, OPERATOR
from pidex.curator import Curator
from tests import samples
from tests.web.driver import House
from tests.web.test_two_worlds import requests

CANARY = "a-text-that-nobody-else-has"
PROJECT = "secret-thing"
#: The wheel that is kept back, and two files of the same project that are not.
KEPT = samples.wheel(
    PROJECT, "1.0", metadata=samples.core_metadata(PROJECT, "1.0", summary=CANARY), tag="py3-none-any"
)
OTHERS = (samples.wheel(PROJECT, "2.0"), samples.sdist(PROJECT, "1.0"))
BYTES = KEPT[1]

WAYS: dict[str, Callable[[Curator], object]] = {
    "a hold of the file": lambda curator: curator.hold(
        DEFAULT_INDEX, PROJECT, filename=KEPT[0], reason="looked at", by=OPERATOR
    ),
    "a hold of the release": lambda curator: curator.hold(
        DEFAULT_INDEX, PROJECT, version="1.0", reason="looked at", by=OPERATOR
    ),
    "a rule of age": lambda curator: curator.set_rules(
        DEFAULT_INDEX, ["min_age=3d", "scope=all"], by=OPERATOR
    ),
    "a rule of names": lambda curator: curator.set_rules(
        DEFAULT_INDEX, [f"deny+={PROJECT}==1.0", "scope=all"], by=OPERATOR
    ),
    "a quarantined project": lambda curator: curator.set_status(
        DEFAULT_INDEX, PROJECT, "quarantined", reason="looked at", by=OPERATOR
    ),
}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path, KEPT, *OTHERS) as built:
        yield built


def served(house: House, *, briefly: bool = False) -> dict[str, str]:
    """Routes that give the file or its metadata away: what was asked, and how it was answered.

    `briefly`: those of pages and files alone.
    """
    digest = hashlib.blake2b(BYTES, digest_size=32).hexdigest()
    found = {}
    for method, target, headers, body in requests(PROJECT, digest, '"tag"', briefly=True):
        if target.startswith(("/legacy/", "/main/legacy/")) or (
            method == "POST" and target in ("/", "/pypi/")
        ):
            continue  # uploads: what is sent is not what is served
        if briefly and not (method == "GET" and target.startswith(("/simple/", "/packages/", "/pypi/"))):
            continue
        ways = [headers, [*headers, ("range", "bytes=0-3999")]] if "/packages/" in target else [headers]
        for asked in ways:
            answer = house.run(house.ask(target, asked, method=method, body=body))[0]
            told = answer.body
            if answer.headers.get("content-encoding") == "gzip":
                told = gzip.decompress(told)
            if BYTES[:200] in told or CANARY.encode() in told:
                found[f"{method} {target} {asked}"] = str(answer.status)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_no_route_serves_what_is_kept_back(house: House, way: str) -> None:
    before = served(house, briefly=True)
    assert any(asked.startswith("GET /packages/") for asked in before)
    assert any(f"{KEPT[0]}.metadata " in asked for asked in before)
    pidex = house.pidex
    WAYS[way](pidex.curator(pidex.intake(), pidex.accounts()))
    assert served(house) == {}
