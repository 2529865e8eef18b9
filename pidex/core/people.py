"""Names of users and groups: what they may be, and when two spellings are one person."""

from __future__ import annotations

import re

from pidex.core.errors import BadRequest

#: Groups that are always there, without members, and words that stand for no person.
BUILT_IN = frozenset({"anonymous", "authenticated"})
RESERVED = BUILT_IN | {"operator", "pidex", "__token__"}
#: No colon (Basic credentials end the name there), nothing that a shell, URL or log line would stumble on.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)


def identity(name: str) -> str:
    """Who a name is: spellings that differ in case only are one person."""
    return name.casefold()


def is_name(name: str) -> bool:
    """Whether a user or a group may be called that."""
    return _NAME.fullmatch(name) is not None and identity(name) not in RESERVED


def check_name(name: str, what: str = "user") -> str:
    """The identity of a name that a new user (or group) may have. Raises `BadRequest`."""
    if _NAME.fullmatch(name) is None:
        raise BadRequest(
            f"{name[:80]!r} cannot be the name of a {what}: use 1 to 64 letters, digits and . _ @ + -,"
            " beginning with a letter or a digit."
        )
    if identity(name) in RESERVED:
        raise BadRequest(f"{name!r} stands for something else here: choose another name for the {what}.")
    return identity(name)
