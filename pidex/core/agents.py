"""What a User-Agent says: which program, for which Python (no more is kept), and how it means max-age=0."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Final, NamedTuple

#: Characters of a User-Agent that are looked at.
MAX_CHARS: Final = 1_000
#: What programs call themselves, and what they are counted as. Others are 'other', so that their number is
#: bounded whatever is sent.
PROGRAMS: Final = {
    "pip": "pip",
    "uv": "uv",
    "poetry": "poetry",
    "pdm": "pdm",
    "unearth": "pdm",
    "hatch": "hatch",
    "pipenv": "pipenv",
    "pex": "pex",
    "conda": "conda",
    "mamba": "mamba",
    "libmamba": "mamba",
    "pixi": "pixi",
    "rattler": "pixi",
    "setuptools": "setuptools",
    "distribute": "setuptools",
    "twine": "twine",
    "bandersnatch": "bandersnatch",
    "devpi-server": "devpi",
    "devpi": "devpi",
    "artifactory": "artifactory",
    "nexus": "nexus",
    "pidex": "pidex",
    "python-urllib": "urllib",
    "python-requests": "requests",
    "requests": "requests",
    "curl": "curl",
    "wget": "wget",
    "mozilla": "browser",
}
OTHER: Final = "other"

_PROGRAM = re.compile(r"\s*([A-Za-z][A-Za-z-]{0,30})(?:/|\s|$)", re.ASCII)
_PYTHON = re.compile(
    r"(?:CPython|PyPy|Python-urllib|Python)/(\d\.\d{1,2})(?![0-9])", re.ASCII | re.IGNORECASE
)
_OLD_PIP = re.compile(r"\s*pip/(?:\d|1\d|2[0-5]|26\.[01])(?:[^\d]|$)", re.ASCII)
_VERSION = re.compile(r"([23])\.(\d{1,2})(?![0-9])", re.ASCII)


class Client(NamedTuple):
    """A program, and the Python that it installs for ('3.12'; empty where it does not say)."""

    name: str
    python: str


@lru_cache(maxsize=1_024)
def client_of(agent: str) -> Client:
    """Read a User-Agent: pip's and uv's (a name and JSON), Poetry's ('CPython/3.12.1'), or any other."""
    agent = agent[:MAX_CHARS]
    found = _PROGRAM.match(agent)
    name = PROGRAMS.get(found[1].lower(), OTHER) if found else OTHER
    return Client(name, _python(agent))


def wants_fresh(cache_control: str, agent: str) -> bool:
    """Whether a request asks that what is kept of an upstream's page be confirmed first (CAC-6).

    `no-cache` does. `max-age=0` does where it is meant: pip before 26.2 and unearth (PDM) send it with every
    page, and would wait for the upstream each time.
    """
    directives = {each.strip().lower() for each in cache_control[:MAX_CHARS].split(",")}
    if "no-cache" in directives:
        return True
    agent = agent[:MAX_CHARS]
    return "max-age=0" in directives and not _OLD_PIP.match(agent) and client_of(agent).name != "pdm"


def _python(agent: str) -> str:
    start = agent.find("{")
    if start >= 0:
        try:
            told = json.loads(agent[start:])
        except (ValueError, RecursionError):
            # Longer than what is looked at, or somebody else's braces.
            cut = re.search(r'"python"\s*:\s*"([^"]{1,20})"', agent)
            told = {"python": cut[1]} if cut else None
        version = told.get("python") if isinstance(told, dict) else None
        return _short(version) if isinstance(version, str) else ""
    plain = _PYTHON.search(agent)
    return _short(plain[1]) if plain else ""


def _short(version: str) -> str:
    """'3.12' of '3.12.1'; empty for what is no Python that there is or could be soon."""
    found = _VERSION.match(version)
    return f"{found[1]}.{int(found[2])}" if found and int(found[2]) < 40 else ""
