"""Where unknown names are sent by default: PyPI, by the constant of a library."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

from pidex.core.errors import ConfigError


def default_fallback() -> str:
    """PyPI's simple index: a constant of a library, read without importing it (which costs 0.4 s, 42 MB)."""
    spec = importlib.util.find_spec("pypi_simple")
    if spec is not None and spec.origin is not None:
        for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if any(isinstance(each, ast.Name) and each.id == "PYPI_SIMPLE_ENDPOINT" for each in targets):
                assert isinstance(node, (ast.Assign, ast.AnnAssign))
                assert node.value is not None
                return str(ast.literal_eval(node.value))
    raise ConfigError(
        "The URL of PyPI's simple index is not known: the Python module pypi_simple is missing."
        " Name one with --fallback-url, or serve without it by --disable-fallback."
    )
