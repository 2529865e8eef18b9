"""What every project page keeps to: hosted, mirrored and merged ones, those of heirs, and earlier ones."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin

import pytest

from pidex.app.known import settle
from pidex.core.model import OPERATOR
from tests import samples
from tests.upstreams import LocalUpstream
from tests.web.driver import JSON, Answer, House

V1_HTML = "application/vnd.pypi.simple.v1+html"
#: Where a page is found; `@now` stands for a time after everything that was done.
PAGES = {
    "hosted": "/simple/hosted/",
    "mirrored": "/simple/mirrored/",
    "mirrored without sizes": "/plain/simple/spare/",
    "merged": "/simple/merged/",
    "heir of hosted": "/dev/simple/hosted/",
    "heir of mirrored": "/dev/simple/mirrored/",
    "heir of merged": "/dev/simple/merged/",
    "earlier hosted": "/@now/simple/hosted/",
    "earlier mirrored": "/@now/simple/mirrored/",
    "earlier merged": "/@now/simple/merged/",
}


def files_of(name: str, first: int) -> dict[str, bytes]:
    """A wheel, an sdist, and a wheel of the next version that needs a newer Python."""
    return dict(
        [
            samples.wheel(name, f"{first}.0", requires=["other>=1"]),
            samples.sdist(name, f"{first}.0"),
            samples.wheel(name, f"{first}.1", requires_python=">=3.9,<4"),
        ]
    )


class Told(NamedTuple):
    """A page's files by name, as JSON says them, with whole URLs' paths."""

    path: str
    files: dict[str, dict[str, Any]]


class Anchors(HTMLParser):
    """Anchors by their text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str | None]] = {}
        self._open: dict[str, str | None] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._open = dict(attrs)

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.found[data.strip()] = self._open
            self._open = None


class Street:
    """A house with an upstream, one of which nobody knows much, an heir, and all files that may be seen."""

    def __init__(self, place: Path) -> None:
        self.known, self.vague = LocalUpstream(), LocalUpstream("bare")
        self.bytes: dict[str, bytes] = {}
        ours = files_of("hosted", 1) | files_of("merged", 1)
        theirs = files_of("mirrored", 1) | files_of("merged", 2)
        for filename, data in theirs.items():
            newer = ">=3.9,<4" if version(filename).endswith(".1") else None
            yanked = "broken" if "-2.0" in filename else None
            self.known.add((filename, data), yanked=yanked, requires_python=newer)
        spare = files_of("spare", 1)
        for sample in spare.items():
            self.vague.add(sample)
        self.bytes = ours | theirs | spare
        self.known.start()
        self.vague.start()
        self.house = House(place, *ours.items(), upstream=self.known.url)
        pidex = self.house.pidex
        settle(pidex.catalogue, pidex.settings, pidex.clock)
        service = pidex.indexing(pidex.intake())
        service.merge("main", "merged", by=OPERATOR)
        service.create("dev", ["bases=main"], by=OPERATOR)
        service.add_upstream("vague", self.vague.url, settings={"private": True}, by=OPERATOR)
        service.create("plain", ["upstreams=vague"], by=OPERATOR)
        for index in ("dev", "plain"):
            pidex.reconciler(index).scan()
        curator = pidex.curator(pidex.intake(), pidex.accounts())
        curator.yank("main", "hosted", version="1.0", reason="too old & <odd>", by=OPERATOR)

        for project in ("mirrored", "merged"):  # an upstream's yank counts from when it was seen
            assert self.house.get(f"/simple/{project}/").status == 200
        self.moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def at(self, path: str) -> str:
        """A path with the time in it."""
        return path.replace("@now", f"@{self.moment}")

    def close(self) -> None:
        self.house.run(self.house.pidex.mirror.stop())
        self.house.close()
        self.known.stop()
        self.vague.stop()

    def get(self, path: str, accept: str | None = None, **headers: str) -> Answer:
        return self.house.get(self.at(path), accept, **headers)

    def told(self, path: str) -> Told:
        answer = self.get(path, JSON)
        assert answer.status == 200, answer.text
        page = answer.json()
        assert page["name"] in path
        assert page["versions"] == sorted({version(file["filename"]) for file in page["files"]})
        return Told(path, {file["filename"]: file for file in page["files"]})

    def place(self, told: Told, filename: str) -> str:
        """The path of a file: its URL is relative."""
        url: str = told.files[filename]["url"]
        assert url.startswith("../../packages/"), url
        return urljoin(told.path, url)


def version(filename: str) -> str:
    return re.split(r"-|\.tar", filename)[1]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    built = Street(tmp_path_factory.mktemp("street"))
    yield built
    built.close()


@pytest.fixture(params=[*PAGES.values()], ids=[*PAGES])
def told(request: pytest.FixtureRequest, street: Street) -> Told:
    return street.told(str(request.param))


def test_all_files_are_there_and_no_other(street: Street, told: Told) -> None:
    name = told.path.rstrip("/").rpartition("/")[2]
    assert set(told.files) == {each for each in street.bytes if each.startswith(f"{name}-")}
    assert len(told.files) == (6 if name == "merged" else 3)


