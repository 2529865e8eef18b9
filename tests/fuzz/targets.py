"""What is fuzzed: for each target, what is given, and what must hold of whatever comes of it."""

# ruff: noqa: E501, PT017  # tables of attacks are read by line; a refusal is one of two good ends

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import html5lib
from hypothesis import strategies as st

from pidex import config
from pidex.backends import rendering
from pidex.core import (
    archives,
    authorization,
    estate,
    metadata,
    names,
    negotiation,
    ranges,
    rulebook,
    tokens,
    upstreampages,
    xmlrpc,
)
from pidex.core.answers import Body
from pidex.core.errors import (
    BadName,
    BadRequest,
    ConfigError,
    PidexError,
    Unauthenticated,
    Unsound,
    UpstreamFault,
)
from pidex.core.limits import Limits
from pidex.core.multipart import MultipartParser, PartData
from tests import samples

Check = Callable[[Any], None]
#: A strategy and what is done with its values. What is raised there is a finding.
Target = tuple[st.SearchStrategy[Any], Check]

TEXT = st.text(max_size=60)


def pieces(*known: str, extra: st.SearchStrategy[str] = TEXT, most: int = 25) -> st.SearchStrategy[str]:
    """Texts put together from what means something there, and from anything."""
    return st.lists(st.sampled_from(known) | extra, max_size=most).map("".join)


def as_bytes(texts: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    return texts.map(lambda text: text.encode("utf-8", "surrogatepass"))


# --- multipart ---


def multipart(given: tuple[bytes, int]) -> None:
    body, size = given
    told = [_parts(body, each) for each in (size, max(len(body), 1))]
    assert told[0] == told[1], "another result in other chunks"


def _parts(body: bytes, size: int) -> list[Any]:
    parser, found = MultipartParser(b"mark"), list[Any]()
    try:
        for at in range(0, len(body), size):
            for event in parser.feed(body[at : at + size]):
                if isinstance(event, PartData) and found and isinstance(found[-1], bytes):
                    found[-1] += event.data
                else:
                    found.append(event.data if isinstance(event, PartData) else event)
        parser.close()
    except PidexError as error:
        return [type(error)]  # where it is noticed differs, and with it what came before
    return found


MULTIPART = pieces(
    "--mark", "--mark--", "\r\n", "\r\n\r\n", "\n", "--", 'Content-Disposition: form-data; name="', '"', "; ",
    'filename="', "Content-Type: text/plain", ":", "\\", "Content-Disposition: form-data; name=x\r\n\r\n",
)  # fmt: skip

# --- metadata ---

FIELDS = (
    "Metadata-Version: 2.4\n", "Name: demo\n", "Version: 1.0\n", "Summary: ", "Requires-Dist: ", "Project-URL: ",
    "Description: ", "Description-Content-Type: text/x-rst\n", "Classifier: ", "License-File: ", "Dynamic: ",
    "\n", "\r\n", "\r", " ", "\t|", "        ", ", ", ": ", "https://x.example", "UNKNOWN", "\n\n",
)  # fmt: skip


def read_metadata(data: bytes) -> None:
    found = metadata.parse(data)
    json.dumps(dataclasses.asdict(found), default=dict, ensure_ascii=False).encode()
    metadata.identify(data)


# --- archives ---

LIMITS = dataclasses.replace(Limits(), expanded_bytes=1 << 22, members=200)
WHOLE = (
    samples.wheel("demo", "1.0", requires=["x"], files={"demo/a.py": b"a = 1\n" * 50}),
    *(samples.sdist("demo", "1.0", kind, files={"demo.py": b"a" * 500})
      for kind in ("gztar", "zip", "bztar", "xztar")),
    samples.egg("demo", "1.0"),
)  # fmt: skip


def archive(given: tuple[int, list[tuple[str, int, bytes]]]) -> None:
    number, changes = given
    filename, data = WHOLE[number]
    for how, at, new in changes:
        place = at % (len(data) + 1)
        if how == "over":
            data = data[:place] + new + data[place + len(new) :]
        elif how == "into":
            data = data[:place] + new + data[place:]
        elif how == "cut":
            data = data[:place]
        else:
            data = data + data[place:]
    for check in ("whole", "none"):
        try:
            archives.inspect(io.BytesIO(data), filename, limits=LIMITS, check=check, age=100.0)
        except Unsound as error:
            assert (str(error).isprintable(), check) == (True, "whole"), error


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["over", "into", "cut", "again"]), st.integers(0, 1 << 20), st.binary(min_size=1, max_size=8)
    ),
    min_size=1, max_size=5,
)  # fmt: skip

# --- upstreams ---


