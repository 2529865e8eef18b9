"""The hostile READMEs as pages in a real browser (T11); run by scripts/interface readmes [NUMBER [SEED]]."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.web.ui.chromium import Window
from tests.web.ui.exhibit import opened
from tests.web.ui.hostile import Hostile, corpus, package


def found_on(window: Window, path: str) -> list[str]:
    """What a page did that it must not: ran a script, asked others, left its box."""
    window.open(path)
    wrong = [f"asked for {url}" for url in window.strangers()]
    if window.script("return window.hit || 0"):
        wrong.append("a script ran")
    if window.script("return window.frames.length"):
        wrong.append("it holds frames")
    ids = "const ids = [...document.querySelectorAll('[id]')].map((each) => each.id);"
    if window.script(ids + "return ids.length - new Set(ids).size"):
        wrong.append("an id is there twice")
    wrong += [f"outside its box: {each}" for each in window.outside()]
    wrong += [f"console: {each}" for each in window.complaints()]
    wide = window.overflow()
    return wrong + ([f"{wide} px too wide"] if wide else [])


def main(number: int, seed: int) -> int:
    """Have a browser show each; 1 where any of them did something."""
    texts: Sequence[Hostile] = corpus(number, seed)
    named = {f"hostile-{at}": text for at, text in enumerate(texts)}
    more = [package(name, text) for name, text in named.items()]
    bad = 0
    with tempfile.TemporaryDirectory() as place, opened(Path(place), more) as base, Window(base) as window:
        last = f"project/{[*named][-1]}/"
        window.open(last)
        for at, (name, text) in enumerate(named.items()):
            if at % 50 == 0:
                sys.stderr.write(f"{at}\n")
            for path in (f"project/{name}/", f"project/{name}/-/dependencies/"):
                wrong = found_on(window, path)
                bad += bool(wrong)
                for each in wrong:
                    sys.stdout.write(f"{name} ({text.kind}, seed {seed}): {each}\n    {text.text[:200]!r}\n")
    sys.stdout.write(f"{number} hostile READMEs, seed {seed}: {bad} pages with findings\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
