"""RSS 2.0: the newest releases and projects as feeds (protocol 13.3)."""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate
from urllib.parse import quote

from pidex.core.markup import escaped
from pidex.core.model import Release

CONTENT_TYPE = "application/rss+xml; charset=utf-8"
#: Items of a feed at most: newest releases, newest projects, releases of one project (13.3).
UPDATES, PACKAGES, RELEASES = 100, 40, 40
#: The last second of the year 9999, which is the last that a date can name.
_LAST_SECOND = 253_402_300_799


def updates(releases: Iterable[Release], *, index: str, base_url: str) -> bytes:
    """The newest releases of an index. `base_url`: its absolute URL; links continue it."""
    items = "".join(_item(release, base_url, of_project=False) for release in releases)
    title = f"{index}: newest releases"
    return _feed(title, f"The newest releases in index {index}.", f"{base_url}/", items)


def packages(releases: Iterable[Release], *, index: str, base_url: str) -> bytes:
    """The newest projects of an index, each by its first release."""
    items = "".join(_item(release, base_url, of_project=True) for release in releases)
    title = f"{index}: newest projects"
    return _feed(title, f"The newest projects in index {index}.", f"{base_url}/", items)


def project(name: str, releases: Iterable[Release], *, normalised: str, base_url: str) -> bytes:
    """The newest releases of one project."""
    items = "".join(_item(release, base_url, of_project=False) for release in releases)
    return _feed(f"{name}: releases", f"The newest releases of {name}.", _link(base_url, normalised), items)


def _feed(title: str, description: str, link: str, items: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0">\n<channel>\n'
        f"<title>{escaped(title)}</title>\n<link>{escaped(link)}</link>\n"
        f"<description>{escaped(description)}</description>\n<language>en</language>\n"
        f"{items}</channel>\n</rss>\n"
    ).encode()


def _item(release: Release, base_url: str, *, of_project: bool) -> str:
    title = f"{release.name} added" if of_project else f"{release.name} {release.version}"
    version = "" if of_project else f"{quote(release.version, safe='!+~')}/"
    link = f"{_link(base_url, release.project)}{version}"
    moment = formatdate(min(max(release.at // 1_000_000, 0), _LAST_SECOND), usegmt=True)
    return (
        f"<item>\n<title>{escaped(title)}</title>\n<link>{escaped(link)}</link>\n"
        f'<guid isPermaLink="false">{escaped(link)}</guid>\n'
        f"<description>{escaped(release.summary or '')}</description>\n<pubDate>{moment}</pubDate>\n</item>\n"
    )


def _link(base_url: str, project: str) -> str:
    """The page of a project for people."""
    return f"{base_url}/project/{quote(project)}/"
