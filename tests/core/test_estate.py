"""How an index is set by edits: each value checked, in their order, and nothing half."""

from __future__ import annotations

import pytest

from pidex.core import estate
from pidex.core.errors import BadRequest
from pidex.core.estate import MOST_NAMES, Edit, Manner


def after(manner: Manner, *texts: str) -> Manner:
    return estate.edited(manner, estate.edits(texts))


@pytest.mark.parametrize("name", ["main", "a", "team-1.x_y", "0day"])
def test_names_of_indexes(name: str) -> None:
    assert estate.check_index(name) == name
    assert estate.check_upstream(name) == name


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "A", "a b", "a/b", "x" * 64, "a.git", "\N{CYRILLIC SMALL LETTER A}"]
)
def test_names_that_no_index_has(name: str) -> None:
    with pytest.raises(BadRequest, match="cannot be the name of an index"):
        estate.check_index(name)
    with pytest.raises(BadRequest, match="cannot be the name of an upstream"):
        estate.check_upstream(name)


@pytest.mark.parametrize("name", sorted(estate.RESERVED)[:5])
def test_addresses_of_something_else(name: str) -> None:
    with pytest.raises(BadRequest):
        estate.check_index(name)


def test_edits_are_read_as_people_type_them() -> None:
    assert [*estate.edits([" bases=a, b ", "upstreams+=x", "bases-=a", "challenge="])] == [
        Edit("bases", "=", "a, b"), Edit("upstreams", "+=", "x"), Edit("bases", "-=", "a"),
        Edit("challenge", "=", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "bases", "=x", "bases:x", "bases*=x", "ba ses=x"])
def test_what_is_no_edit(text: str) -> None:
    with pytest.raises(BadRequest, match="is no edit"):
        estate.edits([text])


def test_lists_are_set_added_to_and_taken_from() -> None:
    manner = after(Manner(), "bases=a,b,,a", "upstreams+=x", "bases+=c,b", "bases-=a")
    assert (manner.bases, manner.upstreams) == (("b", "c"), ("x",))
    assert after(manner, "bases=").bases == ()
    with pytest.raises(BadRequest, match="bases does not have z: it is b, c"):
        after(manner, "bases-=z")
    with pytest.raises(BadRequest, match="it is empty"):
        after(Manner(), "upstreams-=z")
    with pytest.raises(BadRequest, match=f"takes {MOST_NAMES} names"):
        after(Manner(), "bases=" + ",".join(f"n{number}" for number in range(MOST_NAMES + 1)))


@pytest.mark.parametrize(("text", "words"), [
    ("mutability=sometimes", "mutability is one of"),
    ("mutability+=folder", "mutability is one value"),
    ("challenge=perhaps", "challenge is yes or no"),
    ("challenge-=yes", "challenge is one value"),
    ("colour=blue", "An index has no setting colour. It has bases"),
])  # fmt: skip
def test_values_that_cannot_be(text: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        after(Manner(), text)


def test_values_are_set_and_what_is_default_is_not_kept() -> None:
    manner = after(Manner(), "mutability= Immutable ", "challenge=on")
    assert (manner.mutability, manner.challenge) == ("immutable", True)
    for name, default in estate._POLICY.items():
        spelled = ("yes" if default else "no") if isinstance(default, bool) else default
        assert after(manner, f"{name}={spelled}").policy == (), name
        with pytest.raises(BadRequest):
            after(manner, f"{name}=\N{SNOWMAN}")
    [switch] = [name for name, default in estate._POLICY.items() if isinstance(default, bool)][:1]
    other = "no" if estate._POLICY[switch] else "yes"
    assert after(manner, f"{switch}={other}").policy == ((switch, not estate._POLICY[switch]),)
