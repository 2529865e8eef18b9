"""Log lines: text or JSON, one write a batch to standard output or a file, control characters escaped."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from pidex.core.errors import ConfigError

#: Characters of a line; what is longer is cut, and says so.
LINE_CHARS = 4_000
#: Bytes that a pipe takes without mixing them with those of another process (PIPE_BUF).
_PIPE_BYTES = 4_096

_UNPRINTABLE = re.compile(
    r"[^\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\uffef\U00010000-\U0010ffff]"
)
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def printable(text: str) -> str:
    """`text` without anything that could start a new line or command a terminal: escapes in its place."""
    if text.isascii() and text.isprintable():
        return text
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)


def timestamp(at: float) -> str:
    """Unix seconds as `YYYY-MM-DDThh:mm:ss.mmmZ`."""
    whole = int(at)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((at - whole) * 1000):03d}Z"


class Sink:
    """Where lines go: one write for a batch, nothing kept back, whole lines where processes share it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        try:
            self._pieces = not stat.S_ISREG(os.fstat(fd).st_mode)
        except OSError:
            self._pieces = True

    def write(self, lines: Iterable[str]) -> None:
        """Write lines, each without its newline. What cannot be written (disk full, reader gone) is lost."""
        encoded = [f"{line[:LINE_CHARS]}\n".encode("utf-8", "backslashreplace") for line in lines]
        if not self._pieces:
            self._put(b"".join(encoded))
            return
        batch = b""
        for line in encoded:
            if batch and len(batch) + len(line) > _PIPE_BYTES:
                self._put(batch)
                batch = b""
            batch += line
        self._put(batch)

    def _put(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            return


class _Handler(logging.Handler):
    """Hands records of Python's logging to a sink."""

    def __init__(self, sink: Sink, form: str) -> None:
        super().__init__()
        self._sink, self._form = sink, form

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink.write(self._lines(record))
        except Exception:
            self.handleError(record)

    def _lines(self, record: logging.LogRecord) -> list[str]:
        message = record.getMessage()
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        at, level = timestamp(record.created), record.levelname.lower()
        if self._form == "json":
            fields = {"time": at, "level": level, "name": record.name, "message": message}
            if trace:
                fields["traceback"] = trace[-LINE_CHARS // 2 :]
            return [json.dumps(fields, ensure_ascii=True)]
        head = f"{at} {level} {printable(message)}"
        return [head, *(f"    {printable(line)}" for line in trace.splitlines())]


def open_sink(form: str, file: Path | None) -> Sink | None:
    """The sink that the settings `log` and `log_file` ask for; None for no log at all.

    Raises `ConfigError` where the file cannot be written.
    """
    if form == "none":
        return None
    if file is None:
        return Sink(sys.stdout.fileno())
    try:
        return Sink(os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640))
    except OSError as error:
        raise ConfigError(
            f"The log file {file} cannot be written: {error.strerror}. Set log_file."
        ) from error


def configure(sink: Sink | None, *, form: str, level: str) -> None:
    """Send what `pidex` and the HTTP server say through Python's logging to `sink`, and nowhere else."""
    handler: logging.Handler = _Handler(sink, form) if sink else logging.NullHandler()
    for name, least in (("pidex", _LEVELS[level]), ("_granian", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(least)
        logger.disabled = False
