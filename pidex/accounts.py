"""Who is asking: people of an htpasswd file, and what needs signing in."""

from __future__ import annotations

import base64
import binascii
import hmac
import importlib.util
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pidex.core.errors import ConfigError, PidexError, Unauthenticated
from pidex.core.model import ANONYMOUS, Principal

#: How long a verified password is remembered, in seconds, and how many are at most.
MEMORY_SECONDS = 300.0
MEMORY_LIMIT = 1024
#: Bytes of an htpasswd file and of an Authorization header that are read at most.
FILE_LIMIT = 4 << 20
HEADER_LIMIT = 8192
#: bcrypt reads this many bytes of a password; htpasswd cuts there too.
BCRYPT_BYTES = 72

#: How a stored hash begins or looks, and the name of its scheme in libpass.
SCHEMES = (
    (re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}"), "bcrypt"),
    (re.compile(r"\$apr1\$[./A-Za-z0-9]{0,8}\$[./A-Za-z0-9]{22}"), "apr_md5_crypt"),
    (re.compile(r"\$5\$(rounds=\d{1,9}\$)?[^$:]{0,16}\$[./A-Za-z0-9]{43}"), "sha256_crypt"),
    (re.compile(r"\$6\$(rounds=\d{1,9}\$)?[^$:]{0,16}\$[./A-Za-z0-9]{86}"), "sha512_crypt"),
    (re.compile(r"\{SHA\}[A-Za-z0-9+/]{27}="), "ldap_sha1"),
)
ACTIONS = frozenset({"list", "download", "update"})
WRONG = "The user name or the password is wrong."


@dataclass(frozen=True, slots=True)
class Entries:
    """What an htpasswd file says: user name to (scheme, hash), and the sentences about lines left out."""

    people: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    refused: tuple[str, ...] = ()


def parse(text: str) -> Entries:
    """Read an htpasswd file's text. Lines that cannot be used are named by number, never by content."""
    people: dict[str, tuple[str, str]] = {}
    refused: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, hashed = line.rstrip().partition(":")
        scheme = next((each for pattern, each in SCHEMES if pattern.fullmatch(hashed)), None)
        if not colon or not name:
            refused.append(f"Line {number} is not NAME:HASH.")
        elif scheme is None:
            refused.append(
                f"Line {number} holds a plain-text password or an unknown or outdated hash."
                " Write it with `htpasswd -B FILE NAME`."
            )
        elif name in people:
            refused.append(f"Line {number} names a user for the second time; the first line counts.")
        else:
            people[name] = (scheme, hashed)
    return Entries(people, tuple(refused))


