"""Pages about an index: what it is made of and shows, whose names are whose, its folders, and its use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from pidex.core import changes, names, rulebook
from pidex.core.errors import BadRequest, Busy, NotFound, PidexError
from pidex.core.estate import MUTABILITIES
from pidex.core.model import SEVERITIES
from pidex.core.permissions import Action
from pidex.core.setups import phrase
from pidex.core.uploads import UploadPolicy
from pidex.statistics import UNUSED_DAYS, Usage
from pidex.web.ui import desk
from pidex.web.ui.frame import Parts
from pidex.web.ui.visit import Outcome, Shown, Visit

#: Days that a chart shows: what may be chosen.
DAYS = (7, 30, 90, 365)
#: Lines of a list on a page.
LINES = 200
#: Rules that are lists: shown as lines to be edited; and those that are one of few values.
LONG = frozenset({"allow", "deny", "constraints"})
CHOICES: Mapping[str, Sequence[str]] = {
    "scope": ("upstream", "all"),
    **dict.fromkeys(("prereleases", "licence_unknown", "malware", "dry_run"), ("yes", "no")),
    **dict.fromkeys(("vulnerable", "vulnerable_yanked"), SEVERITIES),
}
#: The switches of uploads as they are unless somebody sets them.
SWITCHES: Mapping[str, object] = {each.name: each.default for each in fields(UploadPolicy)}

#: Rules in people's words: what each is called, and how it is written.
RULES = {
    "scope": (
        phrase("The rules speak of"),
        phrase("mirrored files, or all; mirrored ones unless it is said"),
    ),
    "allow": (phrase("Shown, and nothing else"), "requests acme-* django>=4,<6"),
    "deny": (phrase("Not shown"), phrase("names and versions: left-pad django<4")),
    "constraints": (
        phrase("Versions that projects are held to"),
        phrase("as in a constraints file; * hides all other projects"),
    ),
    "min_age": (phrase("How old a file must be"), phrase("3d or 12h")),
    "freeze_at": (phrase("Nothing younger than"), "2026-08-01T12:00Z"),
    "prereleases": (phrase("Show pre-releases"), ""),
    "types": (phrase("Kinds of files that are shown"), "sdist bdist_wheel"),
    "platforms": (phrase("Platforms of wheels that are shown"), "manylinux* win_amd64"),
    "pythons": (
        phrase("Versions of Python in use"),
        phrase("3.11 3.12; files for none of them are not shown"),
    ),
    "max_size": (phrase("The largest file that is shown"), "500MB"),
    "keep_latest": (phrase("How many of the newest releases are shown"), phrase("a number")),
    "licences": (phrase("Licences that are allowed"), "MIT Apache-2.0 BSD-*"),
    "licences_denied": (phrase("Licences that are not allowed"), "AGPL-*"),
    "licence_unknown": (phrase("Show files of unknown licence"), ""),
    "malware": (phrase("Keep back what advisories call malware"), phrase("unless it is said: yes")),
    "vulnerable": (
        phrase("Not shown where a known vulnerability is at least"),
        phrase("any also takes in what nobody rated"),
    ),
    "vulnerable_yanked": (phrase("Yanked where a known vulnerability is at least"), ""),
    "advisories_accepted": (
        phrase("Advisories that count for nothing here"),
        "GHSA-2hqx-vjc3-4fxm PYSEC-2024-1",
    ),
    "dry_run": (phrase("Only report, keep nothing back"), ""),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart, in the units of its view box, 100 high; and what it stands for."""

    x: int
    y: float
    height: float
    day: int
    number: int


def bars(usage: Usage) -> tuple[Bar, ...]:
    """A chart's bars, ten wide, the highest 100 high. Every day that has a download shows."""
    highest = max((each.number for each in usage.by_day), default=0) or 1
    return tuple(
        Bar(10 * at, 100 - height, height, each.day, each.number)
        for at, each in enumerate(usage.by_day)
        for height in [max(2.0, round(100 * each.number / highest, 1)) if each.number else 0.0]
    )


def days_of(visit: Visit) -> int:
    """How many days are asked for."""
    text = visit.value("days")
    return int(text) if text in map(str, DAYS) else 30


# --- for everybody ------------------------------------------------------------------------------------------


def statistics(parts: Parts, visit: Visit) -> Outcome:
    """`/-/statistics`: downloads through the index, what nobody uses, and who uses what was yanked."""
    parts.site.gate.require(visit.by, visit.index, "list")
    days, by = days_of(visit), visit.by
    service = parts.statistics
    usage, never, yanked = parts.recalled(
        visit,
        "statistics",
        lambda: (
            service.index(visit.index, days=days, by=by),
            service.never(visit.index, by=by)[:LINES],
            service.yanked(visit.index, days=days, by=by)[:LINES],
        ),
        days,
    )
    return Shown(
        "statistics.html",
        {
            "usage": usage,
            "bars": bars(usage),
            "days": days,
            "choices": DAYS,
            "never": never,
            "unused_days": UNUSED_DAYS,
            "yanked": yanked,
        },
    )


def about(parts: Parts, visit: Visit) -> Outcome:
    """`/-/index`: bases, upstreams, rights and counts; for administrators settings and rules."""
    parts.site.gate.require(visit.by, visit.index, "list")
    return _about(parts, visit, None)


