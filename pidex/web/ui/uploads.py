"""Uploads by form: any number of files in one request, each with its own outcome."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial

from pidex.core import negotiation
from pidex.core.errors import BadRequest, InvalidFile, PidexError, TooLarge
from pidex.core.multipart import MultipartParser, PartData, PartStart, boundary
from pidex.core.names import parse
from pidex.core.permissions import Action
from pidex.intake import Stage
from pidex.web.call import Call
from pidex.web.form import BLOCK_BYTES
from pidex.web.ui.frame import CSRF, Frame, Parts
from pidex.web.ui.language import said_in
from pidex.web.ui.visit import Outcome, Raw, Shown, Visit

#: Files in one form, and characters of a field beside them.
FILES, FIELD_CHARS = 100, 4_096


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one file. `code` is empty where it is in the index now."""

    filename: str
    status: str
    text: str = ""
    code: str = ""
    project: str = ""
    version: str = ""
    warnings: tuple[str, ...] = ()
    http: int = 200


def form(parts: Parts, visit: Visit) -> Outcome:
    """`/-/upload`: the form, for who may upload anything here."""
    parts.site.accounts.require(visit.by, Action.UPLOAD, visit.index)
    return Shown("upload.html", {"sent": (), "limit": parts.intake.policy(visit.index).file_limit})


async def take(frame: Frame, call: Call) -> None:
    """POST `/-/upload`: files are stored one after the other as they arrive."""
    reading = _Reading(frame, call)
    try:
        await reading.run()
    finally:
        reading.drop()
    sent, visit = reading.sent, reading.visit
    if visit is None or not sent:
        raise BadRequest("No file was chosen.")
    # Where nothing at all was stored, the answer is that of the first file.
    status = 200 if any(not each.code for each in sent) else sent[0].http
    if negotiation.error_type(call.headers.get("accept")) != "text/html":
        told = [
            {
                "filename": each.filename,
                "status": each.status,
                "message": said_in(visit.language, each.text),
                "code": each.code,
                "project": each.project,
                "version": each.version,
                "warnings": [said_in(visit.language, warning) for warning in each.warnings],
            }
            for each in sent
        ]
        await frame.send(visit, Raw("application/json", json.dumps({"files": told}).encode(), status))
        return
    limit = await frame.thread(lambda: frame.parts.intake.policy(visit.index).file_limit)
    await frame.send(visit, Shown("upload.html", {"sent": sent, "limit": limit}, status))


class _Reading:
    """One form on its way. The secret of the page comes before any file; without it none is taken."""

    def __init__(self, frame: Frame, call: Call) -> None:
        self._frame, self._parts, self._call = frame, frame.parts, call
        self.sent: list[Sent] = []
        self.visit: Visit | None = None
        self._field = self._filename = ""
        self._data = bytearray()
        self._stage: Stage | None = None
        self._refused: PidexError | None = None

    async def run(self) -> None:
        parser = MultipartParser(boundary(self._call.headers.get("content-type")))
        async for piece in self._call.pieces():
            for event in parser.feed(piece):
                if isinstance(event, PartStart):
                    await self._start(event)
                elif isinstance(event, PartData):
                    await self._take(event.data)
                else:
                    await self._end()
        parser.close()

    def drop(self) -> None:
        if self._stage is not None:
            self._stage.close()

    async def _start(self, part: PartStart) -> None:
        self._field, self._data, self._refused = part.name, bytearray(), None
        self._filename = part.filename or ""
        if part.filename is None:
            return
        if self.visit is None:  # no secret was sent: then only a request that is ours by its origin
            await self._admit("")
        if len(self.sent) >= FILES:
            raise BadRequest(f"A form has at most {FILES} files.")

    async def _admit(self, csrf: str) -> None:
        """Whose form it is, and whether they may upload anything here: before any byte of a file."""
        pairs = [(CSRF, csrf)]
        self.visit = visit = await self._frame.visit(self._call, pairs)
        accounts = self._parts.site.accounts
        await self._frame.thread(partial(accounts.require, visit.by, Action.UPLOAD, visit.index))

    async def _take(self, data: bytes) -> None:
        if not self._filename:
            if len(self._data) + len(data) > FIELD_CHARS:
                raise TooLarge(f"The field {self._field[:80]!r} is longer than {FIELD_CHARS:,} characters.")
            self._data += data
        elif self._refused is None:
            self._data += data
            if len(self._data) >= BLOCK_BYTES:
                await self._write()

    async def _write(self) -> None:
        data, self._data = bytes(self._data), bytearray()
        try:
            if self._stage is None:
                assert self.visit is not None
                make = partial(self._begin, self.visit, self._filename)
                self._stage = await self._frame.thread(make)
            await self._frame.thread(partial(self._stage.write, data))
        except PidexError as error:
            self._refused = error

    def _begin(self, visit: Visit, filename: str) -> Stage:
        """A place for a file, where its name is one and its project takes it."""
        project = parse(filename).project
        self._parts.site.accounts.require(visit.by, Action.UPLOAD, visit.index, project)
        self._parts.intake.check_project(visit.index, project)
        limit = self._parts.intake.policy(visit.index).file_limit
        return self._parts.intake.stage(visit.index, limit=limit)

    async def _end(self) -> None:
        if not self._filename:
            if self._field == CSRF and self.visit is None:
                await self._admit(self._data.decode("latin-1"))
            return
        if self._refused is None:
            await self._write()
        stage, self._stage = self._stage, None
        try:
            if self._refused is not None:
                raise self._refused
            assert stage is not None
            assert self.visit is not None
            self.sent.append(
                await self._frame.thread(partial(self._store, self.visit, stage, self._filename))
            )
        except PidexError as error:
            self.sent.append(Sent(self._filename[:300], "refused", str(error), error.code, http=error.status))
        finally:
            if stage is not None:
                await self._frame.thread(stage.close)
            self._filename = ""

    def _store(self, visit: Visit, stage: Stage, filename: str) -> Sent:
        if stage.size == 0:
            raise InvalidFile(f"{filename[:200]} is empty.")
        project = parse(filename).project
        overwrite = self._parts.site.accounts.allows(visit.by, Action.OVERWRITE, visit.index, project)
        receipt = self._parts.intake.receive(
            visit.index, stage, filename, overwrite=overwrite, how="upload", by=visit.by
        )
        return Sent(
            receipt.filename,
            receipt.status,
            project=receipt.project,
            version=receipt.version,
            warnings=tuple(receipt.warnings),
        )