def upstream_page(kind: str) -> Check:
    def check(data: bytes) -> None:
        body = Body("https://index.example/simple/demo/", kind, data)
        for read in (
            lambda: upstreampages.page("demo", body, upstreampages.Notes()).files,
            lambda: [
                file
                for each in upstreampages.links(body, upstreampages.Notes()).files.values()
                for file in each
            ],
        ):
            try:
                files = read()
            except UpstreamFault:
                continue
            for file in files:
                assert file.url.startswith(("http://", "https://"))
                assert file.url.isprintable()
                names.parse(file.filename)
        with contextlib.suppress(UpstreamFault):
            assert all(names.is_name(each) for each in upstreampages.project_names(body))

    return check


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT
    | st.sampled_from(["demo-1.0-py3-none-any.whl", "../f/demo-1.0.tar.gz", "ab" * 32, "1.1", "active"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["meta", "api-version", "name", "files", "filename", "url", "hashes", "sha256", "size", "yanked",
             "upload-time", "core-metadata", "requires-python", "projects", "project-status", "status", "versions"]
        ) | TEXT, inner, max_size=8,
    ),
    max_leaves=25,
)  # fmt: skip
FILE = st.fixed_dictionaries(
    {"filename": st.just("demo-1.0-py3-none-any.whl") | JSON, "url": st.just("../demo-1.0-py3-none-any.whl") | JSON},
    optional=dict.fromkeys(("hashes", "size", "yanked", "upload-time", "core-metadata", "requires-python"), JSON),
)  # fmt: skip
PAGE = st.fixed_dictionaries(
    {"meta": st.just({"api-version": "1.1"}) | JSON, "files": st.lists(FILE | JSON, max_size=4) | JSON},
    optional={"name": st.just("demo") | JSON, "project-status": JSON, "projects": JSON},
)
HTML = pieces(
    "<a ", "<a href=", '"', "'", ">", "</a>", "href='demo-1.0.tar.gz#sha256=", "ab" * 32, "demo-1.0-py3-none-any.whl",
    "<base href=", "<meta name='pypi:repository-version' content='1.1'>", "<!--", "-->", "<script>", "</script>",
    "data-yanked", "=", "data-requires-python='&gt;3'", "&#x", "&amp;", "javascript:", "//", "https://[", "\x00", "\n",
)  # fmt: skip

# --- names ---

NAMES = pieces(
    "demo", "-", "1.0", "-py3-none-any", ".whl", ".tar.gz", ".zip", ".egg", "-py2.7", "_", ".", "+", "!", "rc1", "2024",
    ".exe", ".win32", "-1.x86_64.rpm", ".msi", "..", "/", "\x00", "é", "İ", "ﬁ", "\u200b", "%2F", "9" * 60, "py3.cp3",
    extra=st.text(max_size=6), most=12,
)  # fmt: skip


def name(text: str) -> None:
    normal = names.normalize(text)
    assert names.normalize(normal) == normal
    assert names.is_name(text) <= text.isascii()
    assert sorted([names.version_key(text), names.version_key("1.0"), names.version_key("z")])
    names.canonical_version(text)
    try:
        found = names.parse(text)
    except BadName as error:
        assert str(error).isprintable(), error
        return
    assert names.is_name(found.project), found
    assert not set(text) & set("/\\\x00")


# --- headers ---


def byte_ranges(given: tuple[str, int]) -> None:
    header, size = given
    found = ranges.parse(header, size)
    if isinstance(found, ranges.Slice):
        assert 0 <= found.start < found.end <= size


def negotiated(header: str) -> None:
    assert negotiation.media_type(header, None) in (None, *MEDIA)
    assert negotiation.encoding(header) in (None, "zstd", "gzip")
    assert isinstance(negotiation.etag_matches(header, '"a"'), bool)
    negotiation.error_type(header)


MEDIA = ("text/html", "application/vnd.pypi.simple.v1+html", "application/vnd.pypi.simple.v1+json")
GOOD = tokens.text(bytes(range(32)))


def token(text: str) -> None:
    tokens.digest(text)
    assert tokens.is_token(text) == (text == GOOD), text
    assert tokens.looks_like_token(text) or not tokens.is_token(text)


def near(draw_from: tuple[int, str, int]) -> str:
    at, new, gone = draw_from
    return GOOD[: at % len(GOOD)] + new + GOOD[at % len(GOOD) + gone :]


def header(text: str) -> None:
    try:
        found = authorization.credentials(text)
    except Unauthenticated:
        return
    assert isinstance(authorization.is_well_formed(found), bool)


# --- settings and rules ---

SETTINGS = tuple(field.name for field, _ in config.settings_fields())
TOML = pieces(
    *(f"{each} = " for each in SETTINGS), "true", "1", "-1", '"x"', "[", "]", "\n", "[x]\n", "1e400", "'", '"""', "{",
    "9" * 30, '"https://a:b@c"', '"0.0.0.0"', ",", "#", "nan", "2024-01-01",
)  # fmt: skip


