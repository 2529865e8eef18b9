"""Files: ranges, conditions, what lies beside them, and that changed bytes are never sent."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import os
import zipfile
from io import BytesIO
from pathlib import Path
from urllib.parse import urljoin

import pytest

from pidex.web import files
from tests import samples
from tests.web.driver import JSON, House, file_url

BIG = samples.wheel("big", "1.0", files={"big/data": os.urandom(1_500_000)})


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("big"), BIG)


def test_a_file_is_sent_as_it_is(house: House) -> None:
    page = house.get("/simple/demo/", JSON).json()
    for file in page["files"]:
        path = file["url"].removeprefix("../..")
        for target in (path, f"/main{path}", path):
            answer = house.get(target, accept_encoding="gzip, zstd")
            assert answer.status == 200
            assert hashlib.sha256(answer.body).hexdigest() == file["hashes"]["sha256"]
            assert answer.headers["content-type"] == "application/octet-stream"
            assert "content-encoding" not in answer.headers
            assert answer.headers["accept-ranges"] == "bytes"
            assert answer.headers["etag"] == f'"{file["hashes"]["sha256"]}"'
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert answer.headers["access-control-allow-origin"] == "*"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["last-modified"].endswith(" GMT")


def test_a_plus_in_a_file_name_may_be_encoded_or_not(house: House) -> None:
    path = file_url(house, "foo-bar")
    assert "%2B" in path
    for target in (path, path.replace("%2B", "+")):
        assert house.get(target).status == 200
    assert house.get(path.replace("%2B", "%252B")).status == 404


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-9", 0, 10),
        ("bytes=1000-", 1000, None),
        ("bytes=-10", -10, None),
        ("bytes=300000-900000", 300_000, 900_001),
        ("bytes=5-99999999999", 5, None),
    ],
)
def test_a_range_is_sent_exactly(big: House, asked: str, start: int, end: int | None) -> None:
    path, (_, data) = file_url(big, "big"), BIG
    for method in ("GET", "HEAD"):
        answer = big.get(path, None, method, range=asked)
        part = data[start:end]
        assert answer.status == 206
        first = start if start >= 0 else len(data) + start
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(part) - 1}/{len(data)}"
        assert answer.headers["content-length"] == str(len(part))
        assert answer.body == (part if method == "GET" else b"")
        assert answer.headers["accept-ranges"] == "bytes"


def test_a_range_behind_the_end_is_416(big: House) -> None:
    answer = big.get(file_url(big, "big"), range="bytes=99999999-")
    assert (answer.status, answer.body) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{len(BIG[1])}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "items=0-1", "bytes=9-1", "bytes=x-", "bytes=", "0-1"])
def test_what_is_no_single_range_gets_the_whole(big: House, asked: str) -> None:
    answer = big.get(file_url(big, "big"), range=asked)
    assert (answer.status, answer.body) == (200, BIG[1])


def test_a_resume_gets_the_rest_only_of_the_same_file(big: House) -> None:
    path = file_url(big, "big")
    whole = big.get(path)
    for mark in (whole.headers["etag"], whole.headers["last-modified"]):
        assert big.get(path, range="bytes=10-", if_range=mark).status == 206
    for mark in ('"other"', "W/" + whole.headers["etag"], "Thu, 01 Jan 1970 00:00:00 GMT"):
        again = big.get(path, range="bytes=10-", if_range=mark)
        assert (again.status, again.body) == (200, BIG[1])


def test_a_known_file_is_304(house: House) -> None:
    path = file_url(house, "demo")
    whole = house.get(path)
    for headers in (
        {"if_none_match": whole.headers["etag"]},
        {"if_none_match": "*"},
        {"if_modified_since": whole.headers["last-modified"]},
    ):
        answer = house.get(path, **headers)
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["etag"] == whole.headers["etag"]
        assert answer.headers["cache-control"] == whole.headers["cache-control"]
    both = house.get(path, if_none_match='"x"', if_modified_since=whole.headers["last-modified"])
    assert both.status == 200, "the tag counts before the date"


def test_metadata_is_the_wheels_own(house: House) -> None:
    page = house.get("/simple/demo/", JSON).json()
    for file in page["files"]:
        path = file["url"].removeprefix("../..")
        answer = house.get(f"{path}.metadata")
        if file["filename"].endswith(".tar.gz"):
            assert file["core-metadata"] is False
            assert answer.status == 404
            continue
        with zipfile.ZipFile(BytesIO(house.get(path).body)) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
            assert wheel.read(name) == answer.body
        assert hashlib.sha256(answer.body).hexdigest() == file["core-metadata"]["sha256"]
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert house.get(f"{path}.metadata", if_none_match=answer.headers["etag"]).status == 304


def test_long_metadata_is_compressed_for_who_can_read_it(tmp_path: Path) -> None:
    text = samples.core_metadata("demo", "1", extra="Keywords: " + "word " * 500 + "\n")
    with House(tmp_path, samples.wheel("demo", "1", metadata=text)) as house:
        path = file_url(house, "demo") + ".metadata"
        plain, packed = house.get(path), house.get(path, accept_encoding="gzip")
        assert (plain.body, gzip.decompress(packed.body)) == (text, text)
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.headers["etag"] != plain.headers["etag"]
        assert "Accept-Encoding" in plain.headers["vary"]


def test_a_signature_beside_a_file_is_sent_and_not_listed(own: House) -> None:
    path = file_url(own, "demo")
    assert own.get(f"{path}.asc").status == 404
    name = path.rpartition("/")[2]
    (own.folder / f"{name}.asc").write_bytes(b"-----BEGIN PGP SIGNATURE-----\n")
    own.scan()
    answer = own.get(f"{path}.asc")
    assert (answer.status, answer.body) == (200, b"-----BEGIN PGP SIGNATURE-----\n")
    assert "immutable" not in answer.headers["cache-control"]
    assert own.get(f"{path}.asc", if_none_match=answer.headers["etag"]).status == 304
    assert ".asc" not in own.get("/simple/demo/").text


@pytest.mark.parametrize("suffix", ["", ".metadata"])
def test_a_plain_file_name_leads_to_the_file(house: House, suffix: str) -> None:
    target = file_url(house, "demo") + suffix
    for index in ("", "/main"):
        asked = f"{index}/packages/demo-1.0-py3-none-any.whl{suffix}"
        answer = house.get(asked)
        assert answer.status == 302
        assert urljoin(f"http://h{asked}", answer.headers["location"]) == f"http://h{index}{target}"


def test_pypiservers_urls_with_folders_lead_to_the_file(own: House) -> None:
    (own.folder / "sub").mkdir()
    samples.write(own.folder / "sub", samples.wheel("deep", "1.0"))
    own.scan()
    name = "deep-1.0-py3-none-any.whl"
    assert own.get(f"/packages/sub/{name}").status == 302
    assert own.get(f"/packages/other/{name}").status == 404
    assert own.get("/packages/sub/").status == 404


def test_only_what_a_page_lists_can_be_had(own: House) -> None:
    path = file_url(own, "demo")
    one, two, rest, name = path.removeprefix("/packages/").split("/")
    assert own.get(path).status == 200
    for wrong in (
        f"/packages/{one}/{two}/{rest}/demo-9.9-py3-none-any.whl",
        f"/packages/{one}/{two}/{rest[:-1]}0/{name}"
        if rest[-1] != "0"
        else f"/packages/{one}/{two}/{rest[:-1]}1/{name}",
        f"/packages/{one}/{two}/{rest.upper()}x/{name}",
        f"/packages/{one}/{two}/{rest}/{name}/",
        f"/packages/{one}/{two}/{rest}/",
        f"/other{path}",
        "/packages/../packages" + path,
    ):
        assert own.get(wrong).status in (400, 404), wrong
    (own.folder / name).unlink()
    own.scan()
    assert own.get(path).status == 404
    assert own.get(f"{path}.metadata").status == 404


def test_bytes_written_into_a_file_are_never_sent(own: House) -> None:
    path = file_url(own, "demo")
    whole = own.get(path)
    assert whole.status == 200
    place = own.folder / path.rpartition("/")[2]
    with place.open("r+b") as file:
        file.write(b"\0" * 20)
    for _ in range(2):
        answer = own.get(path)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0


def test_a_file_that_is_replaced_stays_to_be_had_until_the_new_one_is_listed(own: House) -> None:
    path = file_url(own, "demo")
    old = own.get(path).body
    place = own.folder / path.rpartition("/")[2]
    _, data = samples.wheel("demo", "1.0", files={"demo.py": b"answer = 43\n"})
    place.unlink()
    assert own.get(path).body == old, "the last good version stays"
    place.write_bytes(data)
    assert own.get(path).body == old
    own.scan()
    assert own.get(path).status == 404, "a URL never means other bytes"
    assert own.get(file_url(own, "demo")).body == data


def test_a_download_is_cut_when_its_file_changes(tmp_path: Path) -> None:
    with House(tmp_path, BIG) as house:
        path = file_url(house, "big")
        place = house.folder / BIG[0]
        messages: list[dict[str, object]] = []

        async def send(message: dict[str, object]) -> None:
            messages.append(message)
            if len(messages) == 3:  # the head and two blocks
                with place.open("r+b") as file:
                    file.seek(1_400_000)
                    file.write(b"\0" * 100)

        async def receive() -> dict[str, object]:
            await asyncio.Event().wait()
            return {}

        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
        house.run(house.site({**scope, "client": ("127.0.0.1", 1), "scheme": "http"}, receive, send))
        sent = b"".join(message.get("body", b"") for message in messages)  # type: ignore[misc]
        assert 0 < len(sent) < len(BIG[1])
        assert BIG[1].startswith(sent), "changed bytes went out"
        assert messages[-1]["more_body"] is True, "the answer was ended as if it were whole"


def test_a_download_ends_when_its_client_goes(tmp_path: Path) -> None:
    with House(tmp_path, BIG) as house:
        path = file_url(house, "big")
        gone = asyncio.Event()
        blocks = 0

        async def send(message: dict[str, object]) -> None:
            nonlocal blocks
            blocks += 1
            gone.set()
            await asyncio.sleep(0.01)

        async def receive() -> dict[str, object]:
            await gone.wait()
            return {"type": "http.disconnect"}

        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
        house.run(house.site({**scope, "client": ("127.0.0.1", 1), "scheme": "http"}, receive, send))
        assert blocks < len(BIG[1]) // files.BLOCK_BYTES


def test_few_files_are_kept_open(tmp_path: Path) -> None:
    packages = [samples.wheel("many", f"1.{number}") for number in range(30)]
    with House(tmp_path, *packages) as house:
        house.site.files._limit = 5
        urls = [
            file["url"].removeprefix("../..") for file in house.get("/simple/many/", JSON).json()["files"]
        ]
        house.get(urls[0])
        for _ in range(2):
            answers = house.run(*(house.ask(url) for url in urls))
            assert [answer.status for answer in answers] == [200] * 30
        assert len(house.site.files) == 5
        assert len(descriptors(tmp_path)) <= 5
        (house.folder / packages[-1][0]).unlink()
        house.scan()
        house.get("/simple/")
        assert len(house.site.files) == 0, "a project's files are closed when it changes"
        assert descriptors(tmp_path) == []


def descriptors(place: Path) -> list[str]:
    """The packages that this process has open, of those below a folder."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [path for path in found if path.startswith(str(place)) and ".db" not in path]
