"""What people say of changes: sentences, subjects, versions; and which releases are outdated."""

from __future__ import annotations

import pytest

from pidex.core import changes
from pidex.core.errors import BadRequest


def test_a_sentence_is_one_line() -> None:
    assert changes.sentence("  it is broken \n", "reason") == "it is broken"
    assert changes.sentence("", "reason") == ""
    assert changes.sentence("x" * changes.MAX_REASON, "reason")


@pytest.mark.parametrize("text", ["two\nlines", "a\x1b[31mred", "a\x00b", "a\N{RIGHT-TO-LEFT OVERRIDE}b"])
def test_a_sentence_commands_no_terminal(text: str) -> None:
    with pytest.raises(BadRequest, match="The reason has to be one line"):
        changes.sentence(text, "reason")


def test_a_sentence_is_bounded() -> None:
    with pytest.raises(BadRequest, match="longer than"):
        changes.sentence("x" * (changes.MAX_REASON + 1), "reason")


@pytest.mark.parametrize(("text", "subject"), [
    ("ann", "user:ann"), ("user:ann", "user:ann"), ("group:team", "group:team"), ("group:a:b", "group:a:b"),
])  # fmt: skip
def test_somebody_is_named(text: str, subject: str) -> None:
    assert changes.subject(text) == subject


@pytest.mark.parametrize("text", ["", "user:", "robot:r2", "group:a\nb", ":ann"])
def test_nobody_is_named(text: str) -> None:
    with pytest.raises(BadRequest, match="names nobody"):
        changes.subject(text)


def test_the_newest_of_each_kind_stay() -> None:
    versions = ["1.0", "1.0.0", "2.0", "10.0", "3.0rc1", "4.0a1", "0.9"]
    assert changes.outdated(versions, 2) == ["0.9", "1.0.0"]
    assert changes.outdated(versions, 1) == ["0.9", "1.0.0", "2.0", "3.0rc1"]
    assert changes.outdated(versions, 9) == []
    assert changes.outdated([], 1) == []
    assert changes.release("1.0") == changes.release("1.0.0") != changes.release("1.0.1")
