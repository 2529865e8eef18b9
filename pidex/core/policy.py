"""What of its contents an index shows: rules over files, one pure function, and what ends when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pidex.core import names
from pidex.core.advisories import Advisories
from pidex.core.licences import accepts, matches
from pidex.core.model import SEVERITIES, Advisory, File, PackageType, Withholding
from pidex.core.sentences import said
from pidex.core.tags import Wanted, platforms_of, runs_on
from pidex.core.terms import Term

#: Microseconds in a second: files have their times in them.
_US = 1_000_000
#: `min_age` that is suggested for names of upstreams, in seconds (quality B2).
SUGGESTED_AGE = 3 * 86_400


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of an index. What is empty, zero or None asks for nothing.

    `scope`: 'upstream' (mirrored files alone) or 'all'. `min_age` in seconds, `freeze_at` in microseconds
    since 1970, `max_size` in bytes. `allow`, `deny` and `constraints` are terms ('name', 'acme-*',
    'name>=2,<3'); `constrained`: projects that no constraint speaks of are not shown. `types` are package
    types, `platforms` patterns of platform tags, `pythons` versions as 'X.Y'. `licences`: patterns of licence
    expressions that are allowed, `licences_denied` those that are not, `licence_unknown` whether a file that
    says nothing is shown. `malware`: whether what advisories call malware is kept back; `vulnerable` and
    `vulnerable_yanked`: the severity (of `SEVERITIES`) from which on a release with a known vulnerability is
    kept back, or yanked; `advisories_accepted`: ids (of aliases, too) that count for nothing. `dry_run`:
    nothing is kept back but malware, everything is reported.
    """

    scope: str = "upstream"
    allow: tuple[Term, ...] = ()
    deny: tuple[Term, ...] = ()
    constraints: tuple[Term, ...] = ()
    constrained: bool = False
    min_age: int = 0
    freeze_at: int | None = None
    prereleases: bool = True
    types: frozenset[str] = frozenset()
    platforms: tuple[str, ...] = ()
    pythons: tuple[Wanted, ...] = ()
    max_size: int = 0
    keep_latest: int = 0
    licences: tuple[str, ...] = ()
    licences_denied: tuple[str, ...] = ()
    licence_unknown: bool = True
    malware: bool = True
    vulnerable: str = ""
    vulnerable_yanked: str = ""
    advisories_accepted: frozenset[str] = frozenset()
    dry_run: bool = False

    @property
    def licensed(self) -> bool:
        """Whether licences matter."""
        return bool(self.licences or self.licences_denied or not self.licence_unknown)


@dataclass(frozen=True, slots=True)
class Exemption:
    """What a term names is shown whatever the rules say, until a time (microseconds since 1970) if any."""

    term: Term
    until: int | None
    reason: str

    def is_over(self, now: float) -> bool:
        """Whether it ended before a time in Unix seconds."""
        return self.until is not None and self.until <= now * _US


@dataclass(frozen=True, slots=True)
class Hold:
    """A release or a file that a person keeps back. `target`: canonical version, or casefolded file name."""

    scope: str
    target: str
    reason: str

    def covers(self, file: File) -> bool:
        if self.scope == "file":
            return file.filename.casefold() == self.target
        return names.canonical_version(file.version) == self.target


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is shown and what is kept back, both in the order they came in.

    `reported`: what would be kept back, were this no dry run. `valid_until`: when the answer changes by
    itself, Unix time.
    """

    shown: tuple[File, ...]
    withheld: tuple[Withholding, ...] = ()
    reported: tuple[Withholding, ...] = ()
    valid_until: float | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the rules need to know beside the files. `now` in Unix seconds.

    `licence` tells a file's licence expression, or what stands for it; None where nobody knows.
    """

    now: float
    advisories: Advisories = field(default_factory=Advisories)
    exemptions: Sequence[Exemption] = ()
    holds: Sequence[Hold] = ()
    licence: Callable[[File], str | None] = field(default=lambda _file: None)


#: Asks for nothing.
NONE = Rules()


