"""One node whose database goes away and comes back: every path says so, none from memory, and none breaks."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from tests import samples
from tests.cluster.nodes import OWNER, Database, basic
from tests.conftest import server_programs
from tests.walks.server import family
from tests.web.driver import JSON, House, file_url

pytestmark = pytest.mark.postgres

PATHS = (
    "/", "/simple/", "/simple/demo/", "/simple/other/", "/pypi/demo/json", "/project/demo/", "/-/login",
    "/-/health", "/-/api/v1/indexes", "/-/api/openapi.json", "/packages/", "/nothing/here",
)  # fmt: skip


def test_while_the_database_is_away_nothing_is_answered_from_memory(tmp_path: Path) -> None:
    programs = server_programs()
    if programs is None:
        pytest.skip("NOT TESTED on PostgreSQL: no initdb in /usr/lib/postgresql/*/bin (Debian: postgresql)")
    pytest.importorskip("psycopg", reason="NOT TESTED on PostgreSQL: psycopg is not installed")
    with (
        contextlib.closing(Database(programs)) as database,
        House(tmp_path, samples.wheel("demo", "1.0"), catalogue=database.url) as house,
    ):
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
        end = time.monotonic() + 60
        while (answer := house.get("/simple/demo/", JSON)).status == 503:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert (answer.status, answer.body) == (200, page.body)
        assert house.get(file).status == 200


def test_a_database_that_hangs_is_one_that_is_away(tmp_path: Path) -> None:
    """As behind a network that is cut: no connection breaks, and no answer comes."""
    programs = server_programs()
    if programs is None:
        pytest.skip("NOT TESTED on PostgreSQL: no initdb in /usr/lib/postgresql/*/bin (Debian: postgresql)")
    pytest.importorskip("psycopg", reason="NOT TESTED on PostgreSQL: psycopg is not installed")
    with (
        contextlib.closing(Database(programs)) as database,
        House(tmp_path, samples.wheel("demo", "1.0"), catalogue=database.url) as house,
    ):
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
        end = time.monotonic() + 60
        while (answer := house.get("/simple/demo/", JSON)).status == 503:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert (answer.status, answer.body) == (200, page.body)
