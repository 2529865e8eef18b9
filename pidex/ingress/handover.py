"""Files that a command hands over as open descriptors: staged and received like every upload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from pidex.core.errors import BadRequest, PidexError
from pidex.core.model import Principal
from pidex.core.permissions import Action
from pidex.intake import Intake, Receipt

_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Handed:
    """What became of one file: its receipt, or why it was refused."""

    filename: str
    receipt: Receipt | None = None
    code: str | None = None
    message: str | None = None


class Handover:
    """The way in of `pidex upload`. `require` says no to who may not (accounts)."""

    def __init__(self, intake: Intake, require: Callable[[Principal, Action, str, str | None], None]) -> None:
        self._intake = intake
        self._require = require

    def upload(
        self,
        index: str,
        filenames: Sequence[str],
        *,
        files: Sequence[BinaryIO],
        claim: bool = False,
        progress: Callable[[int, int], None],
        by: Principal,
    ) -> Sequence[Handed]:
        """Receive open files under these names, one after the other; a refused one does not stop the rest.

        `claim`: names that an upstream has become ours.
        """
        if len(files) != len(filenames):
            raise BadRequest(f"{len(filenames)} names came with {len(files)} files.")
        self._require(by, Action.UPLOAD, index, None)
        found = []
        for number, (filename, file) in enumerate(zip(filenames, files, strict=True)):
            progress(number, len(files))
            try:
                with self._intake.stage(index) as stage:
                    while block := file.read(_BLOCK_BYTES):
                        stage.write(block)
                    receipt = self._intake.receive(index, stage, filename, how="command", claim=claim, by=by)
                found.append(Handed(filename, receipt))
            except PidexError as error:
                found.append(Handed(filename, code=error.code, message=str(error)))
        return found
