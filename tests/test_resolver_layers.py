"""Bases, upstreams and whose a name is, as the resolver answers: nothing foreign under a name of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import pytest

from pidex.catalogue import indexes, origins, places, reservations, scans, statuses
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import Busy, Claimed, NotFetched, NotFound, UpstreamDown, Withheld
from pidex.core.layers import Claim, Origin, Reservation
from pidex.core.model import ANONYMOUS, OPERATOR, File, PlaceState, Principal, Status
from pidex.core.permissions import Action, Visibility
from pidex.core.upstreams import Held, UpstreamFile, UpstreamPage
from pidex.resolver import Resolver
from tests.catalogue import rows
from tests.test_resolver import Memory

PYPI = "pypi"
BLAKE = "ab" + "cd" + "0" * 60


class Upstreams:
    """What a mirror holds; `asked` are the names for which anybody asked it."""

    def __init__(self, **pages: Held | None) -> None:
        self.pages = {(PYPI, name): held for name, held in pages.items()}
        self.names: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.confirmed: list[str] = []
        self.told: dict[str, bytes] = {}  # metadata by file name; empty: it was asked for in vain
        self.down = False

    def find_page(
        self, upstream: str, project: str, *, confirm: bool = True, wait: bool = True
    ) -> Held | None:
        self.asked.append(project)
        self.confirmed += [project] if confirm else []
        held = self.pages.get((upstream, project))
        if held is None and self.down:
            raise UpstreamDown(f"Upstream {upstream} does not answer.")
        return held

    def list_pages(self, upstream: str) -> Iterator[str]:
        held = ((at, name) for (at, name), page in self.pages.items() if page is not None and page.page)
        return iter(sorted(name for at, name in held if at == upstream))

    def list_names(self, upstream: str) -> Iterator[str]:
        return iter(self.names.get(upstream, ()))

    def has_name(self, upstream: str, project: str) -> bool:
        return project in self.names.get(upstream, ())

    def find_metadata(self, file: File, *, wait: bool = True) -> bytes | None:
        return self.told.get(file.filename, b"Name: foo\n" if file.metadata_sha256 else None)

    def unmet(self, files: Sequence[File]) -> Sequence[File]:
        return [file for file in files if file.filename not in self.told]

    def yanked_since(self, upstream: str, project: str) -> Mapping[str, int]:
        return {}


def page(project: str, *filenames: str, until: float = 9e9, **more: object) -> Held:
    files = tuple(
        UpstreamFile(
            name, f"http://up.example/packages/ab/cd/{'0' * 60}/{name}", (("sha256", "e" * 64),), 7, 5
        )
        for name in filenames
    )
    return Held(UpstreamPage(project, project.title(), files, **more), 1.0, until)  # type: ignore[arg-type]


ABSENT = Held(None, 1.0, 500.0)


class House:
    """Indexes over one catalogue, and a resolver for whoever asks."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.mirror = Upstreams()
        self.hidden: set[tuple[str, str]] = set()
        self.resolver = Resolver(catalogue, Memory({}), lambda: 1e9, self.see, self.mirror)
        self.page = partial(self.resolver.page, by=ANONYMOUS)

    def see(self, _by: Principal, index: str, _action: Action) -> Visibility:
        gone = {project for at, project in self.hidden if at == index}
        return Visibility(frozenset({"*"} if not gone else {"seen*"}))

    def index(
        self, name: str, *files: str, bases: tuple[str, ...] = (), upstreams: tuple[str, ...] = ()
    ) -> int:
        number = rows.listed(self.catalogue, [rows.file(each) for each in files], name=name)
        with self.catalogue.write() as conn:
            indexes.set_bases(conn, number, bases)
            indexes.set_upstreams(conn, number, upstreams)
            indexes.set_folders(conn, number, [f"/{name}"])
        return number

    def decide(self, index_id: int, project: str, origin: Origin, upstream: str | None = None) -> None:
        with self.catalogue.write() as conn:
            origins.put(conn, index_id, Claim("", project, origin, upstream, "ann", 1, "so it is"))

    def reserve(self, index_id: int, pattern: str) -> None:
        with self.catalogue.write() as conn:
            reservations.put(conn, index_id, Reservation("", pattern, "ann", 1))

    def names(self, index: str) -> list[str]:
        return [line.project for line in self.resolver.names(index, by=ANONYMOUS)[1]]


