"""Pages whose files are proven all at once: the same comes out as when they are read one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core import passage
from pidex.core.answers import Body
from pidex.core.model import Page
from pidex.core.names import is_version, normalized_version, version_key
from pidex.core.simpleapi import page_json
from pidex.core.upstreampages import Notes, page
from pidex.core.upstreams import UpstreamPage
from pidex.core.written import BASE, Written
from pidex.resolver.sheets import lines_of
from tests.core.test_familiar import LINE, PLACE, URL, as_line

SHA = "5a" * 32
WHEEL, SDIST = "demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"
NAMES = (
    WHEEL,
    SDIST,
    "demo-1.0.0-py3-none-any.whl",
    "Demo-1.0.0-py2-none-any.whl",
    "demo-10.0.tar.gz",
    "demo-9.0-1-cp311-cp311-linux_x86_64.whl",
    "demo-2.0b1.tar.gz",
    "demo-2.0.zip",
    "demo-1.0_beta-py3-none-any.whl",
    "demo-2.0+local.1-py3-none-any.whl",
    "DEMO-1.0.post1.tar.gz",
    "demo-1.0-py3.11.egg",
    "demo-1.0.win32-py2.7.exe",
    "demo-2004d.tar.gz",
    "demo-extra-1.0.tar.gz",
    "demoextra-1.0.tar.gz",
    "demo-1.0-variants.json",
    "demo-1.0-.tar.gz",
    "demo-1.0-x.whl",
    "demo--1.0.tar.gz",
    "demo-1.0",
)


def said(filename: str = WHEEL, **more: Any) -> dict[str, Any]:
    """A line as PyPI has them."""
    return {
        "core-metadata": {"sha256": SHA} if filename.endswith(".whl") else False,
        "filename": filename,
        "hashes": {"sha256": SHA},
        "provenance": None,
        "requires-python": ">=3.8",
        "size": 7,
        "upload-time": "2024-02-29T03:04:05.000006Z",
        "url": PLACE + filename.replace("+", "%2B"),
        "yanked": False,
    } | {key.replace("_", "-"): value for key, value in more.items()}


def read(project: str, *lines: Any, **top: Any) -> tuple[UpstreamPage, Notes]:
    notes = Notes()
    body = json.dumps({"meta": {"api-version": "1.4", "_last-serial": 9}, "files": lines, **top}).encode()
    return page(project, Body(URL, "application/json", body), notes), notes


def answer(found: UpstreamPage) -> bytes:
    """The page as whoever asks for it gets it, by its lines."""
    written = found.files if isinstance(found.files, Written) else None
    files, versions = (written, written.versions) if written is not None else lines_of(found)
    told = Page("main", found.project, found.name, found.serial or 0, versions, (), origin="pypi")
    return page_json(told, file_base=BASE, lines=files)


def both(*lines: dict[str, Any], project: str = "demo") -> Written | None:
    """Compare a page with what reading its files one by one makes of it. None: it was read so both times."""
    quick, notes = read(project, *lines)
    slow, others = read(project, *lines, {})  # what is no file has all others looked at
    assert not isinstance(slow.files, Written)
    assert notes.count == others.count - 1
    assert answer(quick) == answer(slow)
    assert quick.name == slow.name
    told = [*lines_of(slow).files]
    if isinstance(quick.files, Written):
        assert [*quick.files] == told
        assert quick.files.yanked == {file.filename: file.url for file in told if file.yanked is not None}
        for file in told:
            assert quick.files.find(file.filename.casefold()) == file
        return quick.files
    return None


ODD = LINE.map(as_line)
USUAL = st.builds(
    said,
    st.sampled_from(NAMES),
    requires_python=st.sampled_from(
        (None, "", ">=3.8", "  >=3 \t, <4", 'a "\\\u00e9\u2028\x00', "x" * 3_000)
    ),
    yanked=st.sampled_from((False, True, None, "", " ", "broken", "so \u00e9 \n bad")),
    size=st.sampled_from((0, 7, 1 << 50)),
    upload_time=st.sampled_from(("2024-01-02T03:04:05Z", "1970-01-01T00:00:00.000000Z")),
    provenance=st.sampled_from((None, "", "https://x.example/p/q")),
    core_metadata=st.sampled_from((True, False, None, {"sha256": SHA})),
)


@given(st.lists(USUAL, min_size=1, max_size=12, unique_by=lambda line: line["filename"].casefold()))
def test_usual_files_in_any_order_and_mixture(lines: list[dict[str, Any]]) -> None:
    both(*lines)


@given(st.lists(USUAL, min_size=1, max_size=6), st.lists(ODD, max_size=2))
def test_files_of_any_kind_among_usual_ones(usual: list[dict[str, Any]], odd: list[dict[str, Any]]) -> None:
    both(*usual, *odd, *usual[:1])


def test_what_pypi_says_is_read_at_once() -> None:
    found = both(said(), said(SDIST), said("demo-0.9.tar.gz", yanked="bad"), said("Demo-1.10.tar.gz"))
    assert found is not None
    assert [file.filename for file in found] == ["demo-0.9.tar.gz", WHEEL, SDIST, "Demo-1.10.tar.gz"]
    assert (len(found), found.versions, found.yanked) == (
        4,
        ("0.9", "1.0", "1.10"),
        {"demo-0.9.tar.gz": f"{PLACE}demo-0.9.tar.gz"},
    )
    assert found.find("demo-1.0.zip") is None
    assert found.find("demo-1.10.tar.gz") == found[3]
    assert found[1:2] == (found[1],)
    assert found == tuple(found) == found
    assert hash(found) == hash(both(*map(said, (WHEEL, SDIST))) and found)


@pytest.mark.parametrize(
    ("odd", "names"),
    [
        ("demo-1.0.zip", {"demo-1.0.zip"}),
        ("demo-1.0-py2.7.egg", {"demo-1.0-py2.7.egg"}),
        ("demo-1.0.win32.exe", {"demo-1.0.win32.exe"}),
        ("other-1.0.tar.gz", set()),
        ("demo-2.0+x-py3-none-any.whl", {"demo-2.0+x-py3-none-any.whl"}),
        ("demo-1.0-1.tar.gz", {"demo-1.0-1.tar.gz"}),
    ],
)
def test_a_file_that_is_named_otherwise_costs_itself_alone(odd: str, names: set[str]) -> None:
    usual = [said(f"demo-{version}.tar.gz") for version in range(2, 8)]
    found = both(*usual[:3], said(odd, core_metadata=True), *usual[3:])
    assert found is not None
    assert {file.filename for file in found} == {line["filename"] for line in usual} | names


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hashes", {"md5": "ab" * 16}),
        ("hashes", {"sha256": "5A" * 32}),
        ("hashes", {"sha256": "5a" * 31 + "5g"}),
        ("hashes", {"sha256": SHA, "md5": "ab" * 16}),
        ("hashes", {}),
        ("size", -1),
        ("size", None),
        ("size", (1 << 50) + 1),
        ("upload-time", None),
        ("upload-time", "2024-02-30T03:04:05.000006Z"),
        ("upload-time", "2024-02-03T24:04:05.000006Z"),
        ("upload-time", "2024-02-03T23:60:05.000006Z"),
        ("upload-time", "2024-02-03T23:04:65.000006Z"),
        ("upload-time", "1969-12-31T23:59:59.000000Z"),
        ("upload-time", "2024-02-03 23:04:05.000006Z"),
        ("upload-time", "2024-02-03T23:04:05.000006"),
        ("core-metadata", {"sha256": "5A" * 32}),
        ("core-metadata", {"md5": "x"}),
        ("core-metadata", {}),
        ("provenance", "http://x.example/p"),
        ("provenance", "https://x.example/../p"),
        ("provenance", "https://x.example/p?q=1"),
        ("provenance", "https://2130706433/p"),
        ("provenance", "javascript:1"),
        ("url", f"{PLACE}other.whl"),
        ("url", WHEEL),
        ("url", f"https://evil.example/{WHEEL}"),
        ("url", PLACE.replace("https", "http") + WHEEL),
        ("url", PLACE.replace("0", "g") + WHEEL),
        ("url", PLACE.replace("ab/cd/", "abc/d/") + WHEEL),
        ("url", f"{PLACE}{WHEEL}#sha256={SHA}"),
        ("filename", "other-1.0-py3-none-any.whl"),
        ("filename", "\u0130-1.0.tar.gz"),
        ("filename", "demo-1.0-py3-none-any.whl\n"),
        ("filename", "demo-1.0-py3-none-" + "a" * 250 + ".whl"),
        ("filename", "demo-" + "1" * 5_000 + ".tar.gz"),
        ("filename", "demo-" + "1" * 150 + ".tar.gz"),
    ],
)
def test_what_is_not_right_is_looked_at(key: str, value: object) -> None:
    others = [said(f"demo-{version}.tar.gz") for version in range(2, 8)]
    wrong = {**said(), key: value}
    both(wrong)
    for lines in ([*others, wrong], [wrong, *others]):
        found = both(*lines)
        assert found is None or wrong["filename"] not in {file.filename for file in found}


@pytest.mark.parametrize(
    ("project", "filename", "at_once"),
    [
        ("a-b", "a-b-1.0.tar.gz", True),
        ("a-b", "a_b-1.0.tar.gz", True),
        ("a-b", "A.B-1.0-py3-none-any.whl", True),
        ("a-b", "a-b-1.0-py3-none-any.whl", False),  # a wheel's name has no dash: b is no version
        ("a-2", "a-2-1.0.tar.gz", False),  # 1.0 of a-2, or 2-1.0 of a
        ("a-v2", "a-v2-1.tar.gz", False),
    ],
)
def test_names_that_may_be_read_in_two_ways_are_looked_at(project: str, filename: str, at_once: bool) -> None:
    assert (both(said(filename), project=project) is not None) == at_once


def test_names_that_differ_in_case_alone_are_looked_at() -> None:
    assert both(said("demo-1.0.tar.gz"), said("Demo-1.0.tar.gz")) is None
    assert both(said(), said()) is None


@given(
    st.lists(
        st.from_regex(r"[0-9]{1,2}(\.[0-9]){0,3}((a|b|rc)[0-9])?(\.post[0-9])?(\.dev[0-9])?", fullmatch=True)
    )
)
def test_versions_are_ordered_as_ever(versions: list[str]) -> None:
    keys = {version: passage._key(version) for version in versions if is_version(version)}
    plain = [version for version, key in keys.items() if key is not None]
    assert [*map(normalized_version, plain)] == plain
    for one in plain:
        for other in plain:
            assert (keys[one] < keys[other]) == (version_key(one) < version_key(other))  # type: ignore[operator]
            assert (keys[one] == keys[other]) == (version_key(one) == version_key(other))


@pytest.mark.parametrize(
    ("filenames", "newest"),
    [
        (("demo-1.0-py3-none-any.whl", "demo-2.0-py3-none-any.whl"), "demo-2.0-py3-none-any.whl"),
        (("demo-1.0-py3-none-any.whl", "demo-2.0b1-py3-none-any.whl"), "demo-1.0-py3-none-any.whl"),
        (("demo-2.0-py3-none-any.whl", "demo-2.0.tar.gz"), "demo-2.0-py3-none-any.whl"),
        (("demo-2.0-py3-none-any.whl", "demo-2.0-py2-none-any.whl"), None),
        (("demo-1.0.tar.gz",), None),
        (("demo-1.0b1-py3-none-any.whl",), None),
    ],
)
def test_the_only_wheel_of_the_newest_release(filenames: tuple[str, ...], newest: str | None) -> None:
    found = both(*map(said, filenames))
    assert found is not None
    only = found.newest()
    assert (only and only.filename) == newest
