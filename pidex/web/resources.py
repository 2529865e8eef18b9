"""What the first version of the API offers: every operation, and what it asks of the services."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, is_dataclass
from typing import Any

from pidex.accounts import Accounts
from pidex.accounts.administration import Administration
from pidex.accounts.views import TokenMade, TokenView
from pidex.core import names, simpleapi
from pidex.core.changes import Change, Kept, Owner, Removal, Restored
from pidex.core.errors import BadRequest, NotFound, Unauthenticated
from pidex.core.model import File, Page, Principal, ProjectName, Status
from pidex.core.permissions import Action
from pidex.core.tokens import SCOPES
from pidex.curator import Curator
from pidex.indexing import Indexing
from pidex.resolver import Resolver
from pidex.statistics import Statistics, Unused, Usage, YankedUse
from pidex.web.openapi import Field, Operation

BASE = "/-/api/v1"
#: Lines of a list in one answer: where nothing is said, and at most.
LIMIT, MOST = 100, 1_000


@dataclass(frozen=True, slots=True)
class Services:
    """What operations ask. `indexes`: the names of all there are."""

    resolver: Resolver
    curator: Curator
    accounts: Accounts
    administration: Administration
    indexing: Indexing
    indexes: Sequence[str]
    statistics: Statistics


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: who asks, what its path holds, and what is in its query and body, checked."""

    by: Principal
    params: Mapping[str, str]
    query: Mapping[str, object]
    body: Mapping[str, object]

    def text(self, name: str) -> str:
        """A text of the body or the query; empty where none was given."""
        return str(self.body.get(name, self.query.get(name, "")))


@dataclass(frozen=True, slots=True)
class Who:
    """Who is asking. `name` null: a stranger. `scopes`: what a token is narrowed to, null without one."""

    name: str | None
    via: str
    scopes: tuple[str, ...] | None
    indexes: tuple[str, ...] | None
    projects: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class IndexPath:
    """An index, and where it is below the server's URL."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class ProjectsView:
    """Projects by normalised name. `more`: ask again with the last name as `after`."""

    serial: int
    projects: tuple[ProjectName, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class FileView:
    """A file. `path`: where it is below the index. `yanked`: the reason, empty for none given; null: not."""

    filename: str
    version: str
    packagetype: str
    size: int
    uploaded: int
    requires_python: str | None
    yanked: str | None
    path: str
    sha256: str
    blake2b_256: str
    md5: str


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """A release. `yanked`: whether all of its files are."""

    version: str
    yanked: bool
    files: tuple[FileView, ...]


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A project with its releases, newest last."""

    project: str
    name: str
    serial: int
    status: str
    reason: str | None
    releases: tuple[ReleaseView, ...]


@dataclass(frozen=True, slots=True)
class EventView:
    """Something that happened to a project, in PyPI's words."""

    serial: int
    project: str
    version: str | None
    action: str
    at: int


@dataclass(frozen=True, slots=True)
class JournalView:
    """Changes, oldest first. `more`: ask again with the last serial as `since`."""

    changes: tuple[EventView, ...]
    more: bool