@pytest.fixture
def house(catalogue: Catalogue) -> House:
    return House(catalogue)


def test_the_first_layer_that_has_a_project_answers_alone(house: House) -> None:
    house.index("main", "foo-1.0.zip", "bar-1.0.zip")
    house.index("team", "foo-2.0.zip", bases=("main",))
    house.index("dev", bases=("team",))
    found = house.page("dev", "foo")
    assert [(file.filename, file.index) for file in found.files] == [("foo-2.0.zip", "team")]
    assert (found.index, found.origin, found.layers) == ("dev", "", ("team",))
    assert house.page("dev", "bar").layers == ("main",)
    assert house.names("dev") == ["bar", "foo"]
    assert [file.filename for file in house.resolver.files("dev", by=ANONYMOUS)] == [
        "foo-2.0.zip",
        "bar-1.0.zip",
    ]
    assert house.resolver.count("dev", by=ANONYMOUS) == (2, 2)
    file = found.files[0]
    assert house.resolver.locate("dev", file.blake2b_256, file.filename, by=ANONYMOUS) == file
    assert house.resolver.find("dev", "FOO-2.0.zip", by=ANONYMOUS) == file
    shadowed = rows.file("foo-1.0.zip")
    with pytest.raises(NotFound):
        house.resolver.locate("dev", shadowed.blake2b_256, shadowed.filename, by=ANONYMOUS)
    assert house.resolver.find("dev", "foo-1.0.zip", by=ANONYMOUS) is None
    with pytest.raises(NotFound, match="other bytes"):
        house.resolver.locate("dev", "f" * 64, "foo-2.0.zip", by=ANONYMOUS)


def test_an_upstream_is_asked_for_what_nobody_inside_has(house: House) -> None:
    house.index("main", "foo-1.0.zip", upstreams=(PYPI,))
    with pytest.raises(NotFetched) as caught:
        house.page("main", "requests")
    assert (caught.value.upstream, caught.value.project) == (PYPI, "requests")
    house.mirror.pages[PYPI, "requests"] = page("requests", "requests-2.0.zip", "requests-1.0.zip", until=77)
    found = house.page("main", "requests")
    assert [file.filename for file in found.files] == ["requests-1.0.zip", "requests-2.0.zip"]
    assert (found.origin, found.valid_until, found.versions) == (PYPI, 77, ("1.0", "2.0"))
    file = found.files[0]
    assert (file.origin, file.index, file.blake2b_256) == (PYPI, "", BLAKE)
    assert house.resolver.locate("main", BLAKE, file.filename, by=ANONYMOUS) == file
    with pytest.raises(NotFetched) as about:
        house.resolver.metadata("main", file, by=ANONYMOUS)
    assert about.value.file == file
    known = replace(file, metadata_sha256="0" * 64)
    assert house.resolver.metadata("main", known, by=ANONYMOUS) == b"Name: foo\n"
    house.mirror.pages[PYPI, "nothing"] = ABSENT
    with pytest.raises(NotFound):
        house.page("main", "nothing")


def test_upstreams_answer_in_order_and_a_silent_one_is_never_passed_over(house: House) -> None:
    house.index("main", upstreams=("corp", PYPI))
    house.mirror.pages |= {("corp", "x"): ABSENT, (PYPI, "x"): page("x", "x-1.0.zip")}
    found = house.page("main", "x")
    assert (found.origin, found.valid_until) == (PYPI, ABSENT.fresh_until)
    house.mirror.pages["corp", "x"] = page("x", "x-9.0.zip")
    assert house.page("main", "x").origin == "corp"
    del house.mirror.pages["corp", "x"]
    house.mirror.down = True
    with pytest.raises(UpstreamDown):
        house.page("main", "x")


def lay(house: House, index_id: int, path: str, state: PlaceState) -> None:
    with house.catalogue.write() as conn:
        places.upsert_many(conn, index_id, [rows.place(path, state, code="x", reason="y")])


