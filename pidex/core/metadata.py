"""Core metadata (METADATA, PKG-INFO) read leniently: whatever the bytes, an answer and no error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.parser import HeaderParser
from typing import Final

from pidex.core.limits import MIB

#: Bytes read; and values kept of a field that may be repeated.
MAX_BYTES: Final = MIB
MAX_VALUES: Final = 10_000
#: Characters of a field that belongs on one line (Requires-Python, Name, Version, Summary).
MAX_LINE: Final = 2_000

#: Where the headers end: two line ends (CR LF, LF or CR) with nothing between them. CR LF is never two.
_BLANK_LINE: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_PADDINGS: Final = ("       |", "        ")


@dataclass(frozen=True, slots=True)
class Metadata:
    """The fields that PyPI's JSON API has under `info` (protocol 13.1), as the file spells them.

    A text that is absent or UNKNOWN is None; a list that is absent is empty. Nothing is validated: a strict
    reading (`packaging.metadata`) is the business of whoever accepts an upload.
    """

    metadata_version: str | None = None
    name: str | None = None
    version: str | None = None
    summary: str | None = None
    description: str | None = None
    description_content_type: str | None = None
    keywords: str | None = None
    license: str | None = None
    license_expression: str | None = None
    license_files: tuple[str, ...] = ()
    classifiers: tuple[str, ...] = ()
    author: str | None = None
    author_email: str | None = None
    maintainer: str | None = None
    maintainer_email: str | None = None
    requires_python: str | None = None
    platform: str | None = None
    home_page: str | None = None
    download_url: str | None = None
    project_urls: Mapping[str, str] = field(default_factory=dict)
    requires_dist: tuple[str, ...] = ()
    provides_extra: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()
    import_names: tuple[str, ...] = ()
    import_namespaces: tuple[str, ...] = ()


def parse(data: bytes) -> Metadata:
    """Read core metadata of any version. Never raises; at most `MAX_BYTES` are looked at (CMD-5, CMD-6)."""
    message = _message(data)
    return Metadata(
        metadata_version=_line(message, "Metadata-Version"),
        name=_line(message, "Name"),
        version=_line(message, "Version"),
        summary=_line(message, "Summary"),
        description=_description(message),
        description_content_type=_line(message, "Description-Content-Type"),
        keywords=_text(message, "Keywords"),
        license=_text(message, "License"),
        license_expression=_line(message, "License-Expression"),
        license_files=_lines(message, "License-File"),
        classifiers=_lines(message, "Classifier"),
        author=_text(message, "Author"),
        author_email=_text(message, "Author-email"),
        maintainer=_text(message, "Maintainer"),
        maintainer_email=_text(message, "Maintainer-email"),
        requires_python=_line(message, "Requires-Python"),
        platform=", ".join(_lines(message, "Platform")) or None,
        home_page=_line(message, "Home-page"),
        download_url=_line(message, "Download-URL"),
        project_urls=_urls(_lines(message, "Project-URL")),
        requires_dist=_lines(message, "Requires-Dist"),
        provides_extra=_lines(message, "Provides-Extra"),
        dynamic=_lines(message, "Dynamic"),
        import_names=_lines(message, "Import-Name"),
        import_namespaces=_lines(message, "Import-Namespace"),
    )


@dataclass(frozen=True, slots=True)
class Identity:
    """The few lines of metadata that an index needs of every file."""

    name: str | None
    version: str | None
    requires_python: str | None
    summary: str | None


def identify(data: bytes) -> Identity:
    """As `parse`, of the lines that pages are made of."""
    blank = _BLANK_LINE.search(data, 0, MAX_BYTES)
    message = _message(data[: blank.start()] if blank else data)
    return Identity(
        name=_line(message, "Name"),
        version=_line(message, "Version"),
        requires_python=_line(message, "Requires-Python"),
        summary=_line(message, "Summary"),
    )


def _message(data: bytes) -> Message:
    # Decoding first keeps the parser from wrapping what is not ASCII into encoded headers.
    text = data[:MAX_BYTES].decode("utf-8", "replace").removeprefix("\ufeff")
    return HeaderParser().parsestr(text)


def _value(message: Message, name: str) -> str | None:
    value = message.get(name)
    if value is None:
        return None
    text = str(value).strip()
    return None if not text or text == "UNKNOWN" else text


def _line(message: Message, name: str) -> str | None:
    """A field of one line; a folded one is unfolded, one too long is as if it were not there."""
    value = _value(message, name)
    if value is None or len(value) > MAX_LINE:
        return None
    return " ".join(value.split())


def _text(message: Message, name: str) -> str | None:
    value = _value(message, name)
    return None if value is None else _unpadded(value)


def _lines(message: Message, name: str) -> tuple[str, ...]:
    values = (" ".join(str(value).split()) for value in message.get_all(name, [])[:MAX_VALUES])
    return tuple(value for value in values if value and value != "UNKNOWN")


def _unpadded(text: str) -> str:
    """A folded field without the marks that writers put before its lines."""
    lines = text.splitlines()
    for padding in _PADDINGS:
        if len(lines) > 1 and all(line.startswith(padding) or not line.strip() for line in lines[1:]):
            return "\n".join([lines[0], *(line[len(padding) :] for line in lines[1:])])
    return text


def _description(message: Message) -> str | None:
    """The header of old files, the body of new ones (PEP 566)."""
    header = _text(message, "Description")
    if header is not None:
        return header
    body = message.get_payload()
    return body if isinstance(body, str) and body.strip() else None


def _urls(values: tuple[str, ...]) -> Mapping[str, str]:
    urls: dict[str, str] = {}
    for value in values:
        label, comma, url = value.partition(",")
        if comma and url.strip():
            urls.setdefault(label.strip(), url.strip())
    return urls