def configuration(given: tuple[bytes, dict[str, str]]) -> None:
    data, variables = given
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "pidex.toml"
        path.write_bytes(data)
        for flags, environ in (
            ({"config": str(path)}, {}),
            ({}, {f"PIDEX_{k.upper()}": v for k, v in variables.items()}),
        ):
            try:
                settings = config.load({**flags, "folders": (place,)}, environ)
            except ConfigError as error:
                assert str(error)
                continue
            config.shown(dataclasses.astuple(settings))


EDIT = pieces(
    *rulebook.KEYS, "=", "+=", "-=", "7d", "3 weeks", "500MB", "django>=4,<6", "acme-*", "MIT", "true", " ", "\n", "[x]",
    "bases", "upstreams", "mutability", "2024-01-01", "9" * 40, most=6,
)  # fmt: skip


def rules(edits: list[str]) -> None:
    try:
        text = rulebook.edited(None, edits)
    except BadRequest as error:
        assert str(error)
    else:
        rulebook.rules_of(text)
        assert rulebook.edited(text, []) == text
    try:
        estate.edited(estate.Manner(), estate.edits(edits))
    except BadRequest as error:
        assert str(error)


def call(body: bytes) -> None:
    with contextlib.suppress(xmlrpc.Fault, PidexError):
        xmlrpc.parse(body)


XML = pieces(
    "<?xml version='1.0'?>", "<!DOCTYPE x [<!ENTITY a 'b'>]>", "<methodCall>", "</methodCall>", "<methodName>search",
    "</methodName>", "<params>", "</params>", "<param><value>", "</value></param>", "<struct>", "<member>", "<name>a",
    "<int>1</int>", "<array><data>", "&a;", "&#0;", "<boolean>2</boolean>", "<i8>" + "9" * 30 + "</i8>", "<![CDATA[",
)  # fmt: skip


# --- READMEs ---

MARKUP = pieces(
    "<script>", "</script>", "<img src=x onerror=alert(1)>", "<a href='", "javascript:alert(1)", "'>", "<svg", "/>",
    "<math><mtext><table><mglyph><style><!--", "</style>", "<h1 id=x>", "</h1>", "<p style='", "<details open>", "&lt;",
    "<noscript><p title='", "<!--", "-->", "<![CDATA[", "data:text/html,", "\x00", "<form action=x>", "<iframe", " x=",
    "<input type=text>", "<a\nhref=j&#97;vascript:x>", "<template>", "<xmp>", "<plaintext>", "<base href=//x>",
)  # fmt: skip
SAFE = ("http:", "https:", "mailto:", "#")


def cleaned(html: str) -> None:
    found = html5lib.parseFragment(rendering.clean(html), treebuilder="etree", namespaceHTMLElements=False)
    for each in found.iter():
        if not isinstance(each.tag, str) or each is found:
            continue
        assert each.tag in rendering._TAGS, each.tag
        assert not {
            key for key in each.attrib if str(key).lower().startswith("on") or key in ("style", "src")
        }
        link = each.attrib.get("href", "")
        assert not link.partition("/")[0].count(":") or link.lower().startswith(SAFE), link


TARGETS: dict[str, Target] = {
    "multipart": (st.tuples(as_bytes(MULTIPART), st.integers(1, 40)), multipart),
    "metadata": (as_bytes(pieces(*FIELDS)) | st.binary(max_size=300), read_metadata),
    "archives": (st.tuples(st.integers(0, len(WHOLE) - 1), CHANGES), archive),
    "upstream-json": (
        PAGE.map(lambda value: json.dumps(value).encode()), upstream_page("application/vnd.pypi.simple.v1+json"),
    ),
    "upstream-html": (as_bytes(HTML), upstream_page("text/html")),
    "names": (NAMES, name),
    "ranges": (
        st.tuples(pieces("bytes", "=", "-", ",", "0", "1", "99", " ", "\t", extra=st.text(max_size=4)),
                  st.integers(0, 200)), byte_ranges,
    ),
    "negotiation": (
        pieces("text/html", "*/*", ";q=", "0.5", ",", ";", "gzip", "zstd", "identity", '"', "W/", "\\", MEDIA[2], "a"),
        negotiated,
    ),
    "configuration": (
        st.tuples(as_bytes(TOML), st.dictionaries(st.sampled_from(SETTINGS), pieces("1", "x", ",", ":", "/", "true"))),
        configuration,
    ),
    "tokens": (
        TEXT | st.tuples(st.integers(0, 99), st.text(max_size=3), st.integers(0, 3)).map(near), token,
    ),
    "authorization": (
        pieces("Basic ", "Bearer ", "token ", "Og==", "X190b2tlbl9fOng=", "YTpi", ":", "=", GOOD) | TEXT, header,
    ),
    "policy": (st.lists(EDIT, max_size=4), rules),
    "xmlrpc": (as_bytes(XML), call),
    "readme": (MARKUP, cleaned),
}  # fmt: skip
