"""A page after policy: rules, exemptions, holds and yanks of every index between a file and who asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from pidex.catalogue import advisories, contents, exemptions, holds, indexes, yanks
from pidex.catalogue.engine import Connection
from pidex.core import layers, metadata, names, policy, rulebook
from pidex.core.advisories import Advisories
from pidex.core.errors import NotFetched
from pidex.core.interfaces import Mirrored
from pidex.core.model import File, PackageType, Page, Withholding
from pidex.core.terms import term_of
from pidex.resolver.listing import listing_of, versions_of

#: A longer License field is the text of a licence, not its name.
LICENCE_CHARACTERS = 100
#: Licences by the SHA-256 of the metadata that says them, and how many are remembered: a page of thousands of
#: files is judged for each file that is fetched from it.
_LEARNT: dict[str | None, str | None] = {}
MOST_LEARNT = 20_000


class Ruling(NamedTuple):
    """What one index asks of what it shows."""

    rules: policy.Rules
    at: policy.Circumstances
    yanked: Mapping[tuple[str, str], str]

    @property
    def is_open(self) -> bool:
        """Whether nothing is asked."""
        return (
            self.rules == policy.NONE
            and not self.at.holds
            and not self.yanked
            and not policy.concerned(self.rules, self.at.advisories)
        )


class Verdict(NamedTuple):
    """A page after policy, what a dry run would keep back, and which index's rule kept each file back."""

    page: Page
    reported: tuple[Withholding, ...] = ()
    by: Mapping[str, str] = {}


def ruled(
    conn: Connection,
    line: Sequence[indexes.Index],
    page: Page,
    mirror: Mirrored | None,
    now: float,
    *,
    fetch: bool = True,
) -> Verdict:
    """Keep back what rules and people keep back.

    `line`: the index that is asked, then its bases. A file passes what its own index asks, what the asked one
    does, and what those between them do. Where licences matter, `NotFetched` asks for the metadata that is
    not held of what would be shown; without `fetch`, such a licence counts as unknown.
    """
    licence = _licences(conn, mirror, page.files)
    known = Advisories(advisories.list_project(conn, page.project))
    rulings = {each.name: _ruling(conn, each, page.project, known, now, licence=licence) for each in line}
    if known.every and (page.origin or any(each.rules.scope == "all" for each in rulings.values())):
        page = replace(page, advisories=tuple(known.every))
    if all(ruling.is_open for ruling in rulings.values()):
        return Verdict(page)
    bases = {each.name: each.bases for each in line}
    here = line[0].name
    shown: list[File] = []
    withheld: list[Withholding] = []
    reported: list[Withholding] = []
    until = [] if page.valid_until is None else [page.valid_until]
    by: dict[str, str] = {}
    for owner, own in _by_owner(page.files, here).items():
        passed: Sequence[File] = own
        for name in reversed(layers.path(here, owner, bases)):
            ruling = rulings[name]
            if fetch and ruling.rules.licensed and mirror is not None:
                _require_licences(mirror, ruling, passed)
            judgement = policy.judge(ruling.rules, passed, ruling.at)
            passed = [_yanked(file, ruling) for file in judgement.shown]
            withheld += judgement.withheld
            reported += judgement.reported
            by |= {each.file.filename: name for each in (*judgement.withheld, *judgement.reported)}
            until += [] if judgement.valid_until is None else [judgement.valid_until]
        shown += passed
    kept = {file.filename: file for file in shown}
    files = tuple(kept[file.filename] for file in page.files if file.filename in kept)
    versions = page.versions if len(files) == len(page.files) else versions_of(files)
    valid_until = min(until, default=None)
    after = replace(page, files=files, versions=versions, withheld=tuple(withheld), valid_until=valid_until)
    return Verdict(after, tuple(reported), by)


def is_open(conn: Connection, line: Sequence[indexes.Index], project: str, now: float) -> bool:
    """Whether no index of a line asks anything of a project's files."""
    known = Advisories(advisories.list_project(conn, project))
    return all(_ruling(conn, each, project, known, now).is_open for each in line)


def hides(conn: Connection, index: indexes.Index, now: float, *, mirrored: bool) -> Callable[[str], bool]:
    """Whether an index's rules hide a project whatever its files. `mirrored`: it is an upstream's."""
    asked = rulebook.rules_of(index.rules)
    exempt = [each.term for each in _exempt(conn, index) if not each.is_over(now)]
    return lambda project: (
        policy.hides_project(asked, project, mirrored=mirrored) is not None
        and not any(term.names(project) for term in exempt)
    )


def concerns_own(conn: Connection, index: indexes.Index) -> bool:
    """Whether anything may keep own files of an index back."""
    return rulebook.rules_of(index.rules).scope == "all" or bool(holds.projects(conn, index.id))


