"""The welcome page: how to use this server, with the commands that work for the reader's own address."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pidex import __version__

_FOLDER = Path(__file__).parent
_TYPES = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
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


def rendered(url: str, counts: Counts | None, *, root: str, up: str, loopback: bool, guarded: bool) -> str:
    """The page.

    `url`: the index's absolute URL as the reader sees it; `root` and `up`: relative ways to the server's and
    the index's root; `counts` None: not for this reader; `loopback`: nobody else can reach this server.
    """
    simple = f"{url}/simple/"
    names = {name: f"{root or './'}-/static/{asset.hash}/{name}" for name, asset in assets().items()}
    text: str = _template().render(
        url=url,
        simple=simple,
        trusted_host=trusted_host(url),
        counts=counts,
        loopback=loopback,
        guarded=guarded,
        up=up or "./",
        assets=names,
        version=__version__,
    )
    return text


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


@cache
def _template() -> Any:
    # 40 ms and 3 MB that only a browser asks for.
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string((_FOLDER / "templates" / "welcome.html").read_text("utf-8"))
