"""Files that are named and lie as others of a page: they are read beside others as by themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core import names
from pidex.core.answers import Body
from pidex.core.destinations import cleaned
from pidex.core.errors import BadName, UpstreamFault
from pidex.core.familiar import Familiar
from pidex.core.upstreampages import Notes, page
from pidex.core.upstreams import UpstreamFile

URL = "https://index.example/simple/demo/"
SPREAD = "ab/cd/" + "0" * 60
PLACE = f"https://files.example/packages/{SPREAD}/"
#: Parts of names that are right, right only together, or wrong.
PARTS = (
    "demo",
    "De.mo",
    "demo_x",
    "1.0",
    "1.0.0",
    "2!1.0+local.1",
    "1.0_1",
    "2013b",
    "v1",
    "x",
    "",
    "1",
    "1a",
    "py3",
    "py2.py3",
    "cp311",
    "none",
    "any",
    "any.whl",
    "any.tar.gz",
    "manylinux_2_17_x86_64.whl",
    "1.0.tar.gz",
    "2.0.zip",
    "linux-x86_64.tar.gz",
    "any.WHL",
    "fr\u00e9.whl",
    "..whl",
    "0" * 250,
)


def is_right(filename: str) -> bool:
    try:
        return names.parse(filename).project == "demo"
    except BadName:
        return False


def read(*lines: dict[str, Any]) -> Sequence[UpstreamFile]:
    body = json.dumps({"meta": {"api-version": "1.1"}, "name": "demo", "files": lines}).encode()
    return page("demo", Body(URL, "application/json", body), Notes()).files


@given(st.lists(st.lists(st.sampled_from(PARTS), min_size=1, max_size=7).map("-".join), max_size=30))
def test_a_name_is_familiar_only_where_it_is_right_by_itself(filenames: list[str]) -> None:
    familiar = Familiar("demo")
    for filename in [f"demo-1.0-{rest}" for rest in ("py3-none-any.whl", "1-cp311-none-any.whl")] + filenames:
        assert familiar.has_name(filename) == is_right(filename), filename


def test_parts_that_are_known_are_not_put_together_to_what_is_no_name() -> None:
    familiar = Familiar("demo")
    assert familiar.has_name("demo-1.0-py3-none-any.whl")
    assert familiar.has_name("demo-1.0-py3-none-any.whl")
    assert familiar.has_name("demo-1.0.tar.gz")
    assert familiar.has_name("Demo-2.0-py3-none-any.whl")
    assert familiar.has_name("Demo-1.0.tar.gz")
    for wrong in (
        "demo-1.0",
        "demo-1.0-",
        "demo-py3-none-any.whl",
        "other-1.0-py3-none-any.whl",
        "1.0.tar.gz",
    ):
        assert not familiar.has_name(wrong)
    assert not familiar.has_name("demo-1.0-py3-none-any.whl" + "/")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                (
                    PLACE,
                    PLACE.replace("https", "http"),
                    f"https://{SPREAD}/",
                    "https:///" + SPREAD + "/",
                    SPREAD + "/",
                    f"https://h/?a=/{SPREAD}/",
                    f"https://h/../{SPREAD}/",
                    f"https://u:p@h/{SPREAD}/",
                    f"ftp://h/{SPREAD}/",
                    f"https://h\u00e9/{SPREAD}/",
                    f"https://2130706433/{SPREAD}/",
                    f"https://h:99999/{SPREAD}/",
                    f"https://h/{SPREAD.upper()}/",
                    f"https://h/{SPREAD[1:]}/",
                    f"https://h/#/{SPREAD}/",
                    f"//h/{SPREAD}/",
                    "https://h/" + "x" * 5_000 + f"/{SPREAD}/",
                    f"https://h/%2e/{SPREAD}/",
                    f"https://h/a b/{SPREAD}/",
                )
            ),
            st.sampled_from(("demo-1.0.tar.gz", "demo-1.0+l.tar.gz", "demo-1.0-py3-none-any.whl")),
        ),
        max_size=40,
    )
)
def test_a_place_is_familiar_only_where_the_url_is_taken_as_it_is(links: list[tuple[str, str]]) -> None:
    familiar = Familiar("demo")
    for start, filename in links:
        if familiar.has_place(start + filename, filename):
            assert cleaned(URL, start + filename) == start + filename


def test_places_that_are_familiar() -> None:
    familiar = Familiar("demo")
    name = "demo-1.0.tar.gz"
    assert familiar.has_place(PLACE + name, name)
    assert familiar.has_place(PLACE.replace("ab/cd/0", "ff/ee/1") + name, name)
    assert not familiar.has_place(PLACE + "other-1.0.tar.gz", name)
    assert not familiar.has_place(PLACE + name + "?x=1", name)
    # A server's name is not taken apart: `h` of the first is no beginning of the second.
    assert not familiar.has_place(f"https://{SPREAD}/{name}", name)


LINE: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "filename": st.sampled_from(
            (
                "demo-1.0-py3-none-any.whl",
                "demo-1.0-py2-none-any.whl",
                "demo-1.0.tar.gz",
                "de_mo-2.0.zip",
                "demo-1.0+l-py3-none-any.whl",
                "demo-1.0-variants.json",
                "demo-1.0-py3-none-any.whlx",
                "evil-1.tar.gz",
                "demo-1-2-3-4-5-6-7.whl",
                "demo.txt",
                "../demo-1.0.tar.gz",
            )
        ),
        "place": st.sampled_from(
            (PLACE, "../f/", "https://h.example/", "http://plain.example/", "//[", "file:///")
        ),
        "hashes": st.sampled_from(
            (
                {"sha256": "5a" * 32},
                {"sha256": "5A" * 32},
                {"sha256": "zz"},
                {},
                {"md5": "ab" * 16},
                {"sha256": "5a" * 32, "md5": "ab" * 16},
                None,
            )
        ),
        "size": st.sampled_from((0, 7, -1, 1 << 60, None, "7", 7.5)),
        "upload-time": st.sampled_from(
            (
                "2024-01-02T03:04:05.000006Z",
                "2024-01-02T03:04:05Z",
                "2024-02-30T00:00:00.000000Z",
                "",
                None,
                5,
                "1950-01-01T00:00:00.000000Z",
                "2024-01-02T03:04:05.000006+02:00",
            )
        ),
        "yanked": st.sampled_from((False, True, "", "broken", " \n", None, {}, 3)),
        "requires-python": st.sampled_from((">=3.8", "", " \x00 ", None, [], "x" * 3_000)),
        "core-metadata": st.sampled_from(
            (
                True,
                False,
                None,
                {"sha256": "5a" * 32},
                {"sha256": "5A" * 32},
                {"sha256": "x"},
                {"md5": "y"},
                {},
                3,
            )
        ),
        "provenance": st.sampled_from((None, "https://x.example/p", "http://x.example/p", "javascript:1", 3)),
    }
)


def as_line(said: dict[str, Any]) -> dict[str, Any]:
    line = {**said, "url": said["place"] + said["filename"]}
    del line["place"]
    return line


@given(st.lists(LINE.map(as_line), max_size=12))
def test_files_are_read_beside_others_as_by_themselves(lines: list[dict[str, Any]]) -> None:
    """A bad one changes the way on which all are read, and nothing else."""
    alone: dict[str, UpstreamFile] = {}
    for line in lines:
        for file in read(line):
            alone.setdefault(file.filename.casefold(), file)
    # Files that are all as PyPI's are come in our order.
    assert sorted(read(*lines), key=str) == sorted(alone.values(), key=str)
    assert read(*lines, {}) == tuple(alone.values())


@pytest.mark.parametrize("bad", [None, 3, [], {"filename": 3}])
def test_one_bad_line_costs_itself_alone(bad: object) -> None:
    body = json.dumps({"files": [as_line_of("1.0"), bad, as_line_of("2.0")]}).encode()
    notes = Notes()
    found = page("demo", Body(URL, "application/json", body), notes)
    assert [file.filename for file in found.files] == ["demo-1.0.tar.gz", "demo-2.0.tar.gz"]
    assert notes.count == 1


def as_line_of(version: str) -> dict[str, Any]:
    name = f"demo-{version}.tar.gz"
    return {"filename": name, "url": PLACE + name, "hashes": {"sha256": "5a" * 32}}


def test_a_page_of_another_project_is_a_fault_on_every_way() -> None:
    with pytest.raises(UpstreamFault):
        page("other", Body(URL, "", json.dumps({"name": "demo", "files": []}).encode()), Notes())
