"""What is checked and what a check finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

Clock = Callable[[], float]


class Finding(NamedTuple):
    """What a check says. `state` is 'ok', 'warn' or 'fail'; `remedy` says what to do, '' where nothing is."""

    state: str
    sentence: str
    remedy: str = ""


Findings = Iterator[Finding]


def ok(sentence: str) -> Finding:
    """All is well."""
    return Finding("ok", sentence)


def warn(sentence: str, remedy: str) -> Finding:
    """It works, but not as well as it could, or not for long."""
    return Finding("warn", sentence, remedy)


def fail(sentence: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding("fail", sentence, remedy)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What to check: the settings that matter here, under the names they have as settings."""

    folders: Sequence[Path]
    data: Path
    shared: Path | None = None  # what nodes of a cluster have in common of it, where that is not there
    host: str = "127.0.0.1"
    port: int = 3141
    socket: Path | None = None
    prefix: str = ""
    public_url: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    passwords: Path | None = None
    watch: str = "auto"
    snapshots: int = 7
    catalogue: str | None = None
    storage: str | None = None
    storage_endpoint: str | None = None
    storage_region: str | None = None
    storage_credentials: Path | None = None
    storage_ca: Path | None = None
    storage_timeout: float = 30.0

    @property
    def catalogue_file(self) -> Path:
        """The catalogue's file, where it is one."""
        return self.data / "catalogue.db"

    @property
    def catalogue_place(self) -> str | Path | None:
        """Where the catalogue is; None: there is none yet."""
        if self.catalogue is not None:
            return self.catalogue
        return self.catalogue_file if self.catalogue_file.exists() else None
