"""Signing in to read: who is asked, what is private then, and that nobody else profits from the cache."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import samples
from tests.web.driver import JSON, House, file_url

SHA = "{SHA}" + base64.b64encode(hashlib.sha1(b"secret").digest()).decode()


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


GOOD, WRONG = basic("ada", "secret"), basic("ada", "wrong")


def guarded(place: Path, guard: str) -> House:
    passwords = place / "htpasswd"
    passwords.write_text(f"ada:{SHA}\n")
    return House(place, samples.wheel("demo", "1.0"), passwords=str(passwords), guard=guard)


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[House]:
    with guarded(tmp_path, "list,download,update") as house:
        yield house


PAGES = ("/simple/", "/simple/demo/", "/simple/absent/", "/packages/", "/pypi/demo/json", "/demo/json")


def test_pages_are_for_who_signed_in(closed: House) -> None:
    for path in PAGES:
        for _ in range(2):
            missing = closed.get(path)
            assert missing.status == 401, path
            assert missing.headers["www-authenticate"].startswith("Basic realm=")
            assert closed.get(path, authorization=WRONG).status == 401
            assert closed.get(path, authorization="Nonsense").status == 401
            answer = closed.get(path, authorization=GOOD)
            assert answer.status == (404 if "absent" in path else 200)
            assert "access-control-allow-origin" not in answer.headers
            assert "Authorization" in answer.headers["vary"]
            if answer.status == 200:
                assert answer.headers["cache-control"].startswith("private, ")


def test_a_known_tag_opens_nothing(closed: House) -> None:
    tag = closed.get("/simple/demo/", authorization=GOOD).headers["etag"]
    assert closed.get("/simple/demo/", if_none_match=tag).status == 401
    assert closed.get("/simple/demo/", if_none_match=tag, authorization=GOOD).status == 304


def test_files_are_for_who_signed_in(closed: House) -> None:
    page = closed.get("/simple/demo/", JSON, authorization=GOOD).json()
    path = page["files"][0]["url"].removeprefix("../..")
    for target in (path, f"{path}.metadata", f"{path}.asc", "/packages/demo-1.0-py3-none-any.whl"):
        for _ in range(2):
            assert closed.get(target).status == 401
            assert closed.get(target, range="bytes=0-1").status == 401
            answer = closed.get(target, authorization=GOOD)
            assert answer.status in (200, 302, 404)
    answer = closed.get(path, authorization=GOOD)
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["vary"] == "Authorization"


def test_list_and_download_are_guarded_apart(tmp_path: Path) -> None:
    with guarded(tmp_path, "list") as house:
        assert house.get("/simple/demo/").status == 401
        page = house.get("/simple/demo/", JSON, authorization=GOOD).json()
        assert house.get(page["files"][0]["url"].removeprefix("../..")).status == 200


def test_wrong_credentials_are_refused_where_none_are_needed(tmp_path: Path) -> None:
    with guarded(tmp_path, "update") as house:
        path = file_url(house, "demo")
        for target in ("/simple/demo/", path, "/-/health", "/robots.txt", "/absent"):
            for _ in range(2):
                assert house.get(target, authorization=WRONG).status == 401
                answer = house.get(target, authorization=GOOD)
                assert answer.status in (200, 302)
                assert "Authorization" not in answer.headers.get("vary", "")


def test_where_nobody_is_known_credentials_mean_nothing(tmp_path: Path) -> None:
    with House(tmp_path, samples.wheel("demo", "1.0")) as house:
        for target in ("/simple/demo/", file_url(house, "demo"), "/-/health"):
            for _ in range(2):
                assert house.get(target, authorization=WRONG).status == 200


def test_health_and_welcome_are_for_everybody_and_tell_no_numbers(closed: House) -> None:
    assert closed.get("/-/health").status == 200
    assert closed.get("/health").text == "Ok"
    page = closed.get("/")
    assert page.status == 200
    assert "1 project" not in page.text
    assert "Sign in" in page.text


def test_a_browser_of_another_origin_may_not_read(closed: House) -> None:
    answer = closed.get("/simple/demo/", method="OPTIONS", origin="https://app.test")
    assert "access-control-allow-origin" not in answer.headers
