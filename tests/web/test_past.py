"""An index as it was: pages, files and metadata below a time, over HTTP."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pidex.core.simpleapi import HTML
from tests import samples
from tests.web.driver import JSON, Answer, House

OLD = samples.wheel("demo", "1.0", requires=["walrus"])
NEW = samples.wheel("demo", "2.0")


def spelled(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, OLD)


def then(house: House) -> str:
    """The path of the index as it is, before a second release and a second project come."""
    time.sleep(0.01)
    moment = spelled(time.time())
    time.sleep(0.01)
    house.add(NEW)
    house.add(samples.wheel("fresh", "1.0"))
    house.scan()
    return f"/main/@{moment}"


def names(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.text
    told = answer.json()
    return [each.get("filename") or each["name"] for each in told.get("files") or told["projects"]]


def test_a_page_of_then_has_what_was_there_then(house: House) -> None:
    with house:
        base = then(house)
        assert names(house.get("/main/simple/demo/", JSON)) == [OLD[0], NEW[0]]
        assert names(house.get(f"{base}/simple/demo/", JSON)) == [OLD[0]]
        assert names(house.get(f"{base}/simple/", JSON)) == ["demo"]
        page = house.get(f"{base}/simple/demo/", HTML)
        assert OLD[0] in page.text
        assert NEW[0] not in page.text
        assert house.get(f"{base}/simple/fresh/").status == 404
        for path in (f"{base}/simple/demo/", f"{base}/simple/"):
            answer = house.get(path)
            assert answer.headers["cache-control"] == "no-store"


def test_files_of_then_are_served_below_the_time(house: House) -> None:
    with house:
        base = then(house)
        file = house.get(f"{base}/simple/demo/", JSON).json()["files"][0]
        assert file["url"].startswith("../../packages/")
        url = f"{base}/{file['url'].removeprefix('../../')}"
        answer = house.get(url)
        assert (answer.status, answer.body) == (200, OLD[1])
        described = house.get(f"{url}.metadata")
        assert described.status == 200
        assert b"Requires-Dist: walrus" in described.body
        new = house.get("/main/simple/demo/", JSON).json()["files"][1]["url"].removeprefix("../../")
        assert house.get(f"/main/{new}").status == 200
        assert house.get(f"{base}/{new}").status == 404
        assert house.get(f"{base}/{new}.metadata").status == 404


def test_a_file_that_went_is_there_then_while_its_bytes_are_kept(house: House) -> None:
    with house:
        base = then(house)
        (house.folder / OLD[0]).unlink()
        house.scan()
        assert names(house.get("/main/simple/demo/", JSON)) == [NEW[0]]
        file = house.get(f"{base}/simple/demo/", JSON).json()["files"][0]
        assert file["filename"] == OLD[0]
        assert house.get(f"{base}/{file['url'].removeprefix('../../')}").body == OLD[1]


def test_other_spellings_lead_to_the_page(house: House) -> None:
    with house:
        base = then(house)
        for asked in ("/simple/Demo/", "/simple/demo"):
            answer = house.get(base + asked)
            assert answer.status == 301
            where = answer.headers["location"]
            assert where.endswith(f"{base.removeprefix('/main/')}/simple/demo/"), where
        assert house.get(f"{base}/simple").status == 301


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ("2999-01-01T00:00Z", "still to come"),
        ("yesterday-ish", "time"),
        ("1960-01-01", "too long ago"),
    ],
)
def test_a_time_that_cannot_be_asked_for(house: House, moment: str, words: str) -> None:
    with house:
        for path in ("simple/", "simple/demo/"):
            answer = house.get(f"/main/@{moment}/{path}", JSON)
            assert answer.status == 400, answer.text
            assert words in answer.text
