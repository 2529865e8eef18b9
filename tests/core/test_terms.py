"""Terms that name projects and versions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core.errors import BadRequest
from pidex.core.terms import Term, term_of


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("requests", Term("requests")),
        ("My.Package_x", Term("my-package-x")),
        ("acme-*", Term("acme-*")),
        ("ACME_*", Term("acme-*")),
        ("django >= 4 , < 6", Term("django", "<6,>=4")),
        ("uvicorn[standard]==1.0", Term("uvicorn", "==1.0")),
    ],
)
def test_terms_are_read(text: str, term: Term) -> None:
    assert term_of(text) == term
    assert term_of(str(term)) == term


@pytest.mark.parametrize("text", ["", "-", "a b", "x>=", "x>=abc", "é", "a" * 2_000, "name @ file", "=1"])
def test_what_is_no_term_is_refused(text: str) -> None:
    if text == "-":
        assert term_of(text).pattern  # a pattern of nothing that exists
        return
    with pytest.raises(BadRequest):
        term_of(text)


@pytest.mark.parametrize(
    ("text", "project", "version", "covered"),
    [
        ("django>=4,<6", "django", "5.1", True),
        ("django>=4,<6", "django", "6.0", False),
        ("django>=4,<6", "djangox", "5.1", False),
        ("django>=4", "django", "5.0a1", True),  # a pre-release is a release here
        ("django==1.0", "django", "1.0.0", True),
        ("acme-*", "acme-core", "whatever", True),
        ("acme-*", "acme", "1", False),
        ("old===2004d", "old", "2004D", True),
        ("old", "old", "2004d-x", True),
        ("x>=1", "x", "9" * 5_000, False),
    ],
)
def test_terms_cover(text: str, project: str, version: str, covered: bool) -> None:
    assert term_of(text).covers(project, version) is covered


@given(st.text(max_size=60))
def test_any_text_is_a_term_or_refused(text: str) -> None:
    try:
        term = term_of(text)
    except BadRequest:
        return
    term.covers("requests", "1.0")
    assert term_of(str(term)) == term
