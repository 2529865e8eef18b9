"""The first page of an index, its search, why something is listed or not, and how clients are set up."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pidex.core import setups
from pidex.core.errors import BadName, Busy, NotFound
from pidex.core.finds import DAYS, Filters
from pidex.core.model import ANONYMOUS, Release
from pidex.core.names import is_name, is_package, normalize, parse
from pidex.core.negotiation import error_type
from pidex.core.permissions import Action
from pidex.core.setups import CLIENTS, Where
from pidex.web import welcome
from pidex.web.operations import is_loopback
from pidex.web.ui.frame import Parts
from pidex.web.ui.language import LANGUAGES
from pidex.web.ui.visit import (
    LANGUAGE_COOKIE,
    THEME_COOKIE,
    THEMES,
    YEAR,
    Moved,
    Outcome,
    Raw,
    Shown,
    Visit,
    back,
    cookie,
)

#: Releases on the first page, and projects on a page of a search.
NEWEST, FOUND = 8, 20
#: Characters of a question to `why`.
SUBJECT_CHARS = 400


def home(parts: Parts, visit: Visit) -> Outcome:
    """`/`: the search, what is new, and the shortest way to install from here."""
    site, call = parts.site, visit.call
    guarded = not site.gate.may(visit.by, visit.index, "list")
    counts: tuple[int, int] | None = None
    newest: Sequence[Release] = ()
    busy = False
    if not guarded:
        try:
            counts = parts.recalled(visit, "count", lambda: site.resolver.count(visit.index, by=visit.by))
            newest = _newest(parts, visit)
        except Busy:
            busy = True
    options = site.options
    hints: Sequence[str] = ()
    if site.health is not None and site.accounts.allows(visit.by, Action.ADMIN, None):
        hints = [check.reason for check in site.health.readiness().checks if check.state != "ok"]
    loopback = not (options.unix or call.origin.forwarded) and is_loopback(options.host)
    where = where_of(parts, visit, newest[0].project if newest else "")
    return Shown(
        "home.html",
        {
            "counts": counts,
            "newest": newest,
            "busy": busy,
            "guarded": guarded,
            "loopback": loopback,
            "hints": hints,
            "where": where,
            "lines": setups.install_lines(where, where.project),
        },
    )


def _newest(parts: Parts, visit: Visit) -> Sequence[Release]:
    """The newest releases of the index. Raises `Busy`."""
    resolver = parts.site.resolver
    return parts.recalled(visit, "newest", lambda: resolver.releases(visit.index, NEWEST, by=visit.by))


def where_of(parts: Parts, visit: Visit, project: str = "") -> Where:
    """The index as its reader sees it."""
    url = visit.call.url
    open_ = parts.site.accounts.visibility(ANONYMOUS, visit.index, Action.LIST).everything
    name = "pidex" if not visit.call.named else f"pidex-{visit.index}"
    return Where(url, welcome.trusted_host(url), not open_, project or setups.EXAMPLE, name)


def search(parts: Parts, visit: Visit) -> Outcome:
    """`/-/search`: projects by text and facets; without a text, all of them."""
    query = visit.value("q")
    parts.site.gate.require(visit.by, visit.index, "list")
    filters = _filters(visit)
    page = _page_number(visit.value("page"))
    newest = visit.value("order") == "newest"
    results = parts.recalled(
        visit,
        "search",
        lambda: parts.search.search(
            visit.index,
            query,
            filters,
            by=visit.by,
            offset=(page - 1) * FOUND,
            limit=FOUND,
            newest=newest,
        ),
        *(query, filters, page, newest),
        keeps=lambda found: not found.filling,
    )
    return Shown(
        "search.html",
        {
            "query": query,
            "filters": filters,
            "results": results,
            "page": page,
            "pages": max(1, -(-results.total // FOUND)),
            "newest": newest,
            "days": DAYS,
        },
    )


def _filters(visit: Visit) -> Filters:
    days = visit.value("days")
    names = ("index", "origin", "python", "platform", "licence", "status")
    values = {name: visit.value(name)[:100] for name in names}
    return Filters(days=int(days) if days.isascii() and days.isdigit() and len(days) < 5 else 0, **values)


def _page_number(text: str) -> int:
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 5 else 1


def setup(parts: Parts, visit: Visit) -> Outcome:
    """`/-/setup`: ready texts for a client, with the reader's own URL."""
    project = ""
    if parts.site.gate.may(visit.by, visit.index, "list"):
        try:
            newest = _newest(parts, visit)
            project = newest[0].project if newest else ""
        except Busy:
            pass
    asked = visit.value("client") or CLIENTS[0].key
    client = next((each for each in CLIENTS if each.key == asked), None)
    if client is None:
        raise NotFound("There is no such client.")
    where = where_of(parts, visit, project)
    values = {"clients": CLIENTS, "client": client, "where": where, "blocks": client.blocks(where)}
    return Shown("setup.html", values)


def why(parts: Parts, visit: Visit) -> Outcome:
    """`/-/why` and `/-/why/NAME/VERSION-OR-FILE`: everything known of a project, a release or a file."""
    parts.site.gate.require(visit.by, visit.index, "list")
    subject = visit.value("subject")
    if "subject" in visit.call.params:
        subject, part = visit.call.params["subject"], visit.call.params.get("part", "")
        subject = part if is_package(part) else f"{subject}=={part}" if part else subject
    subject = subject[:SUBJECT_CHARS]
    reasons = parts.site.resolver.why(visit.index, subject, by=visit.by, fetch=True) if subject else ()
    if error_type(visit.call.accept) in ("application/json", "application/problem+json"):
        told = [{"code": reason.code, "text": str(reason.text)} for reason in reasons]
        return Raw("application/json", msgspec.json.encode({"subject": subject, "reasons": told}))
    listed = any(reason.code in ("listed", "yanked") for reason in reasons)
    project = _project_of(subject) if listed else ""
    return Shown("why.html", {"subject": subject, "reasons": reasons, "project": project})


def _project_of(subject: str) -> str:
    """The project that a question is about; '' where none can be read from it."""
    if is_package(subject):
        try:
            return parse(subject).project
        except BadName:
            return ""
    name = subject.partition("==")[0].strip()
    return normalize(name) if is_name(name) else ""


def prefer(parts: Parts, visit: Visit) -> Outcome:
    """POST `/-/prefer`: language and colours, kept in cookies that say nothing else."""
    del parts
    secure = visit.call.origin.url.startswith("https:")
    cookies = []
    for name, field, known in (
        (LANGUAGE_COOKIE, "language", tuple(LANGUAGES)),
        (THEME_COOKIE, "theme", (*THEMES, "auto")),
    ):
        chosen = visit.value(field)
        if chosen in known:
            seconds = 0 if chosen == "auto" else YEAR
            cookies.append(cookie(name, chosen, seconds=seconds, secure=secure))
    return Moved(back(visit.value("back")), cookies)
