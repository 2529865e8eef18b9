"""htpasswd files: which schemes are taken, which lines are not, and reading them again on a change."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pidex.core.errors import ConfigError, PidexError
from pidex.core.people import identity

#: Bytes of an htpasswd file that are read at most.
FILE_LIMIT = 4 << 20
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


@dataclass(frozen=True, slots=True)
class Entries:
    """What an htpasswd file says: casefolded name to (scheme, hash), and sentences about lines left out."""

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
        elif identity(name) in people:
            refused.append(f"Line {number} names a user for the second time; the first line counts.")
        else:
            people[identity(name)] = (scheme, hashed)
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


class PasswordFile:
    """An htpasswd file, read again when it changes. Thread-safe. Without a `path`, a file without people.

    `log` gets one sentence a line left out or a failed re-read. Raises `ConfigError` where it cannot be read.
    """

    def __init__(self, path: Path | None, log: Callable[[str], None] = lambda _: None) -> None:
        self._path = path
        #: Whether there is a file at all.
        self.given = path is not None
        self._log = log
        self._lock = threading.Lock()
        self._seen = _mark(path) if path is not None else None
        self.entries = Entries() if path is None else self._read(path)
        #: How often it has been read; who remembers passwords forgets them when it grows.
        self.version = 0

    def refresh(self) -> None:
        """Read the file again where it changed; where that fails, what was read before stays. Quick."""
        path = self._path
        if path is None:
            return
        seen = _mark(path)
        if seen == self._seen:
            return
        with self._lock:
            if seen == self._seen:
                return
            self._seen = seen
            try:
                self.entries = self._read(path)
            except PidexError as error:
                self._log(f"{error} The passwords read before stay in force.")
                return
            self.version += 1

    def knows(self, name: str) -> bool:
        """Whether the file has a user of that name, in any case."""
        return identity(name) in self.entries.people

    def right(self, name: str, password: str) -> bool:
        """Whether that is the user's password. Blocks for as long as the user's scheme takes.

        Who is not there costs as much time as who is there: names cannot be told by it.
        """
        people = self.entries.people
        found = people.get(identity(name))
        against = found or next(iter(people.values()), None)
        return against is not None and verify(*against, password) and found is not None

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
