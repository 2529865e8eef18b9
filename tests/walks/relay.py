"""A TCP relay before a server that notes each request and can cut one answer midway."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from types import TracebackType

#: Bytes read from a socket at once.
CHUNK = 16 * 1024


@dataclass(frozen=True)
class Request:
    """The head of a request. Header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def filename(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass
class Scissors:
    """Cut the first answer to a GET of a file with this suffix after so many bytes, head included."""

    suffix: str
    after: int
    done: threading.Event = field(default_factory=threading.Event)


class Relay:
    """Listens on a port of 127.0.0.1 and passes everything to another one. A context manager."""

    def __init__(self, port: int, scissors: Scissors | None = None) -> None:
        self.target = ("127.0.0.1", port)
        self.scissors = scissors
        self.requests: list[Request] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.open: set[socket.socket] = set()
        self.thread = threading.Thread(target=self.accept, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def index_url(self) -> str:
        return f"{self.url}/simple/"

    def asked(self, *suffixes: str, method: str | None = None) -> list[Request]:
        """The requests for paths that end so."""
        return [r for r in list(self.requests) if r.path.endswith(suffixes) and method in (None, r.method)]

    def __enter__(self) -> Relay:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for each in list(self.open):
            self.shut(each)
        self.thread.join(5)

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.target)
                self.open |= {near, far}
                pipe = Pipe(self, near, far)
                threading.Thread(target=pipe.forth, daemon=True).start()
                threading.Thread(target=pipe.back, daemon=True).start()

    def shut(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
            self.open.discard(each)


class Pipe:
    """One connection through the relay."""

    def __init__(self, relay: Relay, near: socket.socket, far: socket.socket) -> None:
        self.relay, self.near, self.far = relay, near, far
        self.left: int | None = None  # bytes until the cut
        self.seen = b""

    def forth(self) -> None:
        """From the client to the server."""
        with contextlib.suppress(OSError):
            while data := self.near.recv(CHUNK):
                self.note(data)
                self.far.sendall(data)
        self.relay.shut(self.near, self.far)

    def note(self, data: bytes) -> None:
        """Note the heads in what a client sends. Clients here send no bodies."""
        self.seen += data
        while b"\r\n\r\n" in self.seen:
            head, _, self.seen = self.seen.partition(b"\r\n\r\n")
            first, *rest = head.decode("latin-1").split("\r\n")
            method, path, _ = first.split(" ", 2)
            headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in rest)}
            self.relay.requests.append(Request(method, path, headers))
            cut = self.relay.scissors
            if cut and method == "GET" and path.endswith(cut.suffix) and not cut.done.is_set():
                cut.done.set()
                self.left = cut.after

    def back(self) -> None:
        """From the server to the client, up to the cut."""
        with contextlib.suppress(OSError):
            while data := self.far.recv(CHUNK):
                if self.left is not None:
                    data = data[: self.left]
                    self.left -= len(data)
                self.near.sendall(data)
                if self.left == 0:
                    break
        self.relay.shut(self.near, self.far)
