"""The Authorization header: user name and password, or a token in any of the places where clients put it."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from pidex.core.errors import Unauthenticated
from pidex.core.tokens import is_token, looks_like_token

#: Characters of an Authorization header that are read at most.
HEADER_LIMIT = 8192
#: The user name that says that the password is a token (TOK-3).
TOKEN_USER = "__token__"  # noqa: S105  # a user name


class Credentials(NamedTuple):
    """What a header holds: a `token`, or a `name` and a `password`."""

    name: str
    password: str
    token: str | None = None


def credentials(header: str) -> Credentials:
    """Read a header (AUT-1). Raises `Unauthenticated` where nothing can be read from it.

    Basic with `__token__`, with any or no user name and a token as password, or with a token as user name and
    no password; `Bearer` and `token` with a token; otherwise user name and password (RFC 7617).
    """
    kind, _, rest = header.strip().partition(" ")
    rest = rest.strip()
    if len(header) > HEADER_LIMIT:
        raise Unauthenticated(f"The Authorization header is longer than {HEADER_LIMIT} characters.")
    if kind.lower() in ("bearer", "token"):
        return Credentials("", "", rest)
    if kind.lower() != "basic":
        raise Unauthenticated("Only a user name and a password (Basic) or a token (Bearer) are understood.")
    name, password = _basic(rest)
    if name == TOKEN_USER or looks_like_token(password) or (not name and password):
        return Credentials(name, "", password.strip())
    if not password and looks_like_token(name):
        return Credentials("", "", name.strip())
    return Credentials(name, password)


def is_well_formed(found: Credentials) -> bool:
    """Whether a token has the form and the checksum of one; a password always has."""
    return found.token is None or is_token(found.token)


def _basic(encoded: str) -> tuple[str, str]:
    try:
        plain = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise Unauthenticated("The Authorization header is not base64.") from None
    try:
        text = plain.decode()
    except UnicodeDecodeError:  # older clients send Latin-1
        text = plain.decode("latin-1")
    name, colon, password = text.partition(":")
    if not colon:
        raise Unauthenticated("The Authorization header holds no password.")
    return name, password
