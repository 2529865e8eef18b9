"""The throttle: bounded guesses, refilled, for account and address, in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pidex.core import throttle
from pidex.core.throttle import ACCOUNT_GUESSES, ADDRESS_GUESSES, ADDRESS_SECONDS, Throttle, seconds


def evaluated(found: Throttle, account: str, address: str | None, now: float, count: int = 100) -> int:
    return sum(not isinstance(found.take(account, address, now), float) for _ in range(count))


def test_an_account_and_an_address_have_a_bucket_each() -> None:
    found = Throttle()
    assert evaluated(found, "ann", "10.0.0.1", 0) == ACCOUNT_GUESSES
    assert evaluated(found, "ann", "10.0.0.2", 0) == 0
    assert evaluated(found, "bob", "10.0.0.1", 0) == ADDRESS_GUESSES - ACCOUNT_GUESSES
    assert evaluated(found, "bob", "10.0.0.2", 0) == ACCOUNT_GUESSES - (ADDRESS_GUESSES - ACCOUNT_GUESSES)
    assert evaluated(found, "cid", None, 0) == ACCOUNT_GUESSES


def test_a_bucket_fills_again_and_no_further() -> None:
    found = Throttle()
    evaluated(found, "ann", "10.0.0.1", 0)
    wait = found.take("ann", "10.0.0.1", 10)
    assert isinstance(wait, float)
    assert wait == pytest.approx(50)
    assert evaluated(found, "ann", "10.0.0.1", 10 + wait) == 1
    assert evaluated(found, "ann", "10.0.0.1", 1_000_000) == ACCOUNT_GUESSES
    assert isinstance(found.take("ann", "10.0.0.1", 0), float), "a clock that goes back fills nothing"


def test_right_guesses_cost_nothing() -> None:
    found = Throttle()
    for _ in range(1000):
        ticket = found.take("ann", "10.0.0.1", 0)
        assert not isinstance(ticket, float)
        found.right(ticket, 0)
    assert evaluated(found, "bob", "10.0.0.1", 0) == ACCOUNT_GUESSES


def test_many_at_once_are_paid_for_before_they_are_evaluated() -> None:
    found = Throttle()
    tickets = [found.take("ann", "10.0.0.1", 0) for _ in range(50)]
    good = [ticket for ticket in tickets if not isinstance(ticket, float)]
    assert len(good) == ACCOUNT_GUESSES


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:0:1::", "2001:0db8:0000:0000:2::9", True),
        ("2001:db8:0:1::1", "2001:db8::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("unix", "192.0.2.2", False),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    found = Throttle()
    for number in range(ADDRESS_GUESSES):
        found.take(f"user{number}", one, 0)
    assert isinstance(found.take("ann", other, 0), float) is same


@given(st.text(max_size=60))
def test_any_text_is_an_address(text: str) -> None:
    found = Throttle()
    assert evaluated(found, "ann", text, 0) == ACCOUNT_GUESSES


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "BUCKETS", 100)
    monkeypatch.setattr(throttle, "KNOWN", 10)
    found = Throttle()
    for number in range(1000):
        ticket = found.take(f"user{number}", f"10.0.0.{number}", 0)
        assert not isinstance(ticket, float)
        found.right(ticket, 0)
    assert len(found) <= 100
    assert len(found._known) <= 10


def test_waits_are_whole_seconds() -> None:
    assert [seconds(wait) for wait in (0.0, 0.2, 1.0, 1.2, ADDRESS_SECONDS)] == [1, 1, 1, 2, 30]
