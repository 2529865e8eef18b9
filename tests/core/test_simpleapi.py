"""The bytes of the simple API, read back by strict and by real parsers."""

from __future__ import annotations

import json
import re
import tracemalloc
import warnings
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import html5lib
import mousebender.simple
import pypi_simple
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core.model import File, Page, ProjectName, Status
from pidex.core.simpleapi import (
    CHUNK_BYTES,
    V1_JSON,
    file_path,
    flat_html,
    names_html,
    names_json,
    page_html,
    page_json,
    upload_time_text,
)
from tests.core.pages import file, page

BASE = "../../packages/"
URL = "https://index.example/main/simple/demo/"
HOSTILE = "\"><script>alert('x')</script>&amp;<!-- --> & é 漢字 \x00\x07\x85\u2028\ud800 \r\n\t--> ]]> \\"

any_text = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)
some_text = any_text | st.sampled_from([HOSTILE, "", " ", "\n", ">=3.8,<4", 'broken: don\'t "use"'])
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
filenames = st.builds(
    "{}-{}{}".format,
    st.sampled_from(["demo", "Demo.x", "de_mo"]),
    st.sampled_from(["1.0", "1.0+cu118", "1!2.0", "2.0rc1", "weird name&<>'\"", "漢字", "a%2Fb#c?d"]),
    st.sampled_from(["-py3-none-any.whl", ".tar.gz", ".zip", "-py2.7.egg"]),
)
files = st.builds(
    file,
    filename=filenames,
    sha256=digests,
    blake2b_256=digests,
    size=st.integers(0, 2**40),
    upload_time=st.integers(-(2**63), 2**63),
    requires_python=st.none() | some_text,
    metadata_sha256=st.none() | digests,
    yanked=st.none() | some_text,
)
pages = st.builds(
    lambda many, **changes: page(*many, **changes),
    st.lists(files, max_size=4, unique_by=lambda one: one.filename),
    name=some_text,
    status=st.sampled_from(Status),
    status_reason=st.none() | some_text,
)


