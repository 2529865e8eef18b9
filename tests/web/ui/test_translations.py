"""No text of the pages is missing in any language.

`python -m tests.web.ui.test_translations` takes new texts into the catalogues and compiles them.
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

import pidex
from pidex.web.ui.language import DEFAULT, DOMAIN, LANGUAGES, LOCALE, SENTENCES, chosen, translations
from tests.web.ui import sayings

ROOT = Path(pidex.__file__).parent
METHODS = [
    ("web/templates/**.html", "jinja2"),
    ("core/setups.py", "python"),
    ("web/ui/**.py", "python"),
]
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "phrase": None}
DOMAINS = (DOMAIN, SENTENCES)
OTHERS = [(tag, domain) for tag in LANGUAGES if tag != DEFAULT for domain in DOMAINS]
_FIELD = re.compile(r"%\((\w+)\)")


def texts(domain: str) -> Catalog:
    """Every text that pages show: their own, from templates and modules, or what services say."""
    catalog = Catalog(charset="utf-8")
    if domain == SENTENCES:
        for message, place in sayings.messages().items():
            catalog.add(message, locations=[(place, 0)])
        return catalog
    options = {"jinja2": {"trimmed": "false"}}
    found = extract_from_dir(
        ROOT,
        [(pattern, method) for pattern, method in METHODS],
        {pattern: options.get(method, {}) for pattern, method in METHODS},
        keywords=KEYWORDS,
    )
    for filename, _, message, _, context in found:
        catalog.add(message, context=context, locations=[(filename, 0)])
    return catalog


def path(tag: str, domain: str, ending: str) -> Path:
    return LOCALE / tag.replace("-", "_") / "LC_MESSAGES" / f"{domain}.{ending}"


def written(tag: str, domain: str) -> Catalog:
    with path(tag, domain, "po").open("rb") as file:
        return read_po(file, tag.replace("-", "_"))


def compiled(catalog: Catalog) -> bytes:
    out = io.BytesIO()
    write_mo(out, catalog)
    return out.getvalue()


@pytest.mark.parametrize(("tag", "domain"), OTHERS)
def test_every_text_is_there(tag: str, domain: str) -> None:
    wanted, there = texts(domain), written(tag, domain)
    assert len(wanted) > 200
    missing, strange = [], []
    for message in wanted:
        if not message.id:
            continue
        found = there.get(message.id)
        strings = [] if found is None else found.string if message.pluralizable else [found.string]
        if found is None or found.fuzzy or not all(strings):
            missing.append(message.id)
            continue
        ids = message.id if message.pluralizable else [message.id]
        fields = {field for text in ids for field in _FIELD.findall(text)}
        strange += [text for text in strings if set(_FIELD.findall(text)) - fields]
    assert missing == []
    assert strange == [], "they name fields that the text does not have"


@pytest.mark.parametrize(("tag", "domain"), OTHERS)
def test_the_compiled_catalogue_is_that_of_the_texts(tag: str, domain: str) -> None:
    with io.BytesIO(compiled(written(tag, domain))) as one, path(tag, domain, "mo").open("rb") as other:
        assert one.read() == other.read(), "run `python -m tests.web.ui.test_translations`"


@pytest.mark.parametrize(("tag", "domain"), OTHERS)
def test_nothing_is_there_that_nobody_shows(tag: str, domain: str) -> None:
    wanted = texts(domain)
    assert [each.id for each in written(tag, domain) if each.id and wanted.get(each.id) is None] == []


@pytest.mark.parametrize(
    ("cookie", "header", "tag"),
    [
        (None, None, "en"),
        (None, "de, fr;q=0.9", "en"),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        (None, "zh-TW, en;q=0.5", "en"),
        (None, "zh-Hans-SG", "zh-CN"),
        (None, "en;q=0.1, zh;q=0.2", "zh-CN"),
        (None, "zh;q=0, en", "en"),
        (None, ",;q=x,=", "en"),
        ("zh-CN", "en", "zh-CN"),
        ("tlh", "zh", "zh-CN"),
    ],
)
def test_who_reads_which_language(cookie: str | None, header: str | None, tag: str) -> None:
    assert chosen(cookie, header) == tag


def test_english_is_the_texts_themselves() -> None:
    assert translations(DEFAULT).gettext("Search") == "Search"
    assert translations("zh-CN").gettext("Search") != "Search"


def main() -> int:
    left = 0
    for tag, domain in OTHERS:
        found, there = texts(domain), written(tag, domain)
        there.update(found, no_fuzzy_matching=True)
        there.obsolete.clear()
        with path(tag, domain, "po").open("wb") as file:
            write_po(file, there, omit_header=False, no_location=True, sort_output=True, width=100)
        path(tag, domain, "mo").write_bytes(compiled(written(tag, domain)))
        lacking = [
            each.id
            for each in there
            if each.id and not (all(each.string) if each.pluralizable else each.string)
        ]
        left += len(lacking)
        sys.stdout.write(f"{domain} {tag}: {len(found)} texts, {len(lacking)} still to be translated\n")
        sys.stdout.write("".join(f"  {text}\n" for text in lacking))
    return left


if __name__ == "__main__":
    sys.exit(main() != 0)
