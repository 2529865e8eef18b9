"""Tokens: recognisable, self-checking, never wider than their scope."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core.tokens import PREFIX, TokenScope, digest, hint, is_token, text


@given(st.binary(min_size=32, max_size=32))
def test_every_secret_makes_a_token(secret: bytes) -> None:
    value = text(secret)
    assert is_token(value)
    assert value.startswith(PREFIX)
    assert len(value) == len(PREFIX) + 49
    assert value.isascii()
    assert len(digest(value)) == 64


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_two_secrets_make_two_tokens(one: bytes, other: bytes) -> None:
    assert (text(one) == text(other)) == (one == other)


@given(st.binary(min_size=32, max_size=32), st.integers(6, 54), st.sampled_from("0aZ_-é \n"))
def test_a_typing_error_is_seen(secret: bytes, at: int, letter: str) -> None:
    value = text(secret)
    wrong = value[:at] + letter + value[at + 1 :]
    assert is_token(wrong) == (wrong == value)


@pytest.mark.parametrize(
    "value", ["", PREFIX, "pypi-AgEIcHlwaS5vcmc", text(b"x" * 32) + "\n", "x" + text(b"x" * 32)]
)
def test_other_text_is_no_token(value: str) -> None:
    assert not is_token(value)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32 random bytes"):
        text(b"short")


def test_the_hint_does_not_give_the_secret_away() -> None:
    value = text(bytes(range(32)))
    assert value.startswith(hint(value)[:-1])
    assert len(hint(value)) < 12


@pytest.mark.parametrize(
    ("scope", "what", "index", "project", "expected"),
    [
        (TokenScope(1), "read", "main", "demo", True),
        (TokenScope(1), "upload", "main", "demo", True),
        (TokenScope(1), "delete", "main", "demo", False),
        (TokenScope(1), "admin", None, None, False),
        (TokenScope(1, indexes=("main",)), "read", "other", "demo", False),
        (TokenScope(1, indexes=("team-*",)), "read", "team-a", "demo", True),
        (TokenScope(1, projects=("acme-*",)), "upload", "main", "acme-web", True),
        (TokenScope(1, projects=("acme-*",)), "upload", "main", "demo", False),
        # asked before the name is known (the project list, the start of an upload)
        (TokenScope(1, projects=("acme-*",)), "upload", "main", None, True),
        (TokenScope(1, projects=("acme-*",), scopes=("admin",)), "admin", "main", None, False),
        (TokenScope(1, indexes=("main",), scopes=("admin",)), "admin", None, None, False),
        (TokenScope(1, scopes=("admin",)), "admin", None, None, True),
        (TokenScope(1, scopes=()), "read", "main", "demo", False),
    ],
)
def test_scope(scope: TokenScope, what: str, index: str | None, project: str | None, expected: bool) -> None:
    assert scope.covers(what, index, project) is expected
