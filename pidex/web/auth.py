"""Who is asking: credentials, sessions and proxies make a principal; and who else may have an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple, Protocol

from pidex.accounts import Accounts
from pidex.core.errors import PidexError
from pidex.core.interfaces import Clock
from pidex.core.model import ANONYMOUS, Principal
from pidex.core.permissions import Action, Visibility
from pidex.web.call import Call
from pidex.web.options import Options
from pidex.web.origin import Origins
from pidex.web.pages import ACTIONS
from pidex.web.replies import ALONE, EVERYBODY, Audience

#: The cookie of a session, and the header by which its pages say that a change is theirs (T23).
COOKIE, FORM_HEADER = "pidex_session", "x-csrf-token"
#: Methods that change nothing.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Characters of a Cookie header that are looked at.
COOKIE_CHARS = 8_192

#: Seconds for which a caller's decisions are kept at most, callers, and decisions of each.
RECENT_SECONDS, RECENT, DECISIONS = 5.0, 1_024, 1_000

_COOKIE = COOKIE.encode()


class Sessions(Protocol):
    """Finds sessions (accounts.sessions)."""

    def principal(self, text: str, form: str | None) -> Principal | None:
        """Who began the session of a cookie's value; None where it is over, or `form` is not of its pages.

        `form` None: the request changes nothing. May block.
        """


#: What of the cache is asked for: index, action, and project or ''.
Asked = tuple[str, str, str]


class _Recent(NamedTuple):
    """Who asked lately, what was found that they may have, under which state of things, and until when."""

    by: Principal
    epoch: int
    stamp: int
    until: float
    decided: dict[Asked, bool]


class Gate:
    """The one place where a request's credentials become a principal. For the event loop's thread."""

    def __init__(
        self,
        accounts: Accounts,
        options: Options,
        origins: Origins,
        threads: Executor,
        *,
        clock: Clock,
        sessions: Sessions | None = None,
    ) -> None:
        self._accounts, self._origins, self._threads, self._clock = accounts, origins, threads, clock
        self.sessions = sessions
        self._indexes = options.indexes
        self._login = options.login_header.lower() if options.login_header else None
        self._login_key = self._login.encode("latin-1") if self._login else b"authorization"
        self._recent: dict[bytes, _Recent] = {}
        self._seen: dict[tuple[str, Action], Visibility] = {}

    # --- who ------------------------------------------------------------------------------------------------

    def is_strange(self, headers: Mapping[bytes, bytes]) -> bool:
        """Whether a request brings nothing by which somebody could be known. Costs no look-up."""
        return b"authorization" not in headers and self._login_key not in headers and b"cookie" not in headers

    async def principal(self, call: Call) -> Principal:
        """Who asks. Raises `Unauthenticated` for wrong, expired or revoked credentials, or `TooMany`.

        What a trusted proxy says comes before credentials, and these before a session. A session that is over
        is nobody's, and no refusal: a browser could not get rid of it.
        """
        headers, address = call.headers, call.origin.client
        header = headers.get("authorization")
        login = headers.get(self._login) if self._login is not None and call.origin.trusted else None
        by = self._accounts.remembered(header, login=login)
        if by is None:
            check = partial(self._accounts.authenticate, header, address, login=login)
            by = await asyncio.get_running_loop().run_in_executor(self._threads, check)
        elif by.name is None and self.sessions is not None:
            by = await self._session(call) or by
        return by._replace(address=address)

    async def _session(self, call: Call) -> Principal | None:
        text = _cookie(call.headers.get("cookie"))
        if text is None or self.sessions is None:
            return None
        form = None if call.method in SAFE_METHODS else call.headers.get(FORM_HEADER, "")
        find = partial(self.sessions.principal, text, form)
        return await asyncio.get_running_loop().run_in_executor(self._threads, find)

    def admits(self, headers: Mapping[bytes, bytes], peer: str, asked: Asked, *, epoch: int) -> bool:
        """Whether who asks is known already and may have what is kept: False leaves it to the long way.

        That is a page or file of a project, or (project '') a list as strangers see it. Decisions are kept
        for some seconds, while `epoch` (changes seen in the catalogue) and the password file stay the same.
        """
        cookie = headers.get(b"cookie")
        if cookie is not None and _COOKIE in cookie:
            return False
        header, login = _text(headers.get(b"authorization")), None
        if self._login is not None and self._login_key in headers and self._origins.trusts(peer):
            login = _text(headers[self._login_key])
        mark, stamp, now = self._accounts.mark(header, login), self._accounts.file_version(), self._clock()
        recent = self._recent.get(mark)
        if recent is None or recent.epoch != epoch or recent.stamp != stamp or now >= recent.until:
            by = self._accounts.remembered(header, login=login)
            if by is None:
                return False
            until = now + RECENT_SECONDS
            if by.token is not None and by.token.expires is not None:
                until = min(until, by.token.expires)
            if len(self._recent) >= RECENT:
                self._recent.clear()
            recent = self._recent[mark] = _Recent(by, epoch, stamp, until, {})
        found = recent.decided.get(asked)
        if found is None:
            index, action, project = asked
            by = recent.by
            if project:
                found = self.sees(by, index, action, project)
            else:
                found = self.is_as_strangers(by, index, action) and self.may(by, index, action)
            if len(recent.decided) >= DECISIONS:
                recent.decided.clear()
            recent.decided[asked] = found
        return found

    # --- what -----------------------------------------------------------------------------------------------

    def sees(self, by: Principal, index: str, action: str, project: str) -> bool:
        """Whether somebody may have a page or a file of a project, whichever layer of the index has it.

        Nothing is asked of the project itself. Who may have what some of the layers have goes the long way.
        """
        layers = (index, *self._indexes.others(index))
        return all(self._accounts.visibility(by, each, ACTIONS[action]).sees(project) for each in layers)

    def is_as_strangers(self, by: Principal, index: str, action: str) -> bool:
        """Whether somebody sees of an index just what strangers see."""
        layers = (index, *self._indexes.others(index))
        return all(
            self._accounts.visibility(by, each, ACTIONS[action]) == self.strangers(each, action)
            for each in layers
        )

    def strangers(self, index: str, action: str) -> Visibility:
        """What somebody without credentials sees of an index."""
        asked = ACTIONS[action]
        found = self._seen.get((index, asked))
        if found is None:
            found = self._seen[index, asked] = self._accounts.visibility(ANONYMOUS, index, asked)
        return found

    def changed(self, index: str | None) -> bool:
        """Told that rights changed in an index (None: perhaps in all): whether strangers see other things.

        What is cached for others is found by their rights, and so never by those who lost them.
        """
        before = {key: seen for key, seen in self._seen.items() if index is None or key[0] == index}
        try:
            now = {key: self._accounts.visibility(ANONYMOUS, *key) for key in before}
        except PidexError:
            self._seen.clear()
            return True
        self._seen |= now
        return now != before

    def sees_all(self, by: Principal, index: str) -> bool:
        """Whether nothing of an index is hidden from somebody."""
        layers = (index, *self._indexes.others(index))
        return all(
            self._accounts.visibility(by, each, action).everything
            for action in ACTIONS.values()
            for each in layers
        )

    def is_open(self, index: str) -> bool:
        """Whether strangers may read everything in an index."""
        layers = (index, *self._indexes.others(index))
        return all(self.strangers(each, action).everything for action in ACTIONS for each in layers)

    def is_closed(self, index: str) -> bool:
        """Whether strangers may read nothing in an index."""
        return all(self.strangers(index, action).nothing for action in ACTIONS)

    def audience(self, by: Principal, index: str, action: str, project: str | None = None) -> Audience:
        """Who else may have what `by` gets: about one project, or about all of the index."""
        strangers = self.strangers(index, action)
        others = self._indexes.others(index)
        if others:
            return self._inherited(by, index, others, action, project)
        if project is not None:
            return EVERYBODY if strangers.sees(project) else ALONE
        view = self._accounts.visibility(by, index, ACTIONS[action])
        if view != strangers:
            return Audience(private=True, varies=True, view=view)
        return Audience(private=strangers.nothing, varies=not strangers.everything)

    def _inherited(
        self, by: Principal, index: str, others: Sequence[str], action: str, project: str | None
    ) -> Audience:
        """As `audience`, of an index that has contents of others: what is hidden there decides, too."""
        mine = [self._accounts.visibility(by, each, ACTIONS[action]) for each in (index, *others)]
        theirs = [self.strangers(each, action) for each in (index, *others)]
        if project is None:
            if mine != theirs:
                return Audience(private=True, varies=True, view=tuple(mine))
            return Audience(theirs[0].nothing, not all(each.everything for each in theirs))
        seen = tuple(each.sees(project) for each in mine)
        if all(seen):
            return EVERYBODY if all(each.sees(project) for each in theirs) else ALONE
        return ALONE._replace(view=seen)

    def may(self, by: Principal, index: str, action: str) -> bool:
        """Whether somebody may have anything at all of an index."""
        return not self._accounts.visibility(by, index, ACTIONS[action]).nothing

    def require(self, by: Principal, index: str, action: str) -> None:
        """Return where somebody may read anything at all in an index; otherwise raise what they are told."""
        if not self.may(by, index, action):
            raise self._accounts.refusal(by, ACTIONS[action], index)


def _text(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")


def _cookie(header: str | None) -> str | None:
    if header is None or COOKIE not in header or len(header) > COOKIE_CHARS:
        return None
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value
