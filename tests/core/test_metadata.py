"""Core metadata: what is read from it, and that nothing makes the reading fail."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core import metadata
from pidex.core.metadata import Metadata

WHOLE = """\
Metadata-Version: 2.4
Name: Foo.Bar
Version: 1.0
Summary: Does
  things
Home-page: https://example.org/
Download-URL: https://example.org/foo.tar.gz
Author: Ærin Øst
Author-email: Ærin <a@example.org>
Maintainer: M
Maintainer-email: m@example.org
License: MIT
        text of the
        licence
License-Expression: MIT OR Apache-2.0
License-File: LICENSE
License-File: NOTICE
Keywords: one,two
Platform: any
Platform: linux
Classifier: Programming Language :: Python
Classifier: Private :: Do Not Upload
Project-URL: Source, https://example.org/src
Project-URL: Docs, https://example.org/docs?a=1,2
Project-URL: odd
Requires-Python: >=3.8,
 <4
Requires-Dist: a>1
Requires-Dist: b ; extra == "x"
Provides-Extra: x
Dynamic: Classifier
Import-Name: foo
Description-Content-Type: text/markdown; charset=UTF-8
X-Unknown: kept away

# Foo

Body: not a header
"""


def test_every_field() -> None:
    found = metadata.parse(WHOLE.encode())
    assert found == Metadata(
        metadata_version="2.4",
        name="Foo.Bar",
        version="1.0",
        summary="Does things",
        description="# Foo\n\nBody: not a header\n",
        description_content_type="text/markdown; charset=UTF-8",
        keywords="one,two",
        license="MIT\ntext of the\nlicence",
        license_expression="MIT OR Apache-2.0",
        license_files=("LICENSE", "NOTICE"),
        classifiers=("Programming Language :: Python", "Private :: Do Not Upload"),
        author="Ærin Øst",
        author_email="Ærin <a@example.org>",
        maintainer="M",
        maintainer_email="m@example.org",
        requires_python=">=3.8, <4",
        platform="any, linux",
        home_page="https://example.org/",
        download_url="https://example.org/foo.tar.gz",
        project_urls={"Source": "https://example.org/src", "Docs": "https://example.org/docs?a=1,2"},
        requires_dist=("a>1", 'b ; extra == "x"'),
        provides_extra=("x",),
        dynamic=("Classifier",),
        import_names=("foo",),
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_kind(end: str) -> None:
    data = WHOLE.replace("\n", end).encode()
    found = metadata.parse(data)
    assert (found.name, found.version, found.requires_python) == ("Foo.Bar", "1.0", ">=3.8, <4")
    assert found.description is not None
    assert "Body: not a header" in found.description
    assert metadata.identify(data).requires_python == ">=3.8, <4"


@pytest.mark.parametrize("padding", ["        ", "       |"])
def test_a_description_in_the_header_loses_its_padding(padding: str) -> None:
    data = f"Name: a\nDescription: One\n{padding}\n{padding}  two\n{padding}three\n".encode()
    assert metadata.parse(data).description == "One\n\n  two\nthree"


def test_unknown_is_absent() -> None:
    found = metadata.parse(
        b"Name: a\nVersion: 1\nSummary: UNKNOWN\nLicense: UNKNOWN\nPlatform: UNKNOWN\n\n\n"
    )
    assert found == Metadata(name="a", version="1")


def test_what_is_not_utf_8_is_replaced() -> None:
    found = metadata.parse(b"\xef\xbb\xbfName: a\nAuthor: \xe6rin\n")
    assert (found.name, found.author) == ("a", "\ufffdrin")


def test_only_the_first_mebibyte_is_read() -> None:
    found = metadata.parse(b"Name: a\n\n" + b"x" * (3 << 20))
    assert found.description is not None
    assert len(found.description) == metadata.MAX_BYTES - 9


def test_a_line_too_long_for_a_page_is_as_if_absent() -> None:
    assert metadata.identify(b"Name: a\nRequires-Python: " + b">=3," * 1000 + b"\n").requires_python is None


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0" * 100, b"no colon", b": empty name\n", b"\n\nName: late\n", b"Name a\nName: b\n",
        b"A: b\n" * 200_000, b" continued\n" * 1000,
        b"Content-Type: multipart/mixed; boundary=x\n\n--x\n--x--\n",
        b"Content-Transfer-Encoding: base64\n\n!!!\n", b"Requires-Dist: " + b"(" * 5000 + b"\n",
        b"Name: =?utf-8?b?AAAA?=\n", b"Version: " + b"1" * 5000 + b"\n", b"From me\nName: a\n",
    ],
)  # fmt: skip
def test_odd_input_has_an_answer(data: bytes) -> None:
    assert isinstance(metadata.parse(data), Metadata)


pieces = st.sampled_from(
    [b"Name: a", b"Version: 1", b"Requires-Python: >=3", b"Project-URL: a, b", b"Description: x", b" ", b"\t",
     b"\n", b"\r", b"\r\n", b":", b"\xff", b"\0", b"UNKNOWN", b"        |", "é".encode(),
     b"From ", b"\x0b", b"\x85"]
)  # fmt: skip


@given(st.one_of(st.binary(max_size=300), st.lists(pieces, max_size=30).map(b"".join)))
def test_whatever_the_bytes_an_answer_that_json_can_hold(data: bytes) -> None:
    found = metadata.parse(data)
    for field in Metadata.__slots__:
        json.dumps(getattr(found, field)).encode("utf-8")
        str(getattr(found, field)).encode("utf-8")
    lines = metadata.identify(data)
    assert (lines.name, lines.version) == (found.name, found.version)
    assert (lines.requires_python, lines.summary) == (found.requires_python, found.summary)
    for line in (lines.name, lines.version, lines.requires_python, lines.summary):
        assert line is None or (line and "\n" not in line and line == line.strip())
