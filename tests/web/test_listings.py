"""Project pages, lists and redirects: what is sent, in which representation, and when it is forgotten."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from urllib.parse import urljoin

import pytest

from tests import samples
from tests.web.driver import JSON, House, file_url, listed

V1_HTML = "application/vnd.pypi.simple.v1+html"
PIP = f"{JSON}, {V1_HTML}; q=0.1, text/html; q=0.01"


@pytest.mark.parametrize("path", ["/simple/", "/simple/demo/", "/main/simple/", "/main/simple/demo/"])
@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        ("application/json", "text/html; charset=utf-8"),
        (V1_HTML, V1_HTML),
        (PIP, JSON),
        (f"{JSON};q=0, text/html", "text/html; charset=utf-8"),
        (";;q=x", "text/html; charset=utf-8"),
    ],
)
def test_a_page_has_the_type_that_is_asked_for(
    house: House, path: str, accept: str | None, kind: str
) -> None:
    for _ in "built", "found":
        answer = house.get(path, accept)
        assert (answer.status, answer.headers["content-type"]) == (200, kind)
        assert "Accept" in answer.headers["vary"].split(", ")
        assert answer.headers["cache-control"] == "max-age=0, must-revalidate"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert answer.headers["access-control-allow-origin"] == "*"


def test_head_has_the_headers_of_get(house: House) -> None:
    for target in (
        "/simple/",
        "/simple/demo/",
        "/packages/",
        "/pypi/demo/json",
        file_url(house, "demo"),
        "/",
    ):
        whole, head = house.get(target), house.head(target)
        assert head.status == 200
        assert head.body == b""
        assert head.headers == whole.headers


def test_format_in_the_query_wins(house: House) -> None:
    for value in ("json", JSON, JSON.replace("+", "%2B"), "v1+json"):
        assert house.get(f"/simple/demo/?format={value}", "text/html").headers["content-type"] == JSON
    assert house.get("/simple/demo/?format=text/html", JSON).headers["content-type"].startswith("text/html")
    assert house.get("/simple/demo/?format=xml").status == 406
    assert house.get("/simple/demo/?other=1", JSON).headers["content-type"] == JSON


def test_unmatched_types_can_be_refused(tmp_path: Path) -> None:
    with House(tmp_path, samples.wheel("demo", "1"), unmatched_accept="406") as house:
        assert house.get("/simple/demo/").status == 200
        for _ in "built", "found":
            assert house.get("/simple/demo/", "text/plain").status == 406


def test_a_known_page_is_304(house: House) -> None:
    tags = set()
    for accept in ("text/html", V1_HTML, JSON):
        for coding in ("identity", "gzip", "zstd"):
            answer = house.get("/simple/many/", accept, accept_encoding=coding)
            tag = answer.headers["etag"]
            tags.add(tag)
            for asked in (tag, f'"x", {tag}', f"W/{tag}", "*"):
                for method in ("GET", "HEAD"):
                    again = house.get(
                        "/simple/many/", accept, method, accept_encoding=coding, if_none_match=asked
                    )
                    assert (again.status, again.body) == (304, b"")
                    for name in ("etag", "cache-control", "vary"):
                        assert again.headers[name] == answer.headers[name]
            assert (
                house.get("/simple/many/", accept, accept_encoding=coding, if_none_match='"x"').status == 200
            )
    assert len(tags) == 9, "one representation has another's tag"


def test_pages_are_compressed_for_who_can_read_it(house: House) -> None:
    plain = house.get("/simple/many/", JSON)
    assert "content-encoding" not in plain.headers
    packed = house.get("/simple/many/", JSON, accept_encoding="gzip, deflate")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 3
    zstd = house.get("/simple/many/", JSON, accept_encoding="gzip, deflate, zstd")
    assert zstd.headers["content-encoding"] == "zstd"
    assert unzstd(zstd.body) == plain.body
    assert "Accept-Encoding" in zstd.headers["vary"]


def unzstd(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return zstd.decompress(data)
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


@pytest.mark.parametrize(
    ("asked", "target"),
    [
        ("/simple", "/simple/"),
        ("/main/simple", "/main/simple/"),
        ("/main", "/main/"),
        ("/packages", "/packages/"),
        ("/simple/demo", "/simple/demo/"),
        ("/simple/Foo_Bar/", "/simple/foo-bar/"),
        ("/simple/Foo.Bar", "/simple/foo-bar/"),
        ("/main/simple/FOO--bar", "/main/simple/foo-bar/"),
        ("/simple/F%6fo-Bar", "/simple/foo-bar/"),
    ],
)
def test_there_is_one_url_for_a_page(house: House, asked: str, target: str) -> None:
    for accept in (None, JSON):
        for query in ("", "?format=json&x=a%0D%0Ab"):
            answer = house.get(asked + query, accept)
            assert answer.status == 301
            location = answer.headers["location"]
            assert urljoin(f"http://h{asked}", location) == f"http://h{target}{query}"
            assert "\r" not in location
            assert "Accept" in answer.headers["vary"]


def test_redirects_hold_behind_any_prefix(house: House) -> None:
    location = house.get("/simple/Foo_Bar").headers["location"]
    assert (
        urljoin("https://proxy/some/where/simple/Foo_Bar", location)
        == "https://proxy/some/where/simple/foo-bar/"
    )


def test_a_query_cannot_end_a_header(house: House) -> None:
    answer = house.run(house.ask("/simple/Demo", query_string=b"a=\r\nSet-Cookie: x=1\xff"))[0]
    assert answer.status == 301
    assert answer.headers["location"].isascii()
    assert answer.headers["location"].isprintable()


def test_short_paths_lead_to_the_project(house: House) -> None:
    for asked, target in (
        ("/demo", "/simple/demo/"),
        ("/Foo_Bar/", "/simple/foo-bar/"),
        ("/main/demo/", "/main/simple/demo/"),
    ):
        answer = house.get(asked)
        assert answer.status == 302
        assert urljoin(f"http://h{asked}", answer.headers["location"]) == f"http://h{target}"


@pytest.mark.parametrize(
    "name", ["absent", "-x", "x-", "ſ", "a b", "\u212a", "a%0a", "a%2fb", "..%2f", "%2e%2e", "x" * 300]
)
def test_what_is_not_there_is_told_clearly(house: House, name: str) -> None:
    answer = house.get(f"/simple/{name}/")
    assert answer.status in (400, 404)
    assert answer.headers["cache-control"] in ("no-cache", "no-store")
    assert "Accept" in answer.headers["vary"]


@pytest.mark.parametrize("accept", ["text/html", JSON])
def test_every_answer_says_how_long_it_is_fresh(house: House, accept: str) -> None:
    """CAC-4: else readers guess, by Last-Modified; that only files have."""
    pages = ["/simple/", "/simple/demo/", "/packages/", "/pypi/demo/json", "/pypi/demo/1/json", "/demo/json"]
    others = ["/", "/rss/updates.xml", "/rss/project/demo/releases.xml", "/-/health", "/robots.txt"]
    elsewhere = ["/simple", "/simple/Demo/", "/demo/", "/simple/absent/", "/pypi/absent/json", "/no/such/way"]
    metadata = file_url(house, "demo") + ".metadata"
    for path in *pages, *others, *elsewhere, *(f"/main{page}" for page in pages), metadata:
        answer = house.get(path, accept)
        assert answer.headers.get("cache-control"), (path, answer.status)
        assert "last-modified" not in answer.headers or path == metadata, path
        tag = answer.headers.get("etag")
        if tag is not None:
            again = house.get(path, accept, if_none_match=tag)
            assert (again.status, again.headers["cache-control"]) == (304, answer.headers["cache-control"])


def test_projects_may_be_called_as_routes_are(tmp_path: Path) -> None:
    """NAM-7: what else there is lies beside `simple/`, and never below it."""
    odd = ["a", "2048", "json", "simple", "legacy", "packages", "pypi", "main", "rss", "namespaces", "upload"]
    odd += ["project", "search", "health", "favicon.ico", "robots.txt", "variants.json", "RPC2", "git"]
    with House(tmp_path, *(samples.wheel(name, "1.0") for name in odd)) as house:
        for name in odd:
            page = f"/simple/{name.lower().replace('.', '-')}/"
            wheel = samples.wheel(name, "1.0")[0]
            for path in page, f"/main{page}":
                assert listed(house, path.split("/")[-2]) == [wheel]
                assert house.get(path, JSON).json()["files"][0]["filename"] == wheel, path
            assert house.get(file_url(house, page.split("/")[2])).status == 200
            told = house.get(f"/pypi/{page.split('/')[2]}/json").json()
            assert [file["filename"] for file in told["urls"]] == [wheel]
            assert house.get(f"/simple/{name}").headers["location"].endswith(page.removeprefix("/simple/"))


def test_the_serial_is_the_projects(house: House) -> None:
    page = house.get("/simple/demo/", JSON)
    assert page.headers["x-pypi-last-serial"] == str(page.json()["meta"]["_last-serial"])
    names = house.get("/simple/", JSON)
    known = {project["name"]: project["_last-serial"] for project in names.json()["projects"]}
    assert known["demo"] == page.json()["meta"]["_last-serial"]
    assert int(names.headers["x-pypi-last-serial"]) == max(known.values())


def test_a_change_drops_the_pages_it_touches(own: House) -> None:
    own.add(samples.wheel("other", "1.0"))
    before = own.get("/simple/demo/", JSON).headers["etag"]
    other = own.get("/simple/other/", JSON).headers["etag"]
    names = own.get("/simple/", JSON).headers["etag"]
    flat = own.get("/packages/").body
    kept = own.site.pages.shelf.entries["/simple/other/"]
    own.add(samples.wheel("demo", "2.0"))
    assert "demo-2.0-py3-none-any.whl" in listed(own, "demo")
    assert own.get("/simple/demo/", JSON).headers["etag"] != before
    assert own.get("/simple/", JSON).headers["etag"] != names
    assert own.get("/packages/").body != flat
    assert own.site.pages.shelf.entries["/simple/other/"] is kept
    assert own.get("/simple/other/", JSON, if_none_match=other).status == 304
    (own.folder / "other-1.0-py3-none-any.whl").unlink()
    own.scan()
    assert own.get("/simple/other/", JSON).status == 404


def test_a_page_is_made_once_for_all_who_wait(own: House) -> None:
    asked = []
    page = own.site.resolver.page

    def counted(index: str, project: str, **rest: object) -> object:
        asked.append(project)
        return page(index, project, **rest)  # type: ignore[arg-type]

    own.site.resolver.page = counted  # type: ignore[method-assign,assignment]
    answers = own.run(*(own.ask("/simple/demo/") for _ in range(20)))
    assert [answer.status for answer in answers] == [200] * 20
    assert asked == ["demo"]


def test_what_was_made_of_an_older_state_is_not_kept(own: House) -> None:
    page = own.site.resolver.page
    own.get("/simple/")

    def slow(index: str, project: str, **rest: object) -> object:
        old = page(index, project, **rest)  # type: ignore[arg-type]
        own.add(samples.wheel("demo", "3.0"))
        return old

    own.site.resolver.page = slow  # type: ignore[method-assign,assignment]

    async def both() -> None:
        first = own.loop.create_task(own.ask("/simple/demo/"))
        while not (own.folder / "demo-3.0-py3-none-any.whl").exists():
            await own.loop.run_in_executor(None, own.folder.stat)
        while not first.done():
            own.site.pages.look()
            await own.loop.run_in_executor(None, own.folder.stat)

    own.run(both())
    own.site.resolver.page = page  # type: ignore[method-assign]
    assert "demo-3.0-py3-none-any.whl" in listed(own, "demo")


def test_a_page_waits_for_its_files(tmp_path: Path) -> None:
    with House(tmp_path) as house:
        wanted: list[tuple[str, str | None]] = []
        house.site.pages._want = lambda index, project: wanted.append((index, project))
        path = samples.write(house.folder, samples.wheel("late", "1.0"))
        stat = house.pidex.storage.stat(0, path.name)
        assert stat is not None
        from pidex.core.model import Entry
        from pidex.intake import Intake

        intake = Intake(house.pidex.catalogue, house.pidex.storage, house.pidex.clock)
        intake.announce("main", [Entry(0, path.name, stat)])
        answer = house.get("/simple/late/", JSON)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert wanted == [("main", "late")]

        async def meanwhile() -> None:
            await house.loop.run_in_executor(None, house.scan)

        house.site.pages._options = replace_wait(house, 30.0)
        answer, _ = house.run(house.ask("/simple/late/", [("accept", JSON)]), meanwhile())
        assert answer.status == 200
        assert [file["filename"] for file in answer.json()["files"]] == [path.name]


def replace_wait(house: House, seconds: float) -> object:
    from dataclasses import replace

    return replace(house.site.options, page_wait=seconds)


def test_the_flat_page_leads_to_every_file(house: House) -> None:
    page = house.get("/packages/")
    hrefs = [part.partition('"')[0] for part in page.text.split('href="')[1:]]
    assert len(hrefs) == 64
    for href in hrefs[:3]:
        assert house.get(urljoin("/packages/", href.partition("#")[0])).status == 200


def test_hashes_can_be_left_out_of_links(tmp_path: Path) -> None:
    with House(tmp_path, samples.wheel("demo", "1"), hash_fragment="none") as house:
        for path in ("/simple/demo/", "/packages/"):
            page = house.get(path).text
            assert 'demo-1-py3-none-any.whl"' in page
            assert "#sha256=" not in page


def test_unknown_projects_can_be_somebody_elses(tmp_path: Path) -> None:
    with House(tmp_path, samples.wheel("demo", "1"), fallback_url="https://elsewhere.test/simple") as house:
        answer = house.get("/simple/Not.Here/")
        assert answer.status == 301
        answer = house.get("/simple/not-here/")
        assert (answer.status, answer.headers["location"]) == (303, "https://elsewhere.test/simple/not-here/")
        old = house.run(house.ask("/simple/not-here/", http_version="1.0"))[0]
        assert old.status == 302
        assert house.get("/simple/demo/").status == 200


def test_pages_may_be_kept_for_a_while_where_set(tmp_path: Path) -> None:
    with House(tmp_path, samples.wheel("demo", "1"), max_age="60") as house:
        assert house.get("/simple/demo/").headers["cache-control"] == "max-age=60, must-revalidate"


def test_a_long_list_goes_out_in_pieces(own: House, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = own.get("/simple/", JSON)
    own.site.pages.shelf.clear()
    monkeypatch.setattr("pidex.web.bodies.LONG_BYTES", 10)
    monkeypatch.setattr("pidex.web.listings.BLOCK_BYTES", 16)
    for _ in "built", "found":
        long = own.get("/simple/", JSON)
        assert (long.status, long.body, long.complete) == (200, plain.body, True)
        assert long.headers == plain.headers
        assert own.head("/simple/", JSON).headers == plain.headers
        assert own.get("/simple/", JSON, if_none_match=plain.headers["etag"]).status == 304
    packed = own.get("/simple/", JSON, accept_encoding="gzip")
    assert gzip.decompress(packed.body) == plain.body
