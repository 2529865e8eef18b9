"""Why a project, a release or a file is listed or not: questions as people ask them, answers as records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches

from pidex.core import names
from pidex.core.errors import BadName
from pidex.core.limits import MAX_FILENAME, MAX_VERSION
from pidex.core.model import Admission, File, Place, PlaceState
from pidex.core.sentences import said

#: Similar names that an answer offers at most.
SIMILAR = 3


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is known. `code` is stable and machine-readable, `text` a whole sentence."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked about: a project, a release of it, or a file name (`project` None where it says none)."""

    text: str
    project: str | None
    version: str | None = None
    filename: str | None = None

    def covers(self, filename: str) -> bool:
        """Whether a file of that name is asked about."""
        if self.filename is not None:
            return filename.casefold() == self.filename.casefold()
        try:
            found = names.parse(filename)
        except BadName:
            return False
        return found.project == self.project and self.covers_version(found.version)

    def covers_version(self, version: str) -> bool:
        """Whether a release of that version is asked about."""
        if self.version is None:
            return True
        return names.canonical_version(version) == names.canonical_version(self.version)


def subject_of(text: str) -> Subject | None:
    """Read a question: `name`, `name==1.0`, `name 1.0` or a file name; None where it is none of these."""
    text = text.strip()
    if len(text) > MAX_FILENAME + MAX_VERSION:
        return None
    if names.is_package(text) and "/" not in text:
        try:
            found = names.parse(text)
        except BadName:
            return Subject(text, None, filename=text)
        return Subject(text, found.project, found.version, text)
    name, _, version = text.replace("==", " ").partition(" ")
    if not names.is_name(name):
        return None
    return Subject(text, names.normalize(name), version.strip() or None)


def moment(us: int) -> str:
    """A time in microseconds since 1970 as people read it, UTC."""
    try:
        return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "an impossible time"


def of_file(file: File, *, paths: bool) -> Reason:
    """A listed file: since when, and where from."""
    values = {
        "filename": file.filename,
        "moment": moment(file.upload_time),
        "size": f"{file.size:,}",
        "sha256": file.sha256,
    }
    if paths and file.path:
        text = said(
            "%(filename)s is listed since %(moment)s, from %(path)s (%(size)s bytes, sha256 %(sha256)s).",
            path=file.path,
            **values,
        )
    else:
        text = said("%(filename)s is listed since %(moment)s (%(size)s bytes, sha256 %(sha256)s).", **values)
    return Reason("listed", text)


def of_yank(file: File) -> Reason:
    """A yanked file: installers take it only where it is pinned."""
    name, because = file.filename, (file.yanked or "").rstrip(".")
    text = said("%(name)s is yanked. Installers take it only for an exact ==.", name=name)
    if because:
        text = said(
            "%(name)s is yanked: %(because)s. Installers take it only for an exact ==.",
            name=name,
            because=because,
        )
    return Reason("yanked", text)


def of_place(place: Place, *, now: float, paths: bool) -> Reason:
    """A place that is not whole. `now` in Unix seconds."""
    name = place.path if paths else place.filename
    if place.state is PlaceState.UNREAD:
        return Reason("unread", said("%(name)s was found and is still to be read.", name=name))
    because = place.reason or said("no reason was noted")
    if place.state is PlaceState.REFUSED:
        text = said("%(name)s is refused: %(because)s.", name=name, because=because)
        return Reason(place.code or "refused", text)
    again = said("with its next change")
    if place.next_look is not None:
        again = said("in %(seconds)s s", seconds=max(0, round(place.next_look - now)))
    text = said(
        "%(name)s is not whole yet: %(because)s. It is looked at again %(again)s.",
        name=name,
        because=because,
        again=again,
    )
    return Reason(place.code or "pending", text)


def of_missing(admission: Admission) -> Reason:
    """A file that was listed once and does not lie there any more."""
    text = said(
        "%(filename)s was listed from %(moment)s on (by %(by)s, %(how)s) and no longer lies in a folder.",
        filename=admission.filename,
        moment=moment(admission.first_seen),
        by=admission.by,
        how=admission.how,
    )
    return Reason("gone", text)


def of_similar(project: str, candidates: Iterable[str]) -> Sequence[Reason]:
    """Names that were perhaps meant, in one record; none where nothing is close."""
    close = get_close_matches(project, [*candidates], n=SIMILAR, cutoff=0.75)
    if not close:
        return []
    found: str = close[0]
    for each in close[1:]:
        found = said("%(first)s and %(second)s", first=found, second=each)
    return [Reason("similar", said("There is %(names)s.", names=found))]