def own_pages(
    conn: Connection, index: indexes.Index, now: float, line: Sequence[indexes.Index] = ()
) -> Callable[[str], Page | None] | None:
    """What is shown of an index's own files, by project; None where nothing can be kept back.

    By itself, or by the first of `line`, which has it among its bases. For lists that are made without pages:
    feeds, searches. A page is read once, where it is asked for.
    """
    line = line or (index,)
    if not any(concerns_own(conn, each) for each in line):
        return None

    @cache
    def shown(project: str) -> Page | None:
        listing = listing_of(conn, index, project)
        return None if listing is None else ruled(conn, line, listing.page, None, now).page

    return shown


def _ruling(
    conn: Connection,
    index: indexes.Index,
    project: str,
    known: Advisories,
    now: float,
    *,
    licence: Callable[[File], str | None] = lambda _file: None,
) -> Ruling:
    kept = holds.list_project(conn, index.id, project)
    marks = () if index.alone else yanks.list_project(conn, index.id, project)
    rules = rulebook.rules_of(index.rules)
    at = policy.Circumstances(
        now=now,
        advisories=known,
        exemptions=[each for each in _exempt(conn, index) if each.term.names(project)],
        holds=[policy.Hold(each.scope, each.target, each.reason) for each in kept],
        licence=licence,
    )
    return Ruling(rules, at, {(each.scope, each.target): each.reason for each in marks})


def _exempt(conn: Connection, index: indexes.Index) -> Sequence[policy.Exemption]:
    listed = () if index.rules is None else exemptions.list(conn, index.id)
    return [policy.Exemption(term_of(each.subject), each.until, each.reason) for each in listed]


def _by_owner(files: Sequence[File], here: str) -> Mapping[str, list[File]]:
    found: dict[str, list[File]] = {}
    for file in files:
        found.setdefault(file.index or here, []).append(file)
    return found


def _yanked(file: File, ruling: Ruling) -> File:
    """A file as people here have marked it, and as its vulnerabilities have it; own ones have the marks."""
    marks = ruling.yanked if file.origin else {}
    reason = marks.get(
        ("file", file.filename.casefold()), marks.get(("release", names.canonical_version(file.version)))
    )
    if reason is None and file.yanked is None:
        reason = policy.vulnerable_yank(ruling.rules, file, ruling.at)
    return file if reason is None else replace(file, yanked=reason)


def _require_licences(mirror: Mirrored, ruling: Ruling, files: Sequence[File]) -> None:
    """Raise `NotFetched` where the licence of a mirrored release that no other rule hides may be learnt."""
    others = replace(
        ruling.rules, licences=(), licences_denied=(), licence_unknown=True, keep_latest=0, dry_run=False
    )
    told: dict[tuple[str, str], File] = {}
    for file in policy.judge(others, files, ruling.at).shown:
        if file.origin and file.packagetype is PackageType.WHEEL:
            key = file.origin, names.canonical_version(file.version)
            if key not in told or (told[key].metadata_sha256 is None and file.metadata_sha256 is not None):
                told[key] = file
    missing = mirror.unmet([file for file in told.values() if file.metadata_sha256 not in _LEARNT])
    if missing:
        origin = missing[0].origin
        files_ = tuple(file for file in missing if file.origin == origin)
        raise NotFetched(origin, files_[0].project, files=files_)


def _licences(
    conn: Connection, mirror: Mirrored | None, files: Sequence[File]
) -> Callable[[File], str | None]:
    """What files say of their licence; where one says nothing, what another of its release does."""

    @cache
    def releases() -> Mapping[tuple[str, str], Sequence[File]]:
        found: dict[tuple[str, str], list[File]] = {}
        for file in files:
            found.setdefault((file.origin, names.canonical_version(file.version)), []).append(file)
        return found

    @cache
    def of_release(key: tuple[str, str]) -> str | None:
        every = (_licence(conn, mirror, file) for file in releases()[key])
        return next((each for each in every if each), None)

    def licence(file: File) -> str | None:
        key = file.origin, names.canonical_version(file.version)
        return _licence(conn, mirror, file) or (of_release(key) if key in releases() else None)

    return licence


def _licence(conn: Connection, mirror: Mirrored | None, file: File) -> str | None:
    """What a file says of its licence, remembered by the hash of its metadata."""
    key = file.metadata_sha256
    if key in _LEARNT:
        return _LEARNT[key]
    if file.origin:
        found = None if mirror is None else mirror.find_metadata(file)
    else:
        found = contents.find_metadata(conn, file.sha256, file.packagetype)
    if found is None:
        return None
    licence = _licence_in(found)
    if key:
        if len(_LEARNT) >= MOST_LEARNT:
            _LEARNT.clear()
        _LEARNT[key] = licence
    return licence


def _licence_in(data: bytes) -> str | None:
    """The expression, else the field, else the classifiers (PEP 639)."""
    said = metadata.parse(data)
    if said.license_expression:
        return said.license_expression
    field = (said.license or "").strip()
    if field and len(field) <= LICENCE_CHARACTERS and "\n" not in field:
        return field
    licences = [each.rpartition("::")[2] for each in said.classifiers if each.startswith("License ::")]
    return " AND ".join("-".join(each.split()) for each in licences) or None
