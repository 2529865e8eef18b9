"""READMEs made into HTML: how deep things may lie in one another before the text is shown instead (B9)."""

from __future__ import annotations

import pytest

from pidex.backends.rendering import MAX_DEPTH, render

MARKDOWN = "text/markdown"


@pytest.mark.parametrize("mark", [">", "> ", " >", "\t>", "<div>", "<ul><li>", "<Blockquote>"])
def test_what_lies_too_deep_is_shown_as_text(mark: str) -> None:
    assert render(mark * MAX_DEPTH + " x", MARKDOWN)
    assert render(mark * (MAX_DEPTH + 1) + " x", MARKDOWN) is None
    assert render(f"# first\n\nmore\n{mark * (MAX_DEPTH + 1)} x", MARKDOWN) is None


@pytest.mark.parametrize("part", ["<div>x</div>", "> x\n\n", "- x\n", "<p>x", "`Vec<String>` ", "a > b "])
def test_what_is_beside_one_another_may_be_long(part: str) -> None:
    assert render(part * (3 * MAX_DEPTH), MARKDOWN)
