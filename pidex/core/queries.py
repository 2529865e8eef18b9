"""What is looked for in names and summaries, which projects fit, and how well."""

from __future__ import annotations

from dataclasses import dataclass

from pidex.core.errors import BadRequest
from pidex.core.names import normalize

#: Characters of one term, and terms of a query, at most.
MAX_TERM, MAX_TERMS = 100, 20


@dataclass(frozen=True, slots=True)
class Query:
    """Terms to be found in names and summaries, in any case. `every`: all of them must be, else one.

    An empty query fits every project. Raises `BadRequest` where it is too long.
    """

    names: tuple[str, ...] = ()
    summaries: tuple[str, ...] = ()
    every: bool = True

    def __post_init__(self) -> None:
        terms = self.names + self.summaries
        if len(terms) > MAX_TERMS or any(len(term) > MAX_TERM for term in terms):
            raise BadRequest(f"A search has at most {MAX_TERMS} terms of {MAX_TERM} characters.")

    def fits(self, name: str, summary: str | None) -> bool:
        """Whether a project fits by its name, as spelled or normalised, and its latest release's summary."""
        text = (summary or "").casefold()
        found = [_named(term, name) for term in self.names]
        found += [term.casefold() in text for term in self.summaries]
        return all(found) if self.every or not found else any(found)

    def score(self, name: str) -> int:
        """3: a term is the name, 2: starts it, 1: is in it, 0: is only in the summary."""
        terms = self.names or self.summaries
        return max((_closeness(normalize(term), normalize(name)) for term in terms), default=0)


def _named(term: str, name: str) -> bool:
    return term.casefold() in name.casefold() or _in(normalize(term), normalize(name))


def _in(term: str, name: str) -> bool:
    """A term of nothing but separators is in no normalised name."""
    return term.strip("-") != "" and term in name


def _closeness(term: str, name: str) -> int:
    if not _in(term, name):
        return 0
    return 3 if term == name else 2 if name.startswith(term) else 1
