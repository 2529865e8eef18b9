"""The Authorization header: every form that clients send, and none that breaks."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core.authorization import Credentials, credentials, is_well_formed
from pidex.core.errors import BadRequest, Unauthenticated
from pidex.core.people import check_name, identity, is_name
from pidex.core.tokens import text

TOKEN = text(bytes(range(32)))


def basic(value: str | bytes) -> str:
    return "Basic " + base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (basic("ann:pass:word"), Credentials("ann", "pass:word")),
        (basic("ann:"), Credentials("ann", "")),
        (basic("ä:ö".encode("latin-1")), Credentials("ä", "ö")),
        (f"  {basic('ann:x')} ", Credentials("ann", "x")),
        (basic(f"__token__:{TOKEN}"), Credentials("__token__", "", TOKEN)),
        (basic(f"ann:{TOKEN}\n"), Credentials("ann", "", TOKEN)),
        (basic(f":{TOKEN}"), Credentials("", "", TOKEN)),
        (basic(f"{TOKEN}:"), Credentials("", "", TOKEN)),
        (basic("__token__:other"), Credentials("__token__", "", "other")),
        (f"Bearer {TOKEN}", Credentials("", "", TOKEN)),
        (f"TOKEN {TOKEN}", Credentials("", "", TOKEN)),
    ],
)
def test_forms(header: str, found: Credentials) -> None:
    assert credentials(header) == found
    assert is_well_formed(found) is (found.token in (None, TOKEN))


@given(st.text())
def test_whatever_is_sent_is_read_or_refused(header: str) -> None:
    for each in (header, f"Basic {header}", basic(header)):
        try:
            found = credentials(each)
        except Unauthenticated:
            continue
        assert isinstance(found, Credentials)


def test_names() -> None:
    assert check_name("Ann.B-c_d@example+x") == "ann.b-c_d@example+x"
    assert identity("ANN") == identity("ann")
    for wrong in ("", "a b", "a:b", "-a", "é", "x" * 65, "a/b", "a\n", "Anonymous", "authenticated", "PIDEX"):
        assert not is_name(wrong)
        with pytest.raises(BadRequest):
            check_name(wrong)