def read(path: Path) -> Entries:
    """Read an htpasswd file. Raises `ConfigError` where it cannot be read, or needs a missing module."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
        if len(data) > FILE_LIMIT:
            raise ConfigError(f"The password file {path} is longer than {FILE_LIMIT} bytes.")
        entries = parse(data.decode())
    except OSError as error:
        raise ConfigError(
            f"The password file {path} cannot be read: {error.strerror}."
            f" Make it with `htpasswd -B -c {path} NAME`."
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"The password file {path} is not UTF-8 text.") from None
    if any(scheme == "bcrypt" for scheme, _ in entries.people.values()):
        require("bcrypt", "libpass[bcrypt]")
    return entries


def require(module: str, project: str) -> None:
    """Raise `ConfigError` with the command that installs a module, where it is missing."""
    if importlib.util.find_spec(module) is None:
        raise ConfigError(
            f"The Python module {module} is missing, which bcrypt hashes need."
            f" Install it with: {sys.executable} -m pip install '{project}'"
        )


def verify(scheme: str, hashed: str, password: str) -> bool:
    """Compare a password with a hash, in constant time. Blocks for as long as the scheme takes."""
    import passlib.hash  # noqa: PLC0415  # 0.2 s, and needed where somebody signs in

    secret = password.encode()
    if scheme == "bcrypt":
        secret = secret[:BCRYPT_BYTES]
    try:
        return bool(getattr(passlib.hash, scheme).verify(secret, hashed))
    except ValueError:  # a NUL byte, or longer than any scheme takes
        return False


def credentials(header: str) -> tuple[str, str]:
    """User name and password of a Basic header (RFC 7617). Raises `Unauthenticated`."""
    kind, _, encoded = header.strip().partition(" ")
    if kind.lower() != "basic" or len(header) > HEADER_LIMIT:
        raise Unauthenticated("Only a user name and a password (Basic) are understood here.")
    try:
        plain = base64.b64decode(encoded.strip(), validate=True)
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


class Accounts:
    """Who an Authorization header stands for, and what needs signing in. Thread-safe.

    `passwords`: an htpasswd file, or None: then credentials mean nothing and everybody is anonymous.
    `guard`: the actions (list, download, update) that need signing in. `key`: random bytes of this process,
    under which verified headers are remembered. `log` gets one sentence a line left out or a failed re-read.
    Raises `ConfigError` where the file cannot be read.
    """

    def __init__(
        self,
        passwords: Path | None,
        guard: frozenset[str] = frozenset({"update"}),
        *,
        clock: Callable[[], float],
        key: bytes,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._path = passwords
        self._guard = guard
        self._clock = clock
        self._key = key
        self._log = log
        self._lock = threading.Lock()
        self._flights: dict[bytes, threading.Lock] = {}
        self._memory: dict[bytes, tuple[Principal, float]] = {}
        self._entries = Entries()
        self._seen: tuple[int, ...] | None = None
        if passwords is not None:
            self._seen = _mark(passwords)
            self._entries = self._read(passwords)

    def remembered(self, header: str | None) -> Principal | None:
        """Who this is, where that is known without checking a password; None: ask `authenticate`. Quick."""
        if header is None or self._path is None:
            return ANONYMOUS
        self._refresh(self._path)
        return self._recall(self._mark(header))

    def authenticate(self, header: str | None) -> Principal:
        """Who this is. Raises `Unauthenticated` on wrong credentials.

        Blocks while a password is checked (milliseconds to a second): call it in a thread. Concurrent calls
        with the same header check it once.
        """
        known = self.remembered(header)
        if known is not None or header is None:
            return known or ANONYMOUS
        name, password = credentials(header)
        mark = self._mark(header)
        with self._lock:
            flight = self._flights.setdefault(mark, threading.Lock())
        try:
            with flight:
                return self._recall(mark) or self._check(mark, name, password)
        finally:
            with self._lock:
                self._flights.pop(mark, None)

    def allows(self, by: Principal, action: str) -> bool:
        """Whether `by` may do an action: 'list', 'download' or 'update'."""
        if action not in ACTIONS:
            raise ValueError(action)
        return by.name is not None or action not in self._guard

    def _check(self, mark: bytes, name: str, password: str) -> Principal:
        with self._lock:
            entries = self._entries
        found = entries.people.get(name)
        # Who is not there costs as much time as who is there: names cannot be told by it.
        against = found or next(iter(entries.people.values()), None)
        right = against is not None and verify(*against, password)
        if found is None or not right:
            raise Unauthenticated(WRONG)
        principal = Principal(name, frozenset({"authenticated"}))
        with self._lock:
            if entries is self._entries:  # not re-read while the password was checked
                while len(self._memory) >= MEMORY_LIMIT:
                    del self._memory[next(iter(self._memory))]
                self._memory[mark] = (principal, self._clock() + MEMORY_SECONDS)
        return principal

    def _mark(self, header: str) -> bytes:
        return hmac.digest(self._key, header.encode(errors="surrogateescape"), "sha256")

    def _recall(self, mark: bytes) -> Principal | None:
        known = self._memory.get(mark)
        if known is None:
            return None
        principal, until = known
        if until > self._clock():
            return principal
        with self._lock:
            self._memory.pop(mark, None)
        return None

    def _refresh(self, path: Path) -> None:
        """Read the file again where it changed; where that fails, what was read before stays."""
        seen = _mark(path)
        if seen == self._seen:
            return
        with self._lock:
            if seen == self._seen:
                return
            self._seen = seen
            try:
                self._entries = self._read(path)
            except PidexError as error:
                self._log(f"{error} The passwords read before stay in force.")
                return
            self._memory.clear()

    def _read(self, path: Path) -> Entries:
        entries = read(path)
        for sentence in entries.refused:
            self._log(f"{path}: {sentence}")
        return entries


def _mark(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError as error:
        return (error.errno or 0,)
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)
