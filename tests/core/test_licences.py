"""Licence expressions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core.licences import accepts, matches

FREE = ("MIT", "BSD-*", "Apache-2.0", "Apache-2.0 WITH LLVM-exception")


@pytest.mark.parametrize(
    ("expression", "accepted"),
    [
        ("MIT", True),
        ("mit", True),
        ("AGPL-3.0-only", False),
        ("MIT OR AGPL-3.0-only", True),
        ("MIT AND AGPL-3.0-only", False),
        ("MIT AND (AGPL-3.0-only OR BSD-3-Clause)", True),
        ("MIT and AGPL-3.0-only or BSD-2-Clause", True),
        ("(MIT OR X) AND (Y OR AGPL)", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("Apache-2.0 WITH Other-exception", False),
        ("MIT OR", False),
        ("(MIT", False),
        (")", False),
        ("", False),
        ("The MIT License", False),
        ("(" * 5_000 + "MIT" + ")" * 5_000, False),
    ],
)
def test_a_choice_must_be_left(expression: str, accepted: bool) -> None:
    assert accepts(expression, lambda licence: matches(licence, FREE)) is accepted


def test_a_licence_in_words_is_one_licence() -> None:
    assert accepts("BSD License", lambda licence: licence == "BSD License")


@given(st.lists(st.sampled_from(["MIT", "X", "AND", "OR", "WITH", "(", ")"]), max_size=12))
def test_nothing_breaks_the_reader(words: list[str]) -> None:
    assert accepts(" ".join(words), lambda _: True)
    assert not accepts(" ".join(words), lambda _: False)
