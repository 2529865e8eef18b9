"""The languages of the pages: by a cookie or Accept-Language, from gettext catalogues in the package."""

from __future__ import annotations

import gettext
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pidex.core.errors import PidexError
from pidex.core.sentences import Phrasebook, Sentence, told

LOCALE = Path(__file__).parent / "locale"
#: What pages themselves say, and what services say: sentences of their own, and refusals.
DOMAIN, SENTENCES = "pidex", "sentences"
#: Language tags and what each language calls itself. The first one is what the texts are written in.
LANGUAGES = {"en": "English", "zh-CN": "简体中文"}
DEFAULT = "en"
#: Characters of an Accept-Language header that are looked at, and languages named in it.
MAX_HEADER, MAX_NAMED = 500, 20

Translations = gettext.NullTranslations


def chosen(cookie: str | None, header: str | None) -> str:
    """The language of a page, by what somebody chose, else by what the browser prefers."""
    if cookie in LANGUAGES:
        return cookie
    weighted: list[tuple[float, int, str]] = []
    for number, part in enumerate((header or "")[:MAX_HEADER].split(",")[:MAX_NAMED]):
        tag, _, rest = part.strip().partition(";")
        weight = rest.strip().removeprefix("q=") or "1"
        try:
            value = float(weight)
        except ValueError:
            continue
        known = _known(tag.strip().lower())
        if known is not None and value > 0:
            weighted.append((-value, number, known))
    return min(weighted)[2] if weighted else DEFAULT


def _known(tag: str) -> str | None:
    """Ours for a tag: every English, and Chinese that is not said to be in traditional characters."""
    if tag == "en" or tag.startswith("en-"):
        return "en"
    if tag == "zh" or tag.startswith("zh-"):
        return None if any(part in ("tw", "hk", "mo", "hant") for part in tag.split("-")) else "zh-CN"
    return None


@cache
def translations(language: str) -> Translations:
    """The texts of a language; those of English are the texts themselves."""
    if language == DEFAULT:
        return gettext.NullTranslations()
    found = _catalogue(DOMAIN, language)
    found.add_fallback(_catalogue(SENTENCES, language))
    return found


def said_in(language: str, text: str | PidexError) -> str:
    """What a service says, also as an error, in a language; as it is where nobody knows such a sentence."""
    if isinstance(text, PidexError):  # its text is made of what it was given, which may be a sentence
        given = text.args[0] if text.args else ""
        text = given if isinstance(given, Sentence) else str(text)
    if language == DEFAULT:
        return text
    return told(_phrasebook(language).find(text) or text, translations(language).gettext)


@cache
def _phrasebook(language: str) -> Phrasebook:
    # The messages that a catalogue has are nowhere else in its interface.
    known: Mapping[object, str] = vars(_catalogue(SENTENCES, language))["_catalog"]
    return Phrasebook(message for message in known if isinstance(message, str) and message)


@cache
def _catalogue(domain: str, language: str) -> Translations:
    return gettext.translation(domain, LOCALE, languages=[language.replace("-", "_")])
