"""Words, near names and facets of searches."""

from __future__ import annotations

import pytest

from pidex.core import finds
from pidex.core.errors import BadRequest


@pytest.mark.parametrize(
    ("one", "other", "steps"),
    [("demo", "demo", 0), ("dmeo", "demo", 1), ("dem", "demo", 1), ("demoo", "demo", 1), ("dxmo", "demo", 1)],
)
def test_one_typing_error_is_one(one: str, other: str, steps: int) -> None:
    assert finds.distance(one, other, 2) == steps == finds.distance(other, one, 2)


def test_other_names_are_far() -> None:
    assert finds.distance("requests", "flask", 2) is None
    assert finds.distance("abcdef", "badcfe", 2) is None


def test_words_of_a_query() -> None:
    assert finds.words('  a "b" a - \x00 c ') == ("a", '"b"', "c")
    with pytest.raises(BadRequest):
        finds.words("a" * (finds.MAX_QUERY + 1))


def test_each_character_of_a_text_without_spaces_is_a_word() -> None:
    assert finds.spread("中文 ab").split() == ["中", "文", "ab"]
