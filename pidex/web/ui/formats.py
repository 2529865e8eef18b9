"""How values are written for people: times, sizes, numbers and links, in the language of the page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote, urlsplit

from markupsafe import Markup, escape

from pidex.web.ui.language import Translations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
#: Where a link in somebody's metadata may lead.
SCHEMES = ("http", "https", "mailto")


def size(count: int) -> str:
    """Bytes in binary units."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{count} B" if unit == 0 else f"{value:.1f} {_UNITS[unit]}"


def number(count: int) -> str:
    return f"{count:,}"


def day(count: int) -> str:
    """A day, counted from 1970 on."""
    return (date(1970, 1, 1) + timedelta(days=count)).isoformat() if count > 0 else ""


def segment(text: str) -> str:
    """A text as one segment of a path."""
    return quote(text, safe="!$'()*+,;=:@~-._")


def path(text: str) -> str:
    """A path in an archive as the end of a URL."""
    return quote(text, safe="/!$'()*+,;=:@~-._")


def link(url: str | None) -> str | None:
    """A URL that somebody else wrote, where it may become a link (T12)."""
    if not url or len(url) > 2_000 or not url.isprintable() or any(map(str.isspace, url)):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme.lower() in SCHEMES and (parts.netloc or parts.scheme == "mailto") else None


def coded(text: str) -> Markup:
    """A sentence in which what stands between backticks is a command, or another word of machines."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return escape(text)
    shown = (
        Markup("<code>{}</code>").format(each) if at % 2 else escape(each) for at, each in enumerate(pieces)
    )
    return Markup().join(shown)


def when(text: Translations, now: float) -> Callable[[int | None], Markup]:
    """Writes times in microseconds as text, with the exact time beside it."""

    def written(us: int | None) -> Markup:
        if us is None:
            return Markup("")
        try:
            moment = datetime.fromtimestamp(us // 1_000_000, UTC)
        except (ValueError, OverflowError, OSError):
            return escape(us)
        exact = moment.strftime("%Y-%m-%d %H:%M UTC")
        shown = ago(text, now - us / 1_000_000) or exact
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            moment.strftime("%Y-%m-%dT%H:%M:%SZ"), exact, shown
        )

    return written


def ago(text: Translations, seconds: float) -> str:
    """How long ago something was, or (negative) how soon it comes."""
    _ = text.gettext
    past = seconds >= 0
    minutes = int(abs(seconds) // 60)
    if minutes < 1:
        return _("just now") if past else _("in a moment")
    for limit, unit, name in (
        (60, 1, "minutes"),
        (60 * 48, 60, "hours"),
        (60 * 24 * 60, 60 * 24, "days"),
        (60 * 24 * 730, 60 * 24 * 30, "months"),
    ):
        if minutes < limit:
            return _counted(text, name, minutes // unit, past=past)
    return _counted(text, "years", minutes // (60 * 24 * 365), past=past)


def _counted(text: Translations, unit: str, count: int, *, past: bool) -> str:
    ngettext = text.ngettext
    told = {
        "minutes": (
            ngettext("%(num)d minute ago", "%(num)d minutes ago", count),
            ngettext("in %(num)d minute", "in %(num)d minutes", count),
        ),
        "hours": (
            ngettext("%(num)d hour ago", "%(num)d hours ago", count),
            ngettext("in %(num)d hour", "in %(num)d hours", count),
        ),
        "days": (
            ngettext("%(num)d day ago", "%(num)d days ago", count),
            ngettext("in %(num)d day", "in %(num)d days", count),
        ),
        "months": (
            ngettext("%(num)d month ago", "%(num)d months ago", count),
            ngettext("in %(num)d month", "in %(num)d months", count),
        ),
        "years": (
            ngettext("%(num)d year ago", "%(num)d years ago", count),
            ngettext("in %(num)d year", "in %(num)d years", count),
        ),
    }[unit]
    return str(told[0 if past else 1]) % {"num": count}