def plain(value: object) -> Any:
    """A value of the services as JSON has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(each) for name, each in _members(value).items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def _members(value: Any) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


# --- what is there ------------------------------------------------------------------------------------------


def _whoami(services: Services, ask: Ask) -> Who:
    by, token = ask.by, ask.by.token
    if token is None:
        return Who(by.name, by.via, None, None, None)
    return Who(by.name, by.via, token.scopes, token.indexes, token.projects)


def _indexes(services: Services, ask: Ask) -> tuple[IndexPath, ...]:
    seen = [name for name in services.indexes if services.accounts.allows(ask.by, Action.LIST, name)]
    return tuple(IndexPath(name, "" if name == services.indexes[0] else f"{name}/") for name in seen)


def _projects(services: Services, ask: Ask) -> ProjectsView:
    index, limit, after = _listed(services, ask), _limit(ask), ask.text("after")
    visible = services.accounts.visibility(ask.by, index)
    serial, found = services.resolver.names(index, by=ask.by)
    lines: list[ProjectName] = []
    with closing(found):  # type: ignore[type-var]  # a generator, which holds a connection
        for line in found:
            if line.project > after and visible.sees(line.project):
                lines.append(line)
                if len(lines) > limit:
                    break
    return ProjectsView(serial, tuple(lines[:limit]), len(lines) > limit)


def _project(services: Services, ask: Ask) -> ProjectView:
    page = _page(services, ask)
    return ProjectView(page.project, page.name, page.serial, page.status, page.status_reason, _releases(page))


def _release(services: Services, ask: Ask) -> ReleaseView:
    page, version = _page(services, ask), ask.params["version"]
    wanted = names.canonical_version(version)
    for release in _releases(page):
        if names.canonical_version(release.version) == wanted:
            return release
    raise NotFound(f"Index {page.index} has no release {version} of project {page.project}.")


def _file(services: Services, ask: Ask) -> FileView:
    page, filename = _page(services, ask), ask.params["filename"]
    for file in page.files:
        if file.filename.casefold() == filename.casefold():
            return _view(file)
    raise NotFound(f"Index {page.index} has no file {filename} of project {page.project}.")


def _journal(services: Services, ask: Ask) -> JournalView:
    index, limit = _listed(services, ask), _limit(ask)
    visible = services.accounts.visibility(ask.by, index)
    since = ask.query.get("since", 0)
    assert isinstance(since, int)
    found = services.resolver.changes(index, since, limit + 1, by=ask.by)
    seen = tuple(EventView(*line) for line in found[:limit] if visible.sees(line.project))
    return JournalView(seen, len(found) > limit)


def _page(services: Services, ask: Ask) -> Page:
    index, project = _index(services, ask), ask.params["project"]
    if not names.is_name(project):
        services.accounts.require(ask.by, Action.LIST, index)
        raise NotFound(f"{project[:100]!r} cannot be the name of a project.")
    project = names.normalize(project)
    services.accounts.require(ask.by, Action.LIST, index, project)
    return services.resolver.page(index, project, by=ask.by)


def _releases(page: Page) -> tuple[ReleaseView, ...]:
    by_version: dict[str, list[File]] = {}
    for file in page.files:
        by_version.setdefault(names.canonical_version(file.version), []).append(file)
    return tuple(
        ReleaseView(
            files[0].version, all(file.yanked is not None for file in files), tuple(map(_view, files))
        )
        for files in by_version.values()
    )


def _view(file: File) -> FileView:
    return FileView(
        file.filename, file.version, file.packagetype, file.size, file.upload_time, file.requires_python,
        file.yanked, f"packages/{simpleapi.file_path(file)}", file.sha256, file.blake2b_256, file.md5,
    )  # fmt: skip


def _index(services: Services, ask: Ask) -> str:
    index = ask.params["index"]
    if index not in services.indexes:
        raise NotFound(f"There is no index {index[:100]}.")
    return index


def _limit(ask: Ask) -> int:
    limit = ask.query.get("limit", LIMIT)
    if not isinstance(limit, int) or not 1 <= limit <= MOST:
        raise BadRequest(f"limit has to be a number from 1 to {MOST}.")
    return limit


def _usage(services: Services, ask: Ask) -> Usage:
    index, days = _listed(services, ask), _days(ask)
    if "project" in ask.params:
        return services.statistics.project(index, _page(services, ask).project, days=days, by=ask.by)
    return services.statistics.index(index, days=days, by=ask.by)


def _unused(services: Services, ask: Ask) -> Sequence[Unused]:
    return services.statistics.never(_listed(services, ask), by=ask.by)


def _yanked_use(services: Services, ask: Ask) -> Sequence[YankedUse]:
    return services.statistics.yanked(_listed(services, ask), days=_days(ask), by=ask.by)


def _listed(services: Services, ask: Ask) -> str:
    index = _index(services, ask)
    services.accounts.require(ask.by, Action.LIST, index)
    return index


def _days(ask: Ask) -> int:
    days = ask.query.get("days", 30)
    assert isinstance(days, int)
    return days


# --- changes ------------------------------------------------------------------------------------------------


def _yank(services: Services, ask: Ask) -> Change:
    return services.curator.yank(**_target(services, ask), reason=ask.text("reason"), by=ask.by)


def _unyank(services: Services, ask: Ask) -> Change:
    return services.curator.unyank(**_target(services, ask), by=ask.by)


def _delete(services: Services, ask: Ask) -> Removal:
    dry = ask.query.get("dry_run") is True
    target = _target(services, ask)
    return services.curator.delete(**target, reason=ask.text("reason"), dry_run=dry, by=ask.by)


def _set_status(services: Services, ask: Ask) -> Change:
    given = {"status": ask.text("status"), "reason": ask.text("reason")}
    return services.curator.set_status(_index(services, ask), ask.params["project"], **given, by=ask.by)


def _restorable(services: Services, ask: Ask) -> Sequence[Kept]:
    return services.curator.list_restorable(_index(services, ask), ask.params["project"], by=ask.by)


def _restore(services: Services, ask: Ask) -> Restored:
    filename, index = ask.params["filename"], _index(services, ask)
    if names.normalize(ask.params["project"]) != names.parse(filename).project:
        raise BadRequest(f"{filename} is no file of project {ask.params['project']}.")
    return services.curator.restore_file(index, filename, sha256=ask.text("sha256") or None, by=ask.by)


def _owners(services: Services, ask: Ask) -> Sequence[Owner]:
    return services.curator.list_owners(_index(services, ask), ask.params["project"], by=ask.by)


def _add_owner(services: Services, ask: Ask) -> Change:
    return services.curator.add_owner(*_owner(services, ask), role=ask.text("role") or "owner", by=ask.by)


def _remove_owner(services: Services, ask: Ask) -> Change:
    return services.curator.remove_owner(*_owner(services, ask), role=ask.text("role") or "owner", by=ask.by)


def _owner(services: Services, ask: Ask) -> tuple[str, str, str]:
    return _index(services, ask), ask.params["project"], ask.params["subject"]


def _target(services: Services, ask: Ask) -> dict[str, Any]:
    return {
        "index": _index(services, ask),
        "project": ask.params["project"],
        "version": ask.params.get("version"),
        "filename": ask.params.get("filename"),
    }


# --- the caller's own tokens --------------------------------------------------------------------------------


def _tokens(services: Services, ask: Ask) -> Sequence[TokenView]:
    return services.administration.list_tokens(_self(ask), by=ask.by)


def _make_token(services: Services, ask: Ask) -> TokenMade:
    given: dict[str, Any] = {
        name: ask.body[name] for name in ("scopes", "indexes", "projects", "comment") if name in ask.body
    }
    expires = ask.body.get("expires")
    assert expires is None or isinstance(expires, int)
    return services.administration.create_token(
        _self(ask), expires=None if expires is None else expires / 1_000_000, **given, by=ask.by
    )


def _revoke_token(services: Services, ask: Ask) -> TokenView:
    text = ask.params["token"]
    own = {token.id for token in services.administration.list_tokens(_self(ask), by=ask.by)}
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) in own):
        raise NotFound(f"You have no token {text[:100]}.")
    return services.administration.revoke_token(int(text), by=ask.by)


def _self(ask: Ask) -> str:
    if ask.by.name is None:
        raise Unauthenticated("Sign in to see to your tokens: by user name and password.")
    return ask.by.name


# --- the table ----------------------------------------------------------------------------------------------

_PROJECT = "/indexes/{index}/projects/{project}"
_VERSION, _FILENAME = f"{_PROJECT}/releases/{{version}}", f"{_PROJECT}/files/{{filename}}"
_OWNER = f"{_PROJECT}/owners/{{subject}}"
_REASON = {"reason": Field("string", "Why. People read it.")}
_GOING = {**_REASON, "dry_run": Field("boolean", "Only say what would go.")}
_SOME = {"limit": Field("integer", f"Lines at most, {LIMIT} if not said, {MOST} at most.")}
_AFTER = {"after": Field("string", "Only names after this one.")}
_DAYS = {"days": Field("integer", "How many days, 30 if not said.")}
_SINCE = {"since": Field("integer", "Only changes after this serial.")}
_ROLE = {"role": Field("string", "As what; owner if not said.", choices=("uploader", "maintainer", "owner"))}
_MARKER = {"status": Field("string", "PEP 792.", required=True, choices=tuple(Status)), **_REASON}
_HASH = {"sha256": Field("string", "The beginning of the sha256 of the bytes that are meant.")}
_TOKEN = {
    "scopes": Field("strings", "What it may do; read if not said.", choices=SCOPES),
    "indexes": Field("strings", "Patterns of index names."),
    "projects": Field("strings", "Patterns of normalised project names."),
    "comment": Field("string", "What it is for."),
    "expires": Field("integer", "When it ends, in microseconds since 1970."),
}

Act = Callable[[Services, Ask], object]
#: Every operation and what answers it.
OPERATIONS: Sequence[tuple[Operation, Act]] = (
    (Operation("GET", "/whoami", "whoami", "Who you are here", Who), _whoami),
    (Operation("GET", "/indexes", "listIndexes", "Indexes you may see", tuple[IndexPath, ...]), _indexes),
    (
        Operation(
            "GET",
            "/indexes/{index}/projects",
            "listProjects",
            "The projects of an index",
            ProjectsView,
            {**_AFTER, **_SOME},
        ),
        _projects,
    ),
    (
        Operation(
            "GET",
            "/indexes/{index}/journal",
            "listChanges",
            "What happened in an index",
            JournalView,
            {**_SINCE, **_SOME},
        ),
        _journal,
    ),
    (
        Operation("GET", "/indexes/{index}/downloads", "countDownloads", "Downloads of it all", Usage, _DAYS),
        _usage,
    ),
    (
        Operation(
            "GET", "/indexes/{index}/unused", "listUnused", "Files nobody downloaded", tuple[Unused, ...]
        ),
        _unused,
    ),
    (
        Operation(
            "GET",
            "/indexes/{index}/yanked-downloads",
            "listYankedDownloads",
            "Who uses what was yanked",
            tuple[YankedUse, ...],
            _DAYS,
        ),
        _yanked_use,
    ),
    (Operation("GET", f"{_PROJECT}/downloads", "countOfProject", "Its downloads", Usage, _DAYS), _usage),
    (Operation("GET", _PROJECT, "getProject", "A project, its releases and files", ProjectView), _project),
    (
        Operation("DELETE", _PROJECT, "deleteProject", "Delete all files of a project", Removal, _GOING),
        _delete,
    ),
    (
        Operation("PUT", f"{_PROJECT}/status", "setStatus", "Set a project's status", Change, body=_MARKER),
        _set_status,
    ),
    (
        Operation(
            "GET",
            f"{_PROJECT}/restorable",
            "listRestorable",
            "Files that can be brought back",
            tuple[Kept, ...],
        ),
        _restorable,
    ),
    (Operation("GET", f"{_PROJECT}/owners", "listOwners", "A project's people", tuple[Owner, ...]), _owners),
    (
        Operation("PUT", _OWNER, "addOwner", "Give somebody a role on a project", Change, body=_ROLE),
        _add_owner,
    ),
    (
        Operation("DELETE", _OWNER, "removeOwner", "Take a role on a project back", Change, _ROLE),
        _remove_owner,
    ),
    (Operation("GET", _VERSION, "getRelease", "A release with its files", ReleaseView), _release),
    (Operation("DELETE", _VERSION, "deleteRelease", "Delete a release", Removal, _GOING), _delete),
    (Operation("PUT", f"{_VERSION}/yank", "yankRelease", "Yank a release", Change, body=_REASON), _yank),
    (Operation("DELETE", f"{_VERSION}/yank", "unyankRelease", "Take that back", Change), _unyank),
    (Operation("GET", _FILENAME, "getFile", "A file", FileView), _file),
    (Operation("DELETE", _FILENAME, "deleteFile", "Delete a file", Removal, _GOING), _delete),
    (Operation("PUT", f"{_FILENAME}/yank", "yankFile", "Yank a file", Change, body=_REASON), _yank),
    (Operation("DELETE", f"{_FILENAME}/yank", "unyankFile", "Take that back", Change), _unyank),
    (
        Operation(
            "POST", f"{_FILENAME}/restore", "restoreFile", "Bring a deleted file back", Restored, body=_HASH
        ),
        _restore,
    ),
    (Operation("GET", "/tokens", "listTokens", "Your API tokens", tuple[TokenView, ...]), _tokens),
    (
        Operation(
            "POST", "/tokens", "createToken", "Make an API token of yours", TokenMade, body=_TOKEN, status=201
        ),
        _make_token,
    ),
    (Operation("DELETE", "/tokens/{token}", "revokeToken", "End a token of yours", TokenView), _revoke_token),
)
