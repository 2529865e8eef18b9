"""What a search finds and how it is narrowed: documents of projects, filters, facets, and near names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from operator import itemgetter
from typing import Final, NamedTuple

from pidex.core.errors import BadRequest
from pidex.core.metadata import Metadata

#: Characters of a query, and words of it that count.
MAX_QUERY: Final = 300
MAX_WORDS: Final = 12
#: Letters of normalised names.
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789-"
#: Names that are looked at for one that was perhaps meant, and characters from which on two may be wrong.
MAX_NEAR: Final = 2_000
LONG_CHARS: Final = 6
#: Characters of a README that are looked through.
MAX_BODY: Final = 20_000
#: Values of one facet that are offered.
MAX_VALUES: Final = 12
#: Seconds in a day, by which 'updated' counts.
DAY: Final = 86_400

#: Runs of Han and kana: no spaces between their words, so each character is one.
_DENSE: Final = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")
_LICENCES: Final = re.compile(r"\ALicense :: (?:OSI Approved :: )?(.+)\Z")


@dataclass(frozen=True, slots=True)
class Document:
    """A project as a search sees it: its latest release, and what its files fit. `updated` in microseconds.

    `needs`: each project that the latest release requires, with the requirement's text.
    """

    project: str
    name: str
    version: str
    summary: str = ""
    keywords: str = ""
    body: str = ""
    licence: str = ""
    origin: str = ""
    status: str = "active"
    updated: int = 0
    files: int = 0
    pythons: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    needs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A project that was found, without its texts."""

    index: str
    project: str
    name: str
    version: str
    summary: str
    origin: str
    status: str
    updated: int


#: As much of a project as it takes to choose among thousands: index, name, kind (what it can be narrowed by,
#: see `kind_of`), and when it was updated, in microseconds. A plain tuple, as a database hands it over.
Candidate = tuple[str, str, str, int]


class Kind(NamedTuple):
    """What projects share that are alike; see `kind_of`."""

    origin: str
    status: str
    licence: str
    pythons: tuple[str, ...]
    platforms: tuple[str, ...]


def kind_text(document: Document) -> str:
    """The kind of a document as one text, so that thousands of them are read quickly."""
    d = document
    parts = (d.origin, d.status, d.licence, " ".join(d.pythons), " ".join(d.platforms))
    return "\n".join(" ".join(part.split()) for part in parts)


@lru_cache(maxsize=4_096)
def kind_of(text: str) -> Kind:
    """What `kind_text` wrote."""
    origin, status, licence, pythons, platforms = text.split("\n")
    return Kind(origin, status, licence, tuple(pythons.split()), tuple(platforms.split()))


