"""Health, metrics, the welcome page, and everything below a prefix."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urljoin

import html5lib
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import samples
from tests.web.driver import JSON, House, file_url


def test_health_says_who_answers(house: House) -> None:
    answer = house.get("/-/health")
    assert answer.json().items() >= {"status": "ok", "worker": 1}.items()
    assert answer.headers["cache-control"] == "no-store"
    assert house.get("/health").text == "Ok"


def test_health_may_lie_elsewhere(tmp_path: Path) -> None:
    with House(tmp_path, health_path="/live") as house:
        assert house.get("/live").text == "Ok"
        assert house.get("/health").status == 302, "a project may be called health"


def test_metrics_count_and_name_no_project(house: House) -> None:
    house.get("/simple/demo/")
    answer = house.get("/-/metrics")
    assert answer.status == 200
    assert "demo" not in answer.text
    found = {
        sample.name: sample
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert found["pidex_files"].value == 64
    assert found["pidex_projects"].value == 3
    assert found["pidex_request_seconds_count"].value > 0
    pages = [
        sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == "pidex_requests_total" and sample.labels == {"kind": "page", "status": "200"}
    ]
    assert pages[0] > 0


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        (("127.0.0.1", 1), {}, 200),
        (None, {}, 200),
        (("192.0.2.1", 1), {}, 401),
        (("127.0.0.1", 1), {"x-forwarded-for": "192.0.2.1"}, 401),
        (("192.0.2.1", 1), {"x-forwarded-for": "127.0.0.1"}, 401),
    ],
)
def test_metrics_are_for_insiders(
    house: House, client: tuple[str, int] | None, headers: dict[str, str], status: int
) -> None:
    answer = house.run(house.ask("/-/metrics", list(headers.items()), client=client))[0]
    assert answer.status == status


def test_the_welcome_page_works_as_printed(house: House) -> None:
    page = house.get("/", host="pkg.test:8080")
    assert page.status == 200
    html5lib.HTMLParser(strict=True).parse(page.body)
    assert "http://pkg.test:8080/simple/" in page.text
    assert "--trusted-host pkg.test:8080" in page.text
    assert "-i 0.0.0.0" in page.text
    assert "3 projects" in page.text
    assert "64 files" in page.text
    assert "extra-index-url" not in page.text
    assert "pip install pidex" not in page.text
    assert not re.search(r"https?://(?!pkg\.test)", page.text), "it asks other hosts"


def test_nothing_more_than_needed_is_printed(house: House) -> None:
    for host in ("127.0.0.1:3141", "localhost:3141", "[::1]:3141"):
        assert "trusted-host" not in house.get("/", host=host).text
    assert "trusted-host" not in house.run(house.ask("/", scheme="https"))[0].text
    assert "trusted-host" in house.run(house.ask("/"))[0].text


def test_the_welcome_page_of_an_index_leads_into_it(house: House) -> None:
    page = house.get("/main/", host="pkg.test")
    assert "http://pkg.test/main/simple/" in page.text
    for link in re.findall(r'(?:href|src)="([^"]+)"', page.text):
        target = urljoin("/main/", link).partition("#")[0]
        assert house.get(target).status == 200, link


def test_assets_are_kept_for_ever_under_their_hash(house: House) -> None:
    style = re.search(r'href="\./(-/static/[^"]+/style.css)"', house.get("/").text)
    assert style
    answer = house.get("/" + style[1])
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["cache-control"]
    assert house.get("/-/static/0123456789abcdef/style.css").status == 404
    assert house.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
    assert "Disallow: /" in house.get("/robots.txt").text


def test_a_welcome_page_of_ones_own_is_filled_in_and_never_run(tmp_path: Path) -> None:
    own = tmp_path / "welcome.html"
    own.write_text("<p>{{URL}}|{{SIMPLE}}|{{PACKAGES}}|{{NUMPKGS}}|{{VERSION}}|{{ 7*7 }}|\n% import os\n")
    with House(tmp_path, samples.wheel("demo", "1"), welcome=str(own), public_url="http://h/a&b") as house:
        text = house.get("/").text
        assert text.startswith("<p>http://h/a&amp;b/|http://h/a&amp;b/simple/|http://h/a&amp;b/packages/|1|")
        assert "{{ 7*7 }}|\n% import os" in text


@pytest.mark.parametrize("prefix", ["", "/py/index"])
def test_everything_works_below_a_prefix(tmp_path: Path, prefix: str) -> None:
    """With the proxy that strips it, and with the one that does not."""
    with House(tmp_path, samples.wheel("demo", "1"), prefix="/py/index") as house:
        for path in ("/", "/simple/", "/simple/demo/", "/main/simple/demo/", "/-/health", "/pypi/demo/json"):
            for _ in range(2):
                assert house.get(prefix + path).status == 200, path
        page = house.get(f"{prefix}/simple/demo/", JSON)
        target = urljoin(f"{prefix}/simple/demo/", page.json()["files"][0]["url"])
        assert target.startswith(f"{prefix}/packages/")
        assert house.get(target).status == 200
        location = house.get(f"{prefix}/simple/Demo").headers["location"]
        assert urljoin(f"{prefix}/simple/Demo", location) == f"{prefix}/simple/demo/"
        absolute = house.get(f"{prefix}/pypi/demo/json").json()["urls"][0]["url"]
        assert absolute.startswith("http://index.test:8080/py/index/packages/")
    if prefix:
        assert urljoin(prefix, house_location(tmp_path / "again", prefix)) == prefix + "/"


def house_location(place: Path, prefix: str) -> str:
    place.mkdir()
    with House(place, prefix=prefix) as house:
        answer = house.get(prefix)
        assert answer.status == 301
        return answer.headers["location"]


def test_pypis_json_is_answered(house: House) -> None:
    for end in ("", "/"):
        whole = house.get(f"/pypi/demo/json{end}")
        assert whole.json()["info"]["version"] == "1.1"
        assert set(whole.json()["releases"]) == {"1.0", "1.1"}
        one = house.get(f"/pypi/demo/1.0.0/json{end}")
        assert one.json()["info"]["version"] == "1.0"
        assert one.json()["info"]["requires_dist"] == ["other>=1"]
        assert "releases" not in one.json()
    path = file_url(house, "demo")
    assert one.json()["urls"][0]["url"] == f"http://index.test:8080{path}"
    assert whole.headers["x-pypi-last-serial"] == str(whole.json()["last_serial"])
    assert house.get("/pypi/demo/json", if_none_match=whole.headers["etag"]).status == 304
    packed = house.get("/pypi/demo/json", accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    for path in ("/pypi/absent/json", "/pypi/demo/9/json", "/absent/json"):
        missing = house.get(path)
        assert (missing.status, missing.json()) == (404, {"message": "Not Found"})
        assert missing.headers["content-type"] == "application/json"
    for asked, target in (("/pypi/Foo.Bar/json", "/pypi/foo-bar/json"), ("/pypi/Foo_Bar/2.0+cu118/json/",
                          "/pypi/foo-bar/2.0+cu118/json/"), ("/Foo.Bar/json", "/foo-bar/json")):  # fmt: skip
        answer = house.get(asked)
        assert answer.status == 301
        assert urljoin(asked, answer.headers["location"]) == target
        assert house.get(target).status == 200
    brief = house.get("/demo/json").json()
    assert brief["info"] == {"version": "1.1"}
    assert len(brief["releases"]["1.1"]) == 2
