"""API tokens: their text, their checksum, what is stored of them, and how far each reaches."""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from fnmatch import fnmatchcase

#: Recognisable, so that secret scanners can look for it (TOK-2).
PREFIX = "pidex_"
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_BYTES = 32
_SECRET_CHARACTERS = 43  # 62 ** 43 > 2 ** 256
_CHECK_CHARACTERS = 6  # 62 ** 6 > 2 ** 32
_TEXT = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_SECRET_CHARACTERS + _CHECK_CHARACTERS}}}", re.ASCII)

#: What a token may be narrowed to. Each names the actions of `core.permissions` that it lets through.
SCOPES = ("read", "upload", "delete", "admin")


@dataclass(frozen=True, slots=True)
class TokenScope:
    """How far a token reaches; never further than its user. Globs are `fnmatch` patterns on normalised names.

    `scopes` is a subset of `SCOPES`; `expires` is Unix seconds or None.
    """

    token_id: int
    indexes: tuple[str, ...] = ("*",)
    projects: tuple[str, ...] = ("*",)
    scopes: tuple[str, ...] = ("read", "upload")
    expires: float | None = None

    def covers(self, scope: str, index: str | None, project: str | None) -> bool:
        """Whether `scope` on `index` and `project` lies within this token.

        `project` None asks before the name is known (a list, the start of an upload): some project will do;
        for 'admin' it means the whole index, and `index` None the whole server.
        """
        if scope not in self.scopes or not _covered(self.indexes, index):
            return False
        if project is None and scope != "admin":
            return True
        return _covered(self.projects, project)


def _covered(globs: tuple[str, ...], name: str | None) -> bool:
    if "*" in globs:
        return True
    return name is not None and any(fnmatchcase(name, glob) for glob in globs)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def text(secret: bytes) -> str:
    """The token made of 32 random bytes: prefix, 43 characters, and a checksum of 6 for typing errors."""
    if len(secret) != _SECRET_BYTES:
        raise ValueError(f"a token is made of {_SECRET_BYTES} random bytes, not {len(secret)}")
    body = PREFIX + _base62(int.from_bytes(secret), _SECRET_CHARACTERS)
    return body + _check(body)


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CHECK_CHARACTERS)


def is_token(value: str) -> bool:
    """Whether `value` has the form and the checksum of a token; says nothing about its being known."""
    return (
        _TEXT.fullmatch(value) is not None
        and _check(value[:-_CHECK_CHARACTERS]) == value[-_CHECK_CHARACTERS:]
    )


def looks_like_token(value: str) -> bool:
    """Whether `value` is meant to be a token, also one with a typing error or a line end."""
    return value.strip().startswith(PREFIX)


def digest(value: str) -> str:
    """What is stored: sha256 in hex. 256 random bits need no slow hash; the look-up compares hashes."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()


def hint(value: str) -> str:
    """The part of a token that lists may show, so that its owner recognises it."""
    return value[: len(PREFIX) + 4] + "…"
