"""Passwords of our own users: argon2id, loaded where one is checked, a few at a time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pidex.core.errors import BadRequest
from pidex.core.tokens import looks_like_token

if TYPE_CHECKING:
    from argon2 import PasswordHasher

#: argon2id: 19 MiB, two passes, one lane (what OWASP asks for at least): 25 ms of one core. More memory would
#: be taken by every guess of a stranger, too.
MEMORY_KIB, PASSES, LANES = 19_456, 2, 1
#: Verifications at the same time in a process; others wait.
AT_ONCE = 2
#: Characters of a password. The least is NIST's; a longer one than the most is refused unread.
LEAST, MOST = 8, 1024
#: A hash like any other that no password has: checked for users who are not there, so that they take as long.
NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$3oWzuUGuGFRdZ2WurpHn/w$eeWJLv2ZW7nIKjL6JP2Rq9dEArpQYb3Bz1KDivSL11g"

_turn = threading.BoundedSemaphore(AT_ONCE)


def check_password(password: str) -> str:
    """A password that may be set. Raises `BadRequest`."""
    if not LEAST <= len(password) <= MOST:
        raise BadRequest(f"A password has {LEAST} to {MOST} characters, not {len(password)}.")
    if "\0" in password or "\n" in password:
        raise BadRequest("A password holds no line ends and no NUL characters.")
    if looks_like_token(password):
        raise BadRequest("A password that begins as a token does would be taken for one. Choose another.")
    return password


def hashed(password: str) -> str:
    """The hash to store of a password, with a salt of its own. Blocks."""
    with _turn:
        return _hasher().hash(password)


def verify(stored: str | None, password: str) -> bool:
    """Whether a password has that hash. Blocks; for `stored` None as long as for any other."""
    from argon2.exceptions import Argon2Error, InvalidHash  # noqa: PLC0415  # see _hasher

    secret = password.encode("utf-8", "surrogatepass")
    try:
        with _turn:
            right = len(password) <= MOST and _hasher().verify(stored or NOBODY, secret)
    except (Argon2Error, InvalidHash):
        return False
    return right and stored is not None


def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher  # noqa: PLC0415  # needed where somebody signs in

    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
