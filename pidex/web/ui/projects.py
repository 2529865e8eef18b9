"""The pages of one project: overview, releases, files, history, dependencies, and what is inside a file."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pidex.core import compatibility, metadata, names, needs, setups, simpleapi
from pidex.core.advisories import Advisories
from pidex.core.errors import Changing, NotFound
from pidex.core.finds import licence
from pidex.core.metadata import Metadata
from pidex.core.model import Advisory, File, Page, Status
from pidex.core.names import canonical_version, is_prerelease, normalized_version
from pidex.core.permissions import Action
from pidex.core.pypijson import chosen_version, metadata_file
from pidex.core.setups import phrase
from pidex.overview import Uploader
from pidex.readme import Readme
from pidex.web.ui.frame import Parts
from pidex.web.ui.home import where_of
from pidex.web.ui.indexes import bars
from pidex.web.ui.visit import WRITES, Outcome, Shown, Visit

#: Releases on the overview; files, and releases of a history, on one page.
RECENT, FILES, RELEASES = 8, 100, 200
#: Advisories on a page, and severities as people read them, by their number.
KNOWN = 20
RATINGS = (phrase("not rated"), phrase("low"), phrase("medium"), phrase("high"), phrase("critical"))
#: Characters of a file in an archive that a page shows.
SHOWN_CHARS = 200_000


@dataclass(frozen=True, slots=True)
class Release:
    """A release as pages list it. `yanked`: the reason, '' for none given; None: not all of it is."""

    version: str
    files: tuple[File, ...]
    at: int
    size: int
    prerelease: bool
    yanked: str | None
    origin: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """What the pages of a project begin with: the page, its releases (newest first), and the one shown."""

    page: Page
    releases: tuple[Release, ...]
    release: Release | None
    told: Metadata
    described: File | None
    latest: str = ""

    @property
    def version(self) -> str:
        return self.release.version if self.release else ""


def sheet(parts: Parts, visit: Visit, version: str | None = None) -> Sheet:
    """A project for its pages; with `version` one release of it. Raises `NotFound`."""
    resolver, name = parts.site.resolver, names.normalize(visit.params["name"])
    page = resolver.page(visit.index, name, by=visit.by)
    releases = _releases(page)
    if not releases:
        if version is not None:
            raise NotFound(f"Index {visit.index} has no release {version} of project {page.name}.")
        return Sheet(page, (), None, Metadata(), None)
    latest = chosen_version(page, None)
    chosen = latest if version is None else chosen_version(page, version)
    wanted = canonical_version(chosen)
    release = next(each for each in releases if canonical_version(each.version) == wanted)
    file, told = metadata_file(page, chosen), Metadata()
    if file is not None:
        try:
            told = metadata.parse(resolver.metadata(visit.index, file, by=visit.by))
        except NotFound:
            file = None
    return Sheet(page, releases, release, told, file, latest)


def _releases(page: Page) -> tuple[Release, ...]:
    groups: dict[str, list[File]] = {}
    for file in page.files:
        groups.setdefault(canonical_version(file.version), []).append(file)
    found = []
    for files in groups.values():
        marks = [file.yanked for file in files]
        yanked = next((mark for mark in marks if mark), "") if all(m is not None for m in marks) else None
        version = normalized_version(files[0].version)
        origins = {str(getattr(file, "origin", "")) for file in files}
        found.append(
            Release(
                version,
                tuple(files),
                min(file.upload_time for file in files),
                sum(file.size for file in files),
                is_prerelease(version),
                yanked,
                "" if "" in origins else min(origins),
            )
        )
    return tuple(sorted(found, key=lambda each: names.version_key(each.version), reverse=True))


def head(parts: Parts, visit: Visit, found: Sheet, tab: str) -> dict[str, object]:
    """What the head of every page of a project shows."""
    may = {
        action.value
        for action in WRITES
        if parts.site.accounts.allows(visit.by, action, visit.index, found.page.project)
    }
    return {
        "sheet": found,
        "page": found.page,
        "release": found.release,
        "told": found.told,
        "tab": tab,
        "may": may,
        "latest": found.latest,
        "base": f"{visit.up}project/{found.page.project}/",
        "quarantined": found.page.status is Status.QUARANTINED,
    }


def overview(parts: Parts, visit: Visit) -> Outcome:
    """`/project/<name>/` and `/project/<name>/<version>/`: commands, README, metadata, releases."""
    version = visit.params.get("version")
    found = sheet(parts, visit, version)
    where = where_of(parts, visit, found.page.project)
    readme: Readme | None = None
    if found.told.description:
        readme = parts.readmes.readme(found.told.description, found.told.description_content_type)
    pinned = found.version if version else None
    usage = parts.statistics.project(visit.index, found.page.project, by=visit.by)
    return Shown(
        "project.html",
        {
            **head(parts, visit, found, "overview"),
            "pinned": version is not None,
            "lines": setups.install_lines(where, found.page.project, pinned),
            "hashed": _hashed(found),
            "claim": _claim(parts, visit, found.page.project),
            "usage": usage,
            "bars": bars(usage),
            "readme": readme,
            "recent": found.releases[:RECENT],
            "known": _known(found),
            "ratings": [visit.text.gettext(each) for each in RATINGS],
            "people": _people(found.told),
            "licence": licence(found.told),
            "links": _links(found.told),
        },
    )


def _known(found: Sheet) -> Sequence[Advisory]:
    """What is known of the release that is shown, the worst first; of records of one thing the first."""
    told: dict[str, Advisory] = {}
    for each in Advisories(found.page.advisories).of(found.version) if found.release else ():
        if not told.keys() & {each.id, *each.aliases}:
            told |= dict.fromkeys((each.id, *each.aliases), each)
    return [*dict.fromkeys(told.values())][:KNOWN]


def _claim(parts: Parts, visit: Visit, project: str) -> str:
    """Whose the name is in this index, by what was decided first ('local', 'merged'); '' for nothing."""
    view = parts.indexing.origin(visit.index, project, by=visit.by)
    if view.claims:
        return view.claims[0].origin.value
    return "local" if view.reservations else ""


def _hashed(found: Sheet) -> str:
    if found.release is None:
        return ""
    sha256s = sorted({file.sha256 for file in found.release.files})
    return setups.requirement_line(found.page.project, found.release.version, sha256s)


def _people(told: Metadata) -> Sequence[tuple[str, str]]:
    """(name, address) of authors and maintainers, as the file has them."""
    people: dict[tuple[str, str], None] = {}
    pairs = ((told.author, told.author_email), (told.maintainer, told.maintainer_email))
    for name, address in pairs:
        for shown, mail in email.utils.getaddresses([address[:2_000]]) if address else ():
            people[shown or name or mail, mail if "@" in mail else ""] = None
        if name and not address:
            people[name[:200], ""] = None
    return [*people][:20]


def _links(told: Metadata) -> Sequence[tuple[str, str]]:
    links = {**({"Home page": told.home_page} if told.home_page else {}), **told.project_urls}
    if told.download_url:
        links.setdefault("Download", told.download_url)
    return [*links.items()][:40]


def files(parts: Parts, visit: Visit) -> Outcome:
    """`/project/<name>/-/files/`: the files of one release or all, newest first, and where they fit."""
    version = visit.value("version")
    found = sheet(parts, visit, version or None)
    every = found.release.files if version and found.release else found.page.files[::-1]
    page, pages = page_of(visit, len(every), FILES)
    shown = every[(page - 1) * FILES : page * FILES]
    return Shown(
        "files.html",
        {
            **head(parts, visit, found, "files"),
            "version": found.version if version else "",
            "files": shown,
            "page_number": page,
            "pages": pages,
            "brought": _brought(parts, visit, found.page.project, shown),
            "matrix": compatibility.matrix(found.release.files) if found.release else None,
            "tags": {file.filename: compatibility.tags(file.filename) for file in shown},
            "urls": {file.filename: url_of(visit, file) for file in shown},
        },
    )


def _brought(parts: Parts, visit: Visit, project: str, shown: Sequence[File]) -> Mapping[str, Uploader]:
    """Who brought which of our own files, as far as who asks may know."""
    if visit.by.name is None:
        return {}
    known = {
        index: parts.overview.uploaders(index, project, by=visit.by)
        for index in {file.index or visit.index for file in shown if not file.origin}
    }
    found = {file.filename: known.get(file.index or visit.index, {}) for file in shown if not file.origin}
    return {name: lines[name.casefold()] for name, lines in found.items() if name.casefold() in lines}


def page_of(visit: Visit, number: int, size: int) -> tuple[int, int]:
    """The page of a list that is asked for, and how many there are, of so many things."""
    text, pages = visit.value("page"), max(1, -(-number // size))
    return max(1, min(int(text), pages)) if text.isascii() and text.isdigit() and 0 < len(
        text
    ) < 6 else 1, pages


def url_of(visit: Visit, file: File) -> str:
    """Where a file is, relative."""
    return f"{visit.up}packages/{simpleapi.file_path(file)}"


def history(parts: Parts, visit: Visit) -> Outcome:
    """`/project/<name>/-/history/`: all releases."""
    found = sheet(parts, visit)
    page, pages = page_of(visit, len(found.releases), RELEASES)
    shown = found.releases[(page - 1) * RELEASES : page * RELEASES]
    values = {"shown": shown, "page_number": page, "pages": pages}
    return Shown("history.html", {**head(parts, visit, found, "history"), **values})


def dependencies(parts: Parts, visit: Visit) -> Outcome:
    """`/project/<name>/-/dependencies/`: what a release needs, and what needs the project."""
    version = visit.value("version")
    found = sheet(parts, visit, version or None)
    groups = needs.by_extra(needs.read(found.told.requires_dist))
    wanted = {need.project for group in groups.values() for need in group if need.project}
    here = parts.search.known(visit.index, sorted(wanted), by=visit.by)
    users: dict[str, list[str]] = {}
    for project, text in parts.search.needed_by(visit.index, found.page.project, by=visit.by):
        users.setdefault(project, []).append(text)
    return Shown(
        "dependencies.html",
        {
            **head(parts, visit, found, "dependencies"),
            "groups": groups,
            "extras": found.told.provides_extra,
            "here": here,
            "users": users,
        },
    )


def _file(parts: Parts, visit: Visit, page: Page) -> File:
    wanted = visit.params["filename"].casefold()
    for file in page.files:
        if file.filename.casefold() == wanted:
            accounts = parts.site.accounts
            if not accounts.allows(visit.by, Action.READ, visit.index, page.project):
                break
            return file
    raise NotFound(f"Index {visit.index} has no file {visit.params['filename'][:200]} of {page.name}.")


def inside(parts: Parts, visit: Visit) -> Outcome:
    """`/project/<name>/-/file/<filename>/`: everything about a file, and what is in it."""
    found = sheet(parts, visit)
    file = _file(parts, visit, found.page)
    members, refusal = None, ""
    try:
        handle = parts.site.resolver.open(file)
        try:
            members = parts.interior.members(file, handle)
        finally:
            handle.close()
    except (NotFound, Changing) as error:
        refusal = str(error)
    return Shown(
        "file.html",
        {
            **head(parts, visit, found, "files"),
            "file": file,
            "url": url_of(visit, file),
            "tags": compatibility.tags(file.filename),
            "members": members,
            "refusal": refusal,
        },
    )


def member(parts: Parts, visit: Visit) -> Outcome:
    """`/project/<name>/-/file/<filename>/<path>`: a file in a file, as text."""
    found = sheet(parts, visit)
    file = _file(parts, visit, found.page)
    handle = parts.site.resolver.open(file)
    try:
        excerpt = parts.interior.excerpt(file, handle, visit.params["path"])
    finally:
        handle.close()
    text: str | None = excerpt.data.decode("utf-8", "replace")
    if b"\0" in excerpt.data[:8_192]:
        text = None
    elif text is not None:
        text = "".join(each if each in "\n\t" or each.isprintable() else "\ufffd" for each in text)
    return Shown(
        "member.html",
        {
            **head(parts, visit, found, "files"),
            "file": file,
            "path": visit.params["path"],
            "text": None if text is None else text[:SHOWN_CHARS],
            "size": excerpt.size,
            "cut": text is not None and (len(text) > SHOWN_CHARS or excerpt.size > len(excerpt.data)),
        },
    )
