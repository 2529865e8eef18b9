"""How values are written for people."""

from __future__ import annotations

import pytest

from pidex.web.ui import formats


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Run `pidex scan`.", "Run <code>pidex scan</code>."),
        ("`a` and `<b>`", "<code>a</code> and <code>&lt;b&gt;</code>"),
        ("a ` alone & <i>", "a ` alone &amp; &lt;i&gt;"),
        ("`one` and ` another", "`one` and ` another"),
        ("", ""),
    ],
)
def test_commands_in_sentences_are_code(text: str, html: str) -> None:
    assert formats.coded(text) == html


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (1 << 40, "1.0 TiB"), (1 << 60, "1048576.0 TiB")],
)
def test_sizes_are_in_binary_units(count: int, text: str) -> None:
    assert formats.size(count) == text
