"""RSS: well-formed whatever the packages say, with dates and links that readers understand."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

from defusedxml.ElementTree import fromstring
from hypothesis import given
from hypothesis import strategies as st

from pidex.core import feeds
from pidex.core.model import Release

URL = "https://index.test/team"
RELEASE = Release("foo-bar", "Foo.Bar", "1.0+local", 1_704_164_645_123_456, 'Makes <b> & "c"')


def items(feed: bytes) -> list[dict[str, str]]:
    root = fromstring(feed)
    assert (root.tag, root.attrib) == ("rss", {"version": "2.0"})
    (channel,) = root
    assert [channel.findtext(tag) for tag in ("title", "link", "description")].count(None) == 0
    return [{part.tag: part.text or "" for part in item} for item in channel.findall("item")]


def test_a_release_is_an_item() -> None:
    (item,) = items(feeds.updates([RELEASE], index="team", base_url=URL))
    assert item == {
        "title": "Foo.Bar 1.0+local",
        "link": f"{URL}/project/foo-bar/1.0+local/",
        "guid": f"{URL}/project/foo-bar/1.0+local/",
        "description": 'Makes <b> & "c"',
        "pubDate": "Tue, 02 Jan 2024 03:04:05 GMT",
    }
    assert items(feeds.project("Foo.Bar", [RELEASE], normalised="foo-bar", base_url=URL)) == [item]


def test_a_project_is_an_item() -> None:
    (item,) = items(feeds.packages([RELEASE], index="team", base_url=URL))
    assert (item["title"], item["guid"]) == ("Foo.Bar added", f"{URL}/project/foo-bar/")


def test_a_feed_of_nothing_is_a_feed() -> None:
    assert items(feeds.updates([], index="team", base_url=URL)) == []


def test_guids_are_unique_and_stay() -> None:
    found = [RELEASE._replace(version=f"1.{number}") for number in range(9)]
    guids = [item["guid"] for item in items(feeds.updates(found, index="i", base_url=URL))]
    assert len(set(guids)) == 9
    assert feeds.updates(found, index="i", base_url=URL) == feeds.updates(found, index="i", base_url=URL)


@given(st.text(), st.text(), st.none() | st.text(), st.integers(-(2**62), 2**62))
def test_whatever_packages_say_a_feed_is_well_formed(
    name: str, version: str, summary: str | None, at: int
) -> None:
    version = version.encode("utf-8", "replace").decode()
    release = Release("foo", name, version, at, summary)
    arguments: dict[str, Any] = {"index": "main", "base_url": "http://127.0.0.1:3141"}
    for feed in (
        feeds.updates([release], **arguments),
        feeds.packages([release], **arguments),
        feeds.project(name, [release], normalised="foo", base_url=URL),
    ):
        (item,) = items(feed)
        assert parsedate_to_datetime(item["pubDate"]).year in range(1970, 10_000)
