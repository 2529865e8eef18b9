"""A section for supervisord: it starts pidex itself, without a shell between, and stops all of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pidex.cli.service.running import Running
from pidex.core.errors import ConfigError

_PLAIN = re.compile(r"[A-Za-z0-9_@:,./=+-]+")


def section(running: Running, *, name: str, log: Path) -> str:
    """The section [program:NAME], to be put where supervisord includes files from."""
    return f"""\
; A program for supervisord, printed by `pidex service supervisor`.
; Put it into /etc/supervisor/conf.d/{name}.conf, then: supervisorctl update
; The user must own the data directory, and be able to write the folder: see docs/service.md.
[program:{name}]
command={_command(running.command)}
directory=/
user={_escaped(running.user)}
umask=022
autostart=true
autorestart=true
startsecs=1
startretries=20
stopsignal=TERM
stopwaitsecs={running.stop_seconds}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={_escaped(str(log))}
stdout_logfile_maxbytes=50MB
stdout_logfile_backups=5
"""


def _command(words: Sequence[str]) -> str:
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    """A word as supervisord splits it (as a shell does), on one line."""
    if re.search(r"[\n\r]|\s[;#]", word):
        raise ConfigError(f"{word!r} cannot be written into the file: a comment would begin in it.")
    if not _PLAIN.fullmatch(word):
        word = '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'
    return _escaped(word)


def _escaped(text: str) -> str:
    """Without expansions (%), and without the start of a comment."""
    return text.replace("%", "%%")
