"""What services say, read out of their source: the messages of sentences, and those of refusals."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pidex
from pidex.core import errors
from pidex.core.sentences import FIELD

ROOT = Path(pidex.__file__).parent
#: Modules that say why something is so, by `said`; see core/sentences.py.
SAYING = (
    "catalogue/requirements", "core/folder", "core/layers", "core/policy", "core/reasons", "doctor/*",
    "resolver/*", "verify/health",
)  # fmt: skip
#: Modules whose refusals people meet on pages: what they raise is text, and known again by its message.
REFUSING = (
    "accounts/*", "backends/folder", "backends/readings", "backends/sandbox", "backends/staging",
    "backends/upstream/breaker", "backends/upstream/requests", "catalogue/grants", "core/archives",
    "core/changes", "core/estate", "core/finds", "core/interiors", "core/names", "core/people",
    "core/pypijson",
    "core/queries", "core/rulebook", "core/symptoms", "core/tarballs", "core/timeline", "core/uploads",
    "core/zips", "curator/*", "history", "indexing/claims", "indexing/indexes", "indexing/office",
    "indexing/upstreams", "intake/delivery", "intake/lock", "intake/parcels", "intake/standing", "interior",
    "overview", "resolver/*", "statistics", "web/call", "web/routes", "web/site", "web/ui/*",
)  # fmt: skip
#: Errors that no page shows.
_NEVER = {errors.NotFetched, errors.ConfigError, errors.CannotStart, errors.CatalogueError}
_ERRORS = {
    name
    for name, each in vars(errors).items()
    if isinstance(each, type) and issubclass(each, errors.PidexError) and each not in _NEVER
}
#: What parts of sentences are called before they are put into one.
_PARTS = {"reason", "what", "where", "why"}
#: Functions that put their last argument into a sentence.
_MAKERS = {"busy", "_explained", "_refused"}


def messages() -> dict[str, str]:
    """Each message, with the first module that has it; of those that differ by the names of fields, one."""
    found: dict[str, str] = {}
    shapes: set[str] = set()
    for patterns, reads in ((SAYING, _said), (REFUSING, _refusals)):
        for path in sorted({path for pattern in patterns for path in ROOT.glob(f"{pattern}.py")}):
            for message in reads(ast.parse(path.read_bytes())):
                shape = FIELD.sub("%", message)
                if reads is _said or shape not in shapes:
                    found.setdefault(message, path.relative_to(ROOT).as_posix())
                shapes.add(shape)
    return found


def _said(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="said"), args=[ast.Constant(value=str(text)), *_]):
                yield text


def _refusals(tree: ast.Module) -> Iterator[str]:
    yield from _said(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name in _ERRORS:
                yield from _texts(first)
            case ast.Call(func=ast.Name(id=name), args=[*_, last]) if name in _MAKERS:
                yield from _sentences(last)
            case ast.keyword(arg="reason", value=value):
                yield from _sentences(value)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name.isupper():
                yield from (each for each in _sentences(value) if each.endswith("."))
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in _PARTS:
                yield from (each for each in _texts(value) if " " in each)
            case ast.FunctionDef(returns=returns) if returns is not None and "str" in ast.unparse(returns):
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Return | ast.Yield) and inner.value is not None:
                        yield from _sentences(inner.value)


def _sentences(node: ast.expr) -> Iterator[str]:
    """Texts that may be sentences or parts of one, and are no bare names."""
    return (each for each in _texts(node) if each.count(" ") >= 2 and not each.startswith("%("))


def _texts(node: ast.expr) -> Iterator[str]:
    """The messages of an expression: each that it can have, and those of what is put into it."""
    match node:
        case ast.IfExp(body=body, orelse=other):
            yield from _texts(body)
            yield from _texts(other)
        case ast.BoolOp(values=values):
            for each in values:
                yield from _texts(each)
        case ast.Constant(value=str()) | ast.JoinedStr() | ast.BinOp():
            pieces = [*_pieces(node)]
            if any(isinstance(each, str) and each.strip() for each in pieces):
                yield _message(pieces)
            for choice in (each for each in pieces if isinstance(each, ast.IfExp)):
                yield from (text for text in _texts(choice) if " " in text.strip())


def _pieces(node: ast.expr) -> Iterator[str | ast.expr]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            for each in values:
                yield from _pieces(each)
        case ast.FormattedValue(value=value):
            yield value
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            yield from _pieces(left)
            yield from _pieces(right)
        case _:
            yield node


def _message(pieces: Iterable[str | ast.expr]) -> str:
    """A text with named fields, as the catalogues have it."""
    seen: Counter[str] = Counter()
    out = ""
    for each in pieces:
        if isinstance(each, str):
            out += each.replace("%", "%%")
            continue
        name = _field(each)
        seen[name] += 1
        out += f"%({name}{seen[name] if seen[name] > 1 else ''})s"
    return out


def _field(node: ast.expr) -> str:
    """What a field is called: the name that is nearest to what is shown."""
    match node:
        case ast.Attribute(attr="value", value=inner):
            return _field(inner)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_").lower()
        case ast.Subscript(value=inner) | ast.Starred(value=inner):
            return _field(inner)
        case ast.Call(args=[inner, *_]) | ast.Call(func=inner):
            return _field(inner)
        case ast.GeneratorExp(generators=[ast.comprehension(iter=inner), *_]):
            return _field(inner)
        case ast.BoolOp(values=[inner, *_]):
            return _field(inner)
        case _:
            return "value"