@pytest.mark.parametrize("upstream", ["up", "down", "absent"])
@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("local", None),
        ("both", None),
        ("deleted", NotFound),
        ("reserved", Withheld),
        ("blocked", Withheld),
        ("pending", NotFound),
        ("unread", Busy),
        ("unlisted", Busy),
        ("in a base", None),
        ("deleted in a base", NotFound),
        ("hidden in a base", NotFound),
        ("reserved in a base", Withheld),
    ],
)
def test_nothing_foreign_under_a_name_of_ours(
    house: House, state: str, error: type[Exception] | None, upstream: str
) -> None:
    """The origin matrix: whatever the upstream holds, it is not even looked at."""
    in_base = state.endswith("in a base")
    mine = ["foo-1.0.zip"] if state in ("local", "both", "in a base", "hidden in a base") else []
    base = house.index("base", *(mine if in_base else []))
    main = house.index("main", *([] if in_base else mine), bases=("base",), upstreams=(PYPI,))
    at = base if in_base else main
    if upstream == "up":
        house.mirror.pages[PYPI, "foo"] = page("foo", "foo-9.0.zip")
    elif upstream == "absent":
        house.mirror.pages[PYPI, "foo"] = ABSENT
    house.mirror.down = upstream == "down"
    house.mirror.names[PYPI] = ["foo", "other"]
    if state.startswith("deleted"):
        house.decide(at, "foo", Origin.LOCAL)
    elif state.startswith("reserved"):
        house.reserve(at, "fo*")
    elif state == "blocked":
        house.decide(at, "foo", Origin.BLOCKED)
    elif state in ("pending", "unread"):
        lay(house, at, "foo-1.0.zip", PlaceState(state))
    elif state == "unlisted":
        with house.catalogue.write() as conn:
            scans.restart(conn, base)
    elif state.startswith("hidden"):
        house.hidden.add(("base", "foo"))
    if error is None:
        found = house.page("main", "foo")
        assert [file.filename for file in found.files] == ["foo-1.0.zip"]
    else:
        with pytest.raises(error):
            house.page("main", "foo")
    for name in ("foo-9.0.zip", "foo-1.0.zip"):
        if error is None and name == "foo-1.0.zip":
            continue
        with pytest.raises((NotFound, Withheld, Busy)):
            house.resolver.locate("main", BLAKE, name, by=ANONYMOUS)
    if state != "unlisted":
        assert house.names("main") == (["foo"] if error in (None, Busy) else []) + ["other"]
    assert "foo" not in house.mirror.asked


def test_merging_needs_consent_of_every_layer_and_own_names_win(house: House) -> None:
    base = house.index("base", "foo-1.0.zip", "foo-3.0.zip")
    main = house.index("main", "foo-2.0.zip", bases=("base",), upstreams=(PYPI,))
    theirs = page("foo", "foo-1.0.zip", "Foo-2.0.zip", "foo-4.0.zip", until=70, serial=30_000_000)
    house.mirror.pages[PYPI, "foo"] = theirs
    alone = house.page("base", "foo").serial, house.page("main", "foo").serial
    house.decide(main, "foo", Origin.MERGED)
    found = house.page("main", "foo")
    assert found.serial == max(alone) < 30_000_000, "MIR-4: of what is ours"
    assert [(file.filename, file.index, file.origin) for file in found.files] == [
        ("foo-1.0.zip", "base", ""),
        ("foo-2.0.zip", "main", ""),
        ("foo-3.0.zip", "base", ""),
        ("foo-4.0.zip", "", PYPI),
    ]
    assert (found.origin, found.valid_until, found.layers) == ("+", 70, ("base",))
    assert [file.filename for file in house.resolver.files("main", by=ANONYMOUS)] == [
        "foo-2.0.zip",
        "foo-1.0.zip",
        "foo-3.0.zip",
    ]
    house.decide(base, "foo", Origin.LOCAL)
    assert [file.filename for file in house.page("main", "foo").files] == ["foo-2.0.zip"]


def test_what_is_hidden_in_a_base_is_hidden_in_its_heirs(house: House) -> None:
    house.index("base", "foo-1.0.zip", "seen-1.0.zip")
    house.index("main", bases=("base",))
    house.hidden.add(("base", "foo"))
    with pytest.raises(NotFound):
        house.page("main", "foo")
    with pytest.raises(NotFound):
        house.resolver.locate("main", rows.file("foo-1.0.zip").blake2b_256, "foo-1.0.zip", by=ANONYMOUS)
    assert house.names("main") == ["seen"]
    assert house.resolver.count("main", by=ANONYMOUS) == (1, 1)
    assert house.resolver.page("main", "foo", by=OPERATOR).layers == ("base",)


