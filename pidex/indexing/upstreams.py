"""Upstreams: other indexes that are asked for what nobody here has, and how they are reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pidex.catalogue import indexes, upstreams
from pidex.catalogue.engine import Connection
from pidex.core import addresses, estate
from pidex.core.errors import BadRequest, Conflict, NotFound
from pidex.core.model import Principal
from pidex.core.upstreams import UpstreamSettings
from pidex.indexing.office import Office

KINDS = ("auto", "simple", "links")
AUTHS = ("none", "basic", "bearer", "netrc")
#: Seconds that times may be at most: a year.
MOST_SECONDS = 31_536_000.0


@dataclass(frozen=True, slots=True)
class UpstreamView:
    """An upstream as its administrators see it: all but the secret. `used_by`: the indexes that name it."""

    name: str
    url: str
    kind: str
    auth: str
    secret: bool
    netrc: str | None
    proxy: str | None
    ca: str | None
    private: bool
    max_age: float
    created: int
    used_by: tuple[str, ...]
    changed: bool = False


class Upstreams(Office):
    """Upstreams."""

    def add_upstream(
        self, name: str, url: str | None = None, *, settings: Mapping[str, Any] | None = None, by: Principal
    ) -> UpstreamView:
        """Make an upstream. Without a URL its name has to be a known one ('pypi').

        `settings`: fields of `UpstreamSettings`. Indexes name it in `upstreams`; until then nobody asks it.
        """
        self._administers(by)
        name = estate.check_upstream(name)
        found = url or self._known(name)
        if found is None:
            raise BadRequest(f"What is the URL of upstream {name}? Of those known by name there is pypi.")
        wanted = _checked(UpstreamSettings(name, found), settings or {})
        with self._catalogue.write() as conn:
            if upstreams.find(conn, name) is not None:
                raise Conflict(
                    f"There is an upstream {name} already: `pidex upstream set {name}` changes it."
                )
            upstreams.put(conn, wanted, created=self._now())
            self._told(conn, by, "upstream.add", subject=name, after=_said(wanted))
            return _view(conn, wanted, self._now(), changed=True)

    def set_upstream(self, name: str, settings: Mapping[str, Any], *, by: Principal) -> UpstreamView:
        """Change how an upstream is reached. Pages of it that are held stay."""
        self._administers(by)
        with self._catalogue.write() as conn:
            before = _found(conn, name)
            wanted = _checked(before.settings, settings)
            if wanted != before.settings:
                upstreams.put(conn, wanted, created=before.created)
                self._told(
                    conn, by, "upstream.set", subject=name,
                    before=_said(before.settings), after=_said(wanted),
                )  # fmt: skip
                self._renew(conn, by, name)
            return _view(conn, wanted, before.created, changed=wanted != before.settings)

    def list_upstreams(self, *, by: Principal) -> Sequence[UpstreamView]:
        """All upstreams."""
        self._administers(by)
        with self._catalogue.read() as conn:
            return [_view(conn, each.settings, each.created) for each in upstreams.list(conn)]

    def remove_upstream(self, name: str, *, force: bool = False, by: Principal) -> UpstreamView:
        """Forget an upstream. Raises `Conflict` while indexes name it, which with `force` no longer do."""
        self._administers(by)
        with self._catalogue.write() as conn:
            before = _found(conn, name)
            view = _view(conn, before.settings, before.created, changed=True)
            if view.used_by and not force:
                raise Conflict(
                    f"Upstream {name} is used by {', '.join(view.used_by)}: "
                    f"`pidex index set {view.used_by[0]} upstreams-={name}`, or --force."
                )
            self._told(conn, by, "upstream.remove", subject=name, before=_said(before.settings))
            for each in indexes.list(conn):
                if name in each.upstreams:
                    left = [other for other in each.upstreams if other != name]
                    indexes.set_upstreams(conn, each.id, left)
                    indexes.announce(conn, each.id, at=self._now(), by=by.name or "anonymous")
            upstreams.remove(conn, name)
            return view

    def _renew(self, conn: Connection, by: Principal, name: str) -> None:
        for each in indexes.list(conn):
            if name in each.upstreams:
                indexes.announce(conn, each.id, at=self._now(), by=by.name or "anonymous")


def _found(conn: Connection, name: str) -> upstreams.Upstream:
    found = upstreams.find(conn, name)
    if found is None:
        raise NotFound(f"There is no upstream {name[:80]}. `pidex upstream list` shows them.")
    return found


def _checked(before: UpstreamSettings, given: Mapping[str, Any]) -> UpstreamSettings:
    """Settings with changes. Raises `BadRequest`."""
    known = UpstreamSettings.__dataclass_fields__
    for name in given:
        if name not in known or name == "name":
            raise BadRequest(f"An upstream has no setting {name[:80]}. It has {', '.join([*known][1:])}.")
    found = replace(before, **given)
    try:
        addresses.url(found.url)
        if found.proxy is not None:
            addresses.url(found.proxy)
    except (ValueError, TypeError):
        raise BadRequest(
            f"{found.url[:200]!r} (or its proxy) is no http or https URL without credentials or a query."
        ) from None
    for value, allowed, what in ((found.kind, KINDS, "kind"), (found.auth, AUTHS, "auth")):
        if value not in allowed:
            raise BadRequest(f"{what} is one of {', '.join(allowed)}, not {str(value)[:80]!r}.")
    if found.auth in ("basic", "bearer") and not found.secret:
        raise BadRequest(f"auth {found.auth} needs a secret: by --secret-file, or by the prompt.")
    if found.auth == "basic" and ":" not in (found.secret or ""):
        raise BadRequest("The secret of auth basic is USER:PASSWORD.")
    if found.secret is not None and any(ord(c) < 33 or ord(c) > 126 for c in found.secret.replace(" ", "")):
        raise BadRequest("The secret holds characters that cannot be sent in a header.")
    for path, what in ((found.ca, "ca"), (found.netrc, "netrc")):
        if path is not None and not Path(path).is_file():
            raise BadRequest(f"{what}: there is no file {path[:200]}.")
    for number, what in ((found.max_age, "max_age"), (found.absent_age, "absent_age")):
        if not 0 <= number <= MOST_SECONDS:
            raise BadRequest(f"{what} is a number of seconds from 0 to {MOST_SECONDS:.0f}.")
    return replace(found, url=found.url.rstrip("/") + "/" if found.kind != "links" else found.url)


def _said(settings: UpstreamSettings) -> dict[str, object]:
    return {**asdict(settings), "secret": settings.secret is not None}


def _view(
    conn: Connection, settings: UpstreamSettings, created: int, *, changed: bool = False
) -> UpstreamView:
    return UpstreamView(
        settings.name, settings.url, settings.kind, settings.auth, settings.secret is not None,
        settings.netrc, settings.proxy, settings.ca, settings.private, settings.max_age, created,
        tuple(each.name for each in indexes.list(conn) if settings.name in each.upstreams), changed,
    )  # fmt: skip