def strict(body: bytes) -> Any:
    """The document, as html5lib reads it; raises on the first error that HTML5 knows."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(
        body, transport_encoding="utf-8"
    )


def anchors(body: bytes) -> list[Any]:
    """The anchors that are direct children of body (HTM-10); asserts that there are no others."""
    document = strict(body)
    found = document.findall("body/a")
    assert len(found) == len(list(document.iter("a")))
    return list(found)


def read_json(one: Page) -> dict[str, Any]:
    body = page_json(one, file_base=BASE)
    assert body.endswith(b"}\n")
    assert body.count(b"\n") == 1
    return dict(json.loads(body))


def one_line(text: str) -> str:
    return " ".join(text.split())


class TestHtml:
    def test_the_whole_page_is_as_written_here(self) -> None:
        shown = page(
            file(
                "demo-1.0+cu118-py3-none-any.whl",
                requires_python=">=3.8, <4",
                metadata_sha256="e7" * 32,
                yanked='broken, "badly"\n& <really>',
            ),
            file("demo-1.0.tar.gz"),
            status=Status.ARCHIVED,
            status_reason="see demo2",
        )
        path = f"../../packages/b2/b2/{'b2' * 30}/"
        assert page_html(shown, file_base=BASE).decode() == (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="pypi:repository-version" content="1.4">\n'
            '<meta name="pypi:project-status" content="archived">\n'
            '<meta name="pypi:project-status-reason" content="see demo2">\n'
            "<title>Links for Demo</title>\n</head>\n<body>\n<h1>Links for Demo</h1>\n"
            f'<a href="{path}demo-1.0%2Bcu118-py3-none-any.whl#sha256={"5a" * 32}"'
            ' data-requires-python="&gt;=3.8, &lt;4"'
            f' data-dist-info-metadata="sha256={"e7" * 32}" data-core-metadata="sha256={"e7" * 32}"'
            ' data-yanked="broken, &quot;badly&quot; &amp; &lt;really&gt;"'
            ">demo-1.0+cu118-py3-none-any.whl</a><br />\n"
            f'<a href="{path}demo-1.0.tar.gz#sha256={"5a" * 32}">demo-1.0.tar.gz</a><br />\n'
            "</body>\n</html>\n<!--SERIAL 42-->\n"
        )

    @given(pages)
    def test_any_page_is_strict_html(self, one: Page) -> None:
        found = anchors(page_html(one, file_base=BASE))
        assert len(found) == (0 if one.status is Status.QUARANTINED else len(one.files))

    @given(pages)
    def test_fragile_readers_can_read_any_page(self, one: Page) -> None:
        text = page_html(one, file_base=BASE).decode()
        shown = () if one.status is Status.QUARANTINED else one.files
        lines = [line for line in text.splitlines() if "<a " in line]
        assert len(lines) == text.count("<a ") == len(shown)
        for line in lines:
            assert re.fullmatch(r'<a( [a-z-]+="[^"<>]*")+>[^<>"]+</a><br />', line)
        assert len(re.findall(r"<a [^>]+>([^<]+)</a>", text)) == len(shown)
        assert "<base" not in text.lower()
        assert text.endswith("<!--SERIAL 42-->\n")

    @pytest.mark.parametrize("reason", ["", " ", "\n\t"])
    def test_a_yank_without_a_reason_is_an_empty_attribute(self, reason: str) -> None:
        body = page_html(page(file(yanked=reason)), file_base=BASE)
        assert b' data-yanked="">' in body

    @pytest.mark.parametrize("requires", [None, "", "  "])
    def test_no_requires_python_is_no_attribute(self, requires: str | None) -> None:
        assert b"data-requires-python" not in page_html(page(file(requires_python=requires)), file_base=BASE)

    def test_no_metadata_is_no_attribute(self) -> None:
        body = page_html(page(file()), file_base=BASE)
        assert b"metadata" not in body

    def test_nothing_but_api_1_4_is_said(self) -> None:
        everything = file(requires_python=">=3", metadata_sha256="e7" * 32, yanked="no")
        (anchor,) = anchors(page_html(page(everything), file_base=BASE))
        assert list(anchor.attrib) == [
            "href",
            "data-requires-python",
            "data-dist-info-metadata",
            "data-core-metadata",
            "data-yanked",
        ]

    def test_a_name_that_is_not_utf8_does_no_harm(self) -> None:
        one = page(file("caf\udce9-1.0.zip"), file("half\ud800-1.0.zip"), name="D\udce9mo")
        hrefs = [anchor.attrib["href"] for anchor in anchors(page_html(one, file_base=BASE))]
        assert [href.rpartition("/")[2].partition("#")[0] for href in hrefs] == [
            "caf%E9-1.0.zip",
            "half%EF%BF%BD-1.0.zip",
        ]
        assert read_json(one)["files"][0]["filename"] == "caf\ufffd-1.0.zip"


class TestJson:
    def test_the_whole_page_is_as_written_here(self) -> None:
        shown = page(
            file("demo-1.0-py3-none-any.whl", requires_python=">=3.8,<4", metadata_sha256="e7" * 32),
            file("demo-1.1.tar.gz", version="1.1", yanked="broken", size=0, upload_time=0),
            versions=("0.9", "1.0", "1.1"),
            status=Status.DEPRECATED,
            status_reason="use demo2",
        )
        path = f"../../packages/b2/b2/{'b2' * 30}/"
        assert page_json(shown, file_base=BASE).decode() == (
            '{"meta":{"api-version":"1.4","_last-serial":42},"name":"demo",'
            '"project-status":{"status":"deprecated","reason":"use demo2"},'
            '"versions":["0.9","1.0","1.1"],"files":['
            f'{{"filename":"demo-1.0-py3-none-any.whl","url":"{path}demo-1.0-py3-none-any.whl",'
            f'"hashes":{{"sha256":"{"5a" * 32}"}},"requires-python":">=3.8,<4",'
            f'"core-metadata":{{"sha256":"{"e7" * 32}"}},"size":1234,'
            '"upload-time":"2023-11-14T22:13:20.123456Z","yanked":false},'
            f'{{"filename":"demo-1.1.tar.gz","url":"{path}demo-1.1.tar.gz",'
            f'"hashes":{{"sha256":"{"5a" * 32}"}},"requires-python":null,"core-metadata":false,"size":0,'
            '"upload-time":"1970-01-01T00:00:00.000000Z","yanked":"broken"}]}\n'
        )

    @given(pages)
    def test_values_are_what_the_strictest_client_takes(self, one: Page) -> None:
        for entry in read_json(one)["files"]:
            assert list(entry) == [
                "filename",
                "url",
                "hashes",
                "requires-python",
                "core-metadata",
                "size",
                "upload-time",
                "yanked",
            ]
            assert entry["yanked"] in (True, False) or entry["yanked"].strip()
            assert entry["requires-python"] is None or entry["requires-python"].strip()
            assert entry["core-metadata"] is False or list(entry["core-metadata"]) == ["sha256"]
            assert isinstance(entry["size"], int)
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry["upload-time"])
            assert unquote(entry["url"].rpartition("/")[2]) == entry["filename"]

    def test_quarantine_hides_the_files_and_keeps_the_versions(self) -> None:
        one = page(file(), status=Status.QUARANTINED, status_reason="malware?")
        read = read_json(one)
        assert read["files"] == []
        assert read["versions"] == ["1.0"]
        assert read["project-status"] == {"status": "quarantined", "reason": "malware?"}
        assert b"<a " not in page_html(one, file_base=BASE)
        assert b'content="quarantined"' in page_html(one, file_base=BASE)

    def test_the_same_page_is_the_same_bytes(self) -> None:
        first, second = (page_json(page(file(), file("demo-1.0.tar.gz")), file_base=BASE) for _ in range(2))
        assert first == second


class TestBoth:
    @given(pages)
    def test_html_and_json_list_the_same_files(self, one: Page) -> None:
        from_html = []
        for anchor in anchors(page_html(one, file_base=BASE)):
            attributes = anchor.attrib
            url, _, fragment = attributes["href"].partition("#sha256=")
            metadata = attributes.get("data-core-metadata")
            assert attributes.get("data-dist-info-metadata") == metadata
            from_html.append(
                {
                    "filename": anchor.text,
                    "url": url,
                    "hashes": {"sha256": fragment},
                    "requires-python": attributes.get("data-requires-python"),
                    "core-metadata": {"sha256": metadata.removeprefix("sha256=")} if metadata else False,
                    "yanked": attributes.get("data-yanked", False),
                }
            )
        from_json = read_json(one)["files"]
        assert [(each["filename"], each["url"]) for each in from_html] == [
            (each["filename"], each["url"]) for each in from_json
        ]
        for html, data in zip(from_html, from_json, strict=True):
            assert html["hashes"] == data["hashes"]
            assert html["core-metadata"] == data["core-metadata"]
            assert (html["yanked"] is False) == (data["yanked"] is False)
            for key in ("requires-python", "yanked"):
                if isinstance(data[key], str) and data[key].isprintable():
                    assert html[key] == data[key].strip()

    @given(pages)
    def test_pypi_simple_reads_both_without_a_warning(self, one: Page) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            from_html = pypi_simple.ProjectPage.from_html("demo", page_html(one, file_base=BASE), URL)
            from_json = pypi_simple.ProjectPage.from_json_data(read_json(one), URL)
        assert from_html.repository_version == from_json.repository_version == "1.4"
        assert from_html.status == from_json.status
        assert from_json.last_serial == "42"
        for html, data in zip(from_html.packages, from_json.packages, strict=True):
            assert (html.filename, html.url, html.digests, html.metadata_digests or None, html.is_yanked) == (
                data.filename,
                data.url,
                data.digests,
                data.metadata_digests,
                data.is_yanked,
            )

    def test_mousebender_reads_both(self) -> None:
        one = page(
            file(requires_python=">=3.8", metadata_sha256="e7" * 32, yanked="bad"), file("demo-1.0.zip")
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # Its HTML reader knows no version after 1.1, and says so of PyPI's pages too.
            warnings.simplefilter("ignore", mousebender.simple.APIVersionWarning)
            from_html = mousebender.simple.parse_project_details(
                page_html(one, file_base=BASE).decode(), "text/html", "demo"
            )
        from_json = mousebender.simple.parse_project_details(
            page_json(one, file_base=BASE).decode(), V1_JSON, "demo"
        )
        assert [each["filename"] for each in from_html["files"]] == [
            each["filename"] for each in from_json["files"]
        ]
        first, second = from_html["files"][0], from_json["files"][0]
        for key in ("url", "hashes", "requires-python", "core-metadata", "yanked"):
            assert first[key] == second[key]


class TestPath:
    @pytest.mark.parametrize(
        ("filename", "last"),
        [
            ("demo-1.0-py3-none-any.whl", "demo-1.0-py3-none-any.whl"),
            ("demo-1.0+cu118.tar.gz", "demo-1.0%2Bcu118.tar.gz"),
            ("demo-1!2.0~x.zip", "demo-1!2.0~x.zip"),
            ("de mo-1.0#a?b%c.zip", "de%20mo-1.0%23a%3Fb%25c.zip"),
            ("démo-1.0.zip", "d%C3%A9mo-1.0.zip"),
        ],
    )
    def test_digest_in_three_parts_and_the_name(self, filename: str, last: str) -> None:
        digest = "0123456789abcdef" * 4
        assert file_path(file(filename, blake2b_256=digest)) == f"01/23/{digest[4:]}/{last}"

    @given(filenames)
    def test_the_last_part_decodes_to_the_name_in_any_resolver(self, filename: str) -> None:
        url = urljoin(URL, BASE + file_path(file(filename)))
        parts = urlsplit(url)
        assert not parts.query
        assert not parts.fragment
        assert parts.path.startswith("/main/packages/b2/b2/")
        assert unquote(parts.path.rpartition("/")[2]) == filename


class TestUploadTime:
    @pytest.mark.parametrize(
        ("us", "text"),
        [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1, "1970-01-01T00:00:00.000001Z"),
            (951_782_399_500_000, "2000-02-28T23:59:59.500000Z"),
            (951_868_799_999_999, "2000-02-29T23:59:59.999999Z"),
            (-1, "1970-01-01T00:00:00.000000Z"),
            (2**63, "9999-12-31T23:59:59.999999Z"),
        ],
    )
    def test_is_utc_with_six_digits(self, us: int, text: str) -> None:
        assert upload_time_text(us) == text


class TestNames:
    names = (ProjectName("a-b", "A_b", 3), ProjectName("demo", "Demo", 42), ProjectName("x", HOSTILE, 7))

    def test_html(self) -> None:
        (body,) = names_html(self.names[:2], 42)
        found = anchors(body)
        assert [(each.attrib["href"], each.text) for each in found] == [("a-b/", "A_b"), ("demo/", "Demo")]
        assert b'<meta name="pypi:repository-version" content="1.4">' in body
        assert b"project-status" not in body
        assert body.endswith(b"</html>\n<!--SERIAL 42-->\n")

    def test_json(self) -> None:
        (body,) = names_json(self.names[:2], 42)
        assert body == (
            b'{"meta":{"api-version":"1.4","_last-serial":42},"projects":['
            b'{"name":"A_b","_last-serial":3},{"name":"Demo","_last-serial":42}]}\n'
        )

    def test_hostile_names_stay_names(self) -> None:
        (html,) = names_html(self.names, 42)
        assert len(anchors(html)) == 3
        (data,) = names_json(self.names, 42)
        assert json.loads(data)["projects"][2] == {
            "name": HOSTILE.replace("\ud800", "\ufffd"),
            "_last-serial": 7,
        }

    def test_an_empty_index_is_a_list_too(self) -> None:
        assert anchors(b"".join(names_html((), 0))) == []
        assert json.loads(b"".join(names_json((), 0)))["projects"] == []

    def test_real_parsers_read_them(self) -> None:
        html, data = b"".join(names_html(self.names[:2], 42)), b"".join(names_json(self.names[:2], 42))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert pypi_simple.IndexPage.from_html(html).projects == ["A_b", "Demo"]
            read = pypi_simple.IndexPage.from_json_data(json.loads(data))
            warnings.simplefilter("ignore", mousebender.simple.APIVersionWarning)
            mouse = mousebender.simple.parse_project_index(html.decode(), "text/html")
        assert (read.projects, read.last_serial) == (["A_b", "Demo"], "42")
        assert mouse["projects"] == [{"name": "A_b"}, {"name": "Demo"}]

    @pytest.mark.parametrize("render", [names_html, names_json])
    def test_a_long_list_is_streamed_in_large_chunks_and_little_memory(self, render: Any) -> None:
        def many() -> Iterator[ProjectName]:
            for number in range(20_000):
                yield ProjectName(f"project-{number}", f"Project_{number}", number)

        tracemalloc.start()
        sizes = [len(chunk) for chunk in render(many(), 42)]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(sizes) > 5
        assert min(sizes[:-1]) >= CHUNK_BYTES
        assert max(sizes) < CHUNK_BYTES + 1_000
        assert peak < 1_000_000


class TestFlat:
    def test_lists_files_of_all_projects(self) -> None:
        several: list[File] = [file(), file("other-2.0.tar.gz", project="other", yanked="no")]
        found = anchors(b"".join(flat_html(several, file_base="")))
        assert [each.text for each in found] == ["demo-1.0-py3-none-any.whl", "other-2.0.tar.gz"]
        assert found[0].attrib["href"].startswith("b2/b2/")
        assert found[1].attrib["data-yanked"] == "no"

    def test_is_streamed(self) -> None:
        sizes = [len(chunk) for chunk in flat_html([file()] * 2_000, file_base="")]
        assert len(sizes) > 2
        assert min(sizes[:-1]) >= CHUNK_BYTES


class TestMirrored:
    def mirrored(self, **changes: Any) -> Any:
        said = {"origin": "up", "sha256": "", "md5": "", "size": -1, "upload_time": -1, **changes}
        return file(**said)

    def test_what_nobody_knows_is_left_out_and_the_page_says_1_0(self) -> None:
        shown = read_json(page(self.mirrored(announced=True), origin="up"))
        assert shown["meta"]["api-version"] == "1.0"
        line = shown["files"][0]
        assert line.keys() == {"filename", "url", "hashes", "requires-python", "core-metadata", "yanked"}
        assert (line["hashes"], line["core-metadata"]) == ({}, True)
        anchor = anchors(page_html(page(self.mirrored(announced=True), origin="up"), file_base=BASE))[0]
        assert "#" not in anchor.attrib["href"]
        assert anchor.attrib["data-core-metadata"] == "true"

    def test_what_the_upstream_says_comes_through(self) -> None:
        hashes = (("md5", "d5" * 16), ("sha1", "51" * 20), ("sha384", "38" * 48))
        one = self.mirrored(
            hashes=hashes,
            size=5,
            upload_time=0,
            metadata_sha256="e7" * 32,
            provenance="https://p.example/x?a&b",
        )
        shown = read_json(page(one, origin="up"))
        assert shown["meta"]["api-version"] == "1.4"
        line = shown["files"][0]
        assert line["hashes"] == dict(hashes)
        assert line["core-metadata"] == {"sha256": "e7" * 32}
        assert line["upload-time"] == "1970-01-01T00:00:00.000000Z"
        assert line["provenance"] == "https://p.example/x?a&b"
        anchor = anchors(page_html(page(one, origin="up"), file_base=BASE))[0]
        assert anchor.attrib["href"].endswith(f"#sha384={'38' * 48}")
        assert anchor.attrib["data-provenance"] == "https://p.example/x?a&b"

    def test_a_merged_page_keeps_own_lines_as_they_are(self) -> None:
        own = file("demo-2.0.tar.gz")
        alone = read_json(page(own))["files"]
        assert read_json(page(own, self.mirrored(), origin="+"))["files"][:1] == alone
