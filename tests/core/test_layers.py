"""Who answers for a name: the origin lock as a function of what lies where and what was decided."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from pidex.core import layers
from pidex.core.layers import Answer, Claim, Layer, Origin, Source

NAMES = ("own", "base", "far")
ALL = (*Origin, None)


def claim(index: str, origin: Origin | None, upstream: str | None = None) -> Claim | None:
    return None if origin is None else Claim(index, "foo", origin, upstream, "ann", 1, "because")


def layer(name: str, *, has: bool = False, origin: Origin | None = None, **more: object) -> Layer:
    return Layer(name, has, claim(name, origin), **more)  # type: ignore[arg-type]


lines = st.lists(
    st.builds(
        lambda has, origin, pinned, reserved, upstreams: (has, origin, pinned, reserved, upstreams),
        st.booleans(),
        st.sampled_from(ALL),
        st.sampled_from([None, "pypi", "gone"]),
        st.sampled_from([None, "fo*"]),
        st.lists(st.sampled_from(["pypi", "corp"]), unique=True).map(tuple),
    ),
    min_size=1,
    max_size=3,
).map(
    lambda found: [
        Layer(name, has, claim(name, origin, pinned), reserved, upstreams)
        for name, (has, origin, pinned, reserved, upstreams) in zip(NAMES, found, strict=False)
    ]
)


@given(lines)
def test_nobody_outside_is_asked_for_what_is_ours(line: list[Layer]) -> None:
    choice = layers.choose(line)
    claims = [each.claim.origin for each in line if each.claim is not None]
    inside = any(each.has for each in line)
    if Origin.LOCAL in claims or Origin.BLOCKED in claims or (inside and Origin.MERGED not in claims):
        assert choice.upstreams == ()
    kept = [each for each in line if each.reserved and (each.claim is None)]
    if kept:
        assert choice.upstreams == ()
    for index in choice.indexes:
        assert next(each for each in line if each.name == index).has


@given(lines)
def test_what_lies_inside_is_shown_unless_it_is_blocked(line: list[Layer]) -> None:
    choice = layers.choose(line)
    claims = [each.claim.origin for each in line if each.claim is not None]
    inside = [each.name for each in line if each.has]
    assert (choice.answer is Answer.BLOCKED) == (Origin.BLOCKED in claims)
    if inside and choice.answer is not Answer.BLOCKED:
        assert choice.indexes[0] == inside[0]
        assert [*choice.indexes] in (inside, inside[:1])
    if not inside:
        assert choice.indexes == ()
    assert choice.because


@given(lines)
def test_a_layer_further_away_never_opens_what_a_nearer_one_closes(line: list[Layer]) -> None:
    asked = set(layers.choose(line[:1]).upstreams)
    more = layers.choose(line)
    own = line[0]
    if own.has and (own.claim is None or own.claim.origin is not Origin.MERGED):
        assert not asked
        assert more.answer in (Answer.OWN, Answer.BLOCKED, Answer.MERGED)
    # And no heir opens what a base keeps for itself.
    for each in line:
        if each.claim is not None and each.claim.origin in (Origin.LOCAL, Origin.BLOCKED):
            assert more.upstreams == ()


def test_every_single_case() -> None:
    """{absent, local, upstream, both, deleted, reserved} for an index that has an upstream."""
    up = ("pypi",)
    ask = (Source("own", "pypi"),)
    assert layers.choose([Layer("own", upstreams=up)])[:3] == (Answer.UPSTREAM, (), ask)
    assert layers.choose([Layer("own")]).answer is Answer.ABSENT
    assert layers.choose([Layer("own", True, upstreams=up)])[:3] == (Answer.OWN, ("own",), ())
    both = layer("own", has=True, origin=Origin.MERGED, upstreams=up)
    assert layers.choose([both])[:3] == (Answer.MERGED, ("own",), ask)
    deleted = layer("own", origin=Origin.LOCAL, upstreams=up)
    assert layers.choose([deleted])[:3] == (Answer.CLAIMED, (), ())
    reserved = Layer("own", reserved="fo*", upstreams=up)
    assert layers.choose([reserved])[:3] == (Answer.RESERVED, (), ())
    assert layers.choose([reserved])[4:] == (reserved.name, reserved.reserved)
    # Files under a reserved name are there as any others.
    assert layers.choose([Layer("own", True, reserved="fo*", upstreams=up)]).answer is Answer.OWN
    assert layers.choose([reserved._replace(claim=claim("own", Origin.MERGED))])[:3] == (
        Answer.MERGED,
        (),
        ask,
    )
    pinned = Layer("own", claim=claim("own", Origin.UPSTREAM, "corp"), upstreams=("pypi", "corp"))
    assert layers.choose([pinned]).upstreams == (Source("own", "corp"),)
    assert layers.choose([pinned._replace(upstreams=up)]).answer is Answer.ABSENT


def test_the_sentence_names_who_decided_where() -> None:
    for origin in (Origin.LOCAL, Origin.BLOCKED):
        because = layers.choose([Layer("own"), layer("base", origin=origin)]).because
        assert "index base" in because
        assert "ann: because" in because
    assert "fo*" in layers.choose([Layer("own", reserved="fo*")]).because


def test_bases_come_depth_first_and_once() -> None:
    bases = {"dev": ("team", "main"), "team": ("root",), "main": ("root",), "root": ()}
    assert layers.order("dev", bases) == ("dev", "team", "root", "main")
    assert layers.order("alone", {}) == ("alone",)
    assert layers.order("dev", {"dev": ("gone", "main"), "main": ()}) == ("dev", "main")


@given(
    st.dictionaries(
        st.sampled_from("abcde"), st.lists(st.sampled_from("abcde"), unique=True, max_size=4).map(tuple)
    )
)
def test_orders_end_and_heirs_are_their_inverse(bases: dict[str, tuple[str, ...]]) -> None:
    every: dict[str, tuple[str, ...]] = dict.fromkeys("abcde", ()) | bases
    found = {name: layers.order(name, every) for name in every}
    for name, line in found.items():
        assert line[0] == name
        assert len(set(line)) == len(line)
    heirs = layers.heirs([*every], every)
    for name, other in product(every, every):
        if name != other:
            assert (other in heirs[name]) == (name in found[other])


def test_loops_are_found_with_the_way_they_go() -> None:
    bases = {"dev": ("team",), "team": ("main",), "main": ()}
    assert layers.loop("main", ["dev"], bases) == ("main", "dev", "team", "main")
    assert layers.loop("main", ["main"], bases) == ("main", "main")
    assert layers.loop("new", ["dev", "main"], bases) is None
    assert layers.loop("dev", ["main", "team"], bases) is None
