"""READMEs made into HTML that can do no harm: rendered, and cleaned twice. For a limited child process."""

from __future__ import annotations

import re
from email.message import Message
from html import escape, unescape
from typing import Final

import nh3

#: Bytes of HTML that come out at most.
MAX_HTML: Final = 1 << 20
#: Quotes or elements that may lie in one another (B9): renderer and cleaner take the square of it.
MAX_DEPTH: Final = 200
#: What every id in a README begins with, so that it is nobody else's.
PREFIX: Final = "readme-"

_TAGS: Final = frozenset(
    """
    a abbr acronym aside b blockquote br caption cite code col colgroup dd del details div dl dt em
    figcaption figure h3 h4 h5 h6 hr i input kbd li ol p pre section span strong sub summary sup table tbody
    td th thead tr tt ul var
    """.split()  # noqa: SIM905
)
_ATTRIBUTES: Final[dict[str, set[str]]] = {
    "*": {"id"},
    "a": {"href", "title"},
    "abbr": {"title"},
    "input": {"type", "checked"},
    "ol": {"start"},
    "td": {"align", "colspan", "rowspan"},
    "th": {"align", "colspan", "rowspan"},
    "p": {"align"},
    "div": {"align"},
}
_SCHEMES: Final = frozenset({"http", "https", "mailto"})
#: The short names that Pygments gives to kinds of text, and ours for what stands in an image's place.
_CLASSES: Final = frozenset(
    """
    hll c err g k l n o x p ch cm cpf c1 cs gd ge gr gh gi go gp gs gu gt kc kd kn kp kr kt ld m s na nb nc
    no nd ni ne nf nl nn nt nv ow w mb mf mh mi mo sa sb sc dl sd s2 se sh si sx sr s1 ss bp fm vc vg vi vm
    il ges esc
    """.split()  # noqa: SIM905
)
_CLASSED: Final = {"span": set(_CLASSES), "a": {"image"}}

_QUOTES: Final = re.compile(rf"^(?:[ \t]*>){{{MAX_DEPTH + 1}}}", re.MULTILINE)
#: Elements that lie in one another until they are closed.
_NESTED: Final = re.compile(
    r"<(/?)(?:article|aside|blockquote|center|details|div|dl|fieldset|figure|footer|form|header|main|nav|ol"
    r"|pre|section|table|ul)\b",
    re.IGNORECASE,
)
_HEADING: Final = re.compile(r"<(/?)h([1-6])\b", re.IGNORECASE)
_IMAGE: Final = re.compile(r'<img\b((?:\s+[\w:-]+(?:="[^"]*")?)*)\s*/?>', re.IGNORECASE)
_EMPTY: Final = re.compile(r'<a(?:\s+[\w-]+="[^"]*")*>\s*</a>')
_INPUT: Final = re.compile(r'<input(?:\s+[\w-]+="[^"]*")*>')
_PART: Final = re.compile(r'\s(src|alt)="([^"]*)"', re.IGNORECASE)


def render(text: str, content_type: str | None) -> str | None:
    """A description as HTML; None where it cannot be rendered, and has to be shown as it is.

    `content_type`: its Description-Content-Type, read as PyPI does: none is reStructuredText, an unknown one
    plain text.
    """
    try:
        html = _rendered(text, *_kind(content_type))
    except (RecursionError, ValueError, AssertionError, LookupError, TypeError, AttributeError):
        return None  # docutils raises what it likes on texts made for that
    if html is None or len(html) > MAX_HTML:
        return None
    cleaned = clean(html)
    return cleaned if len(cleaned) <= MAX_HTML else None


def clean(html: str) -> str:
    """Only elements that mean something inside a page, no image, no style, and ids of their own (B-A3)."""
    html = _IMAGE.sub(_image, _HEADING.sub(_lowered, html))
    cleaned = nh3.clean(
        html,
        tags=set(_TAGS),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        allowed_classes={tag: set(names) for tag, names in _CLASSED.items()},
        attribute_filter=_attribute,
        url_schemes=set(_SCHEMES),
        link_rel="nofollow noopener noreferrer ugc",
        set_tag_attribute_values={"input": {"disabled": "", "aria-label": "task"}, "pre": {"tabindex": "0"}},
    )
    return _INPUT.sub(_box, _EMPTY.sub("", cleaned))


def _kind(content_type: str | None) -> tuple[str, str]:
    """The media type and Markdown's variant."""
    if not content_type:
        return "text/x-rst", ""
    message = Message()
    message["content-type"] = content_type
    variant = message.get_param("variant")
    return message.get_content_type(), variant if isinstance(variant, str) else "GFM"


def _rendered(text: str, kind: str, variant: str) -> str | None:
    # Half a second and 40 MB of modules, in this process alone.
    if kind == "text/markdown":
        if _is_too_deep(text):
            return None
        from readme_renderer import markdown  # noqa: PLC0415

        return markdown.render(text, variant=variant if variant in ("GFM", "CommonMark") else "GFM")
    if kind == "text/x-rst":
        from readme_renderer import rst  # noqa: PLC0415

        return rst.render(text)
    return None


def _is_too_deep(text: str) -> bool:
    """Whether quotes or elements of Markdown lie deeper in one another than anybody writes them."""
    if _QUOTES.search(text) is not None:
        return True
    depth = 0
    for match in _NESTED.finditer(text):
        depth = max(0, depth - 1) if match[1] else depth + 1
        if depth > MAX_DEPTH:
            return True
    return False


def _lowered(match: re.Match[str]) -> str:
    """A README's headings lie below those of the page that it is in."""
    return f"<{match[1]}h{min(6, int(match[2]) + 2)}"


def _image(match: re.Match[str]) -> str:
    """A link in the place of an image: nothing is loaded from elsewhere unless somebody asks for it."""
    parts = {name.lower(): unescape(value) for name, value in _PART.findall(match[1])}
    source, label = parts.get("src", ""), parts.get("alt", "").strip()
    label = label or source.rpartition("/")[2][:100] or "image"
    if not source.startswith(("http://", "https://")):
        return escape(label)
    return f'<a class="image" href="{escape(source)}">{escape(label)}</a>'


def _box(match: re.Match[str]) -> str:
    """The box of a task; any other field would be one that somebody might fill in."""
    return match[0] if ' type="checkbox"' in match[0] else ""


def _attribute(element: str, name: str, value: str) -> str | None:
    if name == "id":
        return PREFIX + value
    if element == "a" and name == "href":
        if value.startswith("#"):
            return f"#{PREFIX}{value[1:]}"
        return value if value.partition(":")[0].lower() in _SCHEMES else None
    if element == "input" and name == "type":
        return "checkbox" if value == "checkbox" else None
    return value
