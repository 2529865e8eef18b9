"""One setting: what is known of it, and how its value is read, held to limits, and shown."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

TRUTH = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
NUMBERS = {"integer": "-?[0-9]+", "number": r"-?[0-9]+(\.[0-9]+)?"}


class Meta(NamedTuple):
    """What is known of one setting: read by the command line, the documentation's test and the schema."""

    kind: str  # text, integer, number, boolean, choice, path, paths, words
    doc: str
    flags: tuple[str, ...] = ()
    unit: str | None = None
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    pattern: str | None = None  # a regular expression for the whole value
    check: Callable[[str], str] | None = None  # makes the value, or raises ValueError
    allowed: str | None = None  # what pattern and check ask for, as a noun phrase
    in_file: bool = True
    optional: bool = False  # the default is None
    many: bool = False  # may be given several times on the command line


def read(meta: Meta, raw: object, *, typed: bool, base: Path) -> object:
    """The value of a raw one; `typed`: text may stand for numbers and lists. ValueError where not allowed."""
    text = raw if isinstance(raw, str) else None
    if raw == "" and meta.optional:  # takes back what a weaker source says
        return None
    match meta.kind:
        case "boolean":
            value = TRUTH.get(text.strip().lower()) if typed and text is not None else raw
            if not isinstance(value, bool):
                raise ValueError
            return value
        case "integer" | "number":
            return _number(meta, raw if text is None or not typed else text.strip(), typed)
        case "path":
            return _path(raw, base)
        case "paths":
            parts = raw.split(os.pathsep) if isinstance(raw, str) and typed else raw
            return tuple(dict.fromkeys(_path(part, base) for part in _items(parts)))
        case "words":
            parts = raw.split(",") if isinstance(raw, str) and typed else raw
            words = [_word(meta, part) for part in _items(parts) if part != ""]
            return frozenset(words) if meta.choices else tuple(dict.fromkeys(words))
        case _:
            return _word(meta, raw)


def _items(raw: object) -> list[object]:
    if isinstance(raw, (str, os.PathLike)):
        return [raw]
    if not isinstance(raw, (list, tuple, set, frozenset)):
        raise ValueError
    return list(raw)


def _number(meta: Meta, raw: object, typed: bool) -> object:
    value: float
    if isinstance(raw, str):
        if not typed or len(raw) > 30 or not re.fullmatch(NUMBERS[meta.kind], raw):
            raise ValueError
        value = int(raw) if meta.kind == "integer" else float(raw)
    elif isinstance(raw, bool) or not isinstance(raw, (int,) if meta.kind == "integer" else (int, float)):
        raise ValueError
    else:
        value = raw if meta.kind == "integer" else float(raw)
    if not (meta.least is None or value >= meta.least) or not (meta.most is None or value <= meta.most):
        raise ValueError
    return value


def _path(raw: object, base: Path) -> Path:
    if not isinstance(raw, (str, Path)) or str(raw) == "" or "\0" in str(raw):
        raise ValueError
    return base / Path(raw).expanduser()  # `..` stays: behind a symbolic link it means something else


def _word(meta: Meta, raw: object) -> str:
    if not isinstance(raw, str) or "\0" in raw:
        raise ValueError
    word = raw.strip()
    if meta.choices:
        word = word.lower()
        if word not in meta.choices:
            raise ValueError
    if meta.pattern and not re.fullmatch(meta.pattern, word):
        raise ValueError
    return meta.check(word) if meta.check else word


def allowed(meta: Meta) -> str:
    """What a setting may be, as a noun phrase for a sentence."""
    if meta.allowed:
        return meta.allowed
    if meta.choices:
        first, last = ", ".join(meta.choices[:-1]), meta.choices[-1]
        one = meta.kind == "choice"
        return f"{first} or {last}" if one else f"some of {first} and {last}, separated by commas"
    if meta.kind in ("integer", "number"):
        unit = f" {meta.unit}" if meta.unit else ""
        number = "a whole number" if meta.kind == "integer" else "a number"
        return f"{number} from {meta.least:g} to {meta.most:.0f}{unit}"
    words = {"boolean": "true or false", "path": "a path", "paths": "one or more folders"}
    return words.get(meta.kind, "text")


def shown(value: object) -> Any:
    """A value as people and JSON may see it: paths as text, sets sorted, credentials in URLs masked."""
    if isinstance(value, (tuple, list)):
        return [shown(each) for each in value]
    if isinstance(value, (set, frozenset)):
        return sorted(shown(each) for each in value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, (str, Path)):
        return re.sub(r"://[^/@\s]*@", "://***@", str(value))
    return value
