"""Sentences that remember what they were made of, so that a page can say them in its reader's language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


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
