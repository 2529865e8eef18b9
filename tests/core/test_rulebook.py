"""Rules as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core.errors import BadRequest
from pidex.core.rulebook import KEYS, described, edited, rules_of


def test_edits_add_up() -> None:
    text = edited(None, ["deny=a b", "min_age=3d"])
    text = edited(text, ["deny+=c a", "deny-=b"])
    assert described(text) == {"deny": ["a", "c"], "min_age": "3d"}
    assert rules_of(text).min_age == 3 * 86_400
    assert edited(text, ["deny=", "min_age="]) is None
    assert rules_of(None) == rules_of(edited(text, ["deny=", "min_age="]))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ("min-age", "key=value"),
        ("minage=3d", "min_age"),
        ("min_age=soon", "3d"),
        ("min_age+=3d", "one value"),
        ("deny-=x", "has no 'x'"),
        ("deny=a >", "names no project"),
        ("types=wheels", "bdist_wheel"),
        ("max_size=huge", "500MB"),
        ("keep_latest=-1", "number"),
        ("freeze_at=tomorrow", "2026-08-01"),
        ("prereleases=perhaps", "true or false"),
        ("pythons=3", "3.12"),
        ("scope=some", "upstream or all"),
        ("=", "no rule"),
    ],
)
def test_a_wrong_edit_says_what_is_right(edit: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words.replace("?", r"\?")):
        edited(None, [edit])


def test_a_constraints_file() -> None:
    text = """
# pinned
requests==2.32.3 \\
    --hash=sha256:abc
-r other.txt
Django >= 4 ; python_version > '3'
*
"""
    rules = rules_of(edited(None, [f"constraints={text}"]))
    assert [str(term) for term in rules.constraints] == ["requests==2.32.3", "django>=4"]
    assert rules.constrained


@given(st.sampled_from([*KEYS]), st.sampled_from(["", "+", "-"]), st.text(max_size=40))
def test_any_edit_is_taken_or_refused(key: str, sign: str, value: str) -> None:
    try:
        text = edited(None, [f"{key}{sign}={value}"])
    except BadRequest:
        return
    rules_of(text)
