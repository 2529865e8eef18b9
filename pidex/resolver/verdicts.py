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
from pidex.core.sentences import Sentence, said
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
        Reason(
            f"answer-{choice.answer.value}",
            said("%(who)s: %(because)s.", who=_who(choice.answer, choice.indexes), because=choice.because),
        )
    ]
    command = _CHANGED_BY.get(choice.answer)
    if command is not None:
        told.append(
            Reason(
                "changed-by",
                said(
                    "Whoever administers index %(index)s can change that: `pidex %(command)s %(project)s`.",
                    index=choice.decided or line[0].name,
                    command=command,
                    project=choice.pattern or project,
                ),
            )
        )
    if choice.answer in (Answer.UPSTREAM, Answer.MERGED) and mirror is not None:
        told += [_held(mirror, source.upstream, project) for source in choice.upstreams]
    return told


def what_rules_do(verdict: Verdict, here: str, asked: Subject) -> Sequence[Reason]:
    """What rules and people keep back of what is asked about, by which index, until when."""
    told: list[Reason] = []
    for found, dry in ((verdict.page.withheld, False), (verdict.reported, True)):
        kept = [each for each in found if asked.covers(each.file.filename)]
        for (index, rule, reason), filenames in _grouped(kept, verdict.by, here).items():
            text = _kept_back(_files(filenames), several=len(filenames) > 1, dry=dry)
            text = said(
                "%(what)s: %(reason)s (rule %(rule)s of index %(index)s).",
                what=text,
                reason=reason,
                rule=rule,
                index=index,
            )
            text = said("%(what)s %(change)s", what=text, change=_change(rule, index))
            told.append(Reason(f"rule-{rule}", text))
    return told


def _kept_back(files: str, *, several: bool, dry: bool) -> Sentence:
    if several:
        message = said("%(files)s are shown in a dry run", files=files)
        return message if dry else said("%(files)s are withheld", files=files)
    message = said("%(files)s is shown in a dry run", files=files)
    return message if dry else said("%(files)s is withheld", files=files)


def attempt(page: Callable[[], Page], *, fetch: bool) -> tuple[Page | None, Sequence[Reason]]:
    """The page before policy, or what stands in its way. With `fetch`, `NotFetched` is raised on."""
    try:
        return page(), ()
    except NotFetched as missing:
        if fetch:
            raise
        return None, [
            Reason(
                "not-asked",
                said("Upstream %(upstream)s was not asked for it yet.", upstream=missing.upstream),
            )
        ]
    except NotFound:
        return None, ()
    except PidexError as error:
        return None, [Reason(error.code, str(error))]


def _who(answer: Answer, names: Sequence[str]) -> Sentence:
    if answer is Answer.OWN:
        return said("Index %(index)s alone answers for it", index=names[0])
    return {
        Answer.MERGED: said("Own files and upstreams answer together"),
        Answer.UPSTREAM: said("The first upstream that has it answers"),
        Answer.CLAIMED: said("Nobody answers, and no upstream is asked"),
        Answer.RESERVED: said("It is refused"),
        Answer.BLOCKED: said("It is refused"),
        Answer.ABSENT: said("Nobody answers"),
    }[answer]


def _held(mirror: Mirrored, upstream: str, project: str) -> Reason:
    try:
        held = mirror.find_page(upstream, project)
    except PidexError as error:
        return Reason("upstream-down", str(error))
    if held is None:
        return Reason("not-asked", said("Upstream %(upstream)s was not asked for it yet.", upstream=upstream))
    if held.page is None:
        return Reason(
            "upstream-absent",
            said(
                "Upstream %(upstream)s does not have it, it said at %(moment)s.",
                upstream=upstream,
                moment=_moment(held.fetched),
            ),
        )
    return Reason(
        "upstream-has",
        said(
            "Upstream %(upstream)s has %(files)s files of it, it said at %(moment)s.",
            upstream=upstream,
            files=f"{len(held.page.files):,}",
            moment=_moment(held.fetched),
        ),
    )


def _grouped(
    kept: Iterable[Withholding], by: Mapping[str, str], here: str
) -> Mapping[tuple[str, str, str], list[str]]:
    found: dict[tuple[str, str, str], list[str]] = {}
    for each in kept:
        key = (by.get(each.file.filename, here), each.rule, each.reason)
        found.setdefault(key, []).append(each.file.filename)
    return found


def _files(filenames: Sequence[str]) -> str:
    if len(filenames) <= NAMED:
        return ", ".join(filenames)
    return said("%(first)s and %(number)s others", first=filenames[0], number=f"{len(filenames) - 1:,}")


def _change(rule: str, index: str) -> Sentence:
    if rule == "hold":
        return said(
            "Whoever administers index %(index)s can change that: `pidex policy unhold`.", index=index
        )
    if rule == "malware":
        return said(
            "Whoever administers index %(index)s can change that:"
            " `pidex policy set advisories_accepted+=...` with the advisory's id.",
            index=index,
        )
    return said(
        "Whoever administers index %(index)s can change that: `pidex policy set %(rule)s=...`,"
        " or for a while `pidex policy exempt`.",
        index=index,
        rule=rule,
    )


def _moment(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return "an impossible time"
