"""Pages for who runs the server: its state, people, indexes and upstreams, the audit, and its health."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pidex.core.errors import BadRequest, NotFound, PidexError
from pidex.overview import ROWS, SEARCHED, Entry
from pidex.web.ui import desk
from pidex.web.ui.frame import Parts
from pidex.web.ui.visit import Outcome, Raw, Shown, Visit

#: Roles that may be granted.
ROLES = ("reader", "uploader", "maintainer", "owner", "admin")

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? ([0-9.e+-]+)$", re.MULTILINE)
_LABEL = re.compile(r'\b(\w+)="((?:[^"\\]|\\.)*)"')


def _status(error: PidexError | None) -> int:
    return error.status if error else 200


class Told:
    """The metrics of all processes of the server, as pages show them."""

    def __init__(self, text: str) -> None:
        self._samples = [
            (name, dict(_LABEL.findall(labels)), float(value))
            for name, labels, value in _SAMPLE.findall(text)
        ]

    def _of(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        return ((labels, value) for each, labels, value in self._samples if each == name)

    def _sum(self, name: str) -> float:
        return sum(value for _, value in self._of(name))

    def mean(self, name: str) -> float | None:
        """The mean of a histogram, in milliseconds; None before the first measure."""
        count = self._sum(f"{name}_count")
        return self._sum(f"{name}_sum") / count * 1000 if count else None

    def requests(self) -> Sequence[tuple[str, int, int]]:
        """Kind, number, and how many of them failed here."""
        found: dict[str, list[int]] = {}
        for labels, value in self._of("pidex_requests_total"):
            line = found.setdefault(labels["kind"], [0, 0])
            line[0] += int(value)
            line[1] += int(value) if labels["status"] >= "500" else 0
        return [(kind, number, failed) for kind, (number, failed) in sorted(found.items())]

    def kept(self) -> tuple[int, int]:
        """How many pages for installers were asked for, and how many of them did not have to be made."""
        made = {labels["kind"]: value for labels, value in self._of("pidex_pages_made_total")}
        asked = sum(number for kind, number, _ in self.requests() if kind in made)
        return asked, max(0, asked - int(sum(made.values())))

    def outcomes(self, name: str) -> dict[str, int]:
        """A counter's numbers by outcome."""
        return {labels["outcome"]: int(value) for labels, value in self._of(f"{name}_total")}

    def waits(self) -> dict[str, float]:
        """The mean time until an upstream's answer began, in milliseconds."""
        asked: dict[str, float] = {}
        for labels, value in self._of("pidex_upstream_requests_total"):
            asked[labels["upstream"]] = asked.get(labels["upstream"], 0) + value
        waited = {
            labels["upstream"]: value for labels, value in self._of("pidex_upstream_wait_seconds_total")
        }
        return {name: waited.get(name, 0) / number * 1000 for name, number in asked.items() if number}


# --- state --------------------------------------------------------------------------------------------------


def state(parts: Parts, visit: Visit) -> Outcome:
    """`/-/admin`: load, storage, jobs, upstreams."""
    desk.of_server(parts, visit)
    told = Told(parts.site.metrics.exposition({}).decode())
    return Shown(
        "admin.html",
        {
            "state": parts.overview.state(by=visit.by),
            "upstreams": parts.overview.upstreams(by=visit.by),
            "requests": told.requests(),
            "mean": told.mean("pidex_request_seconds"),
            "kept": told.kept(),
            "mirror": told.outcomes("pidex_mirror_files"),
            "waits": told.waits(),
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


#: What an export has of each row.
_COLUMNS = (
    "number", "time", "actor", "via", "token", "address", "action", "index", "project", "subject",
    "before", "after",
)  # fmt: skip


def export(parts: Parts, visit: Visit) -> Outcome:
    """`/-/admin/audit.csv`: the same rows for a spreadsheet, in which no cell is a formula (T38)."""
    desk.of_server(parts, visit)
    wanted, times = _wanted(visit)
    out = io.StringIO()
    lines = csv.writer(out)
    lines.writerow(_COLUMNS)
    for row in parts.overview.export(wanted, **times, by=visit.by):
        lines.writerow(map(_cell, _columns(row)))
    return Raw("text/csv; charset=utf-8", out.getvalue().encode("utf-8", "replace"))


def export_json(parts: Parts, visit: Visit) -> Outcome:
    """`/-/admin/audit.json`: the same rows for a program, as they are."""
    desk.of_server(parts, visit)
    wanted, times = _wanted(visit)
    rows = parts.overview.export(wanted, **times, by=visit.by)
    told = [
        {
            **dict(zip(_COLUMNS, _columns(row), strict=True)),
            "before": json.loads(row.before or "null"),
            "after": json.loads(row.after or "null"),
        }
        for row in rows
    ]
    return Raw("application/json", json.dumps(told).encode())


def _columns(row: Entry) -> Sequence[object]:
    time = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row.at)).isoformat()
    return (row.id, time, *row[2:])


def _cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else text
