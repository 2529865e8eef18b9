"""How a service is run: the program, its arguments as flags, its user, and the paths it needs."""

from __future__ import annotations

import pwd
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pidex.app.ground import shared_dir
from pidex.config import (
    ENV_PREFIX,
    Settings,
    data_dir,
    drop_boxes,
    explain,
    flag,
    served_folders,
    settings_fields,
)

#: Seconds beside the grace for downloads after which a service that does not stop is killed.
SPARE_SECONDS = 12
#: The user that a printed file names where the folder belongs to root.
USER = "pidex"


@dataclass(frozen=True, slots=True)
class Running:
    """A `pidex serve` as a service runs it. Paths are absolute; `arguments` come after `pidex`."""

    settings: Settings
    program: tuple[str, ...]
    arguments: tuple[str, ...]
    data: Path | None
    user: str

    @property
    def command(self) -> tuple[str, ...]:
        """The whole command line."""
        return (*self.program, *self.arguments)

    @property
    def stop_seconds(self) -> int:
        """Seconds from SIGTERM after which the service may be killed."""
        return int(self.settings.grace) + SPARE_SECONDS

    @property
    def port(self) -> int:
        """The port that clients or a proxy connect to."""
        return self.settings.port or 3141

    def private(self) -> Iterator[Path]:
        """The folders that are for its user alone: the data directory, and what nodes share beside it."""
        if self.data is not None:
            yield self.data
            shared = shared_dir(self.settings, self.data)
            if shared != self.data:
                yield shared

    def written(self) -> Iterator[Path]:
        """The folders in which pidex writes."""
        settings = self.settings
        yield from settings.folders
        yield from drop_boxes(settings)
        yield from self.private()
        for file in (settings.log_file, settings.socket):
            if file is not None:
                yield file.parent


def running(flags: Mapping[str, object], environ: Mapping[str, str], user: str | None = None) -> Running:
    """What runs with what was typed, set in the environment and written in the configuration file.

    What came from the environment becomes a flag: a service has another one. What the file says stays there.
    Raises `ConfigError`.
    """
    effective = {each.name: each for each in explain(flags, environ)}
    values: dict[str, Any] = {name: each.value for name, each in effective.items()}
    settings = Settings(**values)
    folders = served_folders(settings)
    data = data_dir(settings, environ)
    arguments = ["serve", *(str(each.absolute()) for each in folders if given(effective["folders"].origin))]
    for field, meta in settings_fields():
        each = effective[field.name]
        if field.name not in ("folders", "data") and given(each.origin):
            arguments += typed(flag(field.name, meta), each.value)
    if settings.data is None or given(effective["data"].origin):
        arguments += ["--data", str(data.absolute())]
    return Running(settings, _program(), tuple(arguments), data, user or _owner(*folders, data))


def given(origin: str) -> bool:
    """Whether a setting was typed or comes from the environment."""
    return origin.startswith(("-", ENV_PREFIX)) or origin == "FOLDER"


def typed(name: str, value: object) -> list[str]:
    """A setting as one would type it."""
    if isinstance(value, bool):
        return [name if value else f"--no-{name[2:]}"]
    if isinstance(value, (tuple, frozenset)):
        words = sorted(map(str, value)) if isinstance(value, frozenset) else map(str, value)
        return [f"{name}={','.join(words)}"]
    text = f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)
    return [name, text] if text and not text.startswith("-") else [f"{name}={text}"]


def _program() -> tuple[str, ...]:
    """How this installation is started: its own script, whatever PATH a service has."""
    script = Path(sys.executable).with_name("pidex")
    return (str(script),) if script.exists() else (sys.executable, "-P", "-m", "pidex")


def _owner(*folders: Path) -> str:
    """Whom the first folder belongs to; the service's own user where that is root or nobody known."""
    uid = next((folder.stat().st_uid for folder in folders if folder.exists()), 0)
    try:
        return pwd.getpwuid(uid).pw_name if uid else USER
    except KeyError:
        return USER
