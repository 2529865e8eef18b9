"""What every page refers to, somebody's own welcome page, and what plain http takes from a client."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from functools import cache
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pidex import __version__

_FOLDER = Path(__file__).parent
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FIELD = re.compile(r"\{\{\s*(URL|VERSION|NUMPKGS|PACKAGES|SIMPLE)\s*\}\}")

Counts = tuple[int, int]  # projects, files


class Asset(NamedTuple):
    """A file that pages refer to. `hash` is part of its URL, so that it can be kept for ever."""

    name: str
    hash: str
    content_type: str
    data: bytes


@cache
def assets() -> dict[str, Asset]:
    """The assets by name."""
    found = {}
    for path in sorted((_FOLDER / "static").iterdir()):
        if path.suffix in _TYPES:
            data = path.read_bytes()
            digest = hashlib.blake2b(data, digest_size=8).hexdigest()
            found[path.name] = Asset(path.name, digest, _TYPES[path.suffix], data)
    return found


def filled(text: str, url: str, counts: Counts | None) -> str:
    """Somebody's own page with pypiserver's five fields filled in, escaped; nothing in it is run."""
    values = {
        "URL": f"{url}/",
        "VERSION": __version__,
        "NUMPKGS": str(counts[1]) if counts else "?",
        "PACKAGES": f"{url}/packages/",
        "SIMPLE": f"{url}/simple/",
    }
    return _FIELD.sub(lambda match: escape(values[match[1]]), text)


def trusted_host(url: str) -> str | None:
    """What pip needs as `--trusted-host`: for plain http from elsewhere; None where it needs nothing."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https" or host == "localhost":
        return None
    try:
        if ipaddress.ip_address(host).is_loopback:
            return None
    except ValueError:
        pass
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{parts.port}" if parts.port else shown
