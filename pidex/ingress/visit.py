"""What somebody sees and may do who comes by FTP: a folder for each index, its files, their own drafts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pidex.accounts import Accounts
from pidex.core import names
from pidex.core.errors import BadName, BadRequest, Conflict, Forbidden, NotFound, Unauthenticated
from pidex.core.interfaces import Handle
from pidex.core.model import File, Principal
from pidex.core.people import identity
from pidex.core.permissions import Action
from pidex.ingress.drafts import Draft, Drafts, Key
from pidex.intake import Intake, Receipt
from pidex.resolver import Resolver

_BLOCK_BYTES = 1024 * 1024


class Deletes(Protocol):
    """What is asked here of `Curator`."""

    def delete(
        self, index: str, project: str, *, filename: str | None, reason: str, by: Principal
    ) -> object: ...


@dataclass(frozen=True, slots=True)
class Services:
    """What all visits share."""

    accounts: Accounts
    intake: Intake
    resolver: Resolver
    curator: Deletes
    drafts: Drafts
    indexes: Sequence[str]


class Item(NamedTuple):
    """A line of a listing; `modified` in Unix seconds."""

    name: str
    size: int = 0
    modified: float = 0.0
    folder: bool = False


class Reading:
    """A listed file as it is read: what was admitted, or an error."""

    def __init__(self, handle: Handle, name: str) -> None:
        self._handle, self.name, self._at = handle, name, 0
        self.closed = False

    def read(self, length: int) -> bytes:
        """At most `length` bytes from where it is; none at the end. Raises `Changing`."""
        data = self._handle.read(self._at, min(length, self._handle.size - self._at))
        self._handle.check()
        self._at += len(data)
        return data

    def seek(self, offset: int) -> None:
        self._at = offset

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._handle.close()


class Visit:
    """One caller's view. Paths are absolute and normalised: '/', '/main', '/main/demo-1.0.tar.gz'.

    Rights are asked for in each method, so that what is taken away meanwhile is gone. Strangers only read.
    """

    def __init__(self, services: Services, by: Principal) -> None:
        self._s, self.by = services, by

    def indexes(self) -> list[str]:
        """The indexes of which the caller may do anything."""
        asked = (Action.LIST, Action.READ, Action.UPLOAD)
        return [
            index
            for index in self._s.indexes
            if any(self._s.accounts.allows(self.by, each, index) for each in asked)
        ]

    def home(self) -> str:
        """The folder in which a visit begins: the index, where there is just one."""
        found = self.indexes()
        return f"/{found[0]}" if len(found) == 1 else "/"

    def list(self, path: str) -> Sequence[Item]:
        """What is in a folder, sorted by name. Raises `NotFound` or `Busy`."""
        index, name = self._split(path)
        if index is None:
            return [Item(each, folder=True) for each in self.indexes()]
        if name is not None:
            raise NotFound(f"{name} is no folder.")
        seen = self._s.accounts.visibility(self.by, index, Action.LIST)
        found = {} if seen.nothing else {
            file.filename: _item(file)
            for file in self._s.resolver.files(index, by=self.by)
            if seen.sees(file.project)
        }  # fmt: skip
        for draft in self._drafts(index):
            found[draft.key.name] = _draft_item(draft)
        return [found[each] for each in sorted(found)]

    def find(self, path: str) -> Item | None:
        """What is at a path, as far as the caller may know; a draft of theirs before a listed file."""
        try:
            index, name = self._split(path)
        except NotFound:
            return None
        if index is None or name is None:
            return Item(index or "/", folder=True)
        draft = self._draft(index, name)
        if draft is not None:
            return _draft_item(draft)
        file = self._find(index, name, (Action.LIST, Action.READ))
        return None if file is None else _item(file)

    def open(self, path: str) -> Reading:
        """A file to read. Raises `NotFound`, `Withheld`, `Busy` and `Changing`."""
        index, name = self._named(path)
        file = self._find(index, name, (Action.READ,))
        if file is None:
            raise NotFound(f"There is no file {name}.")
        return Reading(self._s.resolver.open(file), name)

    # --- changes --------------------------------------------------------------------------------------------

    def begin(self, path: str, *, resume: bool) -> Draft:
        """A draft to write to: the caller's own of before with `resume`, else a new one.

        To be given to `receive`, `keep` or `drop` in the end.
        """
        index, name = self._named(path)
        self._may_upload(index, name)
        key = self._key(index, name)
        if resume:
            draft = self._s.drafts.resume(key)
            if draft is not None:
                return draft
            if self._find(index, name, (Action.LIST, Action.READ)) is not None:
                raise Conflict(f"{name} is whole: nothing is added to a package that is there")
        limit = self._s.intake.policy(index).file_limit
        return self._s.drafts.begin(key, self._s.intake.stage(index, limit=limit))

    def is_draft(self, path: str) -> bool:
        """Whether what is written to a path stays a draft until it is renamed."""
        return names.is_temporary(path.rpartition("/")[2])

    def keep(self, draft: Draft) -> None:
        """Lay a draft aside: its owner may go on with it, or rename it."""
        self._s.drafts.keep(draft)

    def drop(self, draft: Draft) -> None:
        """Throw a draft away."""
        self._s.drafts.drop(draft)

    def receive(self, draft: Draft, path: str) -> Receipt:
        """Make a draft the package that a path names. Raises as `Intake.receive`: then it is still one."""
        index, name = self._named(path)
        if index != draft.key.index:
            raise BadRequest("From one index to another nothing is moved: send it there.")
        project = self._may_upload(index, name)
        over = self._s.accounts.allows(self.by, Action.OVERWRITE, index, project)
        receipt = self._s.intake.receive(index, draft.stage, name, overwrite=over, how="ftp", by=self.by)
        self._s.drafts.drop(draft)
        return receipt

    def rename(self, source: str, target: str) -> None:
        """Give a draft its name, by which it becomes a package; or give a package another name.

        The latter is a new package and the deletion of the old one, and takes the rights to both.
        """
        index, name = self._named(source)
        other, wanted = self._named(target)
        if index != other:
            raise BadRequest("From one index to another nothing is moved: send it there.")
        draft = self._s.drafts.resume(self._key(index, name))
        if draft is None:
            self._move(index, name, wanted)
            return
        try:
            if self.is_draft(target):
                self._may_upload(index, wanted)
                self._s.drafts.rename(draft, self._key(index, wanted))
            else:
                self.receive(draft, target)
        finally:
            self._s.drafts.keep(draft)

    def remove(self, path: str) -> None:
        """Delete a file for good, or throw a draft away."""
        index, name = self._named(path)
        self._signed_in()
        draft = self._s.drafts.resume(self._key(index, name))
        if draft is not None:
            self._s.drafts.drop(draft)
            return
        self._delete(index, self._known(index, name), "deleted by FTP")

    def _move(self, index: str, name: str, wanted: str) -> None:
        self._signed_in()
        file = self._known(index, name)
        self._s.accounts.require(self.by, Action.DELETE, index, file.project)
        if not names.is_package(wanted):
            raise Forbidden(f"{wanted} is no package's name: a package is renamed to one, or deleted")
        if wanted == file.filename:
            return
        target = f"/{index}/{wanted}"
        draft = self.begin(target, resume=False)
        try:
            source = self.open(f"/{index}/{name}")
            try:
                while block := source.read(_BLOCK_BYTES):
                    draft.stage.write(block)
            finally:
                source.close()
            self.receive(draft, target)
        finally:
            self._s.drafts.drop(draft)
        self._delete(index, file, f"renamed to {wanted} by FTP")

    def _delete(self, index: str, file: File, reason: str) -> None:
        self._s.curator.delete(index, file.project, filename=file.filename, reason=reason, by=self.by)

    # --- rights and names -----------------------------------------------------------------------------------

    def _signed_in(self) -> str:
        if self.by.name is None:
            raise Unauthenticated("Strangers only read here: sign in with a name and a password or a token")
        return self.by.name

    def _may_upload(self, index: str, name: str) -> str | None:
        """The project of a name under which the caller may upload; None for a temporary name."""
        self._signed_in()
        self._s.accounts.require(self.by, Action.UPLOAD, index)
        if names.is_temporary(name):
            return None
        if not names.is_package(name):
            raise BadName(
                f"{name} is no package's name: wheels and sdists are taken, and temporary names such as"
                " NAME.part, to be renamed"
            )
        project = names.parse(name).project
        self._s.accounts.require(self.by, Action.UPLOAD, index, project)
        self._s.intake.check_project(index, project)
        return project

    def _known(self, index: str, name: str) -> File:
        file = self._find(index, name, (Action.LIST, Action.READ))
        if file is None:
            raise NotFound(f"There is no file {name}.")
        return file

    def _find(self, index: str, name: str, actions: Sequence[Action]) -> File | None:
        file = self._s.resolver.find(index, name, by=self.by)
        if file is None:
            return None
        allowed = any(self._s.accounts.allows(self.by, each, index, file.project) for each in actions)
        return file if allowed else None

    def _split(self, path: str) -> tuple[str | None, str | None]:
        """Index and file name of a path. Raises `NotFound`."""
        index, _, name = path.strip("/").partition("/")
        if not index:
            return None, None
        if index not in self.indexes() or "/" in name:
            raise NotFound("There is no such folder: each index is one folder, without others in it.")
        return index, name or None

    def _named(self, path: str) -> tuple[str, str]:
        index, name = self._split(path)
        if index is None or name is None:
            folders = ", ".join(f"/{each}" for each in self.indexes())
            raise BadRequest(f"Packages lie in the folder of an index ({folders or 'there is none'})")
        return index, name

    def _key(self, index: str, name: str) -> Key:
        return Key(identity(self._signed_in()), index, name)

    def _draft(self, index: str, name: str) -> Draft | None:
        return None if self.by.name is None else self._s.drafts.find(self._key(index, name))

    def _drafts(self, index: str) -> Sequence[Draft]:
        return () if self.by.name is None else self._s.drafts.list(identity(self.by.name), index)


def _item(file: File) -> Item:
    return Item(file.filename, file.size, file.upload_time / 1_000_000)


def _draft_item(draft: Draft) -> Item:
    return Item(draft.key.name, draft.stage.size, draft.touched)
