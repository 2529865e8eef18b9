"""Licence expressions (PEP 639): whether a choice among licences is left that somebody accepts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

#: Characters of an expression that are read; a longer one is a text, and known as that alone.
MAX_EXPRESSION = 1_000
_TOKEN = re.compile(r"\(|\)|[^\s()]+")
_OPERATORS = frozenset({"and", "or", "(", ")"})
#: How deep parentheses are followed.
_MAX_DEPTH = 20


def accepts(expression: str, accepted: Callable[[str], bool]) -> bool:
    """Whether the expression leaves a choice in which every licence is accepted: OR is any, AND is all.

    'X WITH Y' is one licence. What is no expression (a licence's name as people write it) is one licence.
    """
    tokens = _TOKEN.findall(expression) if len(expression) <= MAX_EXPRESSION else []
    reader = _Reader(tokens, accepted)
    found = reader.choice(0)
    return accepted(" ".join(expression.split())) if found is None or reader.rest else found


def matches(licence: str, patterns: Sequence[str]) -> bool:
    """Whether a licence is one of those, whatever its case; `*` stands for anything: 'GPL-*'."""
    return any(fnmatchcase(licence.lower(), pattern.lower()) for pattern in patterns)


class _Reader:
    """A recursive descent over the tokens; every method gives None where there is no expression."""

    def __init__(self, tokens: Sequence[str], accepted: Callable[[str], bool]) -> None:
        self._tokens, self._accepted, self._at = tokens, accepted, 0

    @property
    def rest(self) -> bool:
        return self._at < len(self._tokens)

    def choice(self, depth: int) -> bool | None:
        return self._joined("or", self._all, any, depth)

    def _all(self, depth: int) -> bool | None:
        return self._joined("and", self._one, all, depth)

    def _joined(
        self,
        operator: str,
        operand: Callable[[int], bool | None],
        combine: Callable[[list[bool]], bool],
        depth: int,
    ) -> bool | None:
        found: list[bool] = []
        while True:
            each = operand(depth)
            if each is None:
                return None
            found.append(each)
            if not self.rest or self._tokens[self._at].lower() != operator:
                return combine(found)
            self._at += 1

    def _one(self, depth: int) -> bool | None:
        if not self.rest or depth > _MAX_DEPTH:
            return None
        if self._tokens[self._at] == "(":
            self._at += 1
            inner = self.choice(depth + 1)
            if inner is None or not self.rest or self._tokens[self._at] != ")":
                return None
            self._at += 1
            return inner
        words: list[str] = []
        while self.rest and self._tokens[self._at].lower() not in _OPERATORS:
            words.append(self._tokens[self._at])
            self._at += 1
        licence = words and (len(words) == 1 or (len(words) == 3 and words[1].lower() == "with"))
        return self._accepted(" ".join(words)) if licence else None
