"""What an index with an upstream answers: pages, files while they come, metadata, and when that one fails."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urljoin
from xmlrpc.client import dumps, loads

import pytest

from pidex.app.known import settle
from pidex.core.model import DEFAULT_INDEX, OPERATOR
from tests import samples
from tests.core.test_advisories import record
from tests.upstreams import LocalUpstream, Request, local_upstream
from tests.web.driver import JSON, House, file_url, listed

BIG = samples.wheel("big", "1.0", files={"big/data.bin": random.Random(1).randbytes(2_000_000)})
PACKAGES = (
    samples.wheel("alpha", "1.0", requires=["beta>=1"]),
    samples.wheel("alpha", "2.0"),
    samples.sdist("alpha", "2.0"),
    BIG,
)


@pytest.fixture
def upstream() -> Iterator[LocalUpstream]:
    with local_upstream(*PACKAGES) as started:
        yield started


@pytest.fixture
def house(tmp_path: Path, upstream: LocalUpstream) -> Iterator[House]:
    with House(tmp_path, samples.wheel("mine", "1.0"), upstream=upstream.url) as built:
        settle(built.pidex.catalogue, built.pidex.settings, built.pidex.clock)
        yield built
        built.run(built.pidex.mirror.stop())


def wheels(upstream: LocalUpstream) -> list[Request]:
    """The requests for wheels, without those for what lies beside them."""
    return [each for each in upstream.requests(".whl") if each.path.endswith(".whl")]


def rested(house: House, project: str) -> None:
    """Have nothing on its way any more that is fetched ahead of who asks for it."""
    for file in house.get(f"/simple/{project}/", JSON).json()["files"]:
        if file["core-metadata"]:
            assert house.get(f"{file['url'].removeprefix('../..')}.metadata").status == 200


def stale(house: House) -> None:
    """Have every held page out of date."""
    old = "update upstream_pages set fetched = fetched - 10000, fresh_until = fresh_until - 10000"
    house.pidex.mirror.store.flush()
    house.pidex.expendable.run(lambda conn: conn.exec_driver_sql(old), None, write=True)
    house.site.pages.shelf.clear()


def test_a_page_comes_from_upstream_once_for_all_who_ask(house: House, upstream: LocalUpstream) -> None:
    answers = house.run(*(house.ask("/simple/alpha/", [("accept", JSON)]) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    told = answers[0].json()
    assert [file["filename"] for file in told["files"]] == [
        "alpha-1.0-py3-none-any.whl", "alpha-2.0-py3-none-any.whl", "alpha-2.0.tar.gz",
    ]  # fmt: skip
    assert {len(file["hashes"]["sha256"]) for file in told["files"]} == {64}
    assert len(upstream.requests("/simple/alpha/")) == 1
    assert "age" not in answers[0].headers


def test_own_names_never_leave_the_house(house: House, upstream: LocalUpstream) -> None:
    upstream.add(samples.wheel("mine", "9.0"))
    assert listed(house, "mine") == ["mine-1.0-py3-none-any.whl"]
    assert house.get("/simple/mine/", cache_control="no-cache").status == 200
    assert house.get("/pypi/mine/json").json()["info"]["version"] == "1.0"
    assert upstream.log == []


def test_unknown_everywhere_is_not_found(house: House, upstream: LocalUpstream) -> None:
    assert house.get("/simple/nothing/").status == 404
    assert house.get("/simple/nothing/").status == 404
    assert len(upstream.requests("/simple/nothing/")) == 1


def test_a_file_is_fetched_once_and_served_as_its_own(house: House, upstream: LocalUpstream) -> None:
    url = file_url(house, "big")
    first = house.run(*(house.ask(url) for _ in range(10)))
    again = house.get(url)
    for answer in (*first, again):
        assert answer.status == 200
        assert answer.complete
        assert answer.body == BIG[1]
        assert answer.headers["etag"] == f'"{hashlib.sha256(BIG[1]).hexdigest()}"'
    assert len(wheels(upstream)) == 1
    part = house.get(url, range="bytes=5-14")
    assert part.status == 206
    assert part.body == BIG[1][5:15]
    assert house.get(url, if_none_match=again.headers["etag"]).status == 304


def test_a_head_or_a_range_needs_no_whole_answer_first(house: House, upstream: LocalUpstream) -> None:
    url = file_url(house, "big")
    head = house.head(url)
    assert (head.status, head.headers["content-length"]) == (200, str(len(BIG[1])))
    assert wheels(upstream) == []
    part = house.get(url, range="bytes=-10")
    assert part.status == 206
    assert part.body == BIG[1][-10:]
    assert len(wheels(upstream)) == 1


def test_other_bytes_are_cut_off_put_away_and_reported(house: House, upstream: LocalUpstream) -> None:
    url = file_url(house, "big")
    rested(house, "big")
    upstream.fault("flip", ".whl", times=1)
    answer = house.get(url)
    assert answer.status in (200, 502)
    assert answer.status == 502 or not answer.complete
    until(house, lambda: bool(house.pidex.mirror.files.wrong()))  # it is put away after the answer
    assert len(house.pidex.mirror.files.wrong()) == 1
    good = house.get(url)
    assert good.complete
    assert good.body == BIG[1]


@pytest.mark.parametrize("fault", ["404", "500", "503", "truncate", "reset"])
def test_a_file_that_cannot_be_had_is_an_answer_and_not_a_wrong_one(
    house: House, upstream: LocalUpstream, fault: str
) -> None:
    url = file_url(house, "alpha")
    upstream.fault(fault, ".whl")
    answer = house.get(url)
    assert answer.status in (404, 502, 503)
    assert answer.headers["content-type"] != "application/octet-stream"
    upstream.heal()
    house.pidex.mirror._connections._clients.clear()  # a breaker may be open
    assert house.get(url).body == PACKAGES[0][1]


def test_metadata_is_served_as_announced(house: House, upstream: LocalUpstream) -> None:
    file = house.get("/simple/alpha/", JSON).json()["files"][0]
    url = file["url"].removeprefix("../..")
    answers = house.run(*(house.ask(f"{url}.metadata") for _ in range(10)))
    for answer in answers:
        assert answer.status == 200
        assert hashlib.sha256(answer.body).hexdigest() == file["core-metadata"]["sha256"]
    name = url.rpartition("/")[2]
    assert len(upstream.requests(f"{name}.metadata")) == 1


@pytest.mark.parametrize("shape", ["bare", "nginx", "devpi", "pypiserver"])
def test_an_upstream_without_metadata_has_it_here(tmp_path: Path, shape: str) -> None:
    with (
        local_upstream(*PACKAGES, shape=shape, announce="no", sidecars=False) as upstream,
        House(tmp_path, upstream=upstream.url) as house,
    ):
        settle(house.pidex.catalogue, house.pidex.settings, house.pidex.clock)
        told = house.get("/simple/alpha/", JSON).json()
        wheel = next(file for file in told["files"] if file["filename"].startswith("alpha-1.0"))
        assert wheel["core-metadata"]
        assert wheel["size"] == len(PACKAGES[0][1])
        assert wheel["upload-time"]
        url = wheel["url"].removeprefix("../..")
        assert b"Requires-Dist: beta>=1" in house.get(f"{url}.metadata").body
        answer = house.get(url)
        assert answer.complete
        assert answer.body == PACKAGES[0][1]
        house.run(house.pidex.mirror.stop())


def test_a_bare_directory_says_requires_python_once_metadata_was_read(tmp_path: Path) -> None:
    wheel = samples.wheel("alpha", "3.0", requires_python=">=3.8,<4")
    with (
        local_upstream(wheel, PACKAGES[1], shape="apache") as upstream,
        House(tmp_path, upstream=upstream.url) as house,
    ):
        settle(house.pidex.catalogue, house.pidex.settings, house.pidex.clock)
        before = house.get("/simple/alpha/", JSON)
        files = before.json()["files"]
        assert [file.get("requires-python") for file in files] == [None, None]
        assert "data-requires-python" not in house.get("/simple/alpha/").text
        for file in files:
            assert house.get(f"{file['url'].removeprefix('../..')}.metadata").status == 200
        asked = len(upstream.log)
        after = house.get("/simple/alpha/", JSON, if_none_match=before.headers["etag"])
        assert after.status == 200
        assert after.headers["etag"] != before.headers["etag"]
        assert [file.get("requires-python") for file in after.json()["files"]] == [None, ">=3.8,<4"]
        assert 'data-requires-python="&gt;=3.8,&lt;4"' in house.get("/simple/alpha/").text
        assert len(upstream.log) == asked
        house.run(house.pidex.mirror.stop())


def test_the_json_api_tells_of_upstream_projects(house: House, upstream: LocalUpstream) -> None:
    told = house.get("/pypi/alpha/json").json()
    assert told["info"]["version"] == "2.0"
    assert told["info"]["summary"] == "A sample"
    assert house.get("/pypi/alpha/1.0/json").json()["info"]["requires_dist"] == ["beta>=1"]
    upstream.fault("404", ".metadata")
    upstream.fault("404", "big-1.0")
    assert house.get("/pypi/big/json").json()["info"]["version"] == "1.0"


def test_while_an_upstream_fails_what_is_held_is_served_with_its_age(
    house: House, upstream: LocalUpstream
) -> None:
    before = house.get("/simple/alpha/", JSON)
    url = file_url(house, "alpha")
    data = house.get(url).body
    upstream.stop()
    stale(house)
    answer = house.get("/simple/alpha/", JSON, cache_control="no-cache")
    assert answer.body == before.body
    assert 10_000 <= int(answer.headers["age"]) < 20_000
    assert house.get(url).body == data
    other = house.get("/simple/other/")
    assert other.status == 503
    assert int(other.headers["retry-after"]) >= 1
    assert listed(house, "mine") == ["mine-1.0-py3-none-any.whl"]
    health = house.get("/-/health").json()
    assert health["status"] == "ok"
    assert list(health["upstreams"]) == [house.pidex.mirror.store.list_pages()[0][0]]


def test_who_means_it_has_the_upstream_asked_again(house: House, upstream: LocalUpstream) -> None:
    assert len(listed(house, "alpha")) == 3
    stamp = "update upstream_pages set fetched = fetched - 100"
    for number, (control, agent) in enumerate(
        [("no-cache", "uv/0.13.9"), ("max-age=0", "pip/26.3"), ("max-age=0", "Mozilla/5.0")]
    ):
        upstream.add(samples.wheel("alpha", f"{number + 3}.0"))
        house.pidex.mirror.store.flush()
        house.pidex.expendable.run(lambda conn: conn.exec_driver_sql(stamp), None, write=True)
        assert len(listed(house, "alpha")) == number + 3
        for habit in ("pip/25.0", "unearth/0.17.2"):
            assert len(listed(house, "alpha", cache_control="max-age=0", user_agent=habit)) == number + 3
        assert len(listed(house, "alpha", cache_control=control, user_agent=agent)) == number + 4
        assert len(upstream.requests("/simple/alpha/")) == number + 2


def test_what_the_upstream_lists_no_more_cannot_be_had(house: House, upstream: LocalUpstream) -> None:
    url = file_url(house, "alpha")
    assert house.get(url).status == 200
    upstream.remove("alpha", "alpha-1.0-py3-none-any.whl")
    stale(house)
    house.get("/simple/alpha/", cache_control="no-cache")
    house.site.files.drop_project(None, None)  # ten seconds later
    assert house.get(url).status == 404


def test_a_plain_file_name_leads_to_the_file(house: House) -> None:
    answer = house.get("/packages/alpha-1.0-py3-none-any.whl")
    assert answer.status == 302
    assert answer.headers["location"].endswith("/alpha-1.0-py3-none-any.whl")
    assert house.get(f"{file_url(house, 'alpha')}.asc").status == 404


def test_the_catalogue_of_what_is_held_may_vanish_in_between(house: House, upstream: LocalUpstream) -> None:
    url = file_url(house, "alpha")
    assert house.get(url).body == PACKAGES[0][1]
    for path in house.pidex.data.glob("cache.db*"):
        path.unlink()
    house.site.pages.shelf.clear()
    house.site.files.drop_project(None, None)
    assert house.get(url).body == PACKAGES[0][1]
    assert len(wheels(upstream)) == 1, "the bytes are still there"


def test_kinds_of_file_that_we_do_not_know_are_passed_on(tmp_path: Path) -> None:
    """What describes a release's wheels, and wheels of a form to come (MIR-6): listed, had as they are."""
    later = (("alpha-2.0-variants.json", b"{}"), ("alpha-2.0-py3-none-any.whlx", b"later"))
    with local_upstream(PACKAGES[1], shape="html") as upstream:
        for sample in later:
            upstream.add(sample, project="alpha")
        with House(tmp_path, upstream=upstream.url) as built:
            settle(built.pidex.catalogue, built.pidex.settings, built.pidex.clock)
            files = {
                each["filename"]: each["url"] for each in built.get("/simple/alpha/", JSON).json()["files"]
            }
            assert set(files) == {PACKAGES[1][0], *dict(later)}
            for filename, data in later:
                answer = built.get(files[filename].removeprefix("../.."))
                assert (answer.status, answer.body) == (200, data)
            assert built.get("/pypi/alpha/json").status == 200
            built.run(built.pidex.mirror.stop())


