"""Rules over layers: every index between a file and who asks has a say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from msgspec import structs

from pidex.catalogue import advisories, exemptions, holds, indexes, yanks
from pidex.catalogue.engine import Catalogue
from pidex.core import advisories as advice
from pidex.core.errors import NotFetched, Withheld
from pidex.core.model import ANONYMOUS
from pidex.core.rulebook import edited
from tests.core.test_advisories import record
from tests.test_resolver_layers import BLAKE, PYPI, House, page

SECOND = 1_000_000


@pytest.fixture
def house(catalogue: Catalogue) -> House:
    found = House(catalogue)
    found.mirror.pages[PYPI, "foo"] = page("foo", "foo-1.0.zip", "foo-2.0.zip", until=2e9)
    found.mirror.names[PYPI] = ["bar", "foo"]
    return found


def rule(house: House, index_id: int, *edits: str) -> None:
    with house.catalogue.write() as conn:
        indexes.set_rules(conn, index_id, edited(None, edits))


def versions(house: House, index: str, project: str = "foo") -> Sequence[str]:
    return house.page(index, project).versions


def test_rules_of_the_index_hold_for_its_upstream_and_not_for_its_own_files(house: House) -> None:
    main = house.index("main", "own-1.0.zip", upstreams=(PYPI,))
    rule(house, main, "deny=foo==2.0 own")
    assert versions(house, "main") == ("1.0",)
    assert versions(house, "main", "own") == ("1.0",)
    with pytest.raises(Withheld, match=r"foo==2\.0 is denied"):
        house.resolver.locate("main", BLAKE, "foo-2.0.zip", by=ANONYMOUS)
    rule(house, main, "deny=own foo", "scope=all")
    assert house.names("main") == ["bar"]
    assert versions(house, "main", "own") == ()


def test_an_heir_cannot_show_what_an_index_between_keeps_back(house: House) -> None:
    house.index("mirror", upstreams=(PYPI,))
    curated = house.index("curated", bases=("mirror",))
    house.index("dev", bases=("curated",))
    rule(house, curated, "constraints=foo<2\n*")
    assert versions(house, "mirror") == ("1.0", "2.0")
    assert versions(house, "curated") == versions(house, "dev") == ("1.0",)
    assert house.names("mirror") == ["bar", "foo"]
    assert house.names("curated") == house.names("dev") == ["foo"]


def test_what_is_exempt_is_in_lists_until_that_ends(house: House) -> None:
    main = house.index("main", "own-1.0.zip", upstreams=(PYPI,))
    rule(house, main, "allow=bar")
    assert house.names("main") == ["bar", "own"]
    with house.catalogue.write() as conn:
        exemptions.put(conn, main, exemptions.Exemption("foo==1.0", 2 * 10**15, "needed", "ann", 1))
        exemptions.put(conn, main, exemptions.Exemption("bar", 1, "over", "ann", 1))
    assert (house.names("main"), versions(house, "main")) == (["bar", "foo", "own"], ("1.0",))
    rule(house, main, "deny=bar")
    assert house.names("main") == ["foo", "own"]


def test_a_page_changes_when_its_youngest_file_is_old_enough(house: House) -> None:
    main = house.index("main", upstreams=(PYPI,))
    rule(house, main, "min_age=1654w")  # its files are from 5 us after 1970, and now is 1e9 s
    found = house.page("main", "foo")
    assert found.files == ()
    assert found.versions == ()
    assert found.valid_until == pytest.approx(1654 * 604_800)
    assert {each.rule for each in found.withheld} == {"min_age"}


def test_releases_of_upstreams_are_held_and_yanked_here(house: House) -> None:
    main = house.index("main", upstreams=(PYPI,))
    with house.catalogue.write() as conn:
        holds.put(conn, main, holds.Hold("foo", "release", "2", "malware", "ann", 1))
        yanks.put(conn, main, yanks.Yank("foo", "release", "1", "broken", "ann", 1))
    found = house.page("main", "foo")
    assert [(file.filename, file.yanked) for file in found.files] == [("foo-1.0.zip", "broken")]
    with pytest.raises(Withheld, match="malware"):
        house.resolver.find("main", "foo-2.0.zip", by=ANONYMOUS)


def test_licences_are_those_of_the_metadata_that_can_be_had(house: House) -> None:
    main = house.index("main", upstreams=(PYPI,))
    rule(house, main, "licence_unknown=no")
    assert versions(house, "main") == (), "sdists that say nothing"
    rule(house, main, "licences=MIT")
    assert versions(house, "main") == ("1.0", "2.0")


def test_what_a_licence_rule_has_to_know_is_fetched_first(house: House) -> None:
    """Nothing is shown, and nothing hidden, because nobody has asked for its metadata yet."""
    wheels = [f"foo-{number}-{python}-none-any.whl" for number in (1, 2, 3, 4) for python in ("py2", "py3")]
    house.mirror.pages[PYPI, "foo"] = page("foo", *wheels, "foo-1.tar.gz", "foo-2.tar.gz", until=2e9)
    main = house.index("main", upstreams=(PYPI,))
    rule(house, main, "licences_denied=GPL-*", "deny=foo>=4")
    with pytest.raises(NotFetched) as missing:
        house.page("main", "foo")
    # One file of each release says it, and none of those that another rule hides.
    assert [file.filename for file in missing.value.files] == wheels[0:6:2]
    assert [reason.code for reason in house.resolver.why("main", "foo", by=ANONYMOUS)], "asks for nothing"
    house.mirror.told = {
        wheels[0]: b"Name: foo\nLicense-Expression: GPL-3.0-only\n",
        wheels[2]: b"Name: foo\nLicense-Expression: MIT\n",
        wheels[4]: b"",
    }
    shown = [file.filename for file in house.page("main", "foo").files]
    assert sorted(shown) == sorted([*wheels[2:6], "foo-2.tar.gz"]), "the release is one thing"
    rule(house, main, "licence_unknown=no", "deny=foo>=4")
    assert versions(house, "main") == ("1", "2")


def test_a_licence_is_learnt_once_by_the_hash_of_what_says_it(house: House) -> None:
    wheel, theirs = "foo-1-py3-none-any.whl", page("foo", "foo-1-py3-none-any.whl", until=2e9)
    assert theirs.page is not None
    announced = structs.replace(theirs.page.files[0], metadata=hashlib.sha256(uuid4().bytes).hexdigest())
    house.mirror.pages[PYPI, "foo"] = theirs._replace(page=replace(theirs.page, files=(announced,)))
    main = house.index("main", upstreams=(PYPI,))
    rule(house, main, "licences_denied=GPL-*")
    with pytest.raises(NotFetched):
        house.page("main", "foo")
    house.mirror.told = {wheel: b"Name: foo\nLicense-Expression: GPL-3.0-only\n"}
    assert versions(house, "main") == ()
    house.mirror.told = {}
    assert versions(house, "main") == (), "nothing is asked for or read again"


def test_flat_lists_have_what_pages_have(house: House) -> None:
    base = house.index("base", "one-1.0.zip", "two-1.0.zip")
    house.index("main", bases=("base",))
    rule(house, base, "scope=all", "deny=one")
    for index in ("base", "main"):
        assert [file.filename for file in house.resolver.files(index, by=ANONYMOUS)] == ["two-1.0.zip"]
        assert house.names(index) == ["two"]


def advise(house: House, *records: dict[str, Any]) -> None:
    with house.catalogue.write() as conn:
        for each in records:
            found = advice.read(json.dumps(each).encode())
            advisories.put(conn, [(project, known) for project, known in found.items() if known is not None])


def test_malware_is_in_no_index_and_a_vulnerability_where_rules_say_so(house: House) -> None:
    main = house.index("main", "own-1.0.zip", upstreams=(PYPI,))
    house.index("dev", bases=("main",))
    advise(
        house,
        record("MAL-1", name="foo", versions=["1.0"]),
        record("GHSA-1", name="foo", versions=["2.0"], database_specific={"severity": "HIGH"}),
        record("MAL-2", name="own", versions=["1.0"]),
    )
    assert versions(house, "main") == versions(house, "dev") == ("2.0",)
    assert versions(house, "main", "own") == ("1.0",), "a name of ours is not that of the world"
    with pytest.raises(Withheld, match="it is malware: MAL-1"):
        house.resolver.locate("dev", BLAKE, "foo-1.0.zip", by=ANONYMOUS)
    assert {each.id for each in house.page("main", "foo").advisories} == {"MAL-1", "GHSA-1"}
    assert house.page("main", "own").advisories == ()
    rule(house, main, "vulnerable_yanked=medium")
    assert [file.yanked for file in house.page("dev", "foo").files] == [
        "known vulnerability: GHSA-1: It leaks"
    ]
    rule(house, main, "vulnerable=high")
    assert versions(house, "dev") == ()
    rule(house, main, "malware=no", "scope=all")
    assert versions(house, "main") == ("1.0", "2.0")
    assert [each.id for each in house.page("main", "own").advisories] == ["MAL-2"]
