"""From credentials to a principal: remembered, or checked once at a time, and guesses counted."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pidex.accounts import hashing
from pidex.accounts.guessing import SharedThrottle
from pidex.accounts.htpasswd import PasswordFile
from pidex.accounts.rights import Rights, Stamp
from pidex.catalogue import groups, tokens, users, uses
from pidex.catalogue.engine import Catalogue, Connection
from pidex.catalogue.expendable import Expendable
from pidex.catalogue.probe import Probe
from pidex.core import permissions
from pidex.core.authorization import Credentials, credentials, is_well_formed
from pidex.core.errors import Forbidden, NotFound, PidexError, TooMany, Unauthenticated
from pidex.core.model import ANONYMOUS, DEFAULT_INDEX, Principal
from pidex.core.people import identity, is_name
from pidex.core.permissions import AUTHENTICATED_GROUP, Action, Visibility
from pidex.core.throttle import Throttle, Ticket, seconds
from pidex.core.tokens import digest, hint

#: How long a verified password or token is remembered, in seconds, and how many are at most.
MEMORY_SECONDS = 300.0
MEMORY_LIMIT = 1024
#: Seconds between two notes of a token's last use, and tokens whose last note is remembered.
NOTE_SECONDS, NOTED_LIMIT = 60.0, 10_000

WRONG = "The user name or the password is wrong."
WRONG_TOKEN = "The token is not known here, or no longer: make one with `pidex token create NAME`."  # noqa: S105


class _Known(NamedTuple):
    """A checked header: whose (or why nobody's), until when, and under which state of the credentials."""

    principal: Principal | str
    until: float
    stamp: tuple[int, int]


class Accounts:
    """Who an Authorization header stands for, and what they may do. Thread-safe, one in each process.

    `probe` tells this object alone of changes. `passwords`: an htpasswd file, or None. `guard`: which of
    list, download and update need signing in. `key`: random bytes of this process, under which verified
    headers are remembered. `expendable` is told of the use of tokens. `log` gets sentences for the operator.
    Raises `ConfigError` where the password file cannot be read.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        probe: Probe,
        passwords: Path | None = None,
        guard: frozenset[str] = frozenset({"update"}),
        *,
        clock: Callable[[], float],
        key: bytes,
        expendable: Expendable | None = None,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._catalogue, self._clock, self._key, self._expendable = catalogue, clock, key, expendable
        self._file = PasswordFile(passwords, log)
        self.rights = Rights(catalogue, probe, self._file, guard, clock)
        self._guard = guard
        self._lock = threading.Lock()
        self._flights: dict[bytes, threading.Lock] = {}
        self._memory: dict[bytes, _Known] = {}
        self._wrong: dict[bytes, _Known] = {}
        self._throttle = Throttle()
        #: Guesses at one node count at every other one, too.
        self._shared = SharedThrottle(catalogue) if catalogue.path is None else None
        self._noted: dict[int, float] = {}

    # --- who ------------------------------------------------------------------------------------------------

    def remembered(self, header: str | None, *, login: str | None = None) -> Principal | None:
        """Who this is, where that is known without checking anything; None: ask `authenticate`. Quick.

        `login`: what a trusted proxy says (see `authenticate`). The principal's address is not set.
        """
        if header is None and not login:
            return ANONYMOUS
        known = self._recall(self.mark(header, login), self._credentials(self.rights.stamp()))
        if known is None and not login and not self.rights.peopled():
            # Nobody could be right: what clients send all the same means nothing.
            return ANONYMOUS
        return known

    def mark(self, header: str | None, login: str | None) -> bytes:
        """What stands for credentials where they are remembered, and could not be used in their place."""
        text, kind = (login, b"login") if login else (header or "", b"header")
        # A keyed hash in 1 us, where HMAC takes 3: this is done for each request that signs in. `person`
        # keeps the two kinds apart, whatever a header contains.
        data = text.encode(errors="surrogatepass")
        return hashlib.blake2b(data, key=self._key, person=kind, digest_size=32).digest()

    def file_version(self) -> int:
        """How often the password file has been read, which this does again where it changed. Quick."""
        if self._file.given:
            self._file.refresh()
        return self._file.version

    def authenticate(
        self, header: str | None, address: str | None = None, *, login: str | None = None
    ) -> Principal:
        """Who this is. Raises `Unauthenticated` on wrong credentials, `TooMany` after too many of them.

        `login`: the user's name as a proxy in front says it; the caller passes it in only where that proxy is
        trusted, and it counts before the header. Blocks while a password is checked (milliseconds to a
        second): call it in a thread. Concurrent calls with the same header check it once.
        """
        known = self.remembered(header, login=login)
        if known is None:
            mark = self.mark(header, login)
            with self._lock:
                flight = self._flights.setdefault(mark, threading.Lock())
            try:
                with flight:
                    known = self._first(mark, header, address, login)
            finally:
                with self._lock:
                    self._flights.pop(mark, None)
        return known if address is None else known._replace(address=address)

    def _first(self, mark: bytes, header: str | None, address: str | None, login: str | None) -> Principal:
        # The stamp from before the check: a change meanwhile makes what is remembered worthless.
        stamp = self._credentials(self.rights.stamp())
        known = self._recall(mark, stamp)
        if known is not None:
            return known
        try:
            # The same wrong password again is no new guess: it costs no time, and locks nobody out.
            self._repeat(mark, stamp)
            found = self._by_login(login) if login else self._by_header(header or "", address)
        except (Unauthenticated, TooMany) as error:
            if isinstance(error, Unauthenticated):
                self._keep(self._wrong, mark, _Known(str(error), self._clock() + MEMORY_SECONDS, stamp))
            if self.rights.open:
                # Where nobody ever needs to sign in, what clients send all the same means nothing.
                return ANONYMOUS
            raise
        until = self._clock() + MEMORY_SECONDS
        if found.token is not None and found.token.expires is not None:
            until = min(until, found.token.expires)
        self._keep(self._memory, mark, _Known(found, until, stamp))
        return found

    def _repeat(self, mark: bytes, stamp: tuple[int, int]) -> None:
        """Refuse again what was refused lately."""
        known = self._wrong.get(mark)
        if known is not None and known.stamp == stamp and known.until > self._clock():
            raise Unauthenticated(str(known.principal))

    def _keep(self, memory: dict[bytes, _Known], mark: bytes, known: _Known) -> None:
        with self._lock:
            memory.pop(mark, None)
            while len(memory) >= MEMORY_LIMIT:
                del memory[next(iter(memory))]
            memory[mark] = known

    def _by_login(self, login: str) -> Principal:
        name = login.strip()
        if not is_name(name):
            raise Unauthenticated("The proxy signed in somebody whose name cannot be a user's name here.")
        with self._catalogue.read() as conn:
            user = users.find(conn, name)
            if user is not None and user.disabled:
                raise Unauthenticated("This user is locked out. `pidex user enable NAME` lets them in again.")
            return _principal(conn, name, "proxy")

    def _by_header(self, header: str, address: str | None) -> Principal:
        found = credentials(header)
        account = identity(found.name) if found.token is None else f"\0{digest(found.token)}"
        ticket = self._take(account, address)
        if isinstance(ticket, float):
            wait = seconds(ticket)
            raise TooMany(
                f"Too many wrong passwords or tokens came from here or for this user. Try again in {wait} s.",
                retry_after=wait,
            )
        principal = self._by_password(found) if found.token is None else self._by_token(found)
        if self._shared is not None:
            self._shared.right(ticket, self._clock())
            return principal
        with self._lock:
            self._throttle.right(ticket, self._clock())
        return principal

    def _take(self, account: str, address: str | None) -> Ticket | float:
        if self._shared is not None:
            return self._shared.take(account, address, self._clock())
        with self._lock:
            return self._throttle.take(account, address, self._clock())

    def _by_password(self, found: Credentials) -> Principal:
        with self._catalogue.read() as conn:
            user = users.find(conn, found.name)
            stored = users.find_secret(conn, found.name)
            ours = users.any_password(conn)
        # Both kinds are always checked, for whoever it is: neither names nor kinds can be told by the time.
        right = hashing.verify(stored, found.password) if ours else False
        in_file = self._file.right(found.name, found.password) and stored is None
        if not (right or in_file) or (user is not None and user.disabled):
            raise Unauthenticated(WRONG)
        with self._catalogue.read() as conn:
            return _principal(conn, found.name, "password" if right else "htpasswd")

    def _by_token(self, found: Credentials) -> Principal:
        text = found.token or ""
        if not is_well_formed(found):
            raise Unauthenticated(WRONG_TOKEN)
        with self._catalogue.read() as conn:
            token = tokens.find_by_digest(conn, digest(text))
            if token is None or token.revoked is not None or token.disabled:
                raise Unauthenticated(WRONG_TOKEN)
            expires = token.scope.expires
            if expires is not None and self._clock() >= expires:
                day = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%d %H:%M UTC")
                raise Unauthenticated(
                    f"The token {hint(text)} expired on {day}."
                    f" Make a new one with `pidex token create {token.user}`."
                )
            principal = _principal(conn, token.user, "token")._replace(token=token.scope)
        self._note(token.id)
        return principal

    def _note(self, token_id: int) -> None:
        """Note the use of a token: at most once a minute, and only when it is looked up."""
        now = self._clock()
        if self._expendable is None or now - self._noted.get(token_id, -NOTE_SECONDS) < NOTE_SECONDS:
            return
        if len(self._noted) >= NOTED_LIMIT:
            self._noted.clear()
        self._noted[token_id] = now
        at = int(now * 1_000_000)
        if self._catalogue.path is not None:
            self._expendable.note_use(token_id, at)
            return
        with suppress(PidexError), self._catalogue.beside() as conn:  # for all nodes
            uses.note(conn, token_id, at)

    def _recall(self, mark: bytes, stamp: tuple[int, int]) -> Principal | None:
        known = self._memory.get(mark)
        if known is None:
            return None
        if known.stamp == stamp and known.until > self._clock() and isinstance(known.principal, Principal):
            return known.principal
        with self._lock:
            if self._memory.get(mark) is known:
                del self._memory[mark]
        return None

    @staticmethod
    def _credentials(stamp: Stamp) -> tuple[int, int]:
        return stamp.credentials, stamp.file

    # --- what -----------------------------------------------------------------------------------------------

    def allows(
        self,
        by: Principal,
        action: Action | str,
        index: str | None = DEFAULT_INDEX,
        project: str | None = None,
    ) -> bool:
        """Whether `by` may do `action`: see `accounts.rights.Rights.allows`.

        pypiserver's words (list, download, update) stand for actions, too.
        """
        return self.rights.allows(by, WORDS.get(action) or Action(action), index, project)

    def visibility(self, by: Principal, index: str, action: Action = Action.LIST) -> Visibility:
        """What `by` may list (or read): see `accounts.rights.Rights.visibility`."""
        return self.rights.visibility(by, index, action)

    def require(self, by: Principal, action: Action, index: str, project: str | None = None) -> None:
        """Return where `by` may do `action`; otherwise raise what the caller is to be told (design, AUT-2).

        `Unauthenticated` where signing in may help, `NotFound` for who may not read, `Forbidden` for who may
        read and not do that. Never depends on whether the project exists.
        """
        if not self.allows(by, action, index, project):
            raise self.refusal(by, action, index, project)

    def refusal(self, by: Principal, action: Action, index: str, project: str | None = None) -> PidexError:
        """What a caller is told who may not do `action`."""
        reading = action in (Action.LIST, Action.READ)
        what = f"project {project}" if project else f"index {index}"
        if by.name is None:
            if not reading:
                closed = self.closed_sentence(index) if action is Action.UPLOAD else None
                return Unauthenticated(closed or f"Sign in to {action.value} here. {HOW}")
            if self.rights.challenges(index) or self.visibility(by, index, action).nothing:
                return Unauthenticated(f"Sign in to read this index. {HOW}")
            return NotFound(f"There is no {what}.")
        if reading or not self._reads(by, index, project):
            return NotFound(f"There is no {what}.")
        closed = self.closed_sentence(index) if action is Action.UPLOAD else None
        if closed is not None:
            return Forbidden(closed)
        token = by.token
        if token is not None and not token.covers(permissions.SCOPE[action], index, project):
            return Forbidden(f"This token does not reach that far: it may not {action.value} on {what}.")
        return Forbidden(f"{by.name} may not {action.value} on {what}. {_remedy(by, action, index, project)}")

    def closed_sentence(self, index: str) -> str | None:
        """Which commands open uploads, where nobody at all may upload to an index yet; otherwise None."""
        if not self.rights.closed(index):
            return None
        return (
            "Uploads are closed: nobody may upload here yet. On the server run `pidex user add NAME`,"
            f" `pidex grant add user:NAME uploader --index {index}` and `pidex token create NAME --upload`."
        )

    def _reads(self, by: Principal, index: str, project: str | None) -> bool:
        return any(self.allows(by, action, index, project) for action in (Action.LIST, Action.READ))


#: pypiserver's words for actions, where they are not the same.
WORDS: dict[str, Action] = {"download": Action.READ, "update": Action.UPLOAD}
HOW = "Put user name and password, or __token__ and a token, into netrc, keyring or the upload tool."

#: The smallest role that allows an action.
_ENOUGH = {
    Action.UPLOAD: "uploader",
    Action.OVERWRITE: "maintainer",
    Action.YANK: "maintainer",
    Action.DELETE: "owner",
    Action.MANAGE: "owner",
    Action.ADMIN: "admin",
}


def _remedy(by: Principal, action: Action, index: str, project: str | None) -> str:
    of = f" --project {project}" if project and action is not Action.ADMIN else ""
    return (
        f"An administrator grants that with"
        f" `pidex grant add user:{by.name} {_ENOUGH[action]} --index {index}{of}`."
    )


def _principal(conn: Connection, name: str, via: str) -> Principal:
    who = identity(name)
    return Principal(who, frozenset({AUTHENTICATED_GROUP, *groups.list_of_user(conn, who)}), via=via)