def numbers(house: House) -> dict[str, float]:
    """What the metrics say of the mirror and its upstreams, by name and labels; those that are not 0."""
    answer = house.get("/-/metrics")
    assert answer.status == 200
    assert "alpha" not in answer.text
    found = {}
    for line in answer.text.splitlines():
        if line.startswith(("pidex_mirror", "pidex_upstream")) and "_created" not in line:
            name, _, number = line.rpartition(" ")
            found[name] = float(number)
    return {name: number for name, number in found.items() if number}


def test_metrics_tell_what_is_held_and_how_upstreams_do(house: House, upstream: LocalUpstream) -> None:
    assert numbers(house) == {}
    url = file_url(house, "alpha")
    for _ in range(2):
        assert house.get(url).complete
    rested(house, "alpha")
    until(house, lambda: numbers(house).get('pidex_mirror_files_total{outcome="fetched"}') == 1)
    told = numbers(house)
    assert told['pidex_mirror_pages_total{outcome="fetched"}'] == 1
    assert told['pidex_mirror_pages_total{outcome="held"}'] >= 1
    assert told["pidex_mirror_fetched_bytes_total"] == len(PACKAGES[0][1])
    (name,) = {each[0] for each in house.pidex.mirror.store.list_pages()}
    answered = told[f'pidex_upstream_requests_total{{outcome="200",upstream="{name}"}}']
    assert answered == len(upstream.log) == told["pidex_upstream_answer_seconds_count"]
    assert told[f'pidex_upstream_wait_seconds_total{{upstream="{name}"}}'] > 0
    url = file_url(house, "big")
    rested(house, "big")
    upstream.fault("flip", "big-1.0", times=1)
    house.get(url)
    until(house, lambda: numbers(house).get('pidex_mirror_files_total{outcome="wrong"}') == 1)
    upstream.stop()
    stale(house)
    assert house.get("/simple/alpha/", cache_control="no-cache").status == 200
    told = numbers(house)
    assert told['pidex_mirror_pages_total{outcome="failed"}'] == 1
    assert told[f'pidex_upstream_requests_total{{outcome="failed",upstream="{name}"}}'] >= 1
    assert told[f'pidex_upstream_shut{{upstream="{name}"}}'] == 1


