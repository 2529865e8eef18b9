"""Everything that is known of a project, a release or a file name: the answer to `why`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pidex.catalogue import (
    admissions,
    indexes,
    journal,
    places,
    problems,
    projects,
    scans,
    statuses,
    tombstones,
)
from pidex.catalogue.engine import Connection
from pidex.core import reasons
from pidex.core.model import File, PlaceState, Status
from pidex.core.permissions import Visibility
from pidex.core.reasons import Reason, Subject
from pidex.core.sentences import Sentence, said
from pidex.resolver.listing import burnt_sentence, is_of, listing_of, lost

#: Names looked through for one that was perhaps meant.
SIMILAR_NAMES = 2_000
#: Changes of a project that an explanation goes back.
EXPLAINED_CHANGES = 200


class Inquiry:
    """Gathers everything known of one subject."""

    def __init__(
        self,
        conn: Connection,
        index: indexes.Index,
        asked: Subject,
        *,
        now: float,
        paths: bool,
        visible: Visibility,
    ) -> None:
        self.visible = visible
        self.conn, self.index, self.asked, self.now, self.paths = conn, index, asked, now, paths
        self.found: list[Reason] = []

    def answer(self) -> Sequence[Reason]:
        project = self.asked.project
        if not self._is_told():
            self._say("unknown", self._never())
            return self.found
        if project is not None:
            self._marker(project)
        listed = self._listed(project)
        lying = self._lying(project, listed)
        self._burnt()
        self._missing(project, lying)
        self._before()
        if self.paths:
            self._problems()
        if not self.found:
            self._unknown(project)
        return self.found

    def _is_told(self) -> bool:
        if self.visible.everything:
            return True
        name, project = self.asked.filename, self.asked.project
        if name is not None and not is_of(self.visible, name):
            return False
        return project is None or self.visible.sees(project)

    def _never(self) -> Sentence:
        values = {"subject": self.asked.text, "index": self.index.name}
        if self.asked.filename is not None:
            return said("%(subject)s: no file of that name was ever seen in index %(index)s.", **values)
        return said("%(subject)s: no file of it was ever seen in index %(index)s.", **values)

    def _say(self, code: str, text: str) -> None:
        self.found.append(Reason(code, text))

    def _marker(self, project: str) -> None:
        marker = statuses.find(self.conn, self.index.id, project)
        if marker is not None and marker.status is not Status.ACTIVE:
            values = {"project": project, "status": said(marker.status.value)}
            text = said("Project %(project)s is %(status)s.", **values)
            if marker.reason:
                because = marker.reason
                text = said("Project %(project)s is %(status)s: %(because)s.", because=because, **values)
            if marker.status is Status.QUARANTINED:
                text = said("%(what)s None of its files is offered.", what=text)
            self._say(marker.status.value, text)

    def _listed(self, project: str | None) -> Mapping[str, File]:
        if project is None:
            return {}
        listing = listing_of(self.conn, self.index, project)
        found = [file for file in listing.files if self.asked.covers(file.filename)] if listing else []
        if listing is None or not found:
            return {}
        if listing.page.status is Status.QUARANTINED:
            self._say(
                "withheld",
                said("%(number)s of its files lie there, whole, and are withheld.", number=len(found)),
            )
        else:
            self.found += [reasons.of_file(file, paths=self.paths) for file in found]
        self.found += [reasons.of_yank(file) for file in found if file.yanked is not None]
        return {file.filename.casefold(): file for file in found}

    def _lying(self, project: str | None, listed: Mapping[str, File]) -> frozenset[str]:
        """Say what lies there and is not listed; the keys of all that lies there."""
        if self.asked.filename is not None:
            key = self.asked.filename.casefold()
            here = places.find_by_keys(self.conn, self.index.id, [key]).get(key, ())
        else:
            here = places.list_project(self.conn, self.index.id, project or "")
            here = [place for place in here if self.asked.covers(place.filename)]
        for place in here:
            if place.state is not PlaceState.WHOLE:
                self.found.append(reasons.of_place(place, now=self.now, paths=self.paths))
        unlisted = [
            (place, file.path if file else None)
            for place in here
            for file in [listed.get(place.key)]
            if place.state is PlaceState.WHOLE and (file is None or file.sha256 != place.sha256)
        ]
        shadowed, withheld = lost(self.conn, self.index, unlisted)
        for place, path in shadowed:
            name, other = (
                (place.path, path) if self.paths else (place.filename, said("the file that is listed"))
            )
            self._say(
                "shadowed",
                said(
                    "%(name)s is shadowed: %(other)s comes first and has other bytes.", name=name, other=other
                ),
            )
        for place, why in withheld:
            self._say(
                "withheld",
                said(
                    "%(name)s is withheld: %(because)s.",
                    name=place.path if self.paths else place.filename,
                    because=why,
                ),
            )
        return frozenset(place.key for place in here)

    def _burnt(self) -> None:
        if self.asked.filename is not None:
            stones = [tombstones.find(self.conn, self.index.id, self.asked.filename.casefold())]
        else:
            stones = [*tombstones.list(self.conn, self.index.id)]
        for stone in stones:
            if stone is not None and self.asked.covers(stone.filename):
                self._say(
                    "deleted",
                    said(
                        "%(what)s (%(moment)s).",
                        what=burnt_sentence({stone.key: stone}, stone.key),
                        moment=reasons.moment(stone.at),
                    ),
                )

    def _missing(self, project: str | None, lying: frozenset[str]) -> None:
        """Files that were there: by the journal for a project, since admissions are found by file name."""
        keys = set()
        if self.asked.filename is not None:
            keys.add(self.asked.filename.casefold())
        elif project is not None:
            for change in journal.of_project(self.conn, self.index.id, project, EXPLAINED_CHANGES):
                if change.filename is not None and self.asked.covers(change.filename):
                    keys.add(change.filename.casefold())
        for admission in admissions.find_many(self.conn, self.index.id, sorted(keys - lying)).values():
            self.found.append(reasons.of_missing(admission))

    def _before(self) -> None:
        if self.asked.filename is None:
            return
        for old in admissions.list_superseded(self.conn, self.index.id, self.asked.filename.casefold()):
            self._say(
                "replaced",
                said(
                    "%(filename)s had other bytes until %(moment)s (sha256 %(sha256)s);"
                    " replaced by %(by)s, %(how)s.",
                    filename=old.filename,
                    moment=reasons.moment(old.replaced),
                    sha256=old.sha256,
                    by=old.by,
                    how=old.how,
                ),
            )

    def _problems(self) -> None:
        for problem in problems.list(self.conn, self.index.id):
            if self.asked.covers(problem.path.rpartition("/")[2]):
                self._say(problem.code, f"{problem.path}: {problem.reason}")

    def _unknown(self, project: str | None) -> None:
        if not scans.find(self.conn, self.index.id).listed:
            self._say("listing", said("The folders are being listed: ask again in a moment."))
        self._say("unknown", self._never())
        if project is None:
            return
        if projects.find(self.conn, self.index.id, project) is not None:
            self._say("project", said("Project %(project)s is there, with other files.", project=project))
            return
        near = projects.starting(self.conn, self.index.id, project[:2], SIMILAR_NAMES)
        self.found += reasons.of_similar(project, filter(self.visible.sees, near))
