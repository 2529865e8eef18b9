"""Feeds, changelogs and searches of indexes with bases and upstreams: they tell of what their pages show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.catalogue import files, holds, indexes, journal, projects, scans, statuses
from pidex.catalogue.engine import Catalogue
from pidex.core.errors import Busy, NotFetched
from pidex.core.finds import Filters
from pidex.core.layers import Origin
from pidex.core.model import ANONYMOUS, Principal, Status
from pidex.core.permissions import Action, Visibility
from pidex.core.queries import Query
from pidex.core.rulebook import edited
from pidex.search import Search
from tests.catalogue import rows
from tests.test_resolver_layers import ABSENT, PYPI, House, page


class Family(House):
    """`main`; `team`, which has one of its projects too; `dev`, which has both and an upstream."""

    def __init__(self, catalogue: Catalogue, place: Path) -> None:
        super().__init__(catalogue)
        self.blind = False
        self.main = self.index("main", "tool-1.0.zip", "tool-2.0.zip", "seen_lib-1.0.zip")
        self.team = self.index("team", "tool-3.0.zip", "extra-1.0.zip")
        self.dev = self.index("dev", "mine-1.0.zip", bases=("team", "main"), upstreams=(PYPI,))
        self.texts = rows.texts(catalogue, place)
        self.search = Search(catalogue, self.texts, self.resolver, lambda: 1e9)

    def see(self, by: Principal, index: str, action: Action) -> Visibility:
        return Visibility(frozenset()) if self.blind else super().see(by, index, action)

    def changed(self, index: str = "dev", since: int = 0) -> list[str]:
        found = self.resolver.changes(index, since, by=ANONYMOUS)
        assert [each.serial for each in found] == sorted(each.serial for each in found)
        return [f"{each.project} {each.version}" for each in found]

    def released(self, index: str = "dev") -> set[str]:
        found = self.resolver.releases(index, 9, by=ANONYMOUS)
        return {f"{each.project} {each.version}" for each in found}

    def newcomers(self) -> set[str]:
        return {each.project for each in self.resolver.newcomers("dev", 9, by=ANONYMOUS)}

    def hits(self, *terms: str) -> list[str]:
        found = self.resolver.search("dev", Query(terms), 9, by=ANONYMOUS)
        return [f"{each.project} {each.version}" for each in found]

    def found(self, text: str = "", index: str = "dev") -> set[str]:
        self.search.follow()  # a search waits for no more than a quarter of a second
        self.search.follow()  # a question waits only for a moment
        results = self.search.search(index, text, Filters(), by=ANONYMOUS)
        assert results.total == len(results.found)
        return {f"{each.project} {each.version}" for each in results.found}

    def everywhere(self) -> list[set[str]]:
        """The projects that each list of `dev` tells of."""
        lists = [self.released(), self.newcomers(), {*self.hits()}, self.found(), {*self.changed()}]
        return [{line.partition(" ")[0] for line in each} for each in lists]


@pytest.fixture
def family(catalogue: Catalogue, tmp_path: Path) -> Iterator[Family]:
    built = Family(catalogue, tmp_path)
    yield built
    built.texts.close()


def test_an_heir_tells_of_what_its_layers_answer_for(family: Family) -> None:
    releases = {"mine 1.0", "tool 3.0", "extra 1.0", "seen-lib 1.0"}
    assert family.released() == releases
    assert family.newcomers() == {"mine", "tool", "extra", "seen-lib"}
    assert {*family.hits()} == releases
    assert family.found() == releases
    assert family.changed() == ["seen-lib 1.0", "tool 3.0", "extra 1.0", "mine 1.0"]
    assert family.found("tool") == {"tool 3.0"}
    assert family.search.known("dev", ["tool", "mine", "absent"], by=ANONYMOUS) == {"tool", "mine"}
    assert family.search.near("dev", "extras", by=ANONYMOUS) == ("extra",)
    newest = family.resolver.serial("dev", by=ANONYMOUS)
    assert newest == family.resolver.changes("dev", 0, by=ANONYMOUS)[-1].serial
    assert family.changed(since=newest) == []
    # Others are not concerned.
    assert family.released("main") == {"tool 1.0", "tool 2.0", "seen-lib 1.0"}
    assert family.found(index="team") == {"tool 3.0", "extra 1.0"}


def test_a_merged_project_is_told_of_by_all_layers(family: Family) -> None:
    family.decide(family.dev, "tool", Origin.MERGED)
    family.mirror.pages[PYPI, "tool"] = ABSENT
    assert family.page("dev", "tool").versions == ("1.0", "2.0", "3.0")
    assert {"tool 1.0", "tool 2.0", "tool 3.0"} <= family.released()
    assert family.changed().count("tool 1.0") == 1
    assert [line for line in family.changed() if line.startswith("tool")] == [
        "tool 1.0",
        "tool 2.0",
        "tool 3.0",
    ]
    assert family.found("tool") == {"tool 3.0"}


def test_what_a_base_hides_from_somebody_its_heir_does_not_tell_them(family: Family) -> None:
    before = family.everywhere()
    assert all("extra" in each for each in before)
    family.hidden.add(("team", "extra"))
    assert family.everywhere() == [each - {"extra", "tool"} for each in before]
    serial = family.resolver.serial("dev", by=ANONYMOUS)
    with family.catalogue.write() as conn:
        journal.record(conn, family.team, "extra", "new release", version="2.0", at=rows.NOW_US, by="ann")
    assert family.resolver.serial("dev", by=ANONYMOUS) == serial
    assert family.search.near("dev", "extras", by=ANONYMOUS) == ()
    # What is hidden in the heir itself is hidden wherever it comes from.
    family.hidden.clear()
    family.hidden.add(("dev", "anything"))
    assert family.everywhere() == [{"seen-lib"}] * 5


def test_nobody_who_sees_nothing_is_told_anything(family: Family) -> None:
    family.blind = True
    assert family.everywhere() == [set()] * 5
    assert family.resolver.serial("dev", by=ANONYMOUS) == 0


@pytest.mark.parametrize("ruling", ["dev", "main"])
def test_rules_on_the_way_keep_back_in_lists_what_they_keep_back_of_pages(
    family: Family, ruling: str
) -> None:
    with family.catalogue.write() as conn:
        indexes.set_rules(conn, getattr(family, ruling), edited(None, ["scope=all", "deny=seen-lib"]))
        indexes.announce(conn, getattr(family, ruling), at=1, by="ann")
    assert family.page("dev", "seen-lib").files == ()
    assert all("seen-lib" not in each for each in family.everywhere())
    assert all("tool" in each for each in family.everywhere())


def test_a_changelog_tells_of_no_release_that_is_kept_back(family: Family) -> None:
    with family.catalogue.write() as conn:
        holds.put(conn, family.main, holds.Hold("tool", "release", "2", "malware", "ann", 1))
        journal.record(conn, family.main, "tool", "create", at=rows.NOW_US, by="ann")
        journal.record(conn, family.main, "tool", "new release", version="2.0.0", at=rows.NOW_US, by="ann")
        journal.record(conn, family.main, "tool", "remove release", version="0.9", at=rows.NOW_US, by="ann")
        indexes.announce(conn, family.main, at=1, by="ann")
    assert family.changed("main") == ["tool 1.0", "seen-lib 1.0", "tool None", "tool 0.9"]
    with family.catalogue.write() as conn:
        holds.lift(conn, family.main, "tool", "release", "2")
    assert family.changed("main").count("tool 2.0") == 1


def test_a_changelog_tells_that_a_project_is_closed_and_nothing_of_its_releases(family: Family) -> None:
    with family.catalogue.write() as conn:
        marker = statuses.ProjectStatus("tool", Status.QUARANTINED, None, "ann", rows.NOW_US)
        statuses.put(conn, family.team, marker)
        journal.record(conn, family.team, "tool", "set status quarantined", at=rows.NOW_US, by="ann")
    assert [line for line in family.changed() if "tool" in line] == ["tool None"]
    assert "tool 3.0" not in family.released() | {*family.hits()} | family.found()
    family.decide(family.dev, "tool", Origin.BLOCKED)
    assert [line for line in family.changed() if "tool" in line] == []


def test_what_an_heir_closes_is_in_none_of_its_lists(family: Family) -> None:
    """Wherever it comes from; its bases go on."""
    family.mirror.names[PYPI] = ["toolbox"]
    with family.catalogue.write() as conn:
        for project in ("extra", "toolbox"):
            marker = statuses.ProjectStatus(project, Status.QUARANTINED, None, "ann", rows.NOW_US)
            statuses.put(conn, family.dev, marker)
    assert family.page("dev", "extra").files == ()
    assert family.names("dev") == ["mine", "seen-lib", "tool"]
    assert all("extra" not in each for each in family.everywhere()[:4])
    assert "extra 1.0" not in family.changed()
    assert [file.project for file in family.resolver.files("dev", by=ANONYMOUS)] == [
        "mine",
        "tool",
        "seen-lib",
    ]
    assert "extra" in family.names("team")


def test_of_upstreams_what_is_held_is_found_and_nothing_is_asked(family: Family) -> None:
    family.mirror.pages[PYPI, "toolbox"] = page("toolbox", "toolbox-1.0.zip", "toolbox-1.1.zip")
    family.mirror.pages[PYPI, "extra"] = page("extra", "extra-9.0.zip")
    family.mirror.pages[PYPI, "locked"] = page("locked", "locked-9.0.zip")
    family.decide(family.main, "locked", Origin.LOCAL)
    assert family.hits("tool") == ["tool 3.0", "toolbox 1.1"]
    assert family.hits("extra") == ["extra 1.0"]
    assert family.hits("locked") == []
    assert family.hits("other") == []
    assert family.mirror.confirmed == []
    with family.catalogue.write() as conn:
        indexes.set_rules(conn, family.dev, edited(None, ["deny=toolbox>1"]))
    assert family.hits("toolbox") == ["toolbox 1.0"]
    # Its own feed tells of its releases.
    (release,) = family.resolver.releases("dev", 9, by=ANONYMOUS, project="toolbox")
    assert (release.project, release.version, release.at) == ("toolbox", "1.0", 5)
    with pytest.raises(NotFetched):
        family.resolver.releases("dev", 9, by=ANONYMOUS, project="never-asked")


def test_names_of_upstreams_are_offered_unless_they_are_ours_or_kept_back(family: Family) -> None:
    family.texts.learn(f"upstream:{PYPI}", ["acme-toy", "boring", "borrowed", "extra"])
    family.reserve(family.main, "acme-*")
    assert family.search.search("dev", "bor", Filters(), by=ANONYMOUS).elsewhere == ("boring", "borrowed")
    assert family.search.search("dev", "acme", Filters(), by=ANONYMOUS).elsewhere == ()
    assert family.search.near("dev", "borring", by=ANONYMOUS) == ("boring",)
    with family.catalogue.write() as conn:
        indexes.set_rules(conn, family.dev, edited(None, ["deny=boring"]))
    assert family.search.search("dev", "bor", Filters(), by=ANONYMOUS).elsewhere == ("borrowed",)
    assert family.search.search("main", "bor", Filters(), by=ANONYMOUS).elsewhere == ()


def test_a_project_that_comes_to_an_heir_takes_the_name_there(family: Family) -> None:
    new = rows.file("seen_lib-5.0.zip")
    with family.catalogue.write() as conn:
        files.replace(conn, family.team, new.filename, new)
        projects.refresh(conn, family.team, {"seen-lib"})
        journal.record(conn, family.team, "seen-lib", "new release", version="5.0", at=rows.NOW_US, by="ann")
    assert family.released() & {"seen-lib 1.0", "seen-lib 5.0"} == {"seen-lib 5.0"}
    assert [line for line in family.changed() if "seen" in line] == ["seen-lib 5.0"]
    assert family.found("seen-lib") == {"seen-lib 5.0"}


def test_lists_wait_until_every_layer_was_listed_once(family: Family) -> None:
    with family.catalogue.write() as conn:
        scans.put(conn, family.main, scans.Scan(listed=False, finished=None))
    for ask in (family.released, family.newcomers, family.hits):
        with pytest.raises(Busy, match="index main"):
            ask()
