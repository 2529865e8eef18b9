"""Bad input is normal input: any path, header, query and method gets a clear answer, never a traceback."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.web.driver import JSON, House, file_url, heard

PROBLEM = "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        "/simple/../../etc/passwd",
        "/simple/%2e%2e/%2e%2e/etc/passwd",
        "/packages/..%2f..%2fetc/passwd",
        "/packages/%2e%2e/x",
        "/packages/%252e%252e/x",
        "/simple/%00/",
        "/simple/a%0d%0ab/",
        "/simple/%ff%fe/",
        "/simple/\\..\\x/",
        "/%5c%5cserver",
        "//simple/",
        "/simple//",
        "/packages/" + "a" * 3000,
        "/" + "a/" * 3000,
        "/simple/demo/demo/",
        "/main/-/health",
        "/-/",
        "/-/static/x/style.css",
        "/-/static/../style.css",
        "/pypi/demo",
        "/pypi/-/json",
        "/pypi/demo/%2e%2e/json",
        "/.git/config",
        "/.well-known/x",
        "/RPC2/x",
        "*",
        "",
    ],
)
def test_an_odd_path_is_a_clear_4xx(house: House, path: str) -> None:
    answer = house.get(path)
    assert 400 <= answer.status < 500
    assert answer.body
    assert answer.complete


def test_a_long_path_is_414(house: House) -> None:
    assert house.get("/" + "a" * 8200).status == 414
    assert house.get("/simple/" + "%61" * 8200).status == 414


def test_a_refusal_speaks_the_callers_language(house: House) -> None:
    told = "Index main has no project absent."
    problem = house.get("/simple/absent/", JSON)
    assert problem.headers["content-type"] == PROBLEM
    assert problem.json()["status"] == 404
    assert problem.json()["detail"].startswith(told)
    assert set(problem.json()) >= {"type", "title", "status", "detail"}
    plain = house.get("/simple/absent/")
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert plain.text.startswith(told)
    as_json = house.get("/simple/absent/", "application/json")
    assert as_json.headers["content-type"] == "application/json"
    assert as_json.json()["message"].startswith(told)
    page = house.get("/simple/absent/", "text/html,application/xhtml+xml,*/*;q=0.8")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert told in page.text


def test_a_refusal_escapes_what_was_asked(house: House) -> None:
    page = house.get("/<script>alert(1)</script>/x/y/z", "text/html")
    assert page.status == 404
    found: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            found.append(tag)

    Tags().feed(page.text)
    assert "script" not in found


def test_other_methods_are_405_and_say_what_is_offered(house: House) -> None:
    uploads = ("/", "/legacy/", "/pypi", "/main/legacy/")
    for path in (*uploads, "/simple/", "/simple/demo/", "/-/health", file_url(house, "demo")):
        for method in ("POST", "PUT", "DELETE", "PATCH", "BREW"):
            answer = house.run(house.ask(path, [("content-length", "3")], method=method, body=b"a=b"))[0]
            if method == "POST" and path in uploads:
                assert 400 <= answer.status < 500
                continue
            assert answer.status == 405, (path, method)
            assert {"GET", "HEAD", "OPTIONS"} <= set(answer.headers["allow"].split(", "))
            assert answer.body


def test_a_browser_may_ask_before_it_asks(house: House) -> None:
    answer = house.get("/simple/demo/", method="OPTIONS", origin="https://app.test")
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "GET"
    assert "If-None-Match" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-max-age"] == "86400"


@pytest.mark.parametrize("accept", [None, JSON, "text/html"])
def test_what_nobody_foresaw_is_500_with_a_number(own: House, accept: str | None) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    own.site.resolver.page = fail  # type: ignore[method-assign,assignment]
    with heard("pidex.web") as records:
        answer = own.get("/simple/demo/", accept)
    assert answer.status == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert len(records) == 1
    number = records[0].getMessage().split()[2]
    assert number in answer.text
    assert records[0].exc_info is not None


@given(
    path=st.text(max_size=60), query=st.binary(max_size=30), method=st.sampled_from(["GET", "HEAD", "POST"])
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_path_is_a_500(house: House, path: str, query: bytes, method: str) -> None:
    for start in ("/", "/simple/", "/packages/", "/pypi/", "/main/"):
        answer = house.run(house.ask("/", path=start + path, query_string=query, method=method))[0]
        assert 200 <= answer.status < 500, (start + path, answer.text)


HEADER = st.text(st.characters(min_codepoint=1, max_codepoint=255, blacklist_characters="\r\n"), max_size=40)
HOSTILE = (
    *(
        "accept",
        "accept-encoding",
        "if-none-match",
        "if-modified-since",
        "range",
        "if-range",
        "authorization",
    ),
    *("host", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "user-agent"),
)


@given(headers=st.dictionaries(st.sampled_from(HOSTILE), HEADER))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_header_is_a_500(house: House, headers: dict[str, str]) -> None:
    path = file_url(house, "demo")
    for target in (
        "/",
        "/simple/",
        "/simple/demo/",
        "/pypi/demo/json",
        "/nothing/x/y",
        path,
        f"{path}.metadata",
    ):
        answer = house.run(house.ask(target, list(headers.items())))[0]
        assert 200 <= answer.status < 500, (target, answer.text)
        assert all(value.isprintable() for value in answer.headers.values())


def test_mutated_urls_leave_nothing_in_the_cache(house: House) -> None:
    house.get("/simple/demo/")
    before = set(house.site.pages.shelf)
    asked = [
        *("/simple/Demo/", "/simple/demo/?x=1", "/simple/demo//", "/simple/demo/.", "/simple/demo/%00"),
        *("/simple/de%6do/", "/simple/demo/%20", "/SIMPLE/demo/", "/simple/demo;x/", "/simple/demo%2f"),
    ]
    for number in range(500):
        house.get(asked[number % len(asked)], host=f"evil{number}.test", x_forwarded_host=f"e{number}.test")
    assert set(house.site.pages.shelf) == before


def test_json_bodies_are_json(house: House) -> None:
    for path in ("/simple/absent/", '/simple/a"b/', "/simple/ü/"):
        json.loads(house.get(path, JSON).body)
