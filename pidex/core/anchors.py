"""The links of somebody else's HTML page, in one pass whose time grows with the page's length alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Final, NamedTuple

#: Characters of one tag; a longer one is none.
MAX_TAG: Final = 65_536
#: Tags that are never closed, after which the rest of the page is not read.
MAX_OPEN_TAGS: Final = 50

_TAG: Final = re.compile(r"""<(/?)([a-zA-Z][^\s/>]*+)((?:[^>"']++|"[^"]*+"|'[^']*+')*+)>""")
_ATTRIBUTE: Final = re.compile(
    r"""([^\s"'>/=]++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>][^\s>]*+)))?"""
)
#: Elements whose content is text, whatever it looks like.
_RAW: Final = {
    name: re.compile(rf"</{name}\b[^>]*>", re.IGNORECASE)
    for name in ("script", "style", "title", "textarea", "template", "noscript", "iframe", "xmp")
}
_FORMS: Final = frozenset({"form", "input", "script", "iframe"})


class Anchor(NamedTuple):
    """A link: its attributes by lower-case name, and its text up to the next tag."""

    attributes: dict[str, str]
    text: str

    @property
    def href(self) -> str:
        return self.attributes.get("href", "").strip()


@dataclass(slots=True)
class Document:
    """What is read of a page. `interactive`: it has forms or scripts, as indexes have not."""

    anchors: list[Anchor] = field(default_factory=list)
    base: str | None = None
    metas: dict[str, str] = field(default_factory=dict)
    interactive: bool = False


def read(text: str, limit: int) -> Document:
    """The links of a page. Raises nothing but `ValueError` for more than `limit` links."""
    document = Document()
    at, unclosed = text.find("<"), 0
    while at >= 0:
        if text.startswith("<!--", at):
            end = text.find("-->", at + 4)
            if end < 0:
                break
            at = text.find("<", end + 3)
            continue
        match = _TAG.match(text, at, at + MAX_TAG)
        if match is None:
            if text[at + 1 : at + 2].isalpha():
                unclosed += 1
                if unclosed > MAX_OPEN_TAGS:
                    break
            at = text.find("<", at + 1)
            continue
        name, end = match[2].lower(), match.end()
        if not match[1]:
            if name in _RAW:
                closing = _RAW[name].search(text, end)
                if closing is None:
                    document.interactive |= name in _FORMS
                    break
                end = closing.end()
            _take(document, name, match[3], text, end)
            if len(document.anchors) > limit:
                raise ValueError(f"more than {limit:,} links")
        at = text.find("<", end)
    return document


def _take(document: Document, name: str, attributes: str, text: str, end: int) -> None:
    if name == "a":
        following = text.find("<", end)
        shown = text[end : following if following >= 0 else end + 1_000]
        document.anchors.append(Anchor(_attributes(attributes), unescape(shown[:1_000]).strip()))
    elif name == "base" and document.base is None:
        document.base = _attributes(attributes).get("href")
    elif name == "meta":
        said = _attributes(attributes)
        if len(document.metas) < 100:
            document.metas.setdefault(said.get("name", "").lower(), said.get("content", ""))
    elif name in _FORMS:
        document.interactive = True


def _attributes(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, double, single, bare in _ATTRIBUTE.findall(text):
        value = double or single or bare
        found.setdefault(name.lower(), unescape(value) if "&" in value else value)
    return found
