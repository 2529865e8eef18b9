"""The drop boxes of a server: which there are, and what moves files out of each."""

from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pidex.config import drop_boxes

if TYPE_CHECKING:
    from pidex.app.parts import Pidex

log = logging.getLogger("pidex.drop")


class Box:
    """One drop box. `name` is the same on all nodes that have this folder for this index."""

    def __init__(self, pidex: Pidex, folder: Path, index: str) -> None:
        self._pidex, self._folder, self._index = pidex, folder, index
        mark = hashlib.blake2b(f"{index}={folder}".encode("utf-8", "surrogateescape"), digest_size=8)
        self.name = f"drop:{mark.hexdigest()}"

    def there(self) -> bool:
        """Whether this machine has the folder."""
        return self._folder.is_dir()

    def run(self, stop: threading.Event) -> None:
        """Move what comes into the folder to the index until `stop`."""
        from pidex.backends.folder import Folder  # noqa: PLC0415  # see `parts`
        from pidex.ingress.dropbox import DropBox  # noqa: PLC0415

        pidex = self._pidex
        log.info("This process empties the drop box %s into %s from now on.", self._folder, self._index)
        box = Folder({0: self._folder}, None)
        DropBox(box, self._index, pidex.intake(), watch=pidex.settings.watch, log=log).run(stop)


def boxes(pidex: Pidex) -> list[Box]:
    """The drop boxes of the settings."""
    return [Box(pidex, folder, index) for folder, index in drop_boxes(pidex.settings).items()]
