"""The templates, compiled once for each language; loaded when somebody asks for the first page."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from pidex.web.ui import formats
from pidex.web.ui.language import said_in, translations

FOLDER = Path(__file__).parents[1] / "templates"


@cache
def environment(language: str) -> Any:
    """The templates in a language. Everything that they show is escaped, and nothing may be missing."""
    # 40 ms and 3 MB that only a browser asks for.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415

    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
        auto_reload=False,
    )
    text = translations(language)
    made.install_gettext_translations(text, newstyle=True)  # type: ignore[attr-defined]
    made.filters |= {
        "size": formats.size,
        "number": formats.number,
        "day": formats.day,
        "segment": formats.segment,
        "path": formats.path,
        "link": formats.link,
        "told": lambda said: formats.coded(said_in(language, said)),
    }
    return made
