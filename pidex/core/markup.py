"""Text inside XML: escaped, and without the characters that XML cannot hold."""

from __future__ import annotations

import re

#: Everything that XML 1.0 has no way to write: most control characters, halves of pairs, two non-characters.
_IMPOSSIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SPECIAL = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "\r": "&#13;"})


def escaped(text: str) -> str:
    """`text` for content or attributes: a reader gets it back, less what XML cannot hold."""
    return _IMPOSSIBLE.sub("", text).translate(_SPECIAL)
