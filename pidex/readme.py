"""READMEs as pages show them: rendered and cleaned in a limited child, remembered by their hash."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from pidex.core.limits import KIB, MIB

#: Bytes of a README that is rendered; a longer one is shown as text, up to that many bytes.
MAX_TEXT = 256 * KIB
#: Bytes of rendered READMEs that one process remembers.
REMEMBERED = 16 * MIB


class Renderer(Protocol):
    """Renders in a process that can be killed (backends.readings)."""

    def render(self, descriptor: int, content_type: str | None) -> str | None:
        """The text in a file as HTML that can do no harm, or None. Raises `Busy`."""


@dataclass(frozen=True, slots=True)
class Readme:
    """`html` is safe to be put into a page as it is; where it is None, `text` has to be shown escaped."""

    html: str | None
    text: str
    cut: bool = False


class Readmes:
    """Renders descriptions, each once as long as it is remembered. Safe to use from threads."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, Readme] = OrderedDict()
        self._size = 0

    def readme(self, text: str, content_type: str | None) -> Readme:
        """A description by its content type; blocks while a child renders it. Raises `Busy`."""
        data = text.encode("utf-8", "replace")
        if len(data) > MAX_TEXT:
            return Readme(None, data[:MAX_TEXT].decode("utf-8", "ignore"), cut=True)
        key = hashlib.sha256(f"{content_type}\0".encode("utf-8", "replace") + data).digest()
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
                return found
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            found = Readme(self._renderer.render(file.fileno(), content_type), text)
        with self._lock:
            if key not in self._known:
                self._known[key] = found
                self._size += _weight(found)
            while self._size > REMEMBERED:
                self._size -= _weight(self._known.popitem(last=False)[1])
        return found


def _weight(readme: Readme) -> int:
    return 2 * (len(readme.html or "") + len(readme.text)) + 200
