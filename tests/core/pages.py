"""Pages and files for the tests of everything that renders them."""

from __future__ import annotations

from typing import Any

from pidex.core.model import File, PackageType, Page


def file(filename: str = "demo-1.0-py3-none-any.whl", **changes: Any) -> File:
    """A wheel of demo 1.0, with the changes asked for."""
    values: dict[str, Any] = {
        "filename": filename,
        "project": "demo",
        "name": "Demo",
        "version": "1.0",
        "packagetype": PackageType.WHEEL,
        "python_version": "py3",
        "sha256": "5a" * 32,
        "blake2b_256": "b2" * 32,
        "md5": "d5" * 16,
        "size": 1234,
        "upload_time": 1_700_000_000_123_456,
        **changes,
    }
    return File(**values)


def page(*files: File, **changes: Any) -> Page:
    """A page of the project demo with these files, with the changes asked for."""
    values: dict[str, Any] = {
        "index": "main",
        "project": "demo",
        "name": "Demo",
        "serial": 42,
        "versions": tuple(dict.fromkeys(one.version for one in files)),
        "files": files,
        **changes,
    }
    return Page(**values)