def test_what_an_upstream_says_of_a_whole_project_is_passed_on(house: House, upstream: LocalUpstream) -> None:
    """PEP 792: its states, its reasons, and that a quarantined project has no files."""
    upstream.statuses["alpha"] = ("archived", "use beta")
    told = house.get("/simple/alpha/", JSON).json()
    assert told["project-status"] == {"status": "archived", "reason": "use beta"}
    assert len(told["files"]) == 3
    assert 'content="archived"' in house.get("/simple/alpha/").text
    url = file_url(house, "alpha")
    upstream.statuses["alpha"] = ("quarantined", "malware")
    stale(house)
    told = house.get("/simple/alpha/", JSON, cache_control="no-cache").json()
    assert told["project-status"] == {"status": "quarantined", "reason": "malware"}
    assert told["files"] == []
    house.site.files.drop_project(None, None)  # ten seconds later
    assert house.get(url).status in (403, 404)


def test_a_lock_file_moves_by_what_stands_before_packages(
    house: House, upstream: LocalUpstream, tmp_path: Path
) -> None:
    """The command of the page, on a file as uv writes it: what it leads to is what was locked."""
    page = Path(__file__).parents[2] / "docs" / "mirror.md"
    command = next(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("sed "))
    theirs = {each.filename: each for each in upstream.files["alpha"]}
    entries = "".join(
        f'    {{ url = "{urljoin(upstream.url, upstream.path_of(each))}", hash = "sha256:x" }},\n'
        for each in theirs.values()
    )
    lock = tmp_path / "uv.lock"
    lock.write_text(f'source = {{ registry = "{upstream.url}" }}\nwheels = [\n{entries}]\n', encoding="utf-8")
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True)
    registry, *urls = re.findall(r'(?:registry|url) = "http://127\.0\.0\.1:3141([^"]+)"', lock.read_text())
    assert (registry, len(urls)) == ("/simple/", 3)
    listed(house, "alpha")
    for url in urls:
        assert house.get(url).body == theirs[url.rpartition("/")[2]].data


