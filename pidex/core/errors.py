"""The tree of errors: each has a code and one HTTP status, and says what, why and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pidex.core.model import File


class PidexError(Exception):
    """A refusal that a person can act on. `str(error)` is the whole sentence.

    `code` is stable and machine-readable; `status` is the HTTP status every web face answers with;
    `retry_after` is in seconds and set where trying again helps.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Error"

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BadRequest(PidexError):
    """The request makes no sense as it is."""

    code, status, title = "bad-request", 400, "Bad request"


class Unauthenticated(PidexError):
    """Credentials are missing or wrong."""

    code, status, title = "unauthenticated", 401, "Credentials needed"


class Forbidden(PidexError):
    """The caller may read this, but not do that."""

    code, status, title = "forbidden", 403, "Not allowed"


class Withheld(PidexError):
    """A file exists, and a policy or a status keeps it back."""

    code, status, title = "withheld", 403, "Withheld"


class NotFound(PidexError):
    """There is no such thing, or the caller may not know of it."""

    code, status, title = "not-found", 404, "Not found"


class Claimed(NotFound):
    """Nothing is there under a name that is ours: nobody is sent elsewhere for it."""

    code = "claimed"


class MethodNotAllowed(PidexError):
    """The thing is there, and this method is not offered on it."""

    code, status, title = "method-not-allowed", 405, "Method not allowed"


class NotAcceptable(PidexError):
    """None of the media types that the caller accepts is offered."""

    code, status, title = "not-acceptable", 406, "Not acceptable"


class Conflict(PidexError):
    """What is there already contradicts what is asked for."""

    code, status, title = "conflict", 409, "Conflict"


class FileExists(Conflict):
    """A file of that name is there, with other bytes. PyPI says 400, and clients look for the sentence."""

    code, status, title = "file-exists", 400, "File already exists"


class FileDeleted(BadRequest):
    """A file of that name was deleted, and its name stays burnt (DEL-1)."""

    code, title = "file-deleted", "File name was used before"


class InvalidFile(BadRequest):
    """An uploaded file is not the package that its name says."""

    code, title = "invalid-file", "Invalid distribution file"


class TooSlow(PidexError):
    """The caller stopped sending in the middle of a request."""

    code, status, title = "too-slow", 408, "Upload stopped"


class Gone(PidexError):
    """What is asked for was offered once, and is not any more."""

    code, status, title = "gone", 410, "No longer offered"


class TooLarge(PidexError):
    """A limit, named with its unit, is passed."""

    code, status, title = "too-large", 413, "Too large"


class PathTooLong(PidexError):
    """The path of a request is longer than anything that is here."""

    code, status, title = "path-too-long", 414, "Path too long"


class TooMany(PidexError):
    """The caller asks too often."""

    code, status, title = "too-many-requests", 429, "Too many requests"


class UpstreamFault(PidexError):
    """An upstream's answer cannot be used: other bytes than it declared, nonsense, a forbidden address."""

    code, status, title = "upstream-fault", 502, "Upstream at fault"


class UpstreamDown(PidexError):
    """An upstream does not answer, and what it would have said is not held. Trying again helps."""

    code, status, title = "upstream-down", 503, "Upstream does not answer"


class NotFetched(PidexError):
    """The answer needs an upstream's page that nobody fetched yet: fetch it, and ask again.

    With `file` (a mirrored `File`), it needs that file's core metadata; with `files`, that of all of them
    which can be had. Never leaves the process: whoever can fetch does so, and everybody else says
    `UpstreamDown`.
    """

    code, status, title = "not-fetched", 503, "Not fetched yet"

    def __init__(
        self, upstream: str, project: str, file: File | None = None, files: tuple[File, ...] = ()
    ) -> None:
        what = f"metadata of {project}" if files else f"page of {project}"
        what = what if file is None else f"metadata of {file.filename}"
        super().__init__(f"The {what} at upstream {upstream} was not fetched yet. Try again.", retry_after=1)
        self.upstream, self.project, self.file, self.files = upstream, project, file, files


class Busy(PidexError):
    """The answer is not ready: files are still being read. Trying again helps."""

    code, status, title = "busy", 503, "Not ready yet"


class Moving(PidexError):
    """The installation goes to another place: it can be read, and not be changed. Trying again helps."""

    code, status, title = "moving", 503, "Being moved"


class Changing(PidexError):
    """The bytes on disk are no longer those that were admitted. Trying again helps once they are whole."""

    code, status, title = "changing", 503, "File is changing"


class StorageFull(PidexError):
    """There is no space left to write to."""

    code, status, title = "storage-full", 507, "No space left"


class StorageDown(PidexError):
    """The object server or the disk does not answer as it should. Trying again helps once it does."""

    code, status, title = "storage-down", 503, "Storage does not answer"


class ConfigError(PidexError):
    """A setting is wrong: the sentence names the setting, where it came from, and what is allowed."""

    code, status, title = "configuration", 500, "Configuration"


class CannotStart(PidexError):
    """A server cannot start: the sentence names what is in the way."""

    code, status, title = "cannot-start", 503, "Cannot start"


class CatalogueError(PidexError):
    """The catalogue cannot be used: corrupt, too new, or held by another server."""

    code, status, title = "catalogue", 503, "Catalogue"


class BadName(BadRequest):
    """A file name from which no project and version can be read."""

    code = "bad-filename"


class Unsound(PidexError):
    """An archive that is not what its name says. `code` of the instance says which way."""

    code, status, title = "unsound", 400, "Unsound archive"

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.reason_code = code


class Incomplete(Unsound):
    """An archive whose end is missing: it may still be on its way."""

    code, status, title = "incomplete", 400, "Incomplete archive"


class Damaged(Unsound):
    """An archive that no waiting makes whole: CRC errors, ASCII-mode transfer, LFS pointer, bombs."""

    code, status, title = "damaged", 400, "Damaged archive"