def _about(parts: Parts, visit: Visit, error: PidexError | None) -> Outcome:
    by, index = visit.by, visit.index
    view = next((each for each in parts.indexing.list_indexes(by=by) if each.name == index), None)
    if view is None:
        raise NotFound(f"There is no index {index}.")
    try:
        counts = parts.site.resolver.count(index, by=by)
    except Busy:
        counts = None
    administers = parts.site.accounts.allows(by, Action.ADMIN, index)
    grants = parts.administration.list_grants(index, by=by)
    ruling = parts.curator.rules(index, by=by) if administers else {"rules": {}}
    return Shown(
        "index.html",
        {
            "view": view,
            "counts": counts,
            "grants": grants[:LINES],
            "administers": administers,
            "ruling": ruling,
            "rules": [
                (
                    key,
                    *RULES.get(key, (key, about)),
                    visit.kept("rules", key, written(ruling["rules"].get(key))),
                )
                for key, about in rulebook.KEYS.items()
            ],
            "long": LONG,
            "choices": CHOICES,
            "policy": "\n".join(f"{name}={written(value)}" for name, value in view.policy.items()),
            "switches": {name: written(value) for name, value in SWITCHES.items()},
            "mutabilities": MUTABILITIES,
            "error": error,
        },
        error.status if error else 200,
    )


# --- for administrators of the index ------------------------------------------------------------------------


def _set(parts: Parts, visit: Visit) -> str:
    given = ("bases", "upstreams", "mutability", "challenge")
    edits = [f"{name}={visit.value(name)}" for name in given if name in (visit.form or {})]
    lines = [line for line in visit.value("edits").splitlines() if line.strip()]
    if "edits" in (visit.form or {}):  # what is no longer among the lines is as by default again
        named = {line.partition("=")[0].strip(" +-") for line in lines}
        views = parts.indexing.list_indexes(by=visit.by)
        set_before = next((each.policy for each in views if each.name == visit.index), {})
        edits += [f"{name}={written(SWITCHES.get(name))}" for name in set_before if name not in named]
    edits += lines
    parts.indexing.set_index(visit.index, edits, by=visit.by)
    return "saved"


def _rules(parts: Parts, visit: Visit) -> str:
    before = parts.curator.rules(visit.index, by=visit.by)["rules"]
    edits = []
    for key in rulebook.KEYS:
        if key in (visit.form or {}):
            value = visit.value(key).replace("\r\n", "\n")
            if value != written(before.get(key)):
                edits.append(f"{key}={value}")
    if edits:
        parts.curator.set_rules(visit.index, edits, by=visit.by)
    return "saved"


def written(value: object) -> str:
    """A rule or a switch as it stands in its field."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value))
    return "" if value is None else str(value)


def _exempt(parts: Parts, visit: Visit) -> str:
    until = visit.value("until") or None
    parts.curator.exempt(
        visit.index, visit.value("subject"), reason=visit.value("reason"), until=until, by=visit.by
    )
    return "added"


def _unexempt(parts: Parts, visit: Visit) -> str:
    parts.curator.unexempt(visit.index, visit.value("subject"), by=visit.by)
    return "gone"


def _held(visit: Visit) -> dict[str, str]:
    """The release (`name==1.0`) or the file that a form names."""
    text = visit.value("subject")
    project, equals, version = text.partition("==")
    if equals:
        return {"project": project.strip(), "version": changes.release(version.strip())}
    return {"project": names.parse(text).project, "filename": text}


def _hold(parts: Parts, visit: Visit) -> str:
    parts.curator.hold(visit.index, reason=visit.value("reason"), **_held(visit), by=visit.by)
    return "added"


def _unhold(parts: Parts, visit: Visit) -> str:
    scope = "version" if visit.value("scope") == "release" else "filename"
    target = {scope: visit.value("target")}
    parts.curator.unhold(visit.index, visit.value("project"), **target, by=visit.by)
    return "gone"


_, change = desk.pages(
    desk.of_index,
    _about,
    {
        "set": _set,
        "rules": _rules,
        "exempt": _exempt,
        "unexempt": _unexempt,
        "hold": _hold,
        "unhold": _unhold,
    },
    "-/index?",
)


def _origins(parts: Parts, visit: Visit, error: PidexError | None) -> Outcome:
    subject, view = visit.value("project"), None
    if subject and names.is_name(subject):
        view = parts.indexing.origin(visit.index, subject, by=visit.by)
    return Shown(
        "origins.html",
        {
            "claims": parts.indexing.list_origins(visit.index, by=visit.by)[: 10 * LINES],
            "reservations": parts.indexing.list_reservations(visit.index, by=visit.by),
            "subject": subject,
            "view": view,
            "error": error,
        },
        error.status if error else 200,
    )


def _decide(parts: Parts, visit: Visit) -> str:
    service, how = parts.indexing, visit.value("how")
    deeds = {
        "claim": service.claim, "merge": service.merge, "block": service.block, "release": service.release,
    }  # fmt: skip
    if how not in deeds:
        raise BadRequest("Choose what is to be with the name.")
    deeds[how](visit.index, visit.value("project"), reason=visit.value("reason"), by=visit.by)
    return "saved"


def _reserve(parts: Parts, visit: Visit) -> str:
    parts.indexing.reserve(visit.index, visit.value("pattern"), reason=visit.value("reason"), by=visit.by)
    return "added"


def _unreserve(parts: Parts, visit: Visit) -> str:
    parts.indexing.unreserve(visit.index, visit.value("pattern"), by=visit.by)
    return "gone"


origins, decide = desk.pages(
    desk.of_index,
    _origins,
    {"decide": _decide, "reserve": _reserve, "unreserve": _unreserve},
    "-/origins?",
)


def folders(parts: Parts, visit: Visit) -> Outcome:
    """`/-/folders`: what lies in the folders of the index and is not listed, and why."""
    desk.of_index(parts, visit)
    try:
        report = parts.site.resolver.report(visit.index, by=visit.by)
    except Busy:
        report = None
    return Shown("folders.html", {"report": report, "most": LINES})
