"""The legacy upload API: files streamed into the folder, and what else old clients send (UPL)."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol
from urllib.parse import parse_qsl

from pidex.core import negotiation, uploads
from pidex.core.errors import BadRequest, Gone, NotFound
from pidex.core.model import Principal
from pidex.core.multipart import MultipartParser, boundary
from pidex.core.names import is_name, normalize
from pidex.core.permissions import Action
from pidex.intake import Intake, Receipt, Stage
from pidex.web import listings
from pidex.web.call import Call
from pidex.web.form import FIELDS_BYTES, Body, Lane
from pidex.web.replies import SAFE, reply
from pidex.web.site import Site

#: Where clients upload to: below an index (twine, poetry, `setup.py upload` with the root as repository).
PATHS = frozenset({"/", "/legacy", "/legacy/", "/pypi", "/pypi/"})
#: Uploads of one worker at a time that are written, inspected or placed; others wait for a thread.
THREADS = 16
#: Bytes of a form without a file.
SMALL_FORM_BYTES = 64 * 1024

_PREREGISTER = "Project pre-registration is no longer required or supported, upload your files instead."
#: What was offered once (UPL-2).
_GONE = {
    "submit_pkg_info": _PREREGISTER,
    "doc_upload": "Uploading documentation is no longer supported, "
    "we recommend using https://readthedocs.org/.",
    "user": "Users are not made by clients any more: ask who runs this index for one.",
    "password_reset": "Passwords are not reset by clients: ask who runs this index.",
}
#: What some clients send before an upload, and nobody needs.
_NOTHING = {
    "submit": "Nothing to do: a project begins with its first file.",
    "verify": "Nothing was checked: metadata is read from the file that is uploaded.",
}


class Curator(Protocol):
    """What removes releases (curator)."""

    def delete(self, index: str, project: str, *, version: str | None = None, by: Principal) -> object:
        """Delete a release. Raises `NotFound`, `Forbidden` or `Unauthenticated`."""


#: The form field that takes a name that an upstream has.
CLAIM = "pidex_claim"


class Uploads:
    """Answers to POST where clients upload to. `curator` None: nothing is removed this way."""

    def __init__(self, site: Site, intake: Intake, curator: Curator | None = None) -> None:
        self.site, self.intake, self.curator = site, intake, curator
        self.pool = ThreadPoolExecutor(THREADS, "pidex-upload")

    def takes(self, call: Call) -> bool:
        """Whether a request is one of ours, which reads its body itself."""
        return call.method == "POST" and call.rest in PATHS

    async def respond(self, call: Call) -> None:
        """Answer a POST. A refusal is heard: what is left of the body is read first, within bounds."""
        call.kind = "upload"
        try:
            await _Request(self, call).answer()
        except Exception:
            await call.drain()
            raise

    def close(self) -> None:
        """End the threads that wait; those that work end with their work."""
        self.pool.shutdown(wait=False, cancel_futures=True)


class _Request:
    """One POST on its way: who, whether at all, the form, and what it asks for."""

    def __init__(self, uploads: Uploads, call: Call) -> None:
        self._intake, self._curator, self._accounts = uploads.intake, uploads.curator, uploads.site.accounts
        self._call = call
        self._lane = Lane(uploads.pool)
        query = parse_qsl(call.query.decode("latin-1"), keep_blank_values=True, max_num_fields=100)
        self._query = dict(query)
        self._size = _length(call.headers.get("content-length"))

    async def answer(self) -> None:
        """Credentials, rights and size before the body; each field as it comes; the file at the end."""
        call = self._call
        policy = await self._lane.run(self._admit)
        if self._size is not None and policy.file_limit:
            spare = policy.description_limit + FIELDS_BYTES
            if self._size > policy.file_limit + spare:
                uploads.check_size(self._size - spare, policy, None)
        kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/x-www-form-urlencoded" or (not kind and ":action" in self._query):
            await self._act(await self._small_form())
            return
        parser = MultipartParser(boundary(call.headers.get("content-type")))
        body = Body(self._lane, policy, self._stage(policy), self._named)
        self._body = body
        try:
            async for data in self._call.pieces():
                for event in parser.feed(data):
                    await body.take(event)
                if not parser.ended:
                    await self._lane.flush()  # the client may take its time
            parser.close()
            action = self._query.get(":action") or dict(body.pairs).get(":action", "")
            if action == "file_upload":
                await self._receive(body, policy)
            else:
                await self._lane.wait()
                await self._act([*self._query.items(), *body.pairs])
        finally:
            body.drop()

    def _admit(self) -> uploads.UploadPolicy:
        """Whether they may upload anything here."""
        call = self._call
        self._accounts.require(call.by, Action.UPLOAD, call.index)
        return self._intake.policy(call.index)

    def _stage(self, policy: uploads.UploadPolicy) -> Callable[[], Stage]:
        return partial(
            self._intake.stage, self._call.index, size_hint=self._size or 0, limit=policy.file_limit
        )

    async def _named(self, field: str, value: str) -> None:
        """A field has ended: those that decide are looked at before the rest comes."""
        if field == ":action" and value != "file_upload":
            self._body.wanted = False
        elif field == "protocol_version" and value.strip() not in ("", "1"):
            raise BadRequest("Unknown protocol version.")
        elif field == "name" and value.strip() and self._body.wanted:
            project = normalize(uploads.check_name(value.strip()))
            self._lane.later(partial(self._permit, project))

    def _permit(self, project: str) -> None:
        call = self._call
        self._accounts.require(call.by, Action.UPLOAD, call.index, project)
        self._intake.check_project(call.index, project)

    async def _receive(self, body: Body, policy: uploads.UploadPolicy) -> None:
        try:
            form = uploads.check_form(uploads.collect(body.pairs), policy)
            if not body.filename:
                raise BadRequest("Upload payload does not have a file.")
        except BadRequest:
            await self._lane.wait()  # who may not upload is told that first
            raise
        receipt = await self._lane.run(partial(self._store, body, body.filename, form))
        await self._call.reply(reply(200, *_told(receipt, self._call.accept)))

    def _store(self, body: Body, filename: str, form: uploads.Form) -> Receipt:
        call = self._call
        assert body.stage is not None  # made by the job that wrote the file's last piece
        return self._intake.receive(
            call.index,
            body.stage,
            filename,
            form=form,
            signature=body.signature,
            overwrite=self._accounts.allows(call.by, Action.OVERWRITE, call.index, form.project),
            claim=self._claims(form),
            by=call.by,
        )

    def _claims(self, form: uploads.Form) -> bool:
        """Whether a name that an upstream has is to be ours: said by who may decide about the project."""
        if form.fields.get(CLAIM, ("no",))[-1].strip().lower() not in ("yes", "true", "1"):
            return False
        self._accounts.require(self._call.by, Action.MANAGE, self._call.index, form.project)
        return True

    # --- other actions --------------------------------------------------------------------------------------

    async def _act(self, pairs: list[tuple[str, str]]) -> None:
        """What is no upload: removing a release, and what used to be."""
        fields = dict(pairs)
        action = fields.get(":action", "")
        if action in _GONE:
            raise Gone(_GONE[action])
        if action in _NOTHING:
            await self._say(_NOTHING[action])
        elif action == "remove_pkg":
            await self._remove(fields.get("name", "").strip(), fields.get("version", "").strip())
        elif action == "file_upload":
            raise BadRequest("Upload payload does not have a file.")
        else:
            known = ":action is missing" if not action else f":action {action[:80]!r} is not known"
            raise BadRequest(f"{known}: an upload says file_upload. Use twine, uv publish, or another tool.")

    async def _remove(self, name: str, version: str) -> None:
        """pypiserver's way to delete a release."""
        if not name or not version:
            raise BadRequest("remove_pkg takes the fields name and version.")
        if self._curator is None or not is_name(name):
            raise NotFound(f"There is no release {name[:100]} {version[:100]}.")
        call = self._call
        delete = partial(self._curator.delete, call.index, normalize(name), version=version, by=call.by)
        await self._lane.run(delete)
        await self._say(f"{name} {version} is deleted. Its file names stay used.")

    async def _say(self, line: str) -> None:
        headers = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store", **SAFE}
        await self._call.reply(reply(200, headers, f"{line}\n".encode()))

    # --- the body -------------------------------------------------------------------------------------------

    async def _small_form(self) -> list[tuple[str, str]]:
        data = await self._call.body(SMALL_FORM_BYTES, "A form without a file")
        fields = parse_qsl(data.decode("utf-8", "replace"), keep_blank_values=True)
        return [*self._query.items(), *fields]


