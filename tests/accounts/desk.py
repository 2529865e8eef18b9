"""Accounts and their administration over a catalogue of their own, with a clock that is set by hand."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path
from typing import Any

from pidex.accounts.administration import Administration
from pidex.accounts.sessions import Sessions
from pidex.accounts.signing import Accounts
from pidex.catalogue import audit, grants, indexes, users
from pidex.catalogue.audit import Entry
from pidex.catalogue.engine import Catalogue
from pidex.catalogue.expendable import Expendable
from pidex.core.model import OPERATOR, Principal
from pidex.core.permissions import Grant, Role

NOW = 1_800_000_000.0
BY = OPERATOR._replace(name="root", via="command", address=None)
PASSWORD = "correct horse"


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Desk:
    """One process's accounts; `again` makes those of another one over the same catalogue."""

    def __init__(self, catalogue: Catalogue, folder: Path, **settings: Any) -> None:
        self.catalogue, self.folder = catalogue, folder
        self.clock = Clock()
        self.said: list[str] = []
        self.expendable = Expendable(folder / "cache.db")
        with catalogue.write() as conn:
            indexes.ensure(conn, "main", NOW)
        self.accounts = self.again(**settings)
        numbers = itertools.count(1)
        self.random = lambda size: next(numbers).to_bytes(size)
        self.admin = Administration(
            catalogue, self.accounts, clock=self.clock, random=self.random, expendable=self.expendable
        )
        self.sessions = Sessions(catalogue, clock=self.clock, random=self.random)

    def again(self, passwords: Path | None = None, guard: frozenset[str] = frozenset({"update"})) -> Accounts:
        return Accounts(
            self.catalogue,
            self.catalogue.probe(),
            passwords,
            guard,
            clock=self.clock,
            key=b"k",
            expendable=self.expendable,
            log=self.said.append,
        )

    def user(self, name: str = "ann", role: Role | None = None, index: str | None = "main") -> str:
        """A user without a password, perhaps with a role; the name."""
        with self.catalogue.write() as conn:
            users.ensure(conn, name, at=1)
            if role is not None:
                grants.add(conn, Grant(f"user:{name}", role, index), by="root", at=1)
        return name

    def token(self, user: str, *scopes: str, **rest: Any) -> str:
        """The text of a new token."""
        return self.admin.create_token(user, scopes=scopes or ("read", "upload"), by=BY, **rest).text

    def signed_in(self, user: str, *scopes: str, **rest: Any) -> Principal:
        """A user who signed in by a new token."""
        return self.accounts.authenticate(basic("__token__", self.token(user, *scopes, **rest)))

    def audit(self) -> list[Entry]:
        with self.catalogue.read() as conn:
            return [*audit.list(conn, limit=1000)]


def basic(name: str, password: str = PASSWORD) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
