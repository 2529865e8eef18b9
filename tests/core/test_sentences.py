"""Sentences in other languages: by their message and values, however deep."""

from __future__ import annotations

import copy
import json

from pidex.core.sentences import Sentence, said, told
from pidex.core.simpleapi import to_json

GERMAN = {
    "%(name)s is %(what)s.": "%(name)s ist %(what)s.",
    "100%% full": "zu 100%% voll",
    "burnt": "verbrannt",
}


def translated(text: str) -> str:
    return told(text, lambda message: GERMAN.get(message, message))


def test_a_sentence_is_its_english_text() -> None:
    sentence = said("%(name)s is %(what)s.", name="a%b", what=said("100%% full"))
    assert sentence == "a%b is 100% full."
    assert json.dumps(sentence) == '"a%b is 100% full."'
    assert to_json({"text": [sentence]}) == b'{"text":["a%b is 100% full."]}\n'
    assert type(str(sentence)) is str


def test_sentences_in_sentences_are_translated_and_values_are_not() -> None:
    assert (
        translated(said("%(name)s is %(what)s.", name="burnt", what=said("burnt"))) == "burnt ist verbrannt."
    )
    assert translated(said("%(name)s is %(what)s.", name=7, what=said("100%% full"))) == "7 ist zu 100% voll."
    assert translated(said("%(name)s and more", name="x")) == "x and more"
    assert translated("%(name)s is %(what)s.") == "%(name)s is %(what)s."


def test_a_copy_remembers_as_well() -> None:
    kept = copy.deepcopy(said("%(name)s is %(what)s.", name="x", what=said("burnt")))
    assert isinstance(kept, Sentence)
    assert translated(kept) == "x ist verbrannt."