@pytest.mark.parametrize("accept", ["text/html", V1_HTML])
def test_html_says_what_json_says(street: Street, told: Told, accept: str) -> None:
    answer = street.get(told.path, accept)
    assert answer.headers["content-type"].partition(";")[0] == accept
    parser = Anchors()
    parser.feed(answer.text)
    assert list(parser.found) == list(told.files)
    for filename, file in told.files.items():
        anchor = parser.found[filename]
        digest = file["hashes"].get("sha256")
        assert anchor["href"] == file["url"] + (f"#sha256={digest}" if digest else "")
        assert anchor.get("data-requires-python") == file.get("requires-python")
        assert ("data-yanked" in anchor) == bool(file["yanked"])
        if isinstance(file["yanked"], str):
            assert anchor["data-yanked"] == file["yanked"]
        for key in ("core-metadata", "dist-info-metadata"):
            meant = file.get("core-metadata", False)
            said = (
                {False: None, True: "true"}[meant] if isinstance(meant, bool) else f"sha256={meant['sha256']}"
            )
            assert anchor.get(f"data-{key}") == said


def test_files_are_the_bytes_that_are_announced(street: Street, told: Told) -> None:
    for filename, file in told.files.items():
        data, path = street.bytes[filename], street.place(told, filename)
        answer = street.get(path)
        assert (answer.status, answer.complete, answer.body) == (200, True, data)
        assert (
            file["hashes"].get("sha256", hashlib.sha256(data).hexdigest()) == hashlib.sha256(data).hexdigest()
        )
        assert file.get("size", len(data)) == len(data)
        assert unquote(path).endswith(f"/{filename}")
        wrong = path.replace(path.split("/")[-2], "0" * 60)
        assert street.get(wrong).status == 404


def test_hashes_and_sizes_are_told_where_anybody_knows_them(told: Told) -> None:
    for file in told.files.values():
        assert ("sha256" in file["hashes"]) == ("spare" not in told.path)
        assert "size" in file or "spare" in told.path
        assert all(digest for digest in file["hashes"].values())


def test_metadata_is_that_of_the_wheel(street: Street, told: Told) -> None:
    for filename, file in told.files.items():
        path = f"{street.place(told, filename)}.metadata"
        if not filename.endswith(".whl"):
            assert not file["core-metadata"] or street.get(path).status == 200
            continue
        with zipfile.ZipFile(io.BytesIO(street.bytes[filename])) as wheel:
            inside = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            expected = wheel.read(inside)
        answer = street.get(path)
        assert (answer.status, answer.body) == (200, expected)
        meant = file["core-metadata"]
        assert meant is True or meant["sha256"] == hashlib.sha256(expected).hexdigest()


def test_what_is_required_and_what_is_yanked(told: Told) -> None:
    for filename, file in told.files.items():
        if "spare" not in told.path:  # that upstream says nothing of them
            newer = version(filename).endswith(".1")
            assert file.get("requires-python") == (">=3.9,<4" if newer else None)
        if filename.startswith("hosted-1.0"):
            assert file["yanked"] == "too old & <odd>"
        else:
            assert file["yanked"] == ("broken" if "-2.0" in filename else False)


def test_tags_and_ranges(street: Street, told: Told) -> None:
    page = street.get(told.path, JSON)
    assert street.get(told.path, JSON, if_none_match=page.headers["etag"]).status == 304
    assert street.get(told.path, V1_HTML, if_none_match=page.headers["etag"]).status == 200
    head = street.house.head(street.at(told.path), JSON)
    assert (head.status, head.body, head.headers["etag"]) == (200, b"", page.headers["etag"])
    filename = next(iter(told.files))
    path, data = street.place(told, filename), street.bytes[filename]
    whole = street.get(path)
    assert street.get(path, if_none_match=whole.headers["etag"]).status == 304
    part = street.get(path, range="bytes=10-19")
    assert (part.status, part.body) == (206, data[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(data)}"
    assert street.get(path, range="bytes=-7").body == data[-7:]
    assert street.get(path, range=f"bytes={len(data)}-").status == 416
    assert street.get(path, range="bytes=10-19", if_range='"other"').body == data


def test_the_json_about_a_project_says_what_is_known_alone(street: Street) -> None:
    """PyPI's old JSON: no digest, size or time that nobody said."""
    known = street.get("/pypi/mirrored/json").json()["urls"]
    vague = street.get("/plain/pypi/spare/json").json()["urls"]
    assert known
    assert vague
    for file in known:
        data = street.bytes[file["filename"]]
        blake2b = hashlib.blake2b(data, digest_size=32).hexdigest()
        assert file["digests"] == {"sha256": hashlib.sha256(data).hexdigest(), "blake2b_256": blake2b}
        assert file["size"] == len(data)
    for file in (*known, *vague):
        assert all(file["digests"].values())
        assert file["size"] is None or file["size"] == len(street.bytes[file["filename"]])
        assert file["md5_digest"] is None
        # A fetched file's Last-Modified is the best that is known of when it came to be.
        assert file["upload_time_iso_8601"] in (None, "2024-01-02T03:04:06.000000Z")
