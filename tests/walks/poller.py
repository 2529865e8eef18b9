"""A client that lists, fetches and hashes without end, and judges every answer."""

from __future__ import annotations

import hashlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterable
from types import TracebackType

from tests.walks.server import Listed, Server, Unready, fetch


class Poller:
    """Polls one project from a thread: one poll lists the page, fetches one listed file and hashes it.

    `outcomes` counts polls: 'right' (the bytes have the page's hash), 'busy' and 'page busy' (503 with
    Retry-After for the bytes, for the page), 'cut' (the client saw an incomplete transfer), 'moved' (404, and
    the next page has other bytes for the name or, where it was to go, no such name). Anything else is a
    fault, kept in `faults`.
    """

    def __init__(self, server: Server, project: str, names: Iterable[str]) -> None:
        self.server, self.project = server, project
        self.names = list(names)
        self.going: frozenset[str] = frozenset()  # names that may be missing now
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self) -> Poller:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.thread.join(60)

    @property
    def polls(self) -> int:
        return sum(self.outcomes.values())

    def run(self) -> None:
        turn = 0
        while not self.over.is_set() and len(self.faults) < 10:
            try:
                self.outcomes[self.poll(self.names[turn % len(self.names)])] += 1
            except Exception as error:  # judged by the test, not lost with the thread
                self.faults.append(f"{time.strftime('%H:%M:%S', time.gmtime())} {error!r}")
            turn += 1

    def listed(self, name: str) -> Listed | None:
        """The page's entry of a name. A fault where the page or a name that stays is missing."""
        gone = self.going
        files = self.server.files(self.project)
        assert files is not None, "404 for a project that has files"
        found = {file.filename: file for file in files}
        missing = set(self.names) - set(found) - gone - self.going
        assert not missing, f"not listed any more: {missing}"
        return found.get(name)

    def poll(self, name: str) -> str:
        try:
            before = self.listed(name)
            if before is None:
                return "moved"
            answer = fetch(before.url)
        except Unready:
            return "page busy"
        except (http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionError):
            return "cut"
        if answer.status == 200:
            found = hashlib.sha256(answer.body).hexdigest()
            assert found == before.sha256, f"{name}: {len(answer.body)} bytes of {found}, not {before.sha256}"
            return "right"
        if answer.status == 503:
            assert "retry-after" in answer.headers, "503 without Retry-After"
            return "busy"
        assert answer.status == 404, (answer.status, answer.body[:200])
        try:
            after = self.listed(name)
        except Unready:
            return "busy"
        assert after is None or after.sha256 != before.sha256, f"404 for {name}, which is still listed"
        return "moved"
