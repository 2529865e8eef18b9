"""Search terms: which projects fit, and how well."""

from __future__ import annotations

import pytest

from pidex.core.errors import BadRequest
from pidex.core.queries import MAX_TERM, MAX_TERMS, Query


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        (Query(("foo",)), True),
        (Query(("FOO_b",)), True),
        (Query(("foo-bar",)), True),
        (Query(("o.B",)), True),
        (Query(("baz",)), False),
        (Query(("-",)), False),
        (Query((".",)), True),  # it is in the name as spelled
        (Query(("",)), True),
        (Query(), True),
        (Query((), (), every=False), True),
        (Query((), ("DAS",)), True),
        (Query((), ("gross",)), True),  # casefolded, ß is ss
        (Query((), ("no",)), False),
        (Query(("foo",), ("no",)), False),
        (Query(("foo",), ("no",), every=False), True),
        (Query(("foo", "no")), False),
        (Query(("foo", "no"), every=False), True),
    ],
)
def test_terms_fit_in_any_case_and_spelling(query: Query, fits: bool) -> None:
    assert query.fits("Foo.Bar", "Das ist groß") is fits


def test_a_project_without_a_summary_fits_by_its_name() -> None:
    assert Query(("foo",), ("foo",), every=False).fits("foo", None)
    assert not Query((), ("foo",)).fits("foo", None)


@pytest.mark.parametrize(("term", "score"), [("FOO_BAR", 3), ("foo", 2), ("bar", 1), ("baz", 0), ("", 0)])
def test_the_name_itself_is_closest(term: str, score: int) -> None:
    assert Query((term,)).score("Foo.Bar") == score


@pytest.mark.parametrize("terms", [("x" * (MAX_TERM + 1),), ("x",) * (MAX_TERMS + 1)])
def test_a_query_is_bounded(terms: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest):
        Query(terms)
    with pytest.raises(BadRequest):
        Query((), terms)
