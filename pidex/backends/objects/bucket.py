"""One bucket below a prefix, on obstore: bounded in time and memory, with errors that say what to do."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pidex.core.errors import CannotStart, ConfigError, StorageDown

try:
    import obstore
    from obstore import exceptions as faults
    from obstore.store import AzureStore, GCSStore, LocalStore, S3Store
except ImportError as error:
    raise CannotStart(
        "Buckets need the library obstore, which is not installed: `pip install 'pidex[s3]'`, or"
        " `pip install obstore`."
    ) from error

T = TypeVar("T")

#: Bytes of one part of an upload, and parts that are sent at once: what an upload takes of memory.
PART_BYTES, PARTS = 8 * 1024 * 1024, 3
#: Bytes that are handed on at once of what comes.
BLOCK_BYTES = 1024 * 1024
#: Tries of one request after the first, and of one body that was cut.
RETRIES, RESUMES = 4, 3
#: Keys deleted at once.
DELETED_KEYS = 500
#: Seconds after which a small request that has no answer is asked anew, and how long that goes on: then once
#: more, with all the time of the settings. Servers that have just started keep some requests waiting for 5 s
#: after they could answer (SeaweedFS does, as it looks for its volumes ever more seldom).
PROMPT_SECONDS, PROMPTS_SECONDS = 3.0, 8.0
#: Bytes of the largest one.
PROMPT_BYTES = 1024 * 1024
#: Seconds in which no byte of a body comes, after which it is asked for anew; and of a whole body at most.
STALLED_SECONDS, BODY_SECONDS = 10.0, 3600.0
#: What a client is told to wait, in seconds, while the object server does not answer.
RETRY_SECONDS = 5
#: What an error says of a listing or of deleting: its kind is one for all, whatever was answered.
_STATUS = re.compile(r"status code: (\d{3})")
_QUERY = re.compile(r"\?\S*")
#: Bytes of a file of credentials at most.
CREDENTIALS_BYTES = 64 * 1024


class Item(NamedTuple):
    """An object as a listing has it. `modified` in Unix seconds."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bucket is: `url` with a prefix, and how it is reached. `timeout` of a request in seconds."""

    url: str
    endpoint: str | None = None
    region: str | None = None
    credentials: Path | None = None
    ca: Path | None = None
    timeout: float = 30.0


