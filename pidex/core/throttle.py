"""How many wrong guesses are evaluated: a bucket for each account and each address, refilled slowly."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

#: Guesses that are evaluated in a row, and the seconds after which one more is.
ADDRESS_GUESSES, ADDRESS_SECONDS = 15, 30.0
ACCOUNT_GUESSES, ACCOUNT_SECONDS = 10, 60.0
#: Buckets kept at most; the one untouched for longest goes first, which is the fullest.
BUCKETS = 20_000
#: Pairs of account and address that signed in and are told apart from guessers, at most.
KNOWN = 5_000


class Size(NamedTuple):
    """How many guesses a bucket holds, and in how many seconds one comes back."""

    guesses: int
    seconds: float


ADDRESS, ACCOUNT = Size(ADDRESS_GUESSES, ADDRESS_SECONDS), Size(ACCOUNT_GUESSES, ACCOUNT_SECONDS)


class Ticket(NamedTuple):
    """Leave to evaluate one guess. `taken` are the buckets that it was taken from."""

    pair: bytes
    taken: tuple[tuple[bytes, Size], ...]


class Throttle:
    """Counts guesses by account and by address (AUT-8, T22). Not safe in threads: the caller locks.

    A guess is paid for before it is evaluated, and paid back where it was right: so many at once are not
    evaluated either. An account that signed in from an address has a bucket of its own for that address, so
    that strangers who guess at the account, or at others from behind the same address, do not lock it out.
    Time is in seconds, from any clock that never goes back.
    """

    def __init__(self) -> None:
        self._levels: dict[bytes, tuple[float, float]] = {}  # key: guesses left, at
        self._known: dict[bytes, None] = {}

    def take(self, account: str, address: str | None, now: float) -> Ticket | float:
        """Leave to evaluate a guess, or the seconds until there may be one."""
        pair, by_address, by_account = keys(account, address)
        if pair in self._known:
            wanted: Sequence[tuple[bytes, Size]] = [(pair, ACCOUNT)]
        else:
            wanted = [(by_address, ADDRESS), (by_account, ACCOUNT)]
        levels = [self._level(key, size, now) for key, size in wanted]
        waits = [
            (1 - level) * size.seconds for level, (_, size) in zip(levels, wanted, strict=True) if level < 1
        ]
        if waits:
            return max(waits)
        for level, (key, _) in zip(levels, wanted, strict=True):
            self._put(key, level - 1, now)
        return Ticket(pair, tuple(wanted))

    def right(self, ticket: Ticket, now: float) -> None:
        """The guess was right: it is paid back."""
        for key, size in ticket.taken:
            self._put(key, min(self._level(key, size, now) + 1, size.guesses), now)
        self._known.pop(ticket.pair, None)
        self._known[ticket.pair] = None
        while len(self._known) > KNOWN:
            del self._known[next(iter(self._known))]

    def __len__(self) -> int:
        return len(self._levels)

    def _level(self, key: bytes, size: Size, now: float) -> float:
        level, at = self._levels.get(key, (float(size.guesses), now))
        return min(level + max(now - at, 0.0) / size.seconds, float(size.guesses))

    def _put(self, key: bytes, level: float, now: float) -> None:
        self._levels.pop(key, None)
        self._levels[key] = (level, now)
        while len(self._levels) > BUCKETS:
            del self._levels[next(iter(self._levels))]


def keys(account: str, address: str | None) -> tuple[bytes, bytes, bytes]:
    """The buckets that a guess may be taken from: of the two together, of the address, of the account."""
    place = _place(address)
    return _key("pair", account, place), _key("address", place), _key("account", account)


def seconds(wait: float) -> int:
    """A wait as Retry-After has it: whole seconds, at least one."""
    return max(1, math.ceil(wait))


def _key(*parts: str) -> bytes:
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).digest()


def _place(address: str | None) -> str:
    """What counts as one address: an IPv4 address, or the /64 that one IPv6 customer has."""
    if address is None or ":" not in address:
        return address or ""
    head, double, tail = address.partition("%")[0].partition("::")
    if not double:
        return ":".join(_groups(head)[:4])
    if "." in tail:  # IPv4 as IPv6 writes it
        return tail.rpartition(":")[2]
    left, right = _groups(head), _groups(tail)
    return ":".join([*left, *["0"] * (8 - len(left) - len(right)), *right][:4])


def _groups(text: str) -> list[str]:
    return [group.lstrip("0").lower() or "0" for group in text.split(":") if group]