def test_a_licence_is_known_before_anything_is_shown(house: House, upstream: LocalUpstream) -> None:
    for name, licence in ("one", "GPL-3.0-only"), ("two", "MIT OR GPL-3.0-only"):
        said = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\nLicense-Expression: {licence}\n"
        upstream.add(samples.wheel(name, "1.0", metadata=said.encode()))
        upstream.add(samples.sdist(name, "1.0"))
    upstream.add(samples.wheel("three", "1.0"))
    upstream.fault("404", "three-1.0-py3-none-any.whl")
    pidex = house.pidex
    curator = pidex.curator(pidex.intake(), pidex.accounts())
    curator.set_rules(DEFAULT_INDEX, ["licences_denied=GPL-*"], by=OPERATOR)
    assert [len(listed(house, name)) for name in ("one", "two", "three")] == [0, 2, 1]
    assert "GPL-3.0-only" in house.get("/packages/one-1.0-py3-none-any.whl").text
    curator.set_rules(DEFAULT_INDEX, ["licences=MIT", "licence_unknown=no"], by=OPERATOR)
    assert [len(listed(house, name)) for name in ("one", "two", "three")] == [0, 2, 0]


def test_an_advisory_counts_with_the_next_request(house: House, upstream: LocalUpstream) -> None:
    def advise(*records: dict[str, object]) -> None:
        lines = io.BytesIO(b"\n".join(json.dumps(each).encode() for each in records))
        assert curator.take_advisories(files=[lines], by=OPERATOR)["refused"] == 0

    curator = house.pidex.curator(house.pidex.intake(), house.pidex.accounts())
    gone = file_url(house, "alpha")
    assert house.get(gone).status == 200  # from now on in the cache
    advise(record("MAL-1", name="alpha", versions=["1.0"]), record("GHSA-1", name="alpha", versions=["2.0"]))
    assert len(listed(house, "alpha")) == 2
    assert "alpha-1.0" not in house.get("/simple/alpha/").text
    for url in (gone, f"{gone}.metadata"):
        refused = house.get(url)
        assert (refused.status, "it is malware: MAL-1" in refused.text) == (403, True)
    assert "pidex policy set advisories_accepted" in house.get("/-/why/alpha").text
    told = house.get("/pypi/alpha/json").json()
    assert [each["id"] for each in told["vulnerabilities"]] == ["GHSA-1"]
    curator.set_rules(DEFAULT_INDEX, ["vulnerable=any"], by=OPERATOR)
    assert listed(house, "alpha") == []
    withdrawn = {"withdrawn": "2026-03-01T00:00:00Z", "modified": "2026-03-01T00:00:00Z"}
    advise(*(record(name, name="alpha") | withdrawn for name in ("MAL-1", "GHSA-1")))
    assert len(listed(house, "alpha")) == 3
    assert house.get(gone).status == 200


