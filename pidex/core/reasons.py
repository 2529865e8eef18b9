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
    where = f", from {file.path}" if paths and file.path else ""
    text = (
        f"{file.filename} is listed since {moment(file.upload_time)}{where} "
        f"({file.size:,} bytes, sha256 {file.sha256})."
    )
    return Reason("listed", text)


def of_yank(file: File) -> Reason:
    """A yanked file: installers take it only where it is pinned."""
    because = f": {file.yanked.rstrip('.')}" if file.yanked else ""
    return Reason("yanked", f"{file.filename} is yanked{because}. Installers take it only for an exact ==.")


def of_place(place: Place, *, now: float, paths: bool) -> Reason:
    """A place that is not whole. `now` in Unix seconds."""
    name = place.path if paths else place.filename
    if place.state is PlaceState.UNREAD:
        return Reason("unread", f"{name} was found and is still to be read.")
    because = place.reason or "no reason was noted"
    if place.state is PlaceState.REFUSED:
        return Reason(place.code or "refused", f"{name} is refused: {because}.")
    again = "with its next change"
    if place.next_look is not None:
        again = f"in {max(0, round(place.next_look - now))} s"
    return Reason(
        place.code or "pending", f"{name} is not whole yet: {because}. It is looked at again {again}."
    )


def of_missing(admission: Admission) -> Reason:
    """A file that was listed once and does not lie there any more."""
    text = (
        f"{admission.filename} was listed from {moment(admission.first_seen)} on (by {admission.by}, "
        f"{admission.how}) and no longer lies in a folder."
    )
    return Reason("gone", text)


def of_similar(project: str, candidates: Iterable[str]) -> Sequence[Reason]:
    """Names that were perhaps meant, in one record; none where nothing is close."""
    close = get_close_matches(project, [*candidates], n=SIMILAR, cutoff=0.75)
    return [Reason("similar", f"There is {' and '.join(close)}.")] if close else []
