"""Rules as people write and change them: 'min_age=3d', 'deny+=pycrypto'; and as they are kept, in JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import msgspec

from pidex.core.errors import BadRequest
from pidex.core.model import SEVERITIES, PackageType
from pidex.core.policy import NONE, Rules
from pidex.core.tags import wanted_of
from pidex.core.terms import term_of

#: Terms of one rule.
MAX_TERMS = 20_000
_SPAN = re.compile(r"(\d{1,9})\s*(s|m|h|d|w)?", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SIZE = re.compile(r"(\d{1,12})\s*(b|kb|mb|gb|kib|mib|gib)?", re.ASCII | re.IGNORECASE)
_SIZES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_TRUE, _FALSE = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})
_SCOPES = ("upstream", "all")
_LISTS = frozenset(
    {"allow", "deny", "constraints", "types", "platforms", "pythons", "licences", "licences_denied"}
) | {"advisories_accepted"}

#: What a key says, for people: one line each, in the order in which they are told.
KEYS: Mapping[str, str] = {
    "scope": "what the rules speak of: 'upstream' (mirrored files) or 'all'",
    "allow": "names and versions that are shown, and no others: 'requests acme-* django>=4,<6'",
    "deny": "names and versions that are not shown",
    "constraints": "versions that projects are held to, as in a constraints file; '*' hides all others",
    "min_age": "how old a file must be: '3d', '12h'",
    "freeze_at": "nothing younger than this is shown: '2026-08-01T12:00Z'",
    "prereleases": "whether pre-releases are shown: true or false",
    "types": "package types that are shown: 'sdist bdist_wheel'",
    "platforms": "platform tags of wheels that are shown, and patterns of them: 'manylinux* win_amd64'",
    "pythons": "versions of Python that are in use: '3.11 3.12'; files for none of them are not shown",
    "max_size": "the largest file that is shown: '500MB'",
    "keep_latest": "how many of the newest releases are shown",
    "licences": "licences that are allowed: 'MIT Apache-2.0 BSD-*'",
    "licences_denied": "licences that are not: 'AGPL-*'",
    "licence_unknown": "whether a file of unknown licence is shown: true or false",
    "malware": "whether what advisories call malware is kept back: true (unless it is said) or false",
    "vulnerable": "from which severity on vulnerabilities keep a release back: any low medium high critical",
    "vulnerable_yanked": "from which severity on they have it yanked",
    "advisories_accepted": "advisories that count for nothing here: 'GHSA-2hqx-vjc3-4fxm PYSEC-2024-1'",
    "dry_run": "keep nothing back, only report: true or false",
}


@lru_cache(maxsize=64)
def rules_of(text: str | None) -> Rules:
    """The rules that an index keeps as JSON text; None: none. Raises `BadRequest`."""
    if text is None:
        return NONE
    try:
        found = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BadRequest(f"The rules cannot be read: {error}.") from None
    return _made(found)


def edited(text: str | None, edits: Sequence[str]) -> str | None:
    """Rules as JSON text after edits: 'key=value', 'key+=value', 'key-=value', and 'key=' to ask for nothing.

    Lists are separated by spaces or newlines. None where nothing is asked for any more. Raises `BadRequest`,
    which names the key, what is wrong and what may be written.
    """
    kept: dict[str, Any] = {} if text is None else msgspec.json.decode(text, type=dict[str, Any])
    for edit in edits:
        key, sign, value = _split(edit)
        if key in _LISTS:
            pieces = _pieces(key, value)
            now = kept.get(key, [])
            if sign == "+":
                pieces = [*now, *(piece for piece in pieces if piece not in now)]
            elif sign == "-":
                missing = [piece for piece in pieces if piece not in now]
                if missing:
                    raise BadRequest(f"{key} has no {missing[0]!r}; it has: {' '.join(now) or 'nothing'}.")
                pieces = [piece for piece in now if piece not in pieces]
            if len(pieces) > MAX_TERMS:
                raise BadRequest(f"{key} would have {len(pieces):,} terms; {MAX_TERMS:,} are allowed.")
            kept[key] = pieces
        elif sign:
            raise BadRequest(f"{key} is one value: write {key}=..., not {key}{sign}=...")
        else:
            kept[key] = value.strip()
        if not kept[key]:
            del kept[key]
    _made(kept)
    return msgspec.json.encode(kept, order="deterministic").decode() if kept else None


def described(text: str | None) -> Mapping[str, Any]:
    """The rules as they are kept: what was written, by key."""
    return {} if text is None else msgspec.json.decode(text, type=dict[str, Any])


def _split(edit: str) -> tuple[str, str, str]:
    key, equals, value = edit.partition("=")
    sign = key[-1:] if key[-1:] in ("+", "-") else ""
    key = key.removesuffix(sign).strip().replace("-", "_") if equals else ""
    if not equals:
        raise BadRequest(f"{edit[:80]!r} changes nothing: write key=value, key+=value or key-=value.")
    _known(key)
    return key, sign, value


def _known(key: str) -> None:
    if key not in KEYS:
        near = get_close_matches(key, KEYS, 1)
        meant = f" Did you mean {near[0]}?" if near else f" There are: {', '.join(KEYS)}."
        raise BadRequest(f"There is no rule {key[:40]!r}.{meant}")


def _pieces(key: str, value: str) -> list[str]:
    """The words of a list. A constraints file's lines have comments, options and hashes: only terms count."""
    if key != "constraints":
        return [str(term_of(word)) if key in ("allow", "deny") else word for word in value.split()]
    lines = (line.partition("#")[0].partition(";")[0].strip() for line in value.splitlines())
    terms = (line.partition(" --")[0].rstrip("\\").strip() for line in lines if not line.startswith("-"))
    found: list[str] = []
    for term in terms:
        # On one line terms stand beside each other; in a file a term has spaces of its own.
        words = [term] if "\n" in value.strip() or _is_term(term) else term.split()
        found += [str(term_of(word)) if word != "*" else word for word in words if word]
    return found


