"""What indexes and upstreams may be called, and edits of their settings in devpi's words (`bases+=root`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from pidex.core.errors import BadRequest
from pidex.core.uploads import UploadPolicy

#: First segments of paths that are something else, here or in the systems whose addresses are kept.
RESERVED = frozenset({
    "simple", "legacy", "packages", "pypi", "rss", "project", "search", "login", "logout", "account",
    "manage", "upload", "uploads", "static", "health", "root", "repository", "api", "git", "json",
    "favicon.ico", "robots.txt", "help", "admin", "all", "index", "indexes",
})  # fmt: skip
MUTABILITIES = ("folder", "immutable", "volatile")
#: Indexes and upstreams that one index may name.
MOST_NAMES = 50
TRUTH = {
    "yes": True,
    "true": True,
    "on": True,
    "1": True,
    "no": False,
    "false": False,
    "off": False,
    "0": False,
}

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?", re.ASCII)
_EDIT = re.compile(r"([a-z_]+)(\+=|-=|=)(.*)", re.ASCII | re.DOTALL)
_POLICY: Mapping[str, object] = {each.name: each.default for each in fields(UploadPolicy)}
_SEVERITIES = ("off", "warn", "error")


class Edit(NamedTuple):
    """One edit: `how` is '=', '+=' or '-='."""

    name: str
    how: str
    value: str


@dataclass(frozen=True, slots=True)
class Manner:
    """What can be set of an index. `policy`: the switches of uploads that differ from the defaults."""

    bases: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    mutability: str = "folder"
    challenge: bool = False
    policy: tuple[tuple[str, object], ...] = ()


def check_index(name: str) -> str:
    """A name for an index. Raises `BadRequest`."""
    return _checked(name, "an index", RESERVED)


def check_upstream(name: str) -> str:
    """A name for an upstream. Raises `BadRequest`."""
    return _checked(name, "an upstream", frozenset())


def _checked(name: str, what: str, reserved: frozenset[str]) -> str:
    if _NAME.fullmatch(name) is None or name.endswith(".git"):
        raise BadRequest(
            f"{name[:80]!r} cannot be the name of {what}: 1 to 63 of a-z, 0-9 and . _ -, "
            "first and last a letter or digit."
        )
    if name in reserved:
        raise BadRequest(f"{name} cannot be the name of {what}: there is something else at that address.")
    return name


def edits(texts: Iterable[str]) -> Sequence[Edit]:
    """Edits as people type them. Raises `BadRequest`."""
    found = []
    for text in texts:
        matched = _EDIT.fullmatch(text.strip())
        if matched is None:
            raise BadRequest(f"{text[:80]!r} is no edit: write name=value, name+=value or name-=value.")
        found.append(Edit(*matched.groups()))
    return found


def edited(manner: Manner, changes: Iterable[Edit]) -> Manner:
    """The settings after edits, in their order. Raises `BadRequest`, naming what may be set."""
    for edit in changes:
        match edit.name:
            case "bases":
                manner = _replace(manner, bases=_names(manner.bases, edit))
            case "upstreams":
                manner = _replace(manner, upstreams=_names(manner.upstreams, edit))
            case "mutability":
                manner = _replace(manner, mutability=_choice(edit, MUTABILITIES))
            case "challenge":
                manner = _replace(manner, challenge=_truth(edit))
            case name if name in _POLICY:
                switches = dict(manner.policy)
                switches[name] = _switch(edit)
                kept = {key: value for key, value in switches.items() if value != _POLICY[key]}
                manner = _replace(manner, policy=tuple(sorted(kept.items())))
            case _:
                known = ", ".join(["bases", "upstreams", "mutability", "challenge", *_POLICY])
                raise BadRequest(f"An index has no setting {edit.name[:80]}. It has {known}.")
    return manner


def _replace(manner: Manner, **changed: object) -> Manner:
    values = {each.name: getattr(manner, each.name) for each in fields(Manner)} | changed
    return Manner(**values)


def _names(before: tuple[str, ...], edit: Edit) -> tuple[str, ...]:
    given = [each.strip() for each in edit.value.split(",") if each.strip()]
    if edit.how == "=":
        found = given
    elif edit.how == "+=":
        found = [*before, *given]
    else:
        missing = [each for each in given if each not in before]
        if missing:
            raise BadRequest(
                f"{edit.name} does not have {missing[0][:80]}: it is {', '.join(before) or 'empty'}."
            )
        found = [each for each in before if each not in given]
    found = [*dict.fromkeys(found)]
    if len(found) > MOST_NAMES:
        raise BadRequest(f"{edit.name} takes {MOST_NAMES} names at most.")
    return tuple(found)


def _plain(edit: Edit) -> str:
    if edit.how != "=":
        raise BadRequest(f"{edit.name} is one value: write {edit.name}={edit.value or '...'}.")
    return edit.value.strip().lower()


def _choice(edit: Edit, choices: Sequence[str]) -> str:
    value = _plain(edit)
    if value not in choices:
        raise BadRequest(f"{edit.name} is one of {', '.join(choices)}, not {edit.value[:80]!r}.")
    return value


def _truth(edit: Edit) -> bool:
    value = _plain(edit)
    if value not in TRUTH:
        raise BadRequest(f"{edit.name} is yes or no, not {edit.value[:80]!r}.")
    return TRUTH[value]


def _switch(edit: Edit) -> object:
    default = _POLICY[edit.name]
    if isinstance(default, bool):
        return _truth(edit)
    if isinstance(default, int):
        value = _plain(edit)
        if not (value.isascii() and value.isdigit() and len(value) < 16):
            raise BadRequest(f"{edit.name} is a number of bytes, 0 for no limit, not {edit.value[:80]!r}.")
        return int(value)
    return _choice(edit, _SEVERITIES)