def test_a_search_finds_what_is_held_and_a_feed_tells_of_it(house: House, upstream: LocalUpstream) -> None:
    def hits() -> list[dict[str, object]]:
        call = dumps(({"name": "alp"},), "search").encode()
        answer = house.run(house.ask("/pypi", [("content-type", "text/xml")], method="POST", body=call))[0]
        assert answer.status == 200
        found: list[dict[str, object]] = loads(answer.body)[0][0]  # type: ignore[assignment]
        return found

    assert hits() == []
    assert upstream.log == []
    feed = house.get("/rss/project/alpha/releases.xml")
    assert [word in feed.text for word in ("alpha 2.0", "alpha 1.0", "/project/alpha/2.0/")] == [True] * 3
    assert house.get("/pypi/alpha/json").status == 200
    asked = len(upstream.log)
    stale(house)
    (hit,) = hits()
    assert (hit["name"], hit["version"], hit["summary"]) == ("alpha", "2.0", "A sample")
    house.run(asyncio.sleep(0))
    assert len(upstream.log) == asked, "a search has nothing confirmed"


def until(house: House, condition: Callable[[], bool]) -> None:
    """Let the house work until something is so; a minute is for machines that have other things to do."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        house.run(asyncio.sleep(0.01))


def test_what_reading_pages_took_is_given_back_once(house: House) -> None:
    tidied: list[bool] = []
    house.site.tidy = lambda: tidied.append(True)

    async def tick() -> None:
        house.site.tick()

    house.run(tick())
    assert house.site._came == 0
    listed(house, "alpha")
    for _ in range(2):
        house.run(tick())
    until(house, lambda: tidied == [True])
