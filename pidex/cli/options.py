"""Settings as options: every command that takes settings takes them in the same form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from pidex.config import Meta, Settings, environment, flag, load, settings_fields, shown

Function = TypeVar("Function", bound=Callable[..., Any])


def settings_options(*names: str) -> Callable[[Function], Function]:
    """A decorator: FOLDER arguments and an option for each named setting (all where none is named)."""

    def decorate(function: Function) -> Function:
        for field, meta in reversed(
            [each for each in settings_fields() if not names or each[0].name in names]
        ):
            if field.name != "folders":
                function = option(field.name, meta, field.default)(function)
        return click.argument("folders", nargs=-1, metavar="[FOLDER]...")(function)

    return decorate


def option(name: str, meta: Meta, default: object) -> Callable[[Function], Function]:
    """One setting as a click option that keeps what was typed: `config.load` is the only judge of it."""
    long = flag(name, meta)
    note = "" if default is None or default in ((), "") else f"  [default: {_plain(default)}]"
    text = meta.doc.replace("`", "") + (f" In {meta.unit}." if meta.unit else "") + note
    if meta.kind == "boolean" and long.startswith("--no-"):
        return click.option(long, name, is_flag=True, default=None, help=text)
    if meta.kind == "boolean":
        return click.option(f"{long}/--no-{long[2:]}", name, default=None, help=text)
    words = "|".join(meta.choices) if meta.kind == "choice" else None
    metavar = {"integer": "N", "number": "N", "path": "PATH", "words": "A,B"}.get(meta.kind, "TEXT")
    names = (*(meta.flags or (long,)), name)
    return click.option(*names, default=None, multiple=meta.many, metavar=words or metavar, help=text)


def _plain(value: object) -> str:
    plain = shown(value)
    if isinstance(plain, list):
        return ",".join(plain)
    return str(plain).lower() if isinstance(plain, bool) else str(plain)


def settings(flags: dict[str, object]) -> Settings:
    """The settings in force for what was typed. Raises `ConfigError`."""
    return load(flags, environment())
