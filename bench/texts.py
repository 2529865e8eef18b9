"""Made-up projects that read as real ones do: names of two words, summaries and READMEs by Zipf."""

from __future__ import annotations

import random
from itertools import accumulate

from pidex.core import metadata as parsed
from pidex.core.finds import Document, licence

_STEMS = (
    "air auth async batch block cache chart cloud code core crypt data disk doc edge event fast file flow"
    " form geo graph grid http image json key lite log mail map mesh net page path quick secure stream table"
    " web"
)
STEMS = _STEMS.split()
ENDINGS = ("", "er", "kit", "ly", "box", "hub", "lib", "works")
#: The words of names: many begin alike, as they do out there.
WORDS = [stem + ending for ending in ENDINGS for stem in STEMS]
#: Each project's latest release.
VERSION = "1.9"
#: Words of a README, and how many there are to choose from.
README_WORDS, MADE_UP = 120, 2_000
_SYLLABLES = "ba cor di fen gul ha jin kel lom mir nu pas quo ren sol ti vex wan yor zu".split()  # noqa: SIM905


def _vocabulary() -> list[str]:
    """The words of names among others, those that are used most first."""
    chance = random.Random(3)
    made_up = ("".join(chance.choices(_SYLLABLES, k=chance.randint(2, 4))) for _ in range(MADE_UP))
    found = sorted({*WORDS, *made_up})
    chance.shuffle(found)
    return found


VOCABULARY = _vocabulary()
_WEIGHTS = [*accumulate(1 / rank for rank in range(1, len(VOCABULARY) + 1))]


def name(number: int) -> str:
    """The n-th of `len(WORDS) ** 2` names of two words, each another one."""
    count = len(WORDS)
    return f"{WORDS[number % count]}-{WORDS[(number // count * 7 + number) % count]}"


def metadata(number: int) -> bytes:
    """What the n-th project says of itself in its latest release."""
    chance = random.Random(number)
    own, words = name(number), chance.choices(VOCABULARY, cum_weights=_WEIGHTS, k=README_WORDS)
    lines = [
        "Metadata-Version: 2.4", f"Name: {own}", f"Version: {VERSION}",
        f"Summary: {own.replace('-', ' ')} for {words[0]} and {words[1]}",
        f"License-Expression: {('MIT', 'Apache-2.0', 'BSD-3-Clause', 'ISC')[number % 4]}",
        f"Keywords: {words[2]},{words[3]}", f"Requires-Python: >=3.{8 + number % 6}",
        f"Requires-Dist: {name(number // 3)}", "", " ".join(words),
    ]  # fmt: skip
    return "\n".join(lines).encode()


def document(number: int) -> Document:
    """The same as searches know it."""
    own, told = name(number), parsed.parse(metadata(number))
    return Document(
        project=own, name=own, version=VERSION, summary=told.summary or "", body=told.description or "",
        keywords=(told.keywords or "").replace(",", " "), licence=licence(told), updated=number, files=10,
        pythons=("3.12", "3.13"), platforms=("any",), needs=((name(number // 3), name(number // 3)),),
    )  # fmt: skip


def questions(projects: int, count: int) -> dict[str, list[str]]:
    """What is searched for among the first projects: so many questions of each kind, each another one.

    Single words are drawn out of all in use, the commonest too; pairs as READMEs are made of them.
    """
    chance = random.Random(11)
    mistyped = []
    for number, project in enumerate(chance.sample(range(projects), count)):
        own = name(project)
        at = chance.randrange(1, len(own) - 1)
        # One letter is left out; of every other one a second is too many.
        mistyped.append(own[:at] + own[at + 1 :] + "x" * (number % 2))
    pairs = (chance.choices(VOCABULARY, cum_weights=_WEIGHTS, k=2) for _ in range(10 * count))
    beginnings = (word[: 3 + number % 2] for number, word in enumerate(chance.sample(VOCABULARY, 4 * count)))
    return {
        "one word": chance.sample(VOCABULARY, count),
        "two words": [*dict.fromkeys(" ".join(pair) for pair in pairs if pair[0] != pair[1])][:count],
        "the beginning of a word": [*dict.fromkeys(beginnings)][:count],
        "a name": [name(number) for number in chance.sample(range(projects), count)],
        "did you mean": mistyped,
    }
