"""The feeds as a reader gets them: addresses, headers, freshness, and hostile text."""

from __future__ import annotations

from pathlib import Path

import pytest
from defusedxml.ElementTree import fromstring

from tests import samples
from tests.web.driver import Answer, House

FEEDS = ["/rss/updates.xml", "/rss/packages.xml", "/rss/project/demo/releases.xml"]


def titles(answer: Answer) -> list[str]:
    assert answer.status == 200
    return [item.findtext("title") or "" for item in fromstring(answer.body).iter("item")]


@pytest.mark.parametrize("prefix", ["", "/main"])
@pytest.mark.parametrize("path", FEEDS)
def test_every_feed_is_well_formed_and_links_to_what_is_there(house: House, path: str, prefix: str) -> None:
    answer = house.get(prefix + path)
    assert titles(answer)
    assert answer.headers["content-type"] == "application/rss+xml; charset=utf-8"
    base = f"http://index.test:8080{prefix}"
    for link in fromstring(answer.body).iter("link"):
        assert link.text is not None
        assert link.text.startswith(f"{base}/")
        assert house.get(link.text.removeprefix("http://index.test:8080")).status == 200


def test_what_the_feeds_tell(house: House) -> None:
    assert {"demo 1.1", "demo 1.0", "Foo.Bar 2.0+cu118", "many 1.59"} <= set(titles(house.get(FEEDS[0])))
    assert set(titles(house.get(FEEDS[1]))) == {"demo added", "Foo.Bar added", "many added"}
    assert sorted(titles(house.get(FEEDS[2]))) == ["demo 1.0", "demo 1.1"]
    assert len(titles(house.get("/rss/project/many/releases.xml"))) == 40


def test_another_spelling_leads_to_the_feed(house: House) -> None:
    answer = house.get("/rss/project/Foo.Bar/releases.xml")
    assert (answer.status, answer.headers["location"]) == (301, "../../../rss/project/foo-bar/releases.xml")
    assert titles(house.get("/rss/project/foo-bar/releases.xml")) == ["Foo.Bar 2.0+cu118"]


@pytest.mark.parametrize(
    "path", ["/rss/project/absent/releases.xml", "/rss/project/-/releases.xml", "/rss/", "/rss/x.xml"]
)
def test_what_is_not_there(house: House, path: str) -> None:
    assert house.get(path).status in (302, 404)
    assert house.get("/rss/project/absent/releases.xml").status == 404


@pytest.mark.parametrize("path", FEEDS)
def test_a_reader_asks_again_at_no_cost(house: House, path: str) -> None:
    answer = house.get(path)
    assert "max-age" in answer.headers["cache-control"]
    again = house.get(path, if_none_match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    head = house.head(path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["etag"] == answer.headers["etag"]
    packed = house.get(path, accept_encoding="gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["etag"] != answer.headers["etag"]
    assert house.get(path, accept_encoding="gzip", if_none_match=packed.headers["etag"]).status == 304


def test_a_new_release_is_in_the_next_answer(own: House) -> None:
    before = own.get(FEEDS[0])
    own.add(samples.wheel("demo", "2.0"))
    after = own.get(FEEDS[0], if_none_match=before.headers["etag"])
    assert "demo 2.0" in titles(after)
    assert "demo 2.0" in titles(own.get(FEEDS[2]))


def test_hostile_summaries_do_no_harm(tmp_path: Path) -> None:
    evil = "</description>]]> <script>alert(1)</script> & \x0c \x1b \ufffe \u202e"
    metadata = samples.core_metadata("demo", "1.0", summary=evil)
    with House(tmp_path, samples.wheel("demo", "1.0", metadata=metadata)) as own:
        for path in FEEDS:
            answer = own.get(path)
            assert titles(answer)
            assert b"<script" not in answer.body
            assert "\x0c" not in answer.text


def test_whoever_may_not_list_gets_no_feed(tmp_path: Path) -> None:
    passwords = tmp_path / "htpasswd"
    passwords.write_text("alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n")  # "password"
    with House(
        tmp_path, samples.wheel("demo", "1.0"), passwords=str(passwords), guard="list,download,update"
    ) as own:
        for path in FEEDS:
            assert own.get(path).status == 401
            answer = own.get(path, authorization="Basic YWxpY2U6cGFzc3dvcmQ=")
            assert titles(answer)
            assert "private" in answer.headers["cache-control"]
            assert "Authorization" in answer.headers["vary"]
