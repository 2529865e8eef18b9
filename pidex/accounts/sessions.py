"""Signing in by the web pages: a session in a cookie, and a secret for its forms."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pidex.catalogue import audit, groups, sessions, users
from pidex.catalogue.engine import Catalogue
from pidex.core import people
from pidex.core.errors import Forbidden
from pidex.core.model import Principal
from pidex.core.permissions import AUTHENTICATED_GROUP

#: How long a session lasts, in seconds, and how many a user has at most; the oldest goes.
SESSION_SECONDS, SESSIONS = 12 * 3600.0, 20
#: Characters of a cookie's value that are looked at.
TEXT_LIMIT = 200


class Session(NamedTuple):
    """A session that is on: `csrf` goes into each form, and comes back with it. `expires` in Unix seconds."""

    principal: Principal
    csrf: str
    expires: float


class Begun(NamedTuple):
    """A session as its user sees it. Times in microseconds since 1970, UTC; `here`: who asks asks by it."""

    via: str
    created: int
    expires: int
    here: bool


class Sessions:
    """Begins, finds and ends sessions. Safe to use from threads. `random` returns that many random bytes."""

    def __init__(
        self, catalogue: Catalogue, *, clock: Callable[[], float], random: Callable[[int], bytes]
    ) -> None:
        self._catalogue, self._clock, self._random = catalogue, clock, random

    def begin(self, *, by: Principal) -> tuple[str, Session]:
        """A new session of who just signed in, and its text for the cookie, which is stored nowhere.

        A new one for each signing in, never a known one taken over. Raises `Forbidden` for strangers, and
        for who signed in by a token: a session would outlive and exceed it.
        """
        if by.name is None or by.token is not None:
            raise Forbidden("Sign in with user name and password first.")
        people.check_name(by.name)
        text, csrf = self._random(32).hex(), self._random(32).hex()
        now = self._clock()
        at, expires = int(now * 1_000_000), int((now + SESSION_SECONDS) * 1_000_000)
        with self._catalogue.write() as conn:
            user = users.ensure(conn, by.name, at=at)
            if user.disabled:
                raise Forbidden("This user is locked out.")
            words = {"via": by.via, "csrf": csrf, "at": at, "expires": expires, "most": SESSIONS}
            sessions.add(conn, user.id, _digest(text), **words)  # type: ignore[arg-type]
            audit.record(conn, by, "session.begin", subject=user.name, at=at)
        return text, Session(by, csrf, expires / 1_000_000)

    def find(self, text: str, address: str | None = None) -> Session | None:
        """The session of a cookie's value; None where it is unknown or over, or its user locked out."""
        if not text or len(text) > TEXT_LIMIT:
            return None
        with self._catalogue.read() as conn:
            found = sessions.find(conn, _digest(text), at=int(self._clock() * 1_000_000))
            if found is None:
                return None
            member = frozenset({AUTHENTICATED_GROUP, *groups.list_of_user(conn, found.user)})
        principal = Principal(found.user, member, via="session", address=address)
        return Session(principal, found.csrf, found.expires / 1_000_000)

    def principal(self, text: str, form: str | None, address: str | None = None) -> Principal | None:
        """Who began a session; None where it is over, or where `form` is given and is not its secret."""
        session = self.find(text, address)
        if session is None or (form is not None and not is_form_of(session, form)):
            return None
        return session.principal

    def end(self, text: str, *, by: Principal) -> None:
        """End a session; nothing happens where there is none."""
        with self._catalogue.write() as conn:
            if sessions.remove(conn, _digest(text)):
                at = int(self._clock() * 1_000_000)
                audit.record(conn, by, "session.end", subject=by.name, at=at)

    def list_own(self, text: str, *, by: Principal) -> Sequence[Begun]:
        """The sessions of who asks, newest first; `text`: the cookie that they ask by, or ''."""
        if by.name is None:
            return []
        with self._catalogue.read() as conn:
            found = sessions.list_of_user(conn, by.name, at=int(self._clock() * 1_000_000))
        here = _digest(text)
        return [Begun(via, created, expires, digest == here) for digest, via, created, expires in found]

    def end_others(self, text: str, *, by: Principal) -> int:
        """End the sessions of who asks, but for that of a cookie; how many that were.

        Raises `Forbidden` for strangers and for tokens, which may do less than who made them.
        """
        if by.name is None or by.token is not None:
            raise Forbidden("Sign in with user name and password first.")
        here, at = _digest(text), int(self._clock() * 1_000_000)
        with self._catalogue.write() as conn:
            others = [each for each, *_ in sessions.list_of_user(conn, by.name, at=at) if each != here]
            ended = sum(sessions.remove(conn, each) for each in others)
            if ended:
                audit.record(conn, by, "session.end", subject=by.name, at=at)
        return ended


def is_form_of(session: Session, csrf: str) -> bool:
    """Whether a form came from a page of this session (T23)."""
    return hmac.compare_digest(session.csrf.encode(), csrf.encode("utf-8", "surrogatepass"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
