"""Why an index answers as it does: who answers for a name, what rules keep back, and who can change that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from pidex.catalogue.engine import Connection
from pidex.core.errors import NotFetched, NotFound, PidexError
from pidex.core.interfaces import Mirrored
from pidex.core.layers import Answer
from pidex.core.model import Page, Withholding
from pidex.core.reasons import Reason, Subject
from pidex.resolver.lineage import Lineage, choose
from pidex.resolver.ruled import Verdict

#: File names that one sentence names; of more it gives the number.
NAMED = 3

_CHANGED_BY = {
    Answer.OWN: "origin merge",
    Answer.MERGED: "origin release",
    Answer.UPSTREAM: "origin claim",
    Answer.CLAIMED: "origin release",
    Answer.RESERVED: "origin unreserve",
    Answer.BLOCKED: "origin release",
}


def who_answers(conn: Connection, line: Lineage, project: str, mirror: Mirrored | None) -> Sequence[Reason]:
    """Which index or upstream answers for a name. Nothing where there is no choice to speak of."""
    choice = choose(conn, line, project, upstreams=mirror is not None)
    plain = len(line) == 1 and not line[0].upstreams
    if plain and choice.answer in (Answer.OWN, Answer.ABSENT, Answer.CLAIMED):
        return ()
    told = [
        Reason(f"answer-{choice.answer.value}", f"{_who(choice.answer, choice.indexes)}: {choice.because}.")
    ]
    command = _CHANGED_BY.get(choice.answer)
    if command is not None:
        told.append(
            Reason(
                "changed-by",
                f"Whoever administers index {line[0].name} can change that: `pidex {command} {project}`.",
            )
        )
    if choice.answer in (Answer.UPSTREAM, Answer.MERGED) and mirror is not None:
        told += [_held(mirror, source.upstream, project) for source in choice.upstreams]
    return told


def what_rules_do(verdict: Verdict, here: str, asked: Subject) -> Sequence[Reason]:
    """What rules and people keep back of what is asked about, by which index, until when."""
    told: list[Reason] = []
    for found, done in ((verdict.page.withheld, "withheld"), (verdict.reported, "shown in a dry run")):
        kept = [each for each in found if asked.covers(each.file.filename)]
        for (index, rule, reason, until), filenames in _grouped(kept, verdict.by, here).items():
            ends = "" if until is None else f" It opens at {_moment(until)}."
            told.append(
                Reason(
                    f"rule-{rule}",
                    f"{_files(filenames)} {'is' if len(filenames) == 1 else 'are'} {done}: {reason} "
                    f"(rule {rule} of index {index}).{ends} {_change(rule, index)}",
                )
            )
    return told


def attempt(page: Callable[[], Page], *, fetch: bool) -> tuple[Page | None, Sequence[Reason]]:
    """The page before policy, or what stands in its way. With `fetch`, `NotFetched` is raised on."""
    try:
        return page(), ()
    except NotFetched as missing:
        if fetch:
            raise
        return None, [Reason("not-asked", f"Upstream {missing.upstream} was not asked for it yet.")]
    except NotFound:
        return None, ()
    except PidexError as error:
        return None, [Reason(error.code, str(error))]


def _who(answer: Answer, names: Sequence[str]) -> str:
    if answer is Answer.OWN:
        return f"Index {names[0]} alone answers for it"
    return {
        Answer.MERGED: "Own files and upstreams answer together",
        Answer.UPSTREAM: "The first upstream that has it answers",
        Answer.CLAIMED: "Nobody answers, and no upstream is asked",
        Answer.RESERVED: "It is refused",
        Answer.BLOCKED: "It is refused",
        Answer.ABSENT: "Nobody answers",
    }[answer]


def _held(mirror: Mirrored, upstream: str, project: str) -> Reason:
    try:
        held = mirror.find_page(upstream, project)
    except PidexError as error:
        return Reason("upstream-down", f"{error}")
    if held is None:
        return Reason("not-asked", f"Upstream {upstream} was not asked for it yet.")
    if held.page is None:
        return Reason(
            "upstream-absent", f"Upstream {upstream} does not have it, it said at {_moment(held.fetched)}."
        )
    return Reason(
        "upstream-has",
        f"Upstream {upstream} has {len(held.page.files):,} files of it, it said at {_moment(held.fetched)}.",
    )


def _grouped(
    kept: Iterable[Withholding], by: Mapping[str, str], here: str
) -> Mapping[tuple[str, str, str, float | None], list[str]]:
    found: dict[tuple[str, str, str, float | None], list[str]] = {}
    for each in kept:
        key = (by.get(each.file.filename, here), each.rule, each.reason, each.until)
        found.setdefault(key, []).append(each.file.filename)
    return found


def _files(filenames: Sequence[str]) -> str:
    if len(filenames) <= NAMED:
        return ", ".join(filenames)
    return f"{filenames[0]} and {len(filenames) - 1:,} others"


def _change(rule: str, index: str) -> str:
    who = f"Whoever administers index {index} can change that"
    if rule == "hold":
        return f"{who}: `pidex policy unhold`."
    return f"{who}: `pidex policy set {rule}=...`, or for a while `pidex policy exempt`."


def _moment(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return "an impossible time"
