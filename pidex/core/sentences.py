"""Sentences that remember what they were made of, so that a page can say them in its reader's language."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

#: Characters of a text that may be a sentence, letters that a message has to have beside its fields, and how
#: deep sentences lie in sentences.
MAX_TEXT, MIN_LETTERS, MAX_DEPTH = 4_000, 5, 3

#: A field of a message.
FIELD = re.compile(r"%\((\w+)\)s")


class Sentence(str):
    """A text in English; `message` and `values` are what it was made of."""

    __slots__ = ("message", "values")

    message: str
    values: Mapping[str, Any]


def said(message: str, **values: Any) -> Sentence:
    """The sentence of a message with fields, `%(name)s`. The message is also its id in the catalogues.

    A value may be a sentence itself.
    """
    sentence = Sentence(message % values)
    sentence.message, sentence.values = message, values
    return sentence


def told(text: str, translate: Callable[[str], str]) -> str:
    """A text in another language, as far as it is a sentence; others stay as they are."""
    if not isinstance(text, Sentence):
        return text
    values = {
        name: told(value, translate) if isinstance(value, str) else value
        for name, value in text.values.items()
    }
    return translate(text.message) % values


class Phrasebook:
    """Knows again what texts were made of, by the messages that there are.

    Refusals are raised as plain texts, come out of other processes, and lie in rows: a page says them in its
    reader's language all the same.
    """

    def __init__(self, messages: Iterable[str]) -> None:
        shapes = [_Shape(message) for message in messages]
        self._plain = {shape.texts[0]: shape for shape in shapes if not shape.fields}
        #: The more is said by a message itself, the surer it is that a text was made of it.
        self._shapes = sorted(
            (shape for shape in shapes if shape.fields and shape.letters >= MIN_LETTERS),
            key=lambda shape: (-shape.letters, shape.message),
        )

    def find(self, text: str, depth: int = MAX_DEPTH) -> Sentence | None:
        """The sentence that a text is, or None. Values that are sentences are found, too.

        Reasons that were made whole sentences, by a capital and a full stop, are found as what they were.
        """
        if isinstance(text, Sentence):
            values = text.values.items()
            inner = {name: self._inner(each, depth) if type(each) is str else each for name, each in values}
            return said(text.message, **inner) if depth else text
        if not text or len(text) > MAX_TEXT or not depth:
            return None
        found = self._find(text, depth)
        if found is None and text.endswith("."):
            found = self._find(text[0].lower() + text[1:-1], depth)
        return found

    def _find(self, text: str, depth: int) -> Sentence | None:
        known = self._plain.get(text)
        if known is not None:
            return said(known.message)
        for shape in self._shapes:
            values = shape.values(text)
            if values is not None:
                return said(
                    shape.message, **{name: self._inner(each, depth) for name, each in values.items()}
                )
        return None

    def _inner(self, value: str, depth: int) -> str:
        # One word is a name, whatever it means elsewhere.
        return (self.find(value, depth - 1) if " " in value else None) or value


class _Shape:
    """A message as the texts between its fields."""

    __slots__ = ("fields", "letters", "message", "texts")

    def __init__(self, message: str) -> None:
        pieces = FIELD.split(message)
        self.message, self.fields = message, pieces[1::2]
        self.texts = [piece.replace("%%", "%") for piece in pieces[::2]]
        self.letters = sum(map(str.isalpha, "".join(self.texts)))

    def values(self, text: str) -> Mapping[str, str] | None:
        """The fields of a text that was made of this message; each text between them where it comes first.

        In one pass, whatever others wrote into the fields.
        """
        first, *between, last = self.texts
        end = len(text) - len(last)
        if end < len(first) or not text.startswith(first) or not text.endswith(last):
            return None
        found, at = [], len(first)
        for piece in between:
            there = text.find(piece, at, end)
            if there < 0:
                return None
            found.append(text[at:there])
            at = there + len(piece)
        if at > end:
            return None
        values: dict[str, str] = {}
        for name, value in zip(self.fields, [*found, text[at:end]], strict=True):
            if values.setdefault(name, value) != value:
                return None
        return values
