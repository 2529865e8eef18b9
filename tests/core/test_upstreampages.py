"""Pages of other indexes: what is read of them, what is left out, and what is nonsense."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core import anchors
from pidex.core.answers import Body
from pidex.core.errors import UpstreamFault
from pidex.core.model import Status
from pidex.core.upstreampages import Notes, identity, links, moment, page, project_names
from pidex.core.upstreams import UNKNOWN, UpstreamPage

URL = "https://index.example/simple/demo/"
SHA = "5a" * 32
WHEEL = "demo-1.0-py3-none-any.whl"


def html(text: str, url: str = URL, kind: str = "text/html") -> UpstreamPage:
    return page("demo", Body(url, kind, text.encode()), Notes())


def line(**changes: Any) -> dict[str, Any]:
    return {"filename": WHEEL, "url": f"../../f/{WHEEL}", "hashes": {"sha256": SHA}, **changes}


def from_json(*lines: Any, notes: Notes | None = None, kind: str = "text/html", **top: Any) -> UpstreamPage:
    body = json.dumps({"meta": {"api-version": "1.1"}, "name": "demo", "files": lines, **top}).encode()
    return page("demo", Body(URL, kind, body), notes or Notes())


@pytest.mark.parametrize(
    ("text", "url", "hashes"),
    [
        (f'<a href="/x/{WHEEL}#sha256={SHA}">', f"https://index.example/x/{WHEEL}", {"sha256": SHA}),
        (
            f"<A HREF=../{WHEEL}#md5={'AB' * 16}&egg=d>",
            f"https://index.example/simple/{WHEEL}",
            {"md5": "ab" * 16},
        ),
        (f"<base href='//cdn.example/y/'><a href='{WHEEL}'>", f"https://cdn.example/y/{WHEEL}", None),
        (
            f'<a href="https://u:p@h.example/{WHEEL}?a=1&amp;b=2#egg=x">',
            f"https://h.example/{WHEEL}?a=1&b=2",
            {},
        ),
        (f'<a href="/get?id=7#sha256={SHA}">{WHEEL}</a>', "https://index.example/get?id=7", {"sha256": SHA}),
        (
            f'<a href="demo%2D1.0-py3-none-any.whl#subdirectory=a&sha256={SHA}">',
            URL + "demo%2D1.0-py3-none-any.whl",
            {"sha256": SHA},
        ),
    ],
)
def test_links_of_all_kinds(text: str, url: str, hashes: dict[str, str] | None) -> None:
    found = html(f"<html><body>{text}</body>").files
    assert [(each.filename, each.url) for each in found] == [(WHEEL, url)]
    assert hashes is None or dict(found[0].hashes) == hashes


def test_attributes_of_links() -> None:
    text = (
        f'<a href="{WHEEL}#sha256={SHA}" data-requires-python="&gt;=3.8" data-yanked data-gpg-sig="true"'
        f' data-dist-info-metadata="sha256={SHA}" data-size="12" data-upload-time="2024-01-02T03:04:05Z">'
    )
    file = html(text).files[0]
    assert (file.requires_python, file.yanked, file.metadata, file.size) == (">=3.8", "", SHA, 12)
    assert file.upload_time == moment("2024-01-02T03:04:05.000000+00:00") == 1_704_164_645_000_000


def test_what_is_no_link_of_the_page_is_not_read() -> None:
    text = f'<!-- <a href="{WHEEL}"> --><script>"<a href=\'{WHEEL}\'>"</script><a href="demo-2.0.tar.gz">'
    assert [file.filename for file in html(text).files] == ["demo-2.0.tar.gz"]


@pytest.mark.parametrize(
    "text",
    ["", "nothing", "\0\1\2<", "<form action=x><input name=password></form>", '{"files": 3}', "[", '{"a":1}'],
)
def test_nonsense_is_a_fault(text: str) -> None:
    with pytest.raises(UpstreamFault):
        html(text)


@pytest.mark.parametrize("top", [{"meta": {"api-version": "2.0"}}, {"name": "other"}])
def test_a_page_of_another_kind_or_project_is_a_fault(top: dict[str, Any]) -> None:
    with pytest.raises(UpstreamFault):
        from_json(line(), **top)


@pytest.mark.parametrize(
    "bad",
    [
        {"filename": "evil-1.0.tar.gz"},
        {"filename": "../demo-1.0.tar.gz"},
        {"filename": "demo.txt"},
        {"url": "file:///etc/passwd"},
        {"url": "//["},
        {"url": "http://a b/"},
        {"url": "http://x/\n"},
        {"url": 3},
        {"hashes": {"sha256": "zz"}},
        {"hashes": None},
        {"url": f"http://plain.example/{WHEEL}", "hashes": {}},
        {"url": "http://2130706433/x"},
        {"url": "http://[::1/x"},
        {"url": "x" * 5_000},
    ],
)
def test_a_bad_file_is_left_out_and_noted(bad: dict[str, Any]) -> None:
    notes = Notes()
    good = line(filename="demo-2.0.tar.gz", url="demo-2.0.tar.gz")
    assert [file.filename for file in from_json(line(**bad), good, notes=notes).files] == ["demo-2.0.tar.gz"]
    assert notes.count == 1
    assert notes.lines[0].isprintable()


def test_optional_things_of_wrong_types_are_as_if_absent_but_a_yank_is_believed() -> None:
    wrong = line(size="x", **{"upload-time": 5, "requires-python": [], "core-metadata": 3, "yanked": {}})
    file = from_json(wrong).files[0]
    assert (file.size, file.upload_time, file.requires_python, file.metadata, file.yanked) == (
        UNKNOWN,
        UNKNOWN,
        None,
        None,
        "",
    )


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("archived", Status.ARCHIVED),
        ("Deprecated", Status.DEPRECATED),
        ("quarantined", Status.QUARANTINED),
        ("active", Status.ACTIVE),
        ("retired", Status.ACTIVE),
        ("", Status.ACTIVE),
        (None, Status.ACTIVE),
        (["archived"], Status.ACTIVE),
    ],
)
def test_a_state_that_nobody_knows_is_active(said: object, status: Status) -> None:
    """STA-3, and that a page is read all the same."""
    marked: dict[str, Any] = {"project-status": {"status": said, "reason": "why"}}
    told = from_json(line(), **marked)
    assert (told.status, told.status_reason, len(told.files)) == (status, "why", 1)
    metas = f'<meta name="pypi:project-status" content="{said}"><a href="{WHEEL}">{WHEEL}</a>'
    assert html(metas).status == (status if isinstance(said, str) else Status.ACTIVE)
    marked["project-status"] = said
    assert from_json(line(), **marked).status is Status.ACTIVE


def test_kinds_that_are_only_passed_on() -> None:
    assert identity("de_mo-1.0-variants.json") == ("de-mo", "1.0")
    assert identity("demo-1.0-py3-none-any.whlx") == ("demo", "1.0")
    files = from_json(line(filename="demo-1.0-variants.json", url="demo-1.0-variants.json")).files
    assert [file.filename for file in files] == ["demo-1.0-variants.json"]


def test_lists_of_links_and_folders() -> None:
    text = f'<a href="../">up</a><a href="{WHEEL}">x</a><a href="My_Other/">My_Other/</a><a href="?C=N">N</a>'
    found = links(Body("http://h.example/d/", "text/html", text.encode()), Notes())
    assert list(found.files) == ["demo"]
    assert found.folders == {"my-other": "http://h.example/d/My_Other/"}


def test_names_of_projects_as_they_are_spelled() -> None:
    text = (
        '<a href="/simple/my-project/">My.Project</a><a href="b/">b</a><a href="../">..</a><a href="/">x</a>'
    )
    assert list(project_names(Body(URL, "text/html", text.encode()))) == ["My.Project", "b"]
    body = b'{"meta":{},"projects":[{"name":"A"},{"name":"b c"},{"name":"d","_last-serial":3}]}'
    assert list(project_names(Body(URL, "text/html", body))) == ["A", "d"]


@given(st.text(alphabet="<>ahref=\"'/!- #\n&;ux", max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    anchors.read(text, 1_000)
    with contextlib.suppress(UpstreamFault):
        assert html(f"<{text}").project == "demo"


@pytest.mark.parametrize(
    "piece", ['<a "', "<!--", "<script>", "<a href='", "<a b=", "</", "<a" + " " * 50, "&"]
)
def test_hostile_pages_end(piece: str) -> None:
    # Of a length at which a time that grows with its square would be hours.
    found = anchors.read(f'<a href="x">{piece * 400_000}', 10_000_000)
    assert found.anchors[0].href == "x"