@dataclass(frozen=True, slots=True)
class Filters:
    """What a search is narrowed to; empty: not. `days`: updated within so many days."""

    index: str = ""
    origin: str = ""
    python: str = ""
    platform: str = ""
    licence: str = ""
    status: str = ""
    days: int = 0

    def narrow(self, found: Sequence[Candidate], now: float) -> Sequence[Candidate]:
        """Those of what was found that stay, in their order. `now` in Unix seconds."""
        if not self.used:
            return found
        since = (now - self.days * DAY) * 1_000_000 if self.days else 0
        fits = cache(lambda kind: self._fits(kind_of(kind)))
        return [
            (index, project, kind, updated)
            for index, project, kind, updated in found
            if updated >= since and self.index in ("", index) and fits(kind)
        ]

    def _fits(self, kind: Kind) -> bool:
        return (
            self.origin in ("", kind.origin or OWN)
            and (not self.python or self.python in kind.pythons)
            and (not self.platform or self.platform in kind.platforms)
            and self.licence in ("", kind.licence)
            and self.status in ("", kind.status)
        )

    @property
    def used(self) -> Mapping[str, str]:
        """Those that narrow, as they stand in a URL."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: str(value) for name, value in values.items() if value}


#: How what was not fetched from elsewhere is called in filters.
OWN: Final = "own"
#: Days that 'updated' offers.
DAYS: Final = (7, 30, 365)


def facets(found: Iterable[Candidate]) -> Mapping[str, Sequence[tuple[str, int]]]:
    """The values that what was found can be narrowed by, the most frequent first, with their numbers."""
    # Many are alike: what they share is taken apart once for all of them.
    alike = Counter(map(itemgetter(0, 2), found))
    counts: dict[str, Counter[str]] = {
        name: Counter() for name in ("index", "origin", "python", "platform", "licence", "status")
    }
    for (index, text), number in alike.items():
        kind = kind_of(text)
        counts["index"][index] += number
        counts["origin"][kind.origin or OWN] += number
        counts["status"][kind.status] += number
        for python in kind.pythons:
            counts["python"][python] += number
        for platform in kind.platforms:
            counts["platform"][platform] += number
        if kind.licence:
            counts["licence"][kind.licence] += number
    told = {name: counter.most_common(MAX_VALUES) for name, counter in counts.items()}
    told["python"] = sorted(counts["python"].items(), key=lambda item: _number(item[0]))[-MAX_VALUES:]
    return told


def words(query: str) -> tuple[str, ...]:
    """The words of a query. Raises `BadRequest` for one that is too long."""
    if len(query) > MAX_QUERY:
        raise BadRequest(f"A search has at most {MAX_QUERY} characters.")
    cleaned = "".join(each if each.isprintable() else " " for each in query)
    return tuple(dict.fromkeys(word for word in cleaned.split() if any(map(str.isalnum, word))))[:MAX_WORDS]


def spread(text: str) -> str:
    """A text of which each Chinese or Japanese character is a word of its own."""
    return _DENSE.sub(r" \1 ", text)


def licence(metadata: Metadata) -> str:
    """A licence in a few words: the expression, the classifier, or the field where it is short."""
    if metadata.license_expression:
        return metadata.license_expression[:100]
    for classifier in metadata.classifiers:
        match = _LICENCES.match(classifier)
        if match:
            return match[1].rpartition(" :: ")[2][:100]
    short = (metadata.license or "").strip()
    return short if len(short) <= 60 and "\n" not in short else ""


def mistyped(name: str) -> list[str]:
    """Every normalised name of which a text may be a typing of one wrong letter, the text itself too."""
    cuts = [(name[:at], name[at:]) for at in range(len(name) + 1)]
    found = {name}
    for before, after in cuts:
        if after:
            found.add(before + after[1:])
            found.update(before + letter + after[1:] for letter in LETTERS)
        if len(after) > 1:
            found.add(before + after[1] + after[0] + after[2:])
        found.update(before + letter + after for letter in LETTERS)
    return sorted(found - {""})


def distance(one: str, other: str, most: int) -> int | None:
    """How many letters were typed wrong: left out, put in, exchanged or swapped; None: more than `most`."""
    if abs(len(one) - len(other)) > most or len({*one} ^ {*other}) > 2 * most:
        return None  # most names end here, cheaply
    # What both begin and end with is no error; what is left is short.
    start = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    if start is None:
        return abs(len(one) - len(other))
    one, other = one[start:], other[start:]
    while one and other and one[-1] == other[-1]:
        one, other = one[:-1], other[:-1]
    if not one or not other:
        return len(one) + len(other)
    far = most + 1
    before: list[int] = []
    row: list[int] = [*range(len(other) + 1)]
    for number, letter in enumerate(one, 1):
        last, before, row = before, row, [min(number, far)] + [far] * len(other)
        for at in range(max(1, number - most), min(len(other), number + most) + 1):
            beside = other[at - 1]
            cost = min(before[at] + 1, row[at - 1] + 1, before[at - 1] + (letter != beside))
            if number > 1 and at > 1 and letter == other[at - 2] and one[number - 2] == beside:
                cost = min(cost, last[at - 2] + 1)
            row[at] = cost
        if min(row) > most:
            return None
    return row[-1] if row[-1] <= most else None


def by_name(found: Iterable[Candidate], words: Sequence[str]) -> Sequence[Candidate]:
    """What was found, by its names: the one that was typed, those that begin with it, those that hold it."""
    exact = "-".join(words).lower().replace("_", "-").replace(".", "-")

    def far(each: Candidate) -> tuple[bool, bool, bool]:
        return each[1] != exact, not each[1].startswith(exact), exact not in each[1]

    return sorted(found, key=far)


def nearest(
    name: str,
    limit: int,
    *,
    equal: Callable[[Sequence[str]], Iterable[str]],
    alike: Callable[..., Iterable[str]],
) -> list[str]:
    """Names that were perhaps meant, the nearest first, of those that are known.

    Every name that is one wrong letter away is looked up (`equal`): they are few, of however many names there
    are. Only where there is none, names with two wrong letters are looked for, of which one half is right:
    `alike(start, lengths, limit, backwards=...)` lists those that begin so, or end so, written backwards.
    """
    if len(name) < 3:
        return []
    candidates, most = {*equal(mistyped(name))}, 1
    if not candidates and len(name) >= LONG_CHARS:
        most, half = 2, len(name) // 2
        lengths = (len(name) - most, len(name) + most)
        candidates = {*alike(name[:half], lengths, MAX_NEAR, backwards=False)}
        ends = alike(name[half:][::-1], lengths, MAX_NEAR, backwards=True)
        candidates.update(end[::-1] for end in ends)
    steps = {each: distance(name, each, most) for each in candidates}
    close = sorted((step, each) for each, step in steps.items() if step is not None)
    return [each for _, each in close[:limit]]


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
