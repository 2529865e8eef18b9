"""git for the indexes of a server: repositories beside folders, branches in a bucket, and pushes to both."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from pidex.app.ground import address, node_of
from pidex.config import environment

if TYPE_CHECKING:
    from pathlib import Path

    from pidex.accounts import Accounts
    from pidex.backends import cgi
    from pidex.backends.repositories import Repositories
    from pidex.backends.sandbox import Sandbox
    from pidex.catalogue.engine import Catalogue
    from pidex.config import Settings
    from pidex.core.interfaces import Clock, Storage
    from pidex.ingress.git import Pushes
    from pidex.intake.branches import Branches
    from pidex.mirror import Mirror
    from pidex.resolver import Resolver

#: Below the data directory: copies of the repositories of indexes in the bucket, and this node's hooks.
COPIES, HOOKS = "branches", "hooks"


class Parts(Protocol):
    """What is needed of `Pidex`, which loads this."""

    settings: Settings
    data: Path
    shared: Path
    owner: str
    catalogue: Catalogue
    storage: Storage
    resolver: Resolver
    mirror: Mirror

    @property
    def clock(self) -> Clock: ...

    def accounts(self) -> Accounts: ...
    def sandbox(self) -> Sandbox: ...


def repositories(pidex: Parts) -> Repositories:
    """The git repositories of the indexes in folders."""
    from pidex.backends.git import Git  # noqa: PLC0415  # commands that only read do without it
    from pidex.backends.repositories import Repositories  # noqa: PLC0415

    # Nodes that share repositories have hooks of their own.
    hooks = None if pidex.shared == pidex.data else pidex.data / HOOKS
    return Repositories(pidex.shared / "git", Git(environment().get("PATH", os.defpath)), hooks)


def branches(pidex: Parts) -> Branches:
    """The branches of the indexes in the bucket."""
    from pidex.backends.git import Git  # noqa: PLC0415
    from pidex.backends.repositories import Repositories  # noqa: PLC0415
    from pidex.intake.branches import Branches  # noqa: PLC0415

    packs = None
    if pidex.storage.bucket is not None:
        from pidex.backends.objects.beside import Beside  # noqa: PLC0415  # an extra

        assert isinstance(pidex.storage, Beside), "nothing else has a bucket"
        packs = pidex.storage.objects.packs
    copies = Repositories(pidex.data / COPIES, Git(environment().get("PATH", os.defpath)))
    return Branches(
        pidex.catalogue, pidex.storage, copies, packs, command=lambda index: hook(pidex, index),
        clock=pidex.clock,
    )  # fmt: skip


def pushes(
    pidex: Parts, nudge: Callable[[Iterable[tuple[int, str]]], None], leads: Callable[[], bool]
) -> Pushes:
    """What takes pushes to them. For who holds the lock."""
    from pidex.ingress.git import Pushes  # noqa: PLC0415
    from pidex.intake.pushes import Arrivals  # noqa: PLC0415

    return Pushes(
        repositories(pidex),
        Arrivals(pidex.catalogue, pidex.storage, pidex.clock, pidex.sandbox(), pidex.mirror, pidex.owner),
        pidex.storage,
        pidex.resolver,
        pidex.accounts(),
        branches=branches(pidex),
        command=lambda index: hook(pidex, index),
        url=address(pidex.settings),
        nudge=nudge,
        leads=leads,
        clock=pidex.clock,
        lookers=pidex.settings.sandbox_children,
        node=node_of(pidex.data) if pidex.settings.catalogue else "",
    )


def hook(pidex: Parts, index: str) -> list[str]:
    """What the hooks of an index's repository run: for the server, or where none runs, instead of it."""
    settings = pidex.settings
    config = [] if settings.config is None else ["--config", str(settings.config)]
    place = ["--index", index, "--data", str(pidex.data), *config, *map(str, settings.folders)]
    return [sys.executable, "-P", "-m", "pidex", "git", "hook", "pre-receive", *place]


class Clonable:
    """The repositories of all indexes as HTTP reaches them: copies are brought up to date before."""

    def __init__(self, pidex: Parts) -> None:
        self._beside, self._branches = repositories(pidex), branches(pidex)

    def exists(self, index: str) -> bool:
        """Whether an index has a repository. May block."""
        if self._branches.holds(index):
            return self._branches.exists(index)
        return self._beside.exists(index)

    def check(self) -> None:
        """Raise `Missing` where git cannot serve HTTP."""
        self._beside.check()

    async def answer(
        self,
        index: str,
        service: str,
        *,
        request: Mapping[str, str],
        body: AsyncIterator[bytes],
        start: cgi.Start,
        piece: cgi.Piece,
    ) -> None:
        """Let git answer one request, streaming both ways (see `Repositories.answer`)."""
        chosen = await asyncio.to_thread(self._chosen, index)
        await chosen.answer(index, service, request=request, body=body, start=start, piece=piece)

    def _chosen(self, index: str) -> Repositories:
        if not self._branches.holds(index):
            return self._beside
        self._branches.refresh(index)
        return self._branches.copies
