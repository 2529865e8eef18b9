"""What is held of upstreams, written a moment later: many pages and much metadata in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from pidex.catalogue.expendable import Expendable
from pidex.catalogue.mirrored import PageRow, Store

#: Seconds for which what was put waits for more. Until then other processes do not see it: those that answer
#: together wait less, as one is asked for the metadata of a page that another one has fetched.
LINGER_SECONDS, SHARED_SECONDS = 0.1, 0.01
#: Bytes that wait at most. More comes only while the disk does not keep up: then the oldest is not held.
WAITING_BYTES = 16 * 1024 * 1024

#: A page by upstream and project, or metadata by its key.
_Key = tuple[str, str] | str
_Value = PageRow | tuple[bytes, float]


class Behind(Store):
    """As `Store`; to put a page or metadata takes no time, so that an event loop may do it.

    Who puts something finds it at once, in whichever thread; other processes find it a moment later, or, as
    everything in the file, never. `flush` writes what waits: call it at the end.
    """

    def __init__(self, expendable: Expendable, *, linger: float = LINGER_SECONDS) -> None:
        super().__init__(expendable)
        self._linger = linger
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._waiting: dict[_Key, _Value] = {}
        self._writing: dict[_Key, _Value] = {}
        self._bytes = 0
        self._timer: threading.Timer | None = None

    def put_page(self, upstream: str, project: str, row: PageRow) -> None:
        self._put((upstream, project), row)

    def put_metadata(self, key: str, data: bytes, at: float) -> None:
        self._put(key, (data, at))

    def find_page(self, upstream: str, project: str, *, body: bool = True) -> PageRow | None:
        row = self._find((upstream, project))
        if row is None:
            return super().find_page(upstream, project, body=body)
        assert isinstance(row, PageRow)
        return row if body else row._replace(body=None, seen=None)

    def find_metadata(self, key: str) -> bytes | None:
        found = self._find(key)
        return super().find_metadata(key) if found is None else found[0]  # type: ignore[return-value]

    def list_metadata(self, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        waiting = {key: found[0] for key in keys if (found := self._find(key)) is not None}
        yield from waiting.items()  # type: ignore[misc]
        yield from super().list_metadata([key for key in keys if key not in waiting])

    def confirm_page(self, upstream: str, project: str, fetched: float, fresh_until: float) -> None:
        self.flush()
        super().confirm_page(upstream, project, fetched, fresh_until)

    def drop_pages(self, upstream: str, project: str | None = None) -> int:
        self.flush()
        return super().drop_pages(upstream, project)

    def list_pages(self, upstream: str | None = None) -> Sequence[tuple[str, str, float, bool]]:
        self.flush()
        return super().list_pages(upstream)

    def totals(self) -> tuple[int, int, int, int]:
        self.flush()
        return super().totals()

    def flush(self) -> None:
        """Write what waits. It may block; what cannot be written is not held."""
        with self._turn:
            with self._lock:
                timer, self._timer = self._timer, None
                batch = self._writing = self._waiting
                self._waiting, self._bytes = {}, 0
            if timer is not None:
                timer.cancel()
            try:
                if batch:
                    self._write(batch)
            finally:
                with self._lock:
                    self._writing = {}

    def _write(self, batch: dict[_Key, _Value]) -> None:
        pages, metadata = [], []
        for key, value in batch.items():
            if isinstance(value, PageRow):
                pages.append((key[0], key[1], value))
            else:
                metadata.append((str(key), *value))
        self.put_many(pages, metadata)

    def _put(self, key: _Key, value: _Value) -> None:
        with self._lock:
            self._take(key)
            self._waiting[key] = value
            self._bytes += _size(value)
            while self._bytes > WAITING_BYTES and len(self._waiting) > 1:
                self._take(next(iter(self._waiting)))
            if self._timer is None:
                self._timer = threading.Timer(self._linger, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def _take(self, key: _Key) -> None:
        old = self._waiting.pop(key, None)
        if old is not None:
            self._bytes -= _size(old)

    def _find(self, key: _Key) -> _Value | None:
        with self._lock:
            return self._waiting.get(key) or self._writing.get(key)


def _size(value: _Value) -> int:
    if isinstance(value, PageRow):
        return len(value.body or b"") + len(value.seen or b"")
    return len(value[0])