async def classifiers(site: Site, call: Call) -> None:
    """GET /pypi?:action=list_classifiers, one a line; without that, `pypi` is the name of a project."""
    query = dict(parse_qsl(call.query.decode("latin-1"), max_num_fields=100))
    if query.get(":action") != "list_classifiers":
        call.params = {"name": "pypi"}
        await listings.short(site, call)
        return
    await site.admit(call, "list")
    work = partial(site.resolver.classifiers, call.index, by=call.by)
    found = await site.pages.patiently(work, call.index, None)
    headers = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-cache", **SAFE}
    text = "".join(f"{line}\n" for line in found)
    await call.reply(reply(200, headers, text.encode(), head=call.head))


def _length(header: str | None) -> int | None:
    return int(header) if header is not None and header.isascii() and header.isdigit() else None


def _told(receipt: Receipt, accept: str | None) -> tuple[dict[str, str], bytes]:
    """A receipt in the caller's words: headers and body."""
    kind = negotiation.error_type(accept)
    if kind.endswith("json"):
        told = {
            "status": receipt.status,
            "filename": receipt.filename,
            "project": receipt.project,
            "version": receipt.version,
            "hashes": {"sha256": receipt.sha256, "blake2b_256": receipt.blake2b_256},
            "warnings": receipt.warnings,
        }
        return _headers("application/json"), json.dumps(told).encode() + b"\n"
    lines = [f"{receipt.filename}: {receipt.status}", *(f"Warning: {line}" for line in receipt.warnings)]
    return _headers("text/plain; charset=utf-8"), "".join(f"{line}\n" for line in lines).encode()


def _headers(kind: str) -> dict[str, str]:
    return {"content-type": kind, "cache-control": "no-store", **SAFE}
