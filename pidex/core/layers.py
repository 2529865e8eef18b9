"""Which of an index, its bases and its upstreams answer for a name, in which order, and why (origin lock)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import NamedTuple

from pidex.core.sentences import Sentence, said


class Origin(StrEnum):
    """Whose a name is."""

    LOCAL = "local"  # ours: no upstream is ever asked for it, not even whether it has it
    UPSTREAM = "upstream"  # an upstream's: uploads of it are refused
    MERGED = "merged"  # both: own file names win
    BLOCKED = "blocked"  # nobody's: neither own files nor those of upstreams are shown


@dataclass(frozen=True, slots=True)
class Claim:
    """What was decided of a name in an index. `at` in microseconds since 1970.

    `upstream`: the only one that is asked, where the origin is that.
    """

    index: str
    project: str
    origin: Origin
    upstream: str | None
    by: str
    at: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Reservation:
    """Names that are kept for this installation: `pattern` is an `fnmatch` pattern of normalised names."""

    index: str
    pattern: str
    by: str
    at: int
    reason: str | None = None


class Layer(NamedTuple):
    """An index of a lineage, and what it has to do with one name.

    `has`: whether anything of the name lies there, whole or not. `reserved`: the pattern that keeps the name.
    """

    name: str
    has: bool = False
    claim: Claim | None = None
    reserved: str | None = None
    upstreams: tuple[str, ...] = ()


class Answer(StrEnum):
    """How a name is answered for."""

    OWN = "own"  # by one index alone
    MERGED = "merged"  # by all that have it, upstreams too
    UPSTREAM = "upstream"  # by the first upstream that has it
    CLAIMED = "claimed"  # by nobody, and nobody outside is asked
    RESERVED = "reserved"  # refused: the name is kept
    BLOCKED = "blocked"  # refused: the name is blocked
    ABSENT = "absent"  # by nobody: there is nobody to ask


class Source(NamedTuple):
    """An upstream, and the index (`owner`) that has it: whose rights its contents have."""

    owner: str
    upstream: str


class Choice(NamedTuple):
    """Who answers: own files of `indexes`, in order; then `upstreams`, in order. `because`: a sentence.

    `decided`: the index in which that was said, where somebody said it; `pattern`: of the reservation.
    """

    answer: Answer
    indexes: tuple[str, ...] = ()
    upstreams: tuple[Source, ...] = ()
    because: str = ""
    decided: str = ""
    pattern: str = ""


def order(index: str, bases: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """An index, then its bases: depth first, each once, where it comes first. Loops end where they close."""
    found: dict[str, None] = {}
    waiting = [index]
    while waiting:
        name = waiting.pop()
        if name not in found and (name in bases or name == index):
            found[name] = None
            waiting.extend(reversed(bases.get(name, ())))
    return tuple(found)


def path(index: str, base: str, bases: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The indexes between an index and one of its bases, both included: the way on which `order` meets it."""
    found: dict[str, tuple[str, ...]] = {}
    waiting: list[tuple[str, tuple[str, ...]]] = [(index, (index,))]
    while waiting and base not in found:
        name, way = waiting.pop()
        if name not in found:
            found[name] = way
            waiting.extend((each, (*way, each)) for each in reversed(bases.get(name, ())))
    return found.get(base, (index,))


def heirs(changed: Collection[str], bases: Mapping[str, Sequence[str]]) -> Mapping[str, frozenset[str]]:
    """For each of those indexes, all others that have it among their bases, however far."""
    lines = {name: frozenset(order(name, bases)) for name, above in bases.items() if above}
    return {
        name: frozenset(heir for heir, line in lines.items() if name in line and heir != name)
        for name in changed
    }


def loop(index: str, above: Iterable[str], bases: Mapping[str, Sequence[str]]) -> tuple[str, ...] | None:
    """The way from an index back to itself that it would have with these bases; None: there is none."""
    for base in above:
        if base == index:
            return (index, index)
        found = _way(base, index, bases, set())
        if found is not None:
            return (index, *found)
    return None


