"""One node whose database goes away and comes back: every path says so, none from memory, and none breaks."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import samples
from tests.cluster.nodes import OWNER, Database, basic
from tests.walks.server import family
from tests.web.driver import JSON, House, file_url

pytestmark = pytest.mark.postgres

PATHS = (
    "/", "/simple/", "/simple/demo/", "/simple/other/", "/pypi/demo/json", "/project/demo/", "/-/login",
    "/-/health", "/-/api/v1/indexes", "/-/api/openapi.json", "/packages/", "/nothing/here",
)  # fmt: skip


@pytest.fixture
def ground(tmp_path: Path, postgres_programs: Path) -> Iterator[tuple[Database, House]]:
    with (
        contextlib.closing(Database(postgres_programs)) as database,
        House(tmp_path, samples.wheel("demo", "1.0"), catalogue=database.url) as house,
    ):
        yield database, house


def back(house: House, body: bytes) -> None:
    """Wait for the page of `demo`, which is the one that was there before."""
    end = time.monotonic() + 60
    while (answer := house.get("/simple/demo/", JSON)).status == 503:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert (answer.status, answer.body) == (200, body)


def test_while_the_database_is_away_nothing_is_answered_from_memory(ground: tuple[Database, House]) -> None:
    database, house = ground
    page, file = house.get("/simple/demo/", JSON), file_url(house, "demo")
    assert page.status == house.get(file).status == 200
    database.stop("immediate")
    for path in (*PATHS, file):
        for headers in ({}, {"authorization": basic(OWNER)}):
            answer = house.get(path, JSON, **headers)
            assert answer.status == 503, (path, answer.status, answer.body[:200])
            assert answer.headers["retry-after"] == "1", path
            assert database.url.encode() not in answer.body
    # Starting the process again would not help.
    assert house.get("/-/livez").status == 200
    database.start()
    back(house, page.body)
    assert house.get(file).status == 200


def test_a_database_that_hangs_is_one_that_is_away(ground: tuple[Database, House]) -> None:
    """As behind a network that is cut: no connection breaks, and no answer comes."""
    database, house = ground
    page = house.get("/simple/demo/", JSON)
    assert page.status == 200
    number = int((database.folder / "data" / "postmaster.pid").read_text().split()[0])
    stopped = [each.pid for each in family(number)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        answers = house.run(*(house.ask("/simple/demo/", [("accept", JSON)]) for _ in range(5)))
        assert [answer.status for answer in answers] == [503] * 5
        assert house.get("/-/livez").status == 200
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    back(house, page.body)
