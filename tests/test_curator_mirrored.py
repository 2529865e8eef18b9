"""Yanks of releases and files that upstreams have: in this index, written down like those of own ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pidex.catalogue import indexes, origins
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import Conflict, Forbidden, NotFound, Withheld
from pidex.core.layers import Claim, Origin
from pidex.core.model import OPERATOR, Status
from pidex.resolver import Resolver
from tests.test_curator import MAIN, MIA, OLAF, READER, House
from tests.test_resolver_layers import PYPI, Upstreams
from tests.test_resolver_layers import page as held


@pytest.fixture
def house(catalogue: Catalogue, tmp_path: Path) -> House:
    return House(catalogue, tmp_path)


def mirroring(house: House, *files: str) -> Resolver:
    """Give the index an upstream with those files of `requests`; the resolver that sees them."""
    with house.catalogue.write() as conn:
        indexes.set_upstreams(conn, house.number, [PYPI])
    mirror = Upstreams(requests=held("requests", *files))
    return Resolver(house.catalogue, house.storage, house.clock, mirror=mirror)


def test_a_mirrored_release_is_yanked_here_and_unyanked(house: House) -> None:
    resolver = mirroring(house, "requests-1.0.zip", "requests-2.0.zip", "requests-2.0.tar.gz")

    def yanked() -> dict[str, str | None]:
        page = resolver.page(MAIN, "requests", by=OPERATOR)
        return {file.filename: file.yanked for file in page.files if file.yanked is not None}

    before = house.written()[1]
    done = house.curator.yank(MAIN, "Requests", version="2", reason="leaks", by=MIA)
    assert (done.project, done.version, done.files, done.changed) == ("requests", "2", (), True)
    assert yanked() == {"requests-2.0.zip": "leaks", "requests-2.0.tar.gz": "leaks"}
    assert not house.curator.yank(MAIN, "requests", version="2.0", reason="leaks", by=MIA).changed
    with pytest.raises(Conflict, match=r"unyank requests==2\.0"):
        house.curator.unyank(MAIN, "requests", filename="requests-2.0.zip", by=MIA)
    house.curator.unyank(MAIN, "requests", version="2.0.0", by=MIA)
    house.curator.yank(MAIN, "requests", filename="requests-2.0.zip", by=MIA)
    assert yanked() == {"requests-2.0.zip": ""}
    rows, actions = house.written()
    assert actions[len(before) :] == ["yank release", "unyank release", "yank file requests-2.0.zip"]
    assert [(row.action, row.actor, row.project, row.subject) for row in rows] == [
        ("release.yank", "mia", "requests", "2"),
        ("release.unyank", "mia", "requests", "2.0.0"),
        ("file.yank", "mia", "requests", "requests-2.0.zip"),
    ]
    assert json.loads(rows[1].before or "") == {"yanked": "leaks"}


@pytest.mark.parametrize(
    ("project", "part"),
    [
        ("demo", {"version": "9"}),  # ours: no upstream is asked for it
        ("requests", {"filename": "other-1.0.zip"}),
        ("requests", {"filename": "requests.zip"}),
        ("requests", {"version": "2.0\x00"}),
        ("requests", {"version": "not a version"}),
        ("requests", {"version": "1" * 5000}),
    ],
)
def test_what_no_upstream_can_have_is_not_yanked(house: House, project: str, part: dict[str, str]) -> None:
    mirroring(house)
    with pytest.raises(NotFound):
        house.curator.yank(MAIN, project, **part, by=MIA)
    assert house.written()[0] == []


def test_a_mirrored_project_is_quarantined_here_and_let_go(house: House) -> None:
    resolver = mirroring(house, "requests-1.0.zip")
    resolver.page(MAIN, "requests", by=OPERATOR)
    assert house.curator.set_status(MAIN, "Requests", "quarantined", reason="malware", by=OPERATOR).changed
    page = resolver.page(MAIN, "requests", by=OPERATOR)
    assert (page.status, page.status_reason, page.files) == (Status.QUARANTINED, "malware", ())
    with pytest.raises(Withheld, match="malware"):
        resolver.locate(MAIN, "0" * 64, "requests-1.0.zip", by=OPERATOR)
    assert house.curator.set_status(MAIN, "requests", "active", by=OPERATOR).changed
    assert len(resolver.page(MAIN, "requests", by=OPERATOR).files) == 1
    with house.catalogue.write() as conn:
        origins.put(conn, house.number, Claim("", "secret", Origin.LOCAL, None, "ann", 1, "ours"))
    for name in "secret", "no name":
        with pytest.raises(NotFound):
            house.curator.set_status(MAIN, name, "quarantined", by=OPERATOR)
    assert [row.action for row in house.written()[0]] == ["project.status"] * 2


def test_a_name_that_is_claimed_is_nobodys_to_yank(house: House) -> None:
    mirroring(house)
    with house.catalogue.write() as conn:
        origins.put(conn, house.number, Claim("", "secret", Origin.LOCAL, None, "ann", 1, "ours"))
    with pytest.raises(NotFound, match="no project secret"):
        house.curator.yank(MAIN, "secret", version="1.0", by=MIA)
    for by in (READER, OLAF):
        with pytest.raises(Forbidden):
            house.curator.yank(MAIN, "requests", version="1.0", by=by)
