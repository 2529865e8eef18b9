"""Known malware and vulnerabilities of public packages: OSV's records, and which versions they speak of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from pidex.core import names
from pidex.core.errors import BadRequest
from pidex.core.model import Advisory, Span

#: The ecosystem whose records are taken in, and what the ids of malware begin with.
ECOSYSTEM, MALWARE = "PyPI", "MAL-"
#: Characters of an id and of texts, and how many versions, spans and aliases a record may have.
ID_CHARS, SUMMARY_CHARS, DETAILS_CHARS = 100, 300, 10_000
MOST_VERSIONS, MOST_SPANS, MOST_ALIASES = 20_000, 2_000, 50

_WORDS = {"LOW": 1, "MODERATE": 2, "MEDIUM": 2, "HIGH": 3, "CRITICAL": 4}


class Advisories:
    """The advisories of one project, asked by version (VER-2: however it is spelled)."""

    def __init__(self, every: Sequence[Advisory] = ()) -> None:
        self.every = every
        self._known: dict[str, tuple[Advisory, ...]] = {}
        self._ready: list[tuple[Advisory, frozenset[str], list[tuple[Any, Any, Any]]]] | None = None

    def of(self, version: str) -> tuple[Advisory, ...]:
        """Those that speak of a version, the worst first."""
        if not self.every:
            return ()
        canonical = names.canonical_version(version)
        found = self._known.get(canonical)
        if found is None:
            key = names.version_key(version)
            found = self._known[canonical] = tuple(
                each
                for each, versions, spans in self._parsed()
                if canonical in versions or any(_within(key, span) for span in spans)
            )
        return found

    def _parsed(self) -> list[tuple[Advisory, frozenset[str], list[tuple[Any, Any, Any]]]]:
        if self._ready is None:
            ranked = sorted(self.every, key=lambda each: (not each.malware, -each.severity, each.id))
            self._ready = [
                (each, frozenset(map(names.canonical_version, each.versions)), [*map(_keys, each.spans)])
                for each in ranked
            ]
        return self._ready


def _keys(span: Span) -> tuple[Any, Any, Any]:
    return tuple(  # type: ignore[return-value]
        names.version_key(text) if text not in ("", "0") else None
        for text in (span.introduced, span.fixed, span.last)
    )


def _within(version: Any, span: tuple[Any, Any, Any]) -> bool:
    introduced, fixed, last = span
    return (
        (introduced is None or introduced <= version)
        and (fixed is None or version < fixed)
        and (last is None or version <= last)
    )


def read(data: bytes) -> Mapping[str, Advisory | None]:
    """What a record says (OSV schema 1.x), by normalised name of project; None where it was withdrawn.

    Records about other ecosystems alone are empty. Raises `BadRequest` for what is no record.
    """
    try:
        record = msgspec.json.decode(data, type=dict[str, Any])
        name, modified = record["id"], record["modified"]
        datetime.fromisoformat(modified)
        if not isinstance(name, str) or not name.strip() or len(name) > ID_CHARS or not name.isprintable():
            raise ValueError("its id")
        affected: dict[str, list[Mapping[str, Any]]] = {}
        for each in record.get("affected") or ():
            package = each.get("package") or {}
            if str(package.get("ecosystem", "")).partition(":")[0] == ECOSYSTEM and names.is_name(
                str(package["name"])
            ):
                affected.setdefault(names.normalize(package["name"]), []).append(each)
        if record.get("withdrawn"):
            return dict.fromkeys(affected)
        return {project: _advisory(record, parts) for project, parts in affected.items()}
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        what = str(error)[:100] or type(error).__name__
        raise BadRequest(f"This is no record of OSV: {what}.") from None


def _advisory(record: Mapping[str, Any], affected: Sequence[Mapping[str, Any]]) -> Advisory:
    versions = [str(each) for part in affected for each in part.get("versions") or ()]
    spans = [
        span
        for part in affected
        for each in part.get("ranges") or ()
        if each.get("type") in ("ECOSYSTEM", "SEMVER")
        for span in _spans(each.get("events") or ())
    ]
    if len(versions) > MOST_VERSIONS or len(spans) > MOST_SPANS:
        raise ValueError("too many versions")
    aliases = [str(each)[:ID_CHARS] for each in record.get("aliases") or ()][:MOST_ALIASES]
    return Advisory(
        record["id"],
        record["modified"],
        record["id"].startswith(MALWARE) or any(each.startswith(MALWARE) for each in aliases),
        max(_severity(each) for each in (record, *affected)),
        " ".join(str(record.get("summary") or "").split())[:SUMMARY_CHARS],
        str(record.get("details") or "")[:DETAILS_CHARS],
        tuple(aliases),
        tuple(versions),
        tuple(spans),
    )


def _spans(events: Sequence[Mapping[str, Any]]) -> list[Span]:
    """What the events of a range say: each begins or ends what is affected, in the order of versions."""
    said = [(kind, str(text)) for event in events for kind, text in event.items()]
    order = {"introduced": 0, "fixed": 0, "last_affected": 1}
    known = [(kind, text) for kind, text in said if kind in order]
    known.sort(key=lambda each: (each[1] != "0", names.version_key(each[1]), order[each[0]]))
    spans: list[Span] = []
    begun: str | None = None
    for kind, text in known:
        if kind == "introduced":
            begun = text if begun is None else begun
        elif begun is not None:
            spans.append(Span(begun, fixed=text) if kind == "fixed" else Span(begun, last=text))
            begun = None
    return spans if begun is None else [*spans, Span(begun)]


def _severity(part: Mapping[str, Any]) -> int:
    """The severity of a record or of a part of it: by its word, else by its CVSS vector."""
    words = [(part.get(key) or {}).get("severity") for key in ("database_specific", "ecosystem_specific")]
    found = max((_WORDS.get(str(word).upper(), 0) for word in words), default=0)
    if found:
        return found
    vectors = part.get("severity") or ()
    scores = [_score(str(each.get("score"))) for each in vectors if isinstance(each, Mapping)]
    worst = max(scores, default=0.0)
    return sum(worst >= least for least in (0.1, 4.0, 7.0, 9.0))


_IMPACT = {"N": 0.0, "L": 0.22, "H": 0.56}
_REACH = {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2}
_NEEDED = {False: {"N": 0.85, "L": 0.62, "H": 0.27}, True: {"N": 0.85, "L": 0.68, "H": 0.5}}


def _score(vector: str) -> float:
    """The base score of a CVSS 3 vector, by FIRST's formula; 0 for other vectors."""
    if not vector.startswith("CVSS:3."):
        return 0.0
    try:
        said = dict(each.split(":", 1) for each in vector.split("/")[1:])
        changed = said["S"] == "C"
        spared = math.prod(1 - _IMPACT[said[each]] for each in "CIA")
        lost = 1 - spared
        impact = 7.52 * (lost - 0.029) - 3.25 * (lost - 0.02) ** 15 if changed else 6.42 * lost
        ease = 8.22 * _REACH[said["AV"]] * {"L": 0.77, "H": 0.44}[said["AC"]]
        ease *= _NEEDED[changed][said["PR"]] * {"N": 0.85, "R": 0.62}[said["UI"]]
    except (KeyError, ValueError):
        return 0.0
    if impact <= 0:
        return 0.0
    score = min((1.08 if changed else 1.0) * (impact + ease), 10.0)
    return math.ceil(round(score * 100_000) / 10_000) / 10
