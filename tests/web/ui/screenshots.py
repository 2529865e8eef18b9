"""Pictures of the pages in a real browser, and what is found on each; run by scripts/screenshots."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.web.ui.chromium import Window
from tests.web.ui.exhibit import PAGES, PASSWORD, SIGNED_IN, USER, opened

WIDTHS = (360, 1280)
THEMES = ("light", "dark")


def visit(window: Window, folder: Path, width: int, theme: str, names: Sequence[str]) -> list[str]:
    """Take a picture of each page; what is wrong with them."""
    found = []
    window.look(width, theme)
    for name in names:
        window.open(PAGES[name])
        wrong = [f"{url} was asked for" for url in window.strangers()]
        wide = window.overflow()
        wrong += [f"{wide} px too wide"] if wide else []
        wrong += window.violations()
        wrong += window.complaints()
        window.shot(folder / f"{name}-{width}-{theme}.png")
        if (width, theme) == (1280, "light"):
            wrong += window.walk()
        found += [f"{name} {width} {theme}: {each}" for each in wrong]
    return found


def main(folder: Path) -> int:
    """Everything; 1 where anything was found."""
    folder.mkdir(parents=True, exist_ok=True)
    found: list[str] = []
    with tempfile.TemporaryDirectory() as place, opened(Path(place)) as base, Window(base) as window:
        for names in ([name for name in PAGES if name not in SIGNED_IN], [*SIGNED_IN]):
            for width in WIDTHS:
                for theme in THEMES:
                    found += visit(window, folder, width, theme, names)
            window.look(1280)
            if names != [*SIGNED_IN]:
                window.sign_in(USER, PASSWORD)
    sys.stdout.write("".join(f"{line}\n" for line in found))
    pictures = len(PAGES) * len(WIDTHS) * len(THEMES)
    sys.stdout.write(f"{pictures} pictures in {folder}, {len(found)} findings\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