def _way(start: str, end: str, bases: Mapping[str, Sequence[str]], seen: set[str]) -> tuple[str, ...] | None:
    seen.add(start)
    for base in bases.get(start, ()):
        if base == end:
            return (start, end)
        found = None if base in seen else _way(base, end, bases, seen)
        if found is not None:
            return (start, *found)
    return None


def keeps(reservations: Iterable[Reservation], project: str) -> Reservation | None:
    """The first reservation that keeps a name."""
    return next((each for each in reservations if fnmatchcase(project, each.pattern)), None)


def choose(layers: Sequence[Layer]) -> Choice:
    """Who answers for a name: `layers` are an index and its bases in order, with what each has to do with it.

    The strictest of their claims holds, so no heir opens what a base keeps to itself: blocked, then local,
    then merged. What lies inside keeps upstreams out unless the name is merged (CNF-1); a name of which
    nothing lies inside, and which is claimed or reserved, is nobody else's (CNF-2, CNF-3).
    """
    claims = {layer.claim.origin: layer.claim for layer in reversed(layers) if layer.claim is not None}
    blocked, local = claims.get(Origin.BLOCKED), claims.get(Origin.LOCAL)
    if blocked is not None:
        return Choice(Answer.BLOCKED, because=_claimed(blocked, said("blocked")), decided=blocked.index)
    inside = tuple(layer.name for layer in layers if layer.has)
    sources = _sources(layers)
    keeping = next((layer for layer in layers if _keeps(layer)), None)
    merged = None if local is not None or keeping is not None else claims.get(Origin.MERGED)
    if merged is not None and (inside or sources):
        return Choice(Answer.MERGED, inside, sources, _claimed(merged, said("merged")), merged.index)
    if inside:
        return Choice(Answer.OWN, inside[:1], because=_inside(inside, local))
    if keeping is not None:
        pattern = keeping.reserved or ""
        return Choice(Answer.RESERVED, because=_kept(keeping), decided=keeping.name, pattern=pattern)
    if local is not None:
        return Choice(Answer.CLAIMED, because=_claimed(local, said("local")), decided=local.index)
    pinned = claims.get(Origin.UPSTREAM)
    because = said("nothing of that name lies inside, and nobody claimed it")
    if pinned is not None and pinned.upstream is not None:
        sources = tuple(source for source in sources if source.upstream == pinned.upstream)
        because = _claimed(pinned, said("that of upstream %(upstream)s", upstream=pinned.upstream))
    return Choice(Answer.UPSTREAM if sources else Answer.ABSENT, upstreams=sources, because=because)


def _keeps(layer: Layer) -> bool:
    """Whether an index keeps the name by a pattern, and did not itself decide otherwise for this one."""
    return layer.reserved is not None and (layer.claim is None or layer.claim.origin is Origin.LOCAL)


def _sources(layers: Sequence[Layer]) -> tuple[Source, ...]:
    found: dict[str, Source] = {}
    for layer in layers:
        for upstream in layer.upstreams:
            found.setdefault(upstream, Source(layer.name, upstream))
    return tuple(found.values())


def _claimed(claim: Claim, what: Sentence) -> Sentence:
    values = {"index": claim.index, "what": what, "by": claim.by}
    if claim.reason:
        return said(
            "in index %(index)s the name is %(what)s, says %(by)s: %(reason)s", reason=claim.reason, **values
        )
    return said("in index %(index)s the name is %(what)s, says %(by)s", **values)


def _kept(layer: Layer) -> Sentence:
    return said("index %(index)s keeps %(pattern)s for itself", index=layer.name, pattern=layer.reserved)


def _inside(inside: Sequence[str], local: Claim | None) -> Sentence:
    text = said("index %(index)s is the first that has something of that name", index=inside[0])
    if len(inside) > 1:
        text = said("%(what)s, before %(others)s", what=text, others=", ".join(inside[1:]))
    if local is not None:
        text = said("%(what)s; %(claim)s", what=text, claim=_claimed(local, said("local")))
    return text