def _is_term(text: str) -> bool:
    try:
        term_of(text)
    except BadRequest:
        return False
    return True


def _made(kept: Mapping[str, Any]) -> Rules:
    values: dict[str, Any] = {}
    for key, value in kept.items():
        _known(key)
        values[key] = _READERS[key](key, value)
    constraints = values.get("constraints")
    if constraints is not None:
        values["constrained"] = any(term.pattern == "*" for term in constraints)
        values["constraints"] = tuple(term for term in constraints if term.pattern != "*")
    return Rules(**values)


def _terms(key: str, value: Any) -> tuple[Any, ...]:
    return tuple(term_of(each) for each in _texts(key, value))


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise BadRequest(f"{key} is a list of texts.")
    return tuple(value)


def _types(key: str, value: Any) -> frozenset[str]:
    found = frozenset(_texts(key, value))
    known = [kind.value for kind in PackageType]
    for each in found.difference(known):
        raise BadRequest(f"There is no package type {each[:40]!r}; there are: {', '.join(known)}.")
    return found


def _span(key: str, value: Any) -> int:
    found = _SPAN.fullmatch(str(value).strip().lower())
    if found is None:
        raise BadRequest(f"{key} is a span of time: '3d', '12h', '2w' or seconds; not {str(value)[:40]!r}.")
    return int(found[1]) * _UNITS[found[2] or "s"]


def _size(key: str, value: Any) -> int:
    found = _SIZE.fullmatch(str(value).strip())
    if found is None:
        raise BadRequest(f"{key} is a size: '500MB', '2GiB' or bytes; not {str(value)[:40]!r}.")
    return int(found[1]) * _SIZES[(found[2] or "b").lower()]


def moment_of(key: str, value: Any) -> int:
    """A time as people write it (ISO 8601, UTC where no zone is said), in microseconds since 1970.

    Raises `BadRequest`, which names `key`.
    """
    try:
        found = datetime.fromisoformat(str(value).strip())
        if found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        return int(found.timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        raise BadRequest(
            f"{key} is a time: '2026-08-01' or '2026-08-01T12:00Z'; not {str(value)[:40]!r}."
        ) from None


def _switch(key: str, value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in _TRUE | _FALSE:
        raise BadRequest(f"{key} is true or false, not {str(value)[:40]!r}.")
    return text in _TRUE


def _number(key: str, value: Any) -> int:
    text = str(value).strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise BadRequest(f"{key} is a number, not {text[:40]!r}.")
    return int(text)


def _scope(key: str, value: Any) -> str:
    if value not in _SCOPES:
        raise BadRequest(f"{key} is {' or '.join(_SCOPES)}, not {str(value)[:40]!r}.")
    return str(value)


def _severity(key: str, value: Any) -> str:
    text = str(value).strip().lower()
    if text not in SEVERITIES:
        raise BadRequest(f"{key} is one of {', '.join(SEVERITIES)}, not {text[:40]!r}.")
    return text


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "scope": _scope,
    "allow": _terms,
    "deny": _terms,
    "constraints": _terms,
    "min_age": _span,
    "freeze_at": moment_of,
    "prereleases": _switch,
    "types": _types,
    "platforms": _texts,
    "pythons": lambda key, value: tuple(wanted_of(each) for each in _texts(key, value)),
    "max_size": _size,
    "keep_latest": _number,
    "licences": _texts,
    "licences_denied": _texts,
    "licence_unknown": _switch,
    "malware": _switch,
    "vulnerable": _severity,
    "vulnerable_yanked": _severity,
    "advisories_accepted": lambda key, value: frozenset(_texts(key, value)),
    "dry_run": _switch,
}