def judge(rules: Rules, files: Sequence[File], at: Circumstances) -> Judgement:
    """Which of a project's files an index shows. List, page, metadata, bytes, JSON and search all ask here.

    Holds and malware come first and no exemption lifts them; an exemption lifts every rule.
    """
    if rules == NONE and not at.holds and not concerned(rules, at.advisories):
        return Judgement(tuple(files))
    held: dict[str, Withholding] = {}
    ruled: dict[str, Withholding] = {}
    changes: list[float] = []
    for file in files:
        hold = next((each for each in at.holds if each.covers(file)), None)
        if hold is not None:
            held[file.filename] = Withholding(
                file, "hold", said("it is quarantined here: %(reason)s", reason=hold.reason)
            )
            continue
        if rules.scope == "upstream" and not file.origin:
            continue
        malware = _malware(rules, file, at)
        if malware is not None:
            why = said("it is malware: %(advisory)s", advisory=malware.told)
            held[file.filename] = Withholding(file, "malware", why)
            continue
        exemption = next((each for each in at.exemptions if _exempts(each, file, at.now)), None)
        if exemption is not None:
            if exemption.until is not None:
                changes.append(exemption.until / _US)
            continue
        found = _against(rules, file, at)
        if found is not None:
            ruled[file.filename] = found
            if found.until is not None:
                changes.append(found.until)
    if rules.keep_latest:
        ruled |= _older(rules, [f for f in files if f.filename not in held and f.filename not in ruled], at)
    applied = held if rules.dry_run else {**held, **ruled}
    return Judgement(
        tuple(file for file in files if file.filename not in applied),
        tuple(applied[file.filename] for file in files if file.filename in applied),
        tuple(ruled[file.filename] for file in files if file.filename in ruled) if rules.dry_run else (),
        min((change for change in changes if change > at.now), default=None),
    )


def concerned(rules: Rules, known: Advisories) -> bool:
    """Whether advisories of a project may make a difference to what is shown of it, or how."""
    return any(
        (each.malware and rules.malware)
        or any(_weighs(each, least) for least in (rules.vulnerable, rules.vulnerable_yanked))
        for each in known.every
        if not _accepted(rules, each)
    )


def vulnerable_yank(rules: Rules, file: File, at: Circumstances) -> str | None:
    """Why a file that is shown counts as yanked for its known vulnerabilities; None where it does not."""
    if rules.dry_run or not rules.vulnerable_yanked or (rules.scope == "upstream" and not file.origin):
        return None
    if any(_exempts(each, file, at.now) for each in at.exemptions):
        return None
    found = _vulnerability(rules, file, at, rules.vulnerable_yanked)
    return None if found is None else f"known vulnerability: {found.told}"


def _malware(rules: Rules, file: File, at: Circumstances) -> Advisory | None:
    if not rules.malware:
        return None
    every = at.advisories.of(file.version)
    return next((each for each in every if each.malware and not _accepted(rules, each)), None)


def _vulnerability(rules: Rules, file: File, at: Circumstances, least: str) -> Advisory | None:
    """The worst vulnerability of a file's release from a severity on."""
    every = at.advisories.of(file.version)
    return next((each for each in every if _weighs(each, least) and not _accepted(rules, each)), None)


def _weighs(advisory: Advisory, least: str) -> bool:
    return bool(least) and not advisory.malware and advisory.severity >= SEVERITIES.index(least)


def _accepted(rules: Rules, advisory: Advisory) -> bool:
    return not rules.advisories_accepted.isdisjoint((advisory.id, *advisory.aliases))


def hides_project(rules: Rules, project: str, *, mirrored: bool) -> str | None:
    """Why no file of a project can ever be shown, by its name alone; None where some may be.

    For lists of names: no file has to be looked at. `mirrored`: an upstream has it, not this installation.
    """
    if rules.dry_run or (rules.scope == "upstream" and not mirrored):
        return None
    if rules.allow and not any(term.names(project) for term in rules.allow):
        return "no allowed name covers it"
    if any(term.names(project) and term.is_whole for term in rules.deny):
        return "its name is denied"
    if rules.constrained and not any(term.names(project) for term in rules.constraints):
        return "no constraint names it"
    return None


def _exempts(exemption: Exemption, file: File, now: float) -> bool:
    return not exemption.is_over(now) and exemption.term.covers(file.project, file.version)


def _against(rules: Rules, file: File, at: Circumstances) -> Withholding | None:
    """The first rule that keeps a file back."""
    for rule, check in _CHECKS:
        reason = check(rules, file, at)
        if reason is not None:
            text, until = reason
            return Withholding(file, rule, text, until)
    return None


_Reason = tuple[str, float | None]


def _denied(rules: Rules, file: File, _at: Circumstances) -> _Reason | None:
    term = _covering(rules.deny, file)
    return None if term is None else (said("%(term)s is denied", term=term), None)


def _unlisted(rules: Rules, file: File, _at: Circumstances) -> _Reason | None:
    if not rules.allow or _covering(rules.allow, file) is not None:
        return None
    return said("only listed names and versions are allowed, and it is none of them"), None


def _unconstrained(rules: Rules, file: File, _at: Circumstances) -> _Reason | None:
    spoken = [term for term in rules.constraints if term.names(file.project)]
    broken = next((term for term in spoken if not term.covers(file.project, file.version)), None)
    if broken is not None:
        return said("the constraints say %(term)s", term=broken), None
    if rules.constrained and not spoken:
        return said("no constraint names its project"), None
    return None


