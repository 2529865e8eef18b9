"""What the API offers about indexes: how they are set, upstreams, whose names are whose, rules, promotion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pidex.core.errors import BadRequest
from pidex.core.layers import Claim, Origin, Reservation
from pidex.indexing.claims import OriginView
from pidex.indexing.indexes import IndexView
from pidex.indexing.promotion import Promoted
from pidex.indexing.upstreams import UpstreamView
from pidex.web.openapi import Field, Operation
from pidex.web.resources import Act, Ask, Services

#: What is set of an upstream by the API. Files of the server, proxies and private networks are named by
#: command on its machine: who administers the index need not be who may reach what the machine can reach.
UPSTREAM_SETTINGS = ("url", "kind", "auth", "secret", "max_age", "absent_age")


@dataclass(frozen=True, slots=True)
class ExemptionView:
    """What is shown whatever the rules say. `until` null: for good."""

    subject: str
    until: int | None
    reason: str
    by: str
    at: int


@dataclass(frozen=True, slots=True)
class HoldView:
    """A release or a file that is kept back. `scope` is 'release' or 'file'."""

    project: str
    scope: str
    target: str
    reason: str
    by: str
    at: int


@dataclass(frozen=True, slots=True)
class RulesView:
    """What an index shows: its rules by key as they were written, what is exempt, and what is kept back."""

    index: str
    rules: Mapping[str, object]
    exemptions: tuple[ExemptionView, ...]
    holds: tuple[HoldView, ...]


@dataclass(frozen=True, slots=True)
class RulesSet:
    """The rules after a change. `changed`: whether they were others before."""

    index: str
    rules: Mapping[str, object]
    changed: bool


@dataclass(frozen=True, slots=True)
class Exempted:
    """An exemption after a change of it."""

    index: str
    subject: str
    changed: bool


@dataclass(frozen=True, slots=True)
class Held:
    """What is kept back, or no longer, after a change of that."""

    index: str
    project: str
    scope: str
    target: str
    changed: bool


# --- indexes and upstreams ----------------------------------------------------------------------------------


def _settings(services: Services, ask: Ask) -> IndexView:
    index = ask.params["index"]
    services.curator.rules(index, by=ask.by)  # whoever administers it
    return next(each for each in services.indexing.list_indexes(by=ask.by) if each.name == index)


def _create(services: Services, ask: Ask) -> IndexView:
    return services.indexing.create(ask.text("name"), _edits(ask), by=ask.by)


def _set(services: Services, ask: Ask) -> IndexView:
    return services.indexing.set_index(ask.params["index"], _edits(ask), by=ask.by)


def _remove(services: Services, ask: Ask) -> IndexView:
    return services.indexing.remove_index(ask.params["index"], force=_flag(ask, "force"), by=ask.by)


def _upstreams(services: Services, ask: Ask) -> Sequence[UpstreamView]:
    return services.indexing.list_upstreams(by=ask.by)


def _add_upstream(services: Services, ask: Ask) -> UpstreamView:
    settings = _upstream(ask)
    url = settings.pop("url", None)
    return services.indexing.add_upstream(ask.text("name"), url, settings=settings, by=ask.by)


def _set_upstream(services: Services, ask: Ask) -> UpstreamView:
    return services.indexing.set_upstream(ask.params["upstream"], _upstream(ask), by=ask.by)


def _remove_upstream(services: Services, ask: Ask) -> UpstreamView:
    return services.indexing.remove_upstream(ask.params["upstream"], force=_flag(ask, "force"), by=ask.by)


def _upstream(ask: Ask) -> dict[str, Any]:
    found = {name: ask.body[name] for name in UPSTREAM_SETTINGS if name in ask.body}
    return {name: float(value) if isinstance(value, int) else value for name, value in found.items()}


# --- whose names are whose ----------------------------------------------------------------------------------


def _origins(services: Services, ask: Ask) -> Sequence[Claim]:
    return services.indexing.list_origins(ask.params["index"], by=ask.by)


def _origin(services: Services, ask: Ask) -> OriginView:
    return services.indexing.origin(ask.params["index"], ask.params["project"], by=ask.by)


def _decide(services: Services, ask: Ask) -> OriginView:
    index, project, origin = ask.params["index"], ask.params["project"], ask.text("origin")
    given: dict[str, Any] = {"reason": ask.text("reason"), "by": ask.by}
    to = ask.text("upstream")
    if bool(to) != (origin == Origin.UPSTREAM):
        raise BadRequest("upstream is the name of the only one that is asked, where origin is 'upstream'.")
    if to:
        return services.indexing.release(index, project, to=to, **given)
    acts = {
        "local": services.indexing.claim,
        "merged": services.indexing.merge,
        "blocked": services.indexing.block,
    }
    return acts[origin](index, project, **given)


def _release(services: Services, ask: Ask) -> OriginView:
    return services.indexing.release(ask.params["index"], ask.params["project"], by=ask.by)


def _reservations(services: Services, ask: Ask) -> Sequence[Reservation]:
    return services.indexing.list_reservations(ask.params["index"], by=ask.by)


def _reserve(services: Services, ask: Ask) -> Sequence[Reservation]:
    index, pattern = ask.params["index"], ask.params["pattern"]
    return services.indexing.reserve(index, pattern, reason=ask.text("reason"), by=ask.by)


def _unreserve(services: Services, ask: Ask) -> Sequence[Reservation]:
    return services.indexing.unreserve(ask.params["index"], ask.params["pattern"], by=ask.by)


# --- what is shown ------------------------------------------------------------------------------------------


def _rules(services: Services, ask: Ask) -> RulesView:
    found = services.curator.rules(ask.params["index"], by=ask.by)
    return RulesView(
        found["index"],
        found["rules"],
        tuple(ExemptionView(**each) for each in found["exemptions"]),
        tuple(HoldView(**each) for each in found["holds"]),
    )


def _set_rules(services: Services, ask: Ask) -> RulesSet:
    return RulesSet(**services.curator.set_rules(ask.params["index"], _edits(ask), by=ask.by))


def _exempt(services: Services, ask: Ask) -> Exempted:
    index, subject = ask.params["index"], ask.params["subject"]
    until, reason = ask.text("until") or None, ask.text("reason")
    found = services.curator.exempt(index, subject, reason=reason, until=until, by=ask.by)
    return Exempted(found["index"], found["subject"], found["changed"])


def _unexempt(services: Services, ask: Ask) -> Exempted:
    return Exempted(**services.curator.unexempt(ask.params["index"], ask.params["subject"], by=ask.by))


def _hold(services: Services, ask: Ask) -> Held:
    return Held(**services.curator.hold(**_target(ask), reason=ask.text("reason"), by=ask.by))


def _unhold(services: Services, ask: Ask) -> Held:
    return Held(**services.curator.unhold(**_target(ask), by=ask.by))


def _promote(services: Services, ask: Ask) -> Promoted:
    source, target = ask.params["index"], ask.text("target")
    project, version = ask.params["project"], ask.params["version"]
    return services.indexing.promote(source, target, project, version, claim=_flag(ask, "claim"), by=ask.by)


def _target(ask: Ask) -> dict[str, Any]:
    return {name: ask.params.get(name) for name in ("index", "project", "version", "filename")}


def _edits(ask: Ask) -> Sequence[str]:
    found = ask.body.get("edits", ())
    assert isinstance(found, list | tuple)
    return [*found]


def _flag(ask: Ask, name: str) -> bool:
    return ask.body.get(name, ask.query.get(name)) is True


# --- the table ----------------------------------------------------------------------------------------------

_INDEX = "/indexes/{index}"
_PROJECT = f"{_INDEX}/projects/{{project}}"
_VERSION, _FILENAME = f"{_PROJECT}/releases/{{version}}", f"{_PROJECT}/files/{{filename}}"
_REASON = {"reason": Field("string", "Why. People read it.")}
_SETTINGS, _RULES = f"{_INDEX}/settings", f"{_INDEX}/rules"
_ORIGIN, _PATTERN = f"{_INDEX}/origins/{{project}}", f"{_INDEX}/reservations/{{pattern}}"
_SUBJECT, _UPSTREAM = f"{_INDEX}/exemptions/{{subject}}", "/upstreams/{upstream}"
_EDITS = {
    "edits": Field("strings", "Changes: 'key=value', 'key+=value', 'key-=value', 'key=' for none.", True)
}
_NAME = {"name": Field("string", "Its name.", required=True)}
_FIRST = {**_NAME, "edits": Field("strings", "How it is set, as for setIndex.")}
_FORCE = {"force": Field("boolean", "Also while it is in use.")}
_REACHED = {
    "url": Field("string", "Where it is. Known names ('pypi') need none."),
    "kind": Field("string", "'auto' if not said.", choices=("auto", "simple", "links")),
    "auth": Field("string", "'none' if not said.", choices=("none", "basic", "bearer")),
    "secret": Field("string", "user:password, or the token. Nobody is shown it."),
    "max_age": Field("integer", "Seconds for which a page is fresh."),
    "absent_age": Field("integer", "Seconds for which a project is believed not to be there."),
}
_WHOSE = {
    "origin": Field("string", "Whose it is.", required=True, choices=tuple(Origin)),
    "upstream": Field("string", "The only one that is asked, where origin is 'upstream'."),
    **_REASON,
}
_WHY = {"reason": Field("string", "Why. People read it.", required=True)}
_UNTIL = {"until": Field("string", "A date or a time, UTC. For good if not said."), **_WHY}
_WHERE = {
    "target": Field("string", "The index that is to have it, too.", required=True),
    "claim": Field("boolean", "Make a name ours there which an upstream has."),
}

#: Every operation and what answers it.
OPERATIONS: Sequence[tuple[Operation, Act]] = (
    (
        Operation("POST", "/indexes", "createIndex", "Make an index", IndexView, body=_FIRST, status=201),
        _create,
    ),
    (Operation("DELETE", _INDEX, "removeIndex", "Remove an index", IndexView, _FORCE), _remove),
    (Operation("GET", _SETTINGS, "getIndexSettings", "How an index is set", IndexView), _settings),
    (Operation("PUT", _SETTINGS, "setIndex", "Change how an index is set", IndexView, body=_EDITS), _set),
    (
        Operation("GET", "/upstreams", "listUpstreams", "All upstreams", tuple[UpstreamView, ...]),
        _upstreams,
    ),
    (
        Operation(
            "POST", "/upstreams", "addUpstream", "Make an upstream", UpstreamView,
            body={**_NAME, **_REACHED}, status=201,
        ),
        _add_upstream,
    ),
    (
        Operation("PUT", _UPSTREAM, "setUpstream", "Change an upstream", UpstreamView, body=_REACHED),
        _set_upstream,
    ),
    (
        Operation("DELETE", _UPSTREAM, "removeUpstream", "Forget an upstream", UpstreamView, _FORCE),
        _remove_upstream,
    ),
    (
        Operation(
            "GET", f"{_INDEX}/origins", "listOrigins", "What was decided of names", tuple[Claim, ...]
        ),
        _origins,
    ),
    (Operation("GET", _ORIGIN, "getOrigin", "Whose a name is, and who answers for it", OriginView), _origin),
    (Operation("PUT", _ORIGIN, "setOrigin", "Decide whose a name is", OriginView, body=_WHOSE), _decide),
    (Operation("DELETE", _ORIGIN, "releaseOrigin", "Give a name up", OriginView), _release),
    (
        Operation(
            "GET", f"{_INDEX}/reservations", "listReservations", "Names that are kept",
            tuple[Reservation, ...],
        ),
        _reservations,
    ),
    (
        Operation(
            "PUT", _PATTERN, "reserve", "Keep all names of a pattern", tuple[Reservation, ...], body=_REASON
        ),
        _reserve,
    ),
    (
        Operation("DELETE", _PATTERN, "unreserve", "Let them go again", tuple[Reservation, ...]),
        _unreserve,
    ),
    (Operation("GET", _RULES, "getRules", "What an index shows", RulesView), _rules),
    (Operation("PUT", _RULES, "setRules", "Change what an index shows", RulesSet, body=_EDITS), _set_rules),
    (Operation("PUT", _SUBJECT, "exempt", "Show it whatever the rules say", Exempted, body=_UNTIL), _exempt),
    (Operation("DELETE", _SUBJECT, "unexempt", "Take that back", Exempted), _unexempt),
    (Operation("PUT", f"{_VERSION}/hold", "holdRelease", "Keep a release back", Held, body=_WHY), _hold),
    (Operation("DELETE", f"{_VERSION}/hold", "unholdRelease", "Let it go", Held), _unhold),
    (Operation("PUT", f"{_FILENAME}/hold", "holdFile", "Keep a file back", Held, body=_WHY), _hold),
    (Operation("DELETE", f"{_FILENAME}/hold", "unholdFile", "Let it go", Held), _unhold),
    (
        Operation(
            "POST", f"{_VERSION}/promote", "promoteRelease", "Have a release in another index", Promoted,
            body=_WHERE,
        ),
        _promote,
    ),
)  # fmt: skip
