"""The languages of the pages: by a cookie or Accept-Language, from gettext catalogues in the package."""

from __future__ import annotations

import gettext
from functools import cache
from pathlib import Path

LOCALE = Path(__file__).parent / "locale"
DOMAIN = "pidex"
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
    return gettext.translation(DOMAIN, LOCALE, languages=[language.replace("-", "_")])