class Bucket:
    """The objects below a prefix. Any number of threads; each call blocks, for a bounded time.

    Raises `StorageDown` where the server does not answer or refuses us, after a bounded number of tries.
    """

    def __init__(self, place: Place) -> None:
        self.url = place.url
        self._store: Any = _store(place, place.timeout)
        self._signs = not isinstance(self._store, LocalStore)
        self._prompt = self._bodies = self._store
        if self._signs:
            prompt = min(PROMPT_SECONDS, place.timeout)
            self._prompt = _store(place, prompt, retry=min(PROMPTS_SECONDS, place.timeout))
            stalled = min(STALLED_SECONDS, place.timeout)
            self._bodies = _store(place, BODY_SECONDS, stalled=stalled, retry=place.timeout)

    def put(self, key: str, file: BinaryIO) -> None:
        """Store a file, read from its start. It is there as a whole, or not at all, and for good.

        Large ones go in parts, a few at a time. The server checks each part against the hash in the
        signature of its request.
        """
        size = file.seek(0, os.SEEK_END)

        def send(store: Any) -> None:
            file.seek(0)
            obstore.put(store, key, file, chunk_size=PART_BYTES, max_concurrency=PARTS)

        try:
            with self._said():
                self._promptly(send) if size <= PROMPT_BYTES else send(self._store)
        except FileNotFoundError:
            raise self._absent() from None

    def size(self, key: str) -> int | None:
        """The bytes of an object; None where there is none."""
        with self._said():
            try:
                return int(self._promptly(lambda store: obstore.head(store, key))["size"])
            except FileNotFoundError:
                return None

    def read(self, key: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of an object as they come, from `offset` on. Raises `FileNotFoundError`.

        A body that is cut goes on where it ended.
        """
        for left in range(RESUMES, -1, -1):
            start = offset
            try:
                with self._said():
                    options: Any = {"range": {"offset": offset}} if offset else None
                    stream = iter(obstore.get(self._bodies, key, options=options).stream(BLOCK_BYTES))
                while True:
                    with self._said():
                        block = next(stream, None)
                    if block is None:
                        return
                    offset += len(block)
                    yield bytes(block)
            except StorageDown:
                if not left or offset == start:
                    raise

    def list(self, prefix: str) -> Iterator[Item]:
        """Every object below a prefix, which ends with a slash, in pages of a thousand."""
        with self._said():
            pages = iter(obstore.list(self._store, prefix.rstrip("/"), chunk_size=1000))
        while True:
            try:
                with self._said():
                    page = next(pages, None)
            except FileNotFoundError:
                raise self._absent() from None
            if page is None:
                return
            for found in page:
                yield Item(str(found["path"]), int(found["size"]), found["last_modified"].timestamp())

    def delete(self, keys: Iterable[str]) -> None:
        """Have objects gone. Those that are not there are gone already."""
        chosen = [*keys]
        for start in range(0, len(chosen), DELETED_KEYS):
            for key in chosen[start : start + DELETED_KEYS]:
                # One by one: some servers say of a missing key that it failed.
                with suppress(FileNotFoundError), self._said():
                    self._promptly(partial(obstore.delete, paths=key))

    def sign(self, key: str, seconds: int) -> str | None:
        """A URL by which anybody may read an object for so long; None where the store has no such thing."""
        if not self._signs:
            return None
        with self._said():
            return str(obstore.sign(self._store, "GET", key, timedelta(seconds=seconds)))

    def _promptly(self, ask: Callable[[Any], T]) -> T:
        """Ask, where no answer comes ask anew, and at last with all the time there is."""
        began = monotonic()
        try:
            return ask(self._prompt)
        except faults.BaseError:
            if self._prompt is self._store or monotonic() < began + PROMPT_SECONDS:
                raise
        return ask(self._store)

    def _absent(self) -> StorageDown:
        return StorageDown(
            f"There is no bucket {self.url}. Its operator has to make it, or to name another one.",
            retry_after=RETRY_SECONDS,
        )

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (faults.BaseError, OSError) as error:
            status = _status(error)
            if status == 404:
                raise FileNotFoundError(self.url) from error
            if status in (401, 403):
                raise StorageDown(
                    f"The object server refuses the credentials for {self.url}. Its operator has to look.",
                    retry_after=RETRY_SECONDS,
                ) from None
            raise StorageDown(
                f"The object server of {self.url} does not answer as it should ({_first(error)})."
                " Try again in a moment.",
                retry_after=RETRY_SECONDS,
            ) from None


def _store(place: Place, timeout: float, *, stalled: float | None = None, retry: float | None = None) -> Any:
    """The store of a URL. Raises `ConfigError` for what it cannot be made of.

    `timeout` of each try of a request; `stalled`: or where so long no byte comes; `retry`: no more tries
    begin after that. In seconds.
    """
    scheme, _, rest = place.url.partition("://")
    if scheme == "file":
        Path(rest).mkdir(parents=True, exist_ok=True)
        return LocalStore(rest)
    bucket, _, prefix = rest.partition("/")
    client: dict[str, Any] = {
        "timeout": timedelta(seconds=timeout),
        "connect_timeout": timedelta(seconds=min(5.0, place.timeout)),
        "allow_http": place.endpoint is not None and urlsplit(place.endpoint).scheme == "http",
    }
    if stalled is not None:
        client["read_timeout"] = timedelta(seconds=stalled)
    if place.ca is not None:
        client["root_certificate"] = _bytes(place.ca, "certificates")
    common: dict[str, Any] = {
        "prefix": prefix or None,
        "client_options": client,
        "retry_config": {
            "max_retries": RETRIES,
            "retry_timeout": timedelta(seconds=timeout if retry is None else retry),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=2),
                "base": 2,
            },
        },
    }
    config: dict[str, Any] = dict(_credentials(place.credentials))
    try:
        if scheme == "gs":
            return GCSStore(bucket, config=_set(config, base_url=place.endpoint), **common)
        if scheme == "az":
            return AzureStore(bucket, config=_set(config, azure_endpoint=place.endpoint), **common)
        region = place.region or ("us-east-1" if place.endpoint else None)
        # Not every server deletes in bulk, and the library would, even one object.
        config |= {"aws_disable_bulk_delete": "true"}
        return S3Store(bucket, config=_set(config, aws_endpoint=place.endpoint, aws_region=region), **common)
    except (faults.BaseError, TypeError, ValueError) as error:
        raise ConfigError(f"The bucket {place.url} cannot be used: {_first(error)}.") from None


def _set(config: dict[str, Any], **values: str | None) -> Any:
    """The settings of a store, as far as they are said."""
    return config | {name: value for name, value in values.items() if value is not None}


def _credentials(path: Path | None) -> Mapping[str, str]:
    if path is None:
        return {}
    if path.exists() and path.stat().st_mode & 0o077:
        raise ConfigError(f"Others may read the credentials in {path}: `chmod 600 {path}`.")
    try:
        found = tomllib.loads(_bytes(path, "credentials").decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The credentials {path} are not TOML: {error}.") from None
    if not all(isinstance(value, str) for value in found.values()):
        raise ConfigError(f'The credentials {path} must be lines such as aws_access_key_id = "...".')
    return found


def _bytes(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(CREDENTIALS_BYTES)
    except OSError as error:
        raise ConfigError(f"The {what} {path} cannot be read: {error.strerror}.") from None


def _status(error: BaseException) -> int:
    """The status of HTTP that an error is about; 0 where there was none, or it does not matter which."""
    if isinstance(error, faults.NotFoundError):
        return 404
    if isinstance(error, faults.PermissionDeniedError | faults.UnauthenticatedError):
        return 403
    found = _STATUS.search(str(error))
    return 0 if found is None else int(found[1])


def _first(error: BaseException) -> str:
    """What an error says in one line, without its inner workings, addresses with signatures left out."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return _QUERY.sub("", text.partition(": <")[0])[:300].rstrip(" .:")


def reading(descriptor: int) -> BinaryIO:
    """A file object over a copy of a descriptor, for `Bucket.put`; they share their position."""
    return os.fdopen(os.dup(descriptor), "rb")
