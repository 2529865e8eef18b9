"""T19: every regular expression of pidex, found in its sources, on texts made to slow it down."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

import pytest

from pidex import config

ROOT = Path(__file__).resolve().parents[2]
#: What a pattern is called by to do with a text. `search` and its kind begin anew at each character.
ANYWHERE = {"search", "sub", "subn", "findall", "finditer", "split"}
AT_START = {"match", "fullmatch"}
#: Characters of an attack, and seconds of processor time that none may reach: an innocent one needs a
#: hundredth of that, whatever takes the square of its input's length several times as much.
CHARACTERS, SECONDS = 10_000, 0.1
#: Characters that reach a pattern at most, where whoever calls it says so before: module and pattern's name.
CAPPED = {
    ("pidex.core.names", "_DUMB"): 200,  # limits.MAX_FILENAME
    ("pidex.core.names", "_EGG"): 200,
    ("pidex.core.ranges", "_SPEC"): 1_000,  # ranges.HEADER_CHARS
    ("pidex.core.terms", "_TERM"): 328,  # limits.MAX_FILENAME + MAX_VERSION
    ("pidex.core.needs", "_ALONE"): 2_000,  # needs.MAX_LINE
    ("pidex.core.needs", "_EXTRA"): 2_000,
    ("pidex.core.needs", "_JOINED"): 2_000,
}
#: Calls whose pattern is made when they run, and what holds it instead.
MADE = {
    ("pidex.settings", "meta.pattern"): "test_patterns_of_settings",
    ("pidex.settings", "NUMBERS[meta.kind]"): "the text has 30 characters at most",
    ("pidex.resolver.layered", "'|'.join((fnmatch.translate(each.pattern) for each in kept))"): (
        "globs of reservations, which Python translates without backtracking"
    ),
}


class Found(NamedTuple):
    """One expression: where, what it is called there, and how it is used."""

    module: str
    name: str
    pattern: re.Pattern[Any]
    uses: frozenset[str]

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


def modules() -> Iterator[tuple[str, ast.Module, str]]:
    for path in sorted((ROOT / "pidex").rglob("*.py")):
        if "migrations" not in path.parts:
            parts = path.relative_to(ROOT).with_suffix("").parts
            text = path.read_text(encoding="utf-8")
            yield ".".join(part for part in parts if part != "__init__"), ast.parse(text), text


def expressions() -> Iterator[Found | tuple[str, str]]:
    """Every expression; where it cannot be known before it runs, the module and the code of the pattern."""
    every = list(modules())
    for module, tree, text in every:
        named = {
            id(node.value): node.targets[0].id
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
            else getattr(getattr(node, "target", None), "id", "")
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        }
        for node in ast.walk(tree):
            called = node.func if isinstance(node, ast.Call) else None
            if not isinstance(called, ast.Attribute) or ast.unparse(called.value) != "re":
                continue
            assert isinstance(node, ast.Call)
            if called.attr not in ANYWHERE | AT_START | {"compile"}:
                continue
            try:
                scope = dict(vars(import_module(module)))
                # An expression in a comprehension: any of the names it goes through will do.
                scope.setdefault("name", "script")
                made = re.compile(*[eval(ast.unparse(each), scope) for each in pattern_of(node, called.attr)])
            except NameError:
                yield module, ast.unparse(node.args[0])
                continue
            name = named.get(id(node), "")
            uses = {called.attr}
            if called.attr == "compile":
                # Used by its name here, or as a module's elsewhere; an unknown use is the worst.
                uses = set(re.findall(rf"\b{name}\.(\w+)", text)) & (ANYWHERE | AT_START) if name else set()
                uses = uses or ANYWHERE & uses or {"match"} | ({"search"} if not name else set())
            yield Found(module, name or f"line {node.lineno}", made, frozenset(uses))


def pattern_of(call: ast.Call, how: str) -> list[ast.expr]:
    """The pattern and its flags among a call's arguments."""
    return call.args if how == "compile" else call.args[:1]


ALL = list(expressions())
FOUND = [each for each in ALL if isinstance(each, Found)]


def test_every_expression_is_known() -> None:
    assert len(FOUND) > 80
    assert {each for each in ALL if not isinstance(each, Found)} == set(MADE)
    assert set(CAPPED) <= {(each.module, each.name) for each in FOUND}


# --- attacks ------------------------------------------------------------------------------------------------

CATEGORIES = {
    codes.CATEGORY_DIGIT: "1",
    codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_WORD: "a",
    codes.CATEGORY_NOT_SPACE: "a",
    codes.CATEGORY_NOT_DIGIT: "a",
    codes.CATEGORY_NOT_WORD: "-",
}


