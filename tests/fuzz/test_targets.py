"""Short forms of scripts/fuzz: each target with a few examples, and that a target can find something."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from tests.fuzz.__main__ import PAGE, fuzz, kept
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds(name: str) -> None:
    fuzz(TARGETS[name], 1, 60)


def test_what_is_wrong_is_found() -> None:
    def check(text: str) -> None:
        assert "ab" not in text

    with pytest.raises(AssertionError):
        fuzz((st.text("ab", max_size=10), check), 1, 200)


def test_minutes_and_examples_are_added_up_on_the_page() -> None:
    page = "| names | 1 | 9,000 | nothing |\n| names-too | 1 | 9 | nothing |\n"
    assert kept(page, "names", 4.5, 41_000) == page.replace("1 | 9,000", "5.5 | 50,000")


@pytest.mark.parametrize("name", [*TARGETS, "api"])
def test_the_page_lists_every_target(name: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert kept(page, name, 1, 1) != page
