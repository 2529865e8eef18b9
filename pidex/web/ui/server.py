"""Pages for who runs the server: its state, people, indexes and upstreams, the audit, and its health."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from pidex.core.errors import BadRequest, NotFound, PidexError
from pidex.overview import ROWS, SEARCHED
from pidex.web.ui import desk
from pidex.web.ui.frame import Parts
from pidex.web.ui.visit import Outcome, Raw, Shown, Visit

#: Roles that may be granted.
ROLES = ("reader", "uploader", "maintainer", "owner", "admin")

_REQUESTS = re.compile(r'pidex_requests_total\{kind="([^"]+)",status="([^"]+)"\} ([0-9.e+]+)')
_MEASURE = re.compile(r"pidex_request_seconds_(sum|count) ([0-9.e+-]+)")


def _status(error: PidexError | None) -> int:
    return error.status if error else 200


# --- state --------------------------------------------------------------------------------------------------


def state(parts: Parts, visit: Visit) -> Outcome:
    """`/-/admin`: load, storage, jobs, upstreams."""
    desk.of_server(parts, visit)
    text = parts.site.metrics.exposition({}).decode()
    requests: dict[str, list[int]] = {}
    for kind, status, number in _REQUESTS.findall(text):
        line = requests.setdefault(kind, [0, 0])
        line[0] += int(float(number))
        line[1] += int(float(number)) if status >= "500" else 0
    measure = {name: float(value) for name, value in _MEASURE.findall(text)}
    mean = measure["sum"] / measure["count"] * 1000 if measure.get("count") else None
    return Shown(
        "admin.html",
        {
            "state": parts.overview.state(by=visit.by),
            "upstreams": parts.overview.upstreams(by=visit.by),
            "requests": sorted(requests.items()),
            "mean": mean,
        },
    )


def health(parts: Parts, visit: Visit) -> Outcome:
    """`/-/admin/health`: what `pidex doctor` says."""
    desk.of_server(parts, visit)
    return Shown("health.html", {"checks": [*parts.examine()], "report": None})


def verify(parts: Parts, visit: Visit) -> Outcome:
    """POST `/-/admin/health`: compare all that is kept, without reading the files."""
    desk.of_server(parts, visit)
    first = parts.verifier.verify(by=visit.by)
    report = parts.verifier.confirmed(first, by=visit.by)
    return Shown("health.html", {"checks": [*parts.examine()], "report": report})


# --- people -------------------------------------------------------------------------------------------------


def _people(parts: Parts, visit: Visit, error: PidexError | None) -> Outcome:
    desks, by = parts.administration, visit.by
    return Shown(
        "people.html",
        {
            "users": desks.list_users(by=by),
            "groups": desks.list_groups(by=by),
            "grants": desks.list_grants(by=by),
            "roles": ROLES,
            "error": error,
        },
        _status(error),
    )


def _add_user(parts: Parts, visit: Visit) -> str:
    password = (visit.form or {}).get("password", "")
    parts.administration.add_user(visit.value("name"), password or None, by=visit.by)
    return "added"


def _add_group(parts: Parts, visit: Visit) -> str:
    parts.administration.add_group(visit.value("name"), by=visit.by)
    return "added"


def _remove_group(parts: Parts, visit: Visit) -> str:
    parts.administration.remove_group(desk.typed(visit, visit.value("group")), by=visit.by)
    return "gone"


def _join(parts: Parts, visit: Visit) -> str:
    parts.administration.join_group(visit.value("group"), visit.value("user"), by=visit.by)
    return "added"


def _leave(parts: Parts, visit: Visit) -> str:
    parts.administration.leave_group(visit.value("group"), visit.value("user"), by=visit.by)
    return "gone"


def _granted(visit: Visit) -> dict[str, Any]:
    return {"index": visit.value("index") or None, "project": visit.value("project") or "*", "by": visit.by}


def _grant(parts: Parts, visit: Visit) -> str:
    parts.administration.grant(visit.value("subject"), visit.value("role"), **_granted(visit))
    return "added"


def _ungrant(parts: Parts, visit: Visit) -> str:
    parts.administration.ungrant(visit.value("subject"), visit.value("role"), **_granted(visit))
    return "gone"


people, change_people = desk.pages(
    desk.of_server,
    _people,
    {
        "add-user": _add_user,
        "add-group": _add_group,
        "remove-group": _remove_group,
        "join": _join,
        "leave": _leave,
        "grant": _grant,
        "ungrant": _ungrant,
    },
    "-/admin/people?",
)


def _person(parts: Parts, visit: Visit, error: PidexError | None) -> Outcome:
    name, desks, by = visit.value("user"), parts.administration, visit.by
    user = next((each for each in desks.list_users(by=by) if each.name == name), None)
    if user is None:
        raise NotFound(f"There is no user {name[:100]}.")
    mine = {f"user:{name}", *(f"group:{group}" for group in user.groups)}
    return Shown(
        "person.html",
        {
            "user": user,
            "tokens": desks.list_tokens(name, by=by),
            "grants": [each for each in desks.list_grants(by=by) if each.subject in mine],
            "error": error,
        },
        _status(error),
    )


def _lock(parts: Parts, visit: Visit) -> str:
    parts.administration.disable_user(visit.value("user"), by=visit.by)
    return "saved"


def _unlock(parts: Parts, visit: Visit) -> str:
    parts.administration.enable_user(visit.value("user"), by=visit.by)
    return "saved"


def _password(parts: Parts, visit: Visit) -> str:
    password = (visit.form or {}).get("password", "")
    parts.administration.set_password(visit.value("user"), password, by=visit.by)
    return "saved"


def _revoke(parts: Parts, visit: Visit) -> str:
    text, user = visit.value("token"), visit.value("user")
    own = {str(each.id): each.id for each in parts.administration.list_tokens(user, by=visit.by)}
    if text not in own:
        raise BadRequest(f"{user[:100]} has no token {text[:40]}.")
    parts.administration.revoke_token(own[text], by=visit.by)
    return "revoked"


person, change_person = desk.pages(
    desk.of_server,
    _person,
    {"lock": _lock, "unlock": _unlock, "password": _password, "revoke": _revoke},
    "-/admin/person?user={user}&",
)


def _remove_user(parts: Parts, visit: Visit) -> str:
    parts.administration.remove_user(desk.typed(visit, visit.value("user")), by=visit.by)
    return "gone"


_, remove_person = desk.pages(desk.of_server, _person, {"remove-user": _remove_user}, "-/admin/people?")


# --- indexes and upstreams ----------------------------------------------------------------------------------


def _indexes(parts: Parts, visit: Visit, error: PidexError | None) -> Outcome:
    return Shown(
        "indexes.html",
        {
            "all_indexes": parts.indexing.list_indexes(by=visit.by),
            "upstreams": parts.indexing.list_upstreams(by=visit.by),
            "error": error,
        },
        _status(error),
    )


def _add_index(parts: Parts, visit: Visit) -> str:
    edits = [f"{name}={visit.value(name)}" for name in ("bases", "upstreams") if visit.value(name)]
    parts.indexing.create(visit.value("name"), edits, by=visit.by)
    return "added"


def _remove_index(parts: Parts, visit: Visit) -> str:
    name = desk.typed(visit, visit.value("name"))
    parts.indexing.remove_index(name, force=visit.value("force") == "yes", by=visit.by)
    return "gone"


def _add_upstream(parts: Parts, visit: Visit) -> str:
    parts.indexing.add_upstream(visit.value("name"), visit.value("url") or None, by=visit.by)
    return "added"


def _remove_upstream(parts: Parts, visit: Visit) -> str:
    name = desk.typed(visit, visit.value("name"))
    parts.indexing.remove_upstream(name, force=visit.value("force") == "yes", by=visit.by)
    return "gone"


indexes, change_indexes = desk.pages(
    desk.of_server,
    _indexes,
    {
        "add-index": _add_index,
        "remove-index": _remove_index,
        "add-upstream": _add_upstream,
        "remove-upstream": _remove_upstream,
    },
    "-/admin/indexes?",
)


# --- the audit ----------------------------------------------------------------------------------------------


def _wanted(visit: Visit) -> tuple[dict[str, str], dict[str, int]]:
    """What of the audit is asked for: values of columns, and times. Raises `BadRequest`."""
    wanted = {name: visit.value(name)[:200] for name in SEARCHED}
    times: dict[str, int] = {}
    for name, days in (("since", 0), ("until", 1)):
        text = visit.value(name)
        if text:
            try:
                day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=days)
            except (ValueError, OverflowError):
                raise BadRequest(f"{text[:40]!r} is no day: write it as 2026-08-01.") from None
            times[name] = int(day.timestamp() * 1_000_000)
    return wanted, times


def audit(parts: Parts, visit: Visit) -> Outcome:
    """`/-/admin/audit`: who did what, from where, newest first."""
    desk.of_server(parts, visit)
    text, error = visit.value("before"), None
    before = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
    try:
        wanted, times = _wanted(visit)
    except BadRequest as refused:
        wanted, times, error = dict.fromkeys(SEARCHED, ""), {}, refused
    rows = parts.overview.audit(wanted, **times, before=before, limit=ROWS + 1, by=visit.by)
    values = {"rows": rows[:ROWS], "more": len(rows) > ROWS, "wanted": wanted, "error": error}
    return Shown("audit.html", values, _status(error))


def export(parts: Parts, visit: Visit) -> Outcome:
    """`/-/admin/audit.csv`: the same rows for a spreadsheet, in which no cell is a formula (T38)."""
    desk.of_server(parts, visit)
    wanted, times = _wanted(visit)
    out = io.StringIO()
    lines = csv.writer(out)
    lines.writerow(
        ["number", "time", "actor", "via", "token", "address", "action", "index", "project", "subject",
         "before", "after"]
    )  # fmt: skip
    for row in parts.overview.export(wanted, **times, by=visit.by):
        time = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row.at)).isoformat()
        lines.writerow([_cell(each) for each in (row.id, time, *row[2:])])
    return Raw("text/csv; charset=utf-8", out.getvalue().encode("utf-8", "replace"))


def _cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else text
