"""Questions as people ask them, and the sentences of the answers."""

from __future__ import annotations

import pytest

from pidex.core import reasons
from pidex.core.reasons import Subject, subject_of


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("Foo_Bar", Subject("Foo_Bar", "foo-bar")),
        (" foo ", Subject("foo", "foo")),
        ("Foo==1.0", Subject("Foo==1.0", "foo", "1.0")),
        ("foo 1.0", Subject("foo 1.0", "foo", "1.0")),
        ("foo == 1.0", Subject("foo == 1.0", "foo", "1.0")),
        ("Foo-1.0.tar.gz", Subject("Foo-1.0.tar.gz", "foo", "1.0", "Foo-1.0.tar.gz")),
        ("nameless.whl", Subject("nameless.whl", None, None, "nameless.whl")),
        ("", None),
        ("==1.0", None),
        ("-foo", None),
        ("../foo-1.0.zip", None),
        ("föö", None),
        ("x" * 10_000, None),
    ],
)
def test_questions(text: str, subject: Subject | None) -> None:
    assert subject_of(text) == subject


@pytest.mark.parametrize(
    ("question", "filename", "covered"),
    [
        ("foo", "FOO-1.0.zip", True),
        ("foo", "foo-bar-1.0.zip", False),
        ("foo", "no package at all", False),
        ("foo==1.0", "foo-1.tar.gz", True),
        ("foo==1.0", "foo-1.1.tar.gz", False),
        ("Foo-1.0.zip", "foo-1.0.ZIP", True),
        ("foo-1.0.zip", "foo-1.0.tar.gz", False),
    ],
)
def test_what_a_question_covers(question: str, filename: str, covered: bool) -> None:
    subject = subject_of(question)
    assert subject is not None
    assert subject.covers(filename) is covered


def test_similar_names_are_few_and_close() -> None:
    candidates = ["requests", "requests-toolbelt", "request", "requestx", "requesty", "flask"]
    [reason] = reasons.of_similar("reqests", candidates)
    assert reason.code == "similar"
    assert reason.text.startswith("There is requests and ")
    assert reason.text.count(" and ") == reasons.SIMILAR - 1
    assert [*reasons.of_similar("unlike", candidates)] == []


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01 00:00:00 UTC"),
        (1_704_164_645_999_999, "2024-01-02 03:04:05 UTC"),
        (10**30, "an impossible time"),
    ],
)
def test_moments(us: int, text: str) -> None:
    assert reasons.moment(us) == text