def _frozen(rules: Rules, file: File, _at: Circumstances) -> _Reason | None:
    if rules.freeze_at is None or 0 <= file.upload_time <= rules.freeze_at:
        return None
    moment = _moment(rules.freeze_at / _US)
    return said("the index is frozen at %(moment)s, and it is younger", moment=moment), None


def _young(rules: Rules, file: File, at: Circumstances) -> _Reason | None:
    if not rules.min_age:
        return None
    if file.upload_time < 0:
        return said("its age is not known, and a least age is asked for"), None
    opens = file.upload_time / _US + rules.min_age
    if opens <= at.now:
        return None
    text = said(
        "it is younger than %(span)s: it opens at %(moment)s",
        span=_span(rules.min_age),
        moment=_moment(opens),
    )
    return text, opens


def _early(rules: Rules, file: File, _at: Circumstances) -> _Reason | None:
    if rules.prereleases or not names.is_prerelease(file.version):
        return None
    return said("it is a pre-release"), None


def _of_type(rules: Rules, file: File, _at: Circumstances) -> _Reason | None:
    if not rules.types or file.packagetype.value in rules.types:
        return None
    return said("only %(kinds)s are shown", kinds=", ".join(sorted(rules.types))), None


def _of_platform(rules: Rules, file: File, _at: Circumstances) -> _Reason | None:
    if not rules.platforms or file.packagetype is not PackageType.WHEEL:
        return None
    if platforms_of(file.filename, rules.platforms):
        return None
    return said("only wheels for %(platforms)s are shown", platforms=", ".join(rules.platforms)), None


def _of_python(rules: Rules, file: File, _at: Circumstances) -> _Reason | None:
    if not rules.pythons or any(
        runs_on(file.filename, file.packagetype, file.requires_python, wanted) for wanted in rules.pythons
    ):
        return None
    return said("it runs on none of Python %(pythons)s", pythons=", ".join(map(str, rules.pythons))), None


def _large(rules: Rules, file: File, _at: Circumstances) -> _Reason | None:
    if not rules.max_size or file.size <= rules.max_size:
        return None
    sizes = {"size": f"{file.size:,}", "most": f"{rules.max_size:,}"}
    return said("it has %(size)s bytes, and %(most)s are allowed", **sizes), None


def _licensed(rules: Rules, file: File, at: Circumstances) -> _Reason | None:
    if not rules.licensed:
        return None
    found = at.licence(file)
    if not found:
        return None if rules.licence_unknown else (said("its licence is not known"), None)
    if not accepts(found, lambda licence: not matches(licence, rules.licences_denied)):
        return said("its licence (%(licence)s) is denied", licence=found[:80]), None
    if rules.licences and not accepts(found, lambda licence: matches(licence, rules.licences)):
        return said("its licence (%(licence)s) is not among the allowed ones", licence=found[:80]), None
    return None


def _vulnerable(rules: Rules, file: File, at: Circumstances) -> _Reason | None:
    found = _vulnerability(rules, file, at, rules.vulnerable)
    if found is None:
        return None
    return said("it has a known vulnerability: %(advisory)s", advisory=found.told), None


_CHECKS: tuple[tuple[str, Callable[[Rules, File, Circumstances], _Reason | None]], ...] = (
    ("deny", _denied),
    ("allow", _unlisted),
    ("constraints", _unconstrained),
    ("freeze_at", _frozen),
    ("min_age", _young),
    ("prereleases", _early),
    ("types", _of_type),
    ("platforms", _of_platform),
    ("pythons", _of_python),
    ("max_size", _large),
    ("licences", _licensed),
    ("vulnerable", _vulnerable),
)
#: The rules by the names under which a withholding tells them, in the order in which they are asked.
RULES: tuple[str, ...] = ("hold", "malware", *(rule for rule, _ in _CHECKS), "keep_latest")


def _older(rules: Rules, candidates: Iterable[File], at: Circumstances) -> Mapping[str, Withholding]:
    """Files of all but the newest releases, of those that no other rule keeps back."""
    candidates = [file for file in candidates if rules.scope == "all" or file.origin]
    releases = {names.canonical_version(file.version): file.version for file in candidates}
    newest = sorted(releases, key=lambda each: names.version_key(releases[each]))[-rules.keep_latest :]
    why = said("only the newest %(number)s releases are shown", number=rules.keep_latest)
    return {
        file.filename: Withholding(file, "keep_latest", why)
        for file in candidates
        if names.canonical_version(file.version) not in newest
        and not any(_exempts(each, file, at.now) for each in at.exemptions)
    }


def _covering(terms: Sequence[Term], file: File) -> Term | None:
    return next((term for term in terms if term.covers(file.project, file.version)), None)


def _span(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    if days and not rest:
        return said("1 day") if days == 1 else said("%(days)s days", days=days)
    hours, rest = divmod(seconds, 3_600)
    return f"{hours} h" if hours and not rest else f"{seconds} s"


def _moment(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return "an impossible time"
