"""Damaged bytes, put where nobody serves them: moved, never deleted, each with a note."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from pidex.backends.staging import sync_folder


class Quarantine:
    """A folder of the data directory. Names begin with the time at which the bytes were put there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, path: str, *, stamp: str, note: Mapping[str, object]) -> Path:
        """Move a file here, with a note beside it in JSON; where it is now. Raises `OSError`."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        number, target = 0, self.folder
        while number == 0 or os.path.lexists(target):
            number += 1
            target = self.folder / f"{stamp}-{number}-{os.path.basename(path)[:120]}"
        Path(f"{target}.json").write_text(
            json.dumps({"from": path, **note}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        try:
            os.rename(path, target)
        except OSError:  # another file system: the copy is whole before the original goes
            part = f"{target}.part"
            with open(path, "rb") as source, open(part, "xb") as copy:
                shutil.copyfileobj(source, copy, 1024 * 1024)
                copy.flush()
                os.fsync(copy.fileno())
            os.rename(part, target)
            os.unlink(path)
        sync_folder(str(self.folder))
        sync_folder(os.path.dirname(path))
        return target

    def count(self) -> int:
        """How many files lie here."""
        try:
            return sum(not name.endswith((".json", ".part")) for name in os.listdir(self.folder))
        except FileNotFoundError:
            return 0