def one_of(items: list[Any]) -> list[str]:
    """Characters that a class takes."""
    taken = []
    for code, value in items:
        if code is codes.LITERAL:
            taken.append(chr(value))
        elif code is codes.RANGE:
            taken.append(chr(value[0]))
        elif code is codes.CATEGORY:
            taken.append(CATEGORIES[value])
    if items and items[0][0] is codes.NEGATE:
        return [each for each in 'a b"=-<' if each not in taken][:3]
    return taken[:3]


def texts(tree: Any) -> list[str]:
    """A few texts that an expression takes."""
    found = [""]
    for code, value in tree:
        found = [before + after for before in found for after in part(code, value)][:6]
    return found


def part(code: Any, value: Any) -> list[str]:
    if code is codes.LITERAL:
        return [chr(value)]
    if code is codes.NOT_LITERAL:
        return ["b" if value == ord("a") else "a"]
    if code is codes.ANY:
        return ["a", '"']
    if code is codes.IN:
        return one_of(value)
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        return [each * max(value[0], 1) for each in texts(value[2])]
    if code is codes.SUBPATTERN:
        return texts(value[3])
    if code is codes.ATOMIC_GROUP:
        return texts(value)
    if code is codes.BRANCH:
        return [text for branch in value[1] for text in texts(branch)[:2]]
    return [""]  # anchors, look-around, back references


def pumps(tree: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """What comes before a repetition, and what it repeats, for each in an expression."""
    for code, value in tree:
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            if value[1] > 50:
                yield from ((before, each) for each in texts(value[2]) if each)
            yield from pumps(value[2], before)
        elif code is codes.SUBPATTERN:
            yield from pumps(value[3], before)
        elif code is codes.ATOMIC_GROUP:
            yield from pumps(value, before)
        elif code is codes.BRANCH:
            for branch in value[1]:
                yield from pumps(branch, before)
        before += (part(code, value) or [""])[0]


def attacks(expression: re.Pattern[Any]) -> set[tuple[str, str, str]]:
    source = (
        expression.pattern if isinstance(expression.pattern, str) else expression.pattern.decode("latin-1")
    )
    tree = parser.parse(
        source, expression.flags & ~re.UNICODE if isinstance(expression.pattern, bytes) else 0
    )
    found = set(pumps(tree))
    whole = {("", each) for each in texts(tree) if each}
    every = sorted({each for _, each in found})[:6]
    mixed = {("", a + b) for a in every for b in every if a != b}
    heads = {("", head) for head, _ in found if head}
    found |= {(head + body, body) for head, body in found}
    return {(*each, end) for each in found | whole | mixed | heads for end in ("", "!\n", '"')}


def cost(expression: re.Pattern[Any], how: str, text: str) -> float:
    """Seconds of processor time."""
    given: Any = text if isinstance(expression.pattern, str) else text.encode("latin-1", "replace")
    begin = time.thread_time()
    if how in ("sub", "subn"):
        expression.sub("" if isinstance(given, str) else b"", given)
    elif how == "finditer":
        for _ in expression.finditer(given):
            pass
    else:
        getattr(expression, how)(given)
    return time.thread_time() - begin


def worst(expression: re.Pattern[Any], uses: frozenset[str], most: int) -> tuple[float, str, int]:
    """The slowest attack: seconds, a description, its length. Grows step by step, so that it ends."""
    slowest = (0.0, "", 0)
    for head, body, end in attacks(expression):
        for how in uses:
            for size in (16, 20, 23, 200, 2_000, most):
                text = (head + body * (size // len(body) + 1))[: min(size, most)] + end
                seconds = cost(expression, how, text)
                if SECONDS < seconds < 10 * SECONDS:  # whatever else ran: what is slow is so thrice
                    seconds = min(seconds, *(cost(expression, how, text) for _ in range(2)))
                slowest = max(slowest, (seconds, f"{how} of {head!r} + {body!r} * n + {end!r}", len(text)))
                if seconds > SECONDS:
                    return slowest
    return slowest


@pytest.mark.parametrize("found", FOUND, ids=str)
def test_no_text_slows_an_expression_down(found: Found) -> None:
    most = CAPPED.get((found.module, found.name), CHARACTERS)
    seconds, what, size = worst(found.pattern, found.uses, most)
    assert seconds < SECONDS, f"{found.pattern.pattern!r}: {seconds:.2f} s for {size} characters: {what}"


def test_patterns_of_settings() -> None:
    patterns = [meta.pattern for _, meta in config.settings_fields() if meta.pattern]
    assert patterns
    for pattern in patterns:
        seconds, what, _ = worst(re.compile(pattern), frozenset({"fullmatch"}), CHARACTERS)
        assert seconds < SECONDS, (pattern, what)


@pytest.mark.parametrize("pattern", [r"(a+)+b", r"(a|a)*b"])
def test_what_is_slow_is_found(pattern: str) -> None:
    assert worst(re.compile(pattern), frozenset({"match"}), CHARACTERS)[0] > SECONDS
