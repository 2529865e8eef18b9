"""Short forms of scripts/fuzz: each target with a few examples, and that a target can find something."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from tests.fuzz.__main__ import fuzz
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds(name: str) -> None:
    fuzz(TARGETS[name], 1, 60)


def test_what_is_wrong_is_found() -> None:
    def check(text: str) -> None:
        assert "ab" not in text

    with pytest.raises(AssertionError):
        fuzz((st.text("ab", max_size=10), check), 1, 200)
