"""Pages of upstreams written down without being looked at file by file: the same bytes as on the long way."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pidex.catalogue import holds, indexes, statuses, yanks
from pidex.catalogue.engine import Catalogue
from pidex.catalogue.packing import packed
from pidex.core.errors import NotFetched, NotFound, UpstreamDown, Withheld
from pidex.core.layers import Origin
from pidex.core.model import ANONYMOUS, File, Page, Status
from pidex.core.names import canonical_version
from pidex.core.simpleapi import page_json
from pidex.core.upstreams import UNKNOWN, Held, UpstreamFile, UpstreamPage
from pidex.core.written import Written
from pidex.resolver.listing import ordered, versions_of
from pidex.resolver.sheets import Sheets, lines_of
from pidex.web.bodies import condense
from tests.core.test_passage import read, said
from tests.test_resolver_layers import ABSENT, PYPI, House

BASE = "../../packages/"
EPOCHS = count()
PLACE = f"https://up.example/packages/ab/cd/{'0' * 60}/"
NAMES = (
    "foo-1.0-py3-none-any.whl",
    "foo-1.0.0-py3-none-any.whl",
    "Foo-1.0.0-py2-none-any.whl",
    "foo-1.0.tar.gz",
    "foo-10.0.tar.gz",
    "foo-9.0-cp311-cp311-linux_x86_64.whl",
    "foo-9.0-1-cp311-cp311-linux_x86_64.whl",
    "foo-2.0b1.zip",
    "foo-2.0+local.1-py3-none-any.whl",
    "foo-1!0.1-py3-none-any.whl",
    "foo-2013b.tar.gz",
    "foo-1.0_beta-py3-none-any.whl",
    "FOO-1.0.post1.tar.gz",
    "foo-1.0-variants.json",
    "foo-9.0-py3-none-any.whlx",
    "foo-1.0-py3.11.egg",
    "foo-1.0.win32-py2.7.exe",
    "other-1.0.tar.gz",
    "foo-1.0-x.whl",
    "no package",
    "foo.whl",
)
FILES = st.builds(
    UpstreamFile,
    st.sampled_from(NAMES),
    st.sampled_from(
        (
            f"https://up.example/packages/ab/cd/{'0' * 60}/%s",
            f"https://up.example/packages/ab/cd/{'0' * 60}/x-1.zip",
            "http://up.example/%s",
            f"http://h/AB/cd/{'0' * 60}/%s",
            "http://up.example/get?id=7",
        )
    ),
    st.sampled_from(
        ((), (("sha256", "e" * 64),), (("md5", "a" * 32), ("sha256", "e" * 64)), (("sha512", "b" * 128),))
    ),
    st.sampled_from((UNKNOWN, 0, 7)),
    st.sampled_from((UNKNOWN, 0, 1_700_000_000_000_001, 1 << 62)),
    requires_python=st.sampled_from((None, ">=3.8", " ")),
    yanked=st.sampled_from((None, "", " ", "broken")),
    metadata=st.sampled_from((None, "", "d" * 64)),
    provenance=st.sampled_from((None, "https://up.example/p")),
).map(lambda file: UpstreamFile(file.filename, file.url.replace("%s", file.filename), *rest(file)))


def rest(file: UpstreamFile) -> Iterator[Any]:
    return (getattr(file, name) for name in UpstreamFile.__struct_fields__[2:])


def upstream_page(files: list[UpstreamFile], **said: Any) -> UpstreamPage:
    unique = {file.filename.casefold(): file for file in files}
    return UpstreamPage("foo", "Foo", tuple(unique.values()), **said)


@given(st.lists(FILES, max_size=12), st.sampled_from(("pypi", "other")))
def test_order_versions_and_every_byte_are_those_of_the_long_way(
    files: list[UpstreamFile], name: str
) -> None:
    page = upstream_page(files)
    converted = Sheets().find(name, "", page).files
    assert converted == ordered(converted)
    lines = lines_of(page)
    known = {file.filename for file in converted}
    # Of two spellings of one release in one listing, either may stand for it (VER-2).
    long_way = versions_of(ordered(list(converted)))
    # A wheel's name that is wrong only after its version never gets into a page that is held.
    if {file.filename for file in lines.files} <= known:
        assert [*map(canonical_version, lines.versions)] == [*map(canonical_version, long_way)]
    shown = [file for file in lines.files if file.filename in known]
    long = Page("main", "foo", "Foo", 7, lines.versions, converted, origin=name)
    short = Page("main", "foo", "Foo", 7, lines.versions, (), origin=name)
    assert page_json(short, file_base=BASE, lines=shown) == page_json(long, file_base=BASE)


@pytest.fixture
def house(catalogue: Catalogue) -> House:
    house = House(catalogue)
    house.number = house.index("main", "own-1.0.zip", upstreams=(PYPI,))  # type: ignore[attr-defined]
    return house


def both(house: House, project: str = "foo") -> tuple[bytes, bytes, bool]:
    """The page on both ways, and whether the second was the short one."""
    long = house.page("main", project)
    short, lines = house.resolver.outline("main", project, by=ANONYMOUS)
    assert (short.valid_until, short.origin, short.layers) == (long.valid_until, long.origin, long.layers)
    written = page_json(short, file_base=BASE, lines=lines)
    epoch = next(EPOCHS)
    for _ in range(2):  # what was found out the first time is what the second one goes by
        again, said_again = house.resolver.outline("main", project, by=ANONYMOUS, epoch=epoch)
        assert (again, said_again is None) == (short, lines is None)
        assert page_json(again, file_base=BASE, lines=said_again) == written
    return page_json(long, file_base=BASE), written, lines is not None


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(FILES.filter(lambda file: file.filename != "foo-1.0-x.whl"), max_size=8), st.sampled_from(Status)
)
def test_the_resolver_says_the_same_of_any_page(
    house: House, files: list[UpstreamFile], status: Status
) -> None:
    page = upstream_page(files, status=status, status_reason="so it is", serial=3)
    house.mirror.pages[PYPI, "foo"] = Held(page, 1.0, 2e9)
    long, short, lined = both(house)
    assert lined
    assert short == long


def held(*filenames: str) -> Held:
    files = [
        UpstreamFile(
            name, f"https://up.example/packages/ab/cd/{'0' * 60}/{name}", (("sha256", "e" * 64),), 7, 5
        )
        for name in filenames
    ]
    return Held(upstream_page(files), 1.0, 2e9)


def decide(house: House, what: str) -> None:
    number: int = house.number  # type: ignore[attr-defined]
    with house.catalogue.write() as conn:
        if what == "rules":
            indexes.set_rules(conn, number, '{"deny": ["foo<2"]}')
        elif what == "hold":
            holds.put(conn, number, holds.Hold("foo", "release", "1", "bad", "ann", 1))
        elif what == "yank":
            yanks.put(conn, number, yanks.Yank("foo", "release", "1", "bad", "ann", 1))
        elif what == "quarantine":
            statuses.put(conn, number, statuses.ProjectStatus("foo", Status.QUARANTINED, "bad", "ann", 1))


@pytest.mark.parametrize("what", ["rules", "hold", "yank"])
def test_where_anything_is_asked_of_files_the_long_way_is_taken(house: House, what: str) -> None:
    house.mirror.pages[PYPI, "foo"] = held("foo-1.0.zip", "foo-2.0.zip")
    before, short, lined = both(house)
    assert lined
    assert short == before
    decide(house, what)
    long, short, lined = both(house)
    assert not lined
    assert short == long != before


def test_a_page_that_is_kept_as_it_is_written_says_the_same_on_all_ways(house: House) -> None:
    page, _ = read("foo", *(said(name) for name in ("foo-1.0-py3-none-any.whl", "foo-2.0.tar.gz")))
    assert isinstance(page.files, Written)
    house.mirror.pages[PYPI, "foo"] = Held(page, 1.0, 2e9)
    long, short, lined = both(house)
    assert lined
    assert short == long == page.files.text
    located = [house.page("main", "foo").files[at] for at in (0, 1)]
    for file in located:
        assert house.resolver.locate("main", file.blake2b_256, file.filename, by=ANONYMOUS) == file
    decide(house, "yank")
    marked, short, lined = both(house)
    assert not lined
    assert short == marked != long
    decide(house, "quarantine")
    shut, short, _ = both(house)
    assert short == shut
    assert b"foo-1.0" not in short


def test_what_is_packed_already_is_sent_as_it_is() -> None:
    packs = {number: packed(b"x" * number) for number in (100, 100_000, 5_000_000)}
    for number, pack in packs.items():
        for coding in (None, "zstd", "gzip"):
            body, used, later, length, digest = condense((b"x" * number,), coding, "a/b", packed=pack)
            _, wanted, unpacked_later, _, same = condense((b"x" * number,), coding, "a/b")
            assert (used, later) == (wanted, unpacked_later)
            assert (digest == same) == (coding == "gzip"), "of what is packed already, that is hashed"
            assert (body is pack) == (used == "zstd" or later)
            assert length == (number if later else len(body))
        plain, small = (
            condense((b"x" * number,), coding, "a/b", packed=pack)[4] for coding in (None, "zstd")
        )
        assert plain == small, "one page has one tag, but for its coding"


def test_a_project_that_is_quarantined_here_has_no_file_on_either_way(house: House) -> None:
    house.mirror.pages[PYPI, "foo"] = held("foo-1.0.zip")
    decide(house, "quarantine")
    long, short, _ = both(house)
    assert short == long
    assert b"foo-1.0.zip" not in short


def test_own_and_merged_projects_are_written_on_the_long_way(house: House) -> None:
    assert both(house, "own") == (*[both(house, "own")[0]] * 2, False)
    house.mirror.pages[PYPI, "own"] = held("own-2.0.zip")
    house.decide(house.number, "own", Origin.MERGED)  # type: ignore[attr-defined]
    house.mirror.pages[PYPI, "own"] = Held(
        UpstreamPage("own", "own", (UpstreamFile("own-2.0.zip", "http://up.example/own-2.0.zip", (), 7, 5),)),
        1.0,
        2e9,
    )
    long, short, lined = both(house, "own")
    assert not lined
    assert short == long
    assert b"own-1.0.zip" in short
    assert b"own-2.0.zip" in short


def test_refusals_are_the_same_on_both_ways(house: House) -> None:
    house.mirror.pages[PYPI, "gone"] = ABSENT
    outline = house.resolver.outline
    for project, error in (("gone", NotFound), ("never", NotFetched), ("x\0", NotFound)):
        with pytest.raises(error):
            house.page("main", project)
        with pytest.raises(error):
            outline("main", project, by=ANONYMOUS)
    house.mirror.down = True
    with pytest.raises(UpstreamDown):
        outline("main", "never", by=ANONYMOUS)
    house.mirror.pages[PYPI, "foo"] = held("foo-1.0.zip")
    house.hidden.add(("main", "foo"))
    with pytest.raises(NotFound):
        outline("main", "foo", by=ANONYMOUS)


def test_converted_files_are_those_of_the_page(house: House) -> None:
    house.mirror.pages[PYPI, "foo"] = held("foo-2.0.zip", "foo-1.0.zip")
    files: tuple[File, ...] = house.page("main", "foo").files
    _, lines = house.resolver.outline("main", "foo", by=ANONYMOUS)
    assert lines is not None
    assert [file.filename for file in files] == [line.filename for line in lines]


def test_pages_without_files_are_forgotten_like_others() -> None:
    sheets = Sheets(limit=10)
    for number in range(30):
        sheets.find("pypi", "", UpstreamPage(f"foo{number}", "Foo", ()))
    assert len(sheets._sheets) <= 10


def test_what_was_found_out_of_a_project_holds_for_its_epoch_alone(house: House) -> None:
    page, _ = read("foo", said("foo-1.0-py3-none-any.whl"))
    house.mirror.pages[PYPI, "foo"] = Held(page, 1.0, 2e9)
    (file,) = house.page("main", "foo").files
    outline, locate = house.resolver.outline, house.resolver.locate
    asked: Any = {"by": ANONYMOUS, "epoch": 1, "wait": False}
    url = ("main", file.blake2b_256, file.filename)
    for nothing_known in (lambda: outline("main", "foo", **asked), lambda: locate(*url, **asked)):
        with pytest.raises(BlockingIOError):
            nothing_known()
    assert outline("main", "foo", by=ANONYMOUS, epoch=1)[1] is page.files
    assert outline("main", "foo", **asked)[1] is page.files
    assert locate(*url, **asked) == file
    for other in (("main", "0" * 64, file.filename), ("main", file.blake2b_256, "foo-2.0-py3-none-any.whl")):
        with pytest.raises(BlockingIOError):
            locate(*other, **asked)
        with pytest.raises(NotFound):
            locate(*other, by=ANONYMOUS, epoch=1)
    decide(house, "hold")
    later = {**asked, "epoch": 2}
    for elsewhere in (lambda: outline("main", "foo", **later), lambda: locate(*url, **later)):
        with pytest.raises(BlockingIOError):
            elsewhere()
    with pytest.raises(Withheld):
        locate(*url, by=ANONYMOUS, epoch=2)
    assert outline("main", "foo", by=ANONYMOUS, epoch=2)[1] is None
    with pytest.raises(BlockingIOError):
        outline("main", "foo", **later)


def test_that_an_upstream_has_to_be_asked_is_found_out_once(house: House) -> None:
    for wait in (True, False):
        with pytest.raises(NotFetched) as told:
            house.resolver.outline("main", "foo", by=ANONYMOUS, epoch=1, wait=wait)
        assert (told.value.upstream, told.value.project) == (PYPI, "foo")
    house.mirror.pages[PYPI, "foo"] = ABSENT
    with pytest.raises(BlockingIOError):
        house.resolver.outline("main", "foo", by=ANONYMOUS, epoch=1, wait=False)
    with pytest.raises(NotFound):
        house.resolver.outline("main", "foo", by=ANONYMOUS, epoch=1)
