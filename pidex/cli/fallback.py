"""Where unknown names are sent by default: PyPI."""

from __future__ import annotations

from pidex.app.known import url_of
from pidex.core.errors import ConfigError
from pidex.core.upstreams import PYPI


def default_fallback() -> str:
    """PyPI's simple index. Raises `ConfigError` where that is not known."""
    found = url_of(PYPI)
    if found is None:
        raise ConfigError(
            "The URL of PyPI's simple index is not known: the Python module pypi_simple is missing."
            " Name one with --fallback-url, or serve without it by --disable-fallback."
        )
    return found