def test_rights_on_an_upstream_are_those_on_the_index_that_has_it(house: House) -> None:
    house.index("base", upstreams=(PYPI,))
    house.index("main", bases=("base",))
    house.mirror.pages[PYPI, "foo"] = page("foo", "foo-9.0.zip")
    house.mirror.names[PYPI] = ["foo", "seen"]
    found = house.page("main", "foo")
    assert (found.layers, [file.index for file in found.files]) == (("base",), ["base"])
    house.hidden.add(("base", "foo"))
    with pytest.raises(NotFound):
        house.page("main", "foo")
    assert house.names("main") == ["seen"]


def test_a_project_pinned_to_one_upstream_is_not_taken_from_another(house: House) -> None:
    main = house.index("main", upstreams=("corp", PYPI))
    house.decide(main, "foo", Origin.UPSTREAM, PYPI)
    house.mirror.pages |= {
        ("corp", "foo"): page("foo", "foo-1.0.zip"),
        (PYPI, "foo"): page("foo", "foo-2.zip"),
    }
    assert house.page("main", "foo").origin == PYPI


def test_a_status_said_here_holds_for_what_comes_from_elsewhere(house: House) -> None:
    main = house.index("main", upstreams=(PYPI,))
    house.mirror.pages[PYPI, "foo"] = page("foo", "foo-9.0.zip", status=Status.ARCHIVED)
    assert house.page("main", "foo").status is Status.ARCHIVED
    with house.catalogue.write() as conn:
        statuses.put(conn, main, statuses.ProjectStatus("foo", Status.QUARANTINED, "bad", "ann", 1))
    house.mirror.asked.clear()
    found = house.page("main", "foo")
    assert (found.status, found.status_reason, found.files) == (Status.QUARANTINED, "bad", ())
    assert house.mirror.asked == []


def test_files_of_other_projects_on_an_upstreams_page_are_left_out(house: House) -> None:
    house.index("main", upstreams=(PYPI,))
    house.mirror.pages[PYPI, "foo"] = page("foo", "foo-1.0.zip", "bar-1.0.zip", "nonsense.txt")
    assert [file.filename for file in house.page("main", "foo").files] == ["foo-1.0.zip"]


def test_an_index_alone_keeps_blocked_and_reserved_names_too(house: House) -> None:
    main = house.index("main", "foo-1.0.zip", "bar-1.0.zip")
    house.reserve(main, "acme-*")
    with pytest.raises(Withheld, match=r"acme-\*"):
        house.page("main", "acme-x")
    house.index("heir", bases=("main",))
    told = " ".join(reason.text for reason in house.resolver.why("heir", "acme-x", by=ANONYMOUS))
    assert "administers index main can change that: `pidex origin unreserve acme-*`" in told
    house.decide(main, "foo", Origin.BLOCKED)
    with pytest.raises(Withheld, match="so it is"):
        house.page("main", "foo")
    assert house.names("main") == ["bar"]
    with pytest.raises(Withheld):
        house.resolver.find("main", "foo-1.0.zip", by=ANONYMOUS)
    assert [file.filename for file in house.resolver.files("main", by=ANONYMOUS)] == ["bar-1.0.zip"]


def test_changes_of_a_base_touch_its_heirs(house: House) -> None:
    house.index("base")
    house.index("main", bases=("base",))
    house.index("dev", bases=("main",))
    house.index("other")
    probe = house.catalogue.probe()
    serial, _ = probe.changes(0)
    rows.listed(house.catalogue, [rows.file("foo-1.0.zip")], name="base")
    serial, touched = probe.changes(serial)
    assert sorted(touched or []) == [("base", "foo"), ("dev", "foo"), ("main", "foo")]
    with house.catalogue.write() as conn:
        found = indexes.find(conn, "main")
        assert found is not None
        indexes.announce(conn, found.id, at=1, by="ann")
    assert sorted(probe.changes(serial)[1] or []) == [("dev", "*"), ("main", "*")]


def test_a_name_that_was_ours_is_told_apart_from_one_that_never_was(house: House) -> None:
    """Nobody is sent elsewhere for the first."""
    for index, upstreams in (("alone", ()), ("dev", (PYPI,))):
        number = house.index(index, upstreams=upstreams)
        house.decide(number, "gone", Origin.LOCAL)
        house.mirror.pages[PYPI, "never"] = ABSENT
        with pytest.raises(Claimed):
            house.page(index, "gone")
        with pytest.raises(NotFound) as caught:
            house.page(index, "never")
        assert not isinstance(caught.value, Claimed)
