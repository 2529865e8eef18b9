"""T11: what hostile READMEs become. Here as text; `scripts/interface readmes` shows each to a browser."""

from __future__ import annotations

import pytest

from pidex.backends.rendering import render
from tests.web.ui.hostile import TYPES, corpus, faults

SEED = 11
#: Texts that a child process would be killed over are for the child process to meet.
LONG = 5_000


@pytest.mark.parametrize("kind", TYPES)
def test_nothing_is_left_that_could_do_anything(kind: str) -> None:
    shown = 0
    for each in corpus(400, SEED):
        if each.kind == kind and len(each.text) <= LONG:
            html = render(each.text, each.content_type)
            if html is not None:  # else it is shown as text
                shown += 1
                assert faults(html) == [], each.text
    assert (shown > 20) is (kind != "txt")


def test_the_check_itself_sees_what_is_wrong() -> None:
    for html in (
        "<script>x</script>",
        "<b onclick=x>y</b>",
        "<a href='javascript:x'>y</a>",
        "<a href='https://x.example/'>y</a>",
        "<p id=content>x</p>",
        "<img src=x>",
        "<p style='position:fixed'>x</p>",
        "<input name=csrf>",
        "<p tabindex=1>x</p>",
    ):
        assert faults(html), html
    assert faults('<p id="readme-x">a <b>b</b></p>') == []
