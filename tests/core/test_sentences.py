"""Sentences in other languages: by their message and values, however deep."""

from __future__ import annotations

import copy
import json

from pidex.core.sentences import MAX_TEXT, Phrasebook, Sentence, said, told
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


def heard(text: str, *messages: str) -> tuple[str, object] | None:
    found = Phrasebook(messages).find(text)
    return None if found is None else (found.message, found.values)


def test_texts_are_known_again_by_their_messages() -> None:
    here, other = "Index %(index)s has no file %(file)s.", "Index %(index)s has no project %(name)s."
    assert heard("Index main has no file a b.", other, here) == (here, {"index": "main", "file": "a b"})
    assert heard("Index main has no project a.", other, here) == (other, {"index": "main", "name": "a"})
    assert heard("Index main has no such thing", other, here) is None
    assert heard("It is full.", "It is full.") == ("It is full.", {})
    assert heard("It is 7% full", "It is %(share)s%% full") == ("It is %(share)s%% full", {"share": "7"})
    assert heard("It is no zip.", "it is no %(kind)s") == ("it is no %(kind)s", {"kind": "zip"})
    assert heard("", "%(all)s") is None
    assert heard("Anything", "%(all)s") is None, "a message that says nothing of itself"


def test_the_message_that_says_most_is_taken() -> None:
    short, long = "%(url)s answers %(status)s.", "%(url)s answers %(status)s: check the credentials."
    assert heard("a answers 401: check the credentials.", short, long) == (
        long,
        {"url": "a", "status": "401"},
    )


def test_a_field_that_comes_twice_has_one_value() -> None:
    twice = "There is %(name)s: see %(name)s."
    assert heard("There is x: see x.", twice) == (twice, {"name": "x"})
    assert heard("There is x: see y.", twice) is None


def test_sentences_in_texts_are_found_and_names_are_not() -> None:
    book = Phrasebook(["Refused. %(why)s", "no wheel at all", "burnt"])
    for why, kind in (("no wheel at all", Sentence), ("burnt", str)):
        found = book.find(f"Refused. {why}")
        assert found is not None
        assert type(found.values["why"]) is kind, why
    known = book.find(said("%(file)s: %(why)s", file="burnt", why="no wheel at all"))
    assert known is not None
    assert [type(each) for each in known.values.values()] == [str, Sentence]
    deep = book.find("Refused. " * 50 + "no wheel at all")
    assert deep is not None
    assert deep == "Refused. " * 50 + "no wheel at all"


def test_what_others_write_into_fields_costs_one_pass() -> None:
    """Where each way to read a text were tried, this would not end."""
    messages = [" is ".join(f"%(f{number})s" for number in range(width)) + "!" for width in range(4, 40)]
    assert heard("is " * (MAX_TEXT // 3 - 1), *messages) is None
    assert heard("x" * (MAX_TEXT + 1), "%(all)s" + "x" * 9) is None
