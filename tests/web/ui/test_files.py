"""The files of a project: in pages, with who brought them for those who may know, and what a scrub says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest

from pidex.core.model import DEFAULT_INDEX, OPERATOR
from pidex.verify import scrub
from pidex.web.ui import projects
from pidex.web.ui.server import Told
from tests import samples
from tests.web.driver import House
from tests.web.ui.browser import Browser, Page

PASSWORD = "correct horse battery"
NUMBER, SIZE = 23, 5


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    packages = [samples.wheel("demo", f"{number}.0") for number in range(NUMBER)]
    with House(tmp_path, *packages) as built:
        desk = built.pidex.administration()
        for name, role in (("ann", "owner"), ("bob", "reader"), ("root", "")):
            desk.add_user(name, PASSWORD, by=OPERATOR)
            if role:
                desk.grant(f"user:{name}", role, index=DEFAULT_INDEX, by=OPERATOR)
        desk.grant("user:root", "admin", by=OPERATOR)
        yield built


def signed_in(house: House, name: str) -> Browser:
    browser = Browser(house)
    browser.sign_in(name, PASSWORD)
    return browser


def filenames(page: Page) -> list[str]:
    return [each.text for each in page.all("a") if (each.text or "").endswith(".whl")]


@pytest.mark.parametrize(("path", "constant"), [("files", "FILES"), ("history", "RELEASES")])
def test_lists_come_in_pages_that_hold_everything_once(
    house: House, monkeypatch: pytest.MonkeyPatch, path: str, constant: str
) -> None:
    monkeypatch.setattr(projects, constant, SIZE)
    browser, target = Browser(house), f"/project/demo/-/{path}/"
    seen: list[str] = []
    for number in range(1, 6):
        page = browser.open(target)
        assert f"Page {number} of 5" in page.text
        if path == "files":
            seen += filenames(page)
        else:
            seen += [each.text for each in page.all("strong") if (each.text or "").endswith(".0")]
        following = [each.get("href") for each in page.all("a") if each.get("rel") == "next"]
        assert bool(following) is (number < 5)
        target = urljoin(page.url, following[0]) if following else target
    ending = "-py3-none-any.whl" if path == "files" else ""
    wanted = [f"{'demo-' * bool(ending)}{number}.0{ending}" for number in reversed(range(NUMBER))]
    assert seen == wanted
    for odd, there in (("99999", "5"), ("0", "1"), ("-1", "1"), ("x", "1"), ("", "1"), ("9" * 50, "1")):
        assert f"Page {there} of 5" in browser.open(f"/project/demo/-/{path}/?page={odd}").text, odd


def test_who_brought_a_file_is_told_to_who_may_change_the_project(house: House) -> None:
    ann = signed_in(house, "ann")
    sent = samples.wheel("demo", "99.0")
    ann.upload(ann.open("/-/upload").form("/-/upload"), sent)
    told = ann.open("/project/demo/-/files/").text
    assert "uploaded · ann" in told
    assert "put into the folder" in told
    for other in (Browser(house), signed_in(house, "bob")):
        page = other.open("/project/demo/-/files/")
        assert sent[0] in page.text
        assert "uploaded" not in page.text
        assert "put into the folder" not in page.text


def test_the_state_of_the_scrub_and_of_the_cache_is_told(house: House) -> None:
    root = signed_in(house, "root")
    assert "not begun yet" in root.open("/-/admin").text
    noted = house.pidex.data / scrub.NAME
    scrub.write(noted, scrub.State(began=1.0, cursor="40" + "0" * 62, files=7, bytes=1024))
    assert "25 % of this round: 7 files, 1.0 KiB" in root.open("/-/admin").text
    scrub.write(noted, scrub.State(began=1.0, finished=2.0, damaged=("demo-1.0 was put aside",)))
    page = root.open("/-/admin")
    assert "last finished" in page.text
    assert "demo-1.0 was put aside" in page.text
    for _ in range(4):
        assert house.get("/simple/demo/").status == 200
    house.site.ledger.flush()
    assert "4 answers, 75.0 % of them kept from before" in root.open("/-/admin").text


def test_metrics_are_read_as_pages_show_them() -> None:
    told = Told(
        "# HELP x\n"
        'pidex_requests_total{kind="page",status="200"} 8.0\n'
        'pidex_requests_total{kind="page",status="503"} 2.0\n'
        'pidex_requests_total{kind="ui",status="200"} 1e+06\n'
        'pidex_pages_made_total{kind="page"} 1.0\n'
        "pidex_request_seconds_sum 0.5\npidex_request_seconds_count 10.0\n"
        'pidex_upstream_requests_total{outcome="answered",upstream="a"} 3.0\n'
        'pidex_upstream_requests_total{outcome="failed",upstream="a"} 1.0\n'
        'pidex_upstream_wait_seconds_total{upstream="a"} 0.2\n'
        'pidex_mirror_files_total{outcome="held"} 5.0\n'
    )
    assert told.requests() == [("page", 10, 2), ("ui", 1_000_000, 0)]
    assert told.mean("pidex_request_seconds") == 50
    assert told.kept() == (10, 9)
    assert told.waits() == {"a": 50}
    assert told.outcomes("pidex_mirror_files") == {"held": 5}
    assert Told("").mean("pidex_request_seconds") is None
