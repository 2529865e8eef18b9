"""Every page by the Nu HTML checker, in both languages, signed in and not; run by scripts/interface."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from pidex.core.model import OPERATOR
from pidex.web.ui.language import LANGUAGES
from tests.web.driver import House
from tests.web.ui.browser import Browser
from tests.web.ui.exhibit import PASSWORD, USER, mark, packages, populate

#: What pages link to and are none of ours; pages of one visitor that are looked at.
OTHERS = ("/packages/", "/simple", "/rss/", "/-/admin/audit.")
MOST = 400


def pages(house: House) -> Iterator[tuple[str, bytes]]:
    """Every page that a link leads to, from the first one on: where it is and for whom, and its bytes."""
    for language in LANGUAGES:
        for who in ("", USER):
            browser = Browser(house, **{"accept-language": language})
            if who:
                browser.sign_in(who, PASSWORD)
            waiting, seen = ["/", "/-/login", "/project/nothing-here/", "/-/search?q=exampel"], {"/"}
            while waiting and len(seen) < MOST:
                target = waiting.pop(0)
                page = browser.open(target)
                yield f"{target} {language} {who}", page.answer.body
                for link in page.links:
                    there = urljoin(target, link).partition("#")[0]
                    parts = urlsplit(there)
                    ours = not parts.netloc and parts.scheme in ("", "http")
                    if ours and there not in seen and not any(other in parts.path for other in OTHERS):
                        seen.add(there)
                        waiting.append(there)


def main(checker: str) -> int:
    """Write them down and have them checked; 1 where the checker finds an error."""
    with tempfile.TemporaryDirectory() as name:
        place, folder = Path(name), Path(name) / "pages"
        folder.mkdir()
        where: dict[str, str] = {}
        with House(place, *packages()) as house:
            people = house.pidex.administration()
            people.add_user(USER, PASSWORD, by=OPERATOR)
            people.grant(f"user:{USER}", "admin", by=OPERATOR)
            populate(house.pidex)
            mark(house.pidex)
            for number, (target, body) in enumerate(pages(house)):
                where[f"{number}.html"] = target
                (folder / f"{number}.html").write_bytes(body)
        style = Path(__file__).parents[3] / "pidex" / "web" / "static" / "style.css"
        (folder / "style.css").write_bytes(style.read_bytes())
        command = ["java", "-jar", checker, "--format", "json", "--stdout", "--exit-zero-always"]
        done = subprocess.run(
            [*command, "--also-check-css", str(folder)],
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        )
    told = json.loads(done.stdout)["messages"]
    errors = [each for each in told if each["type"] in ("error", "non-document-error")]
    for each in told:
        page = each.get("url", "").rpartition("/")[2]
        extract = each.get("extract", "").replace("\n", " ")
        kind = each["type"] if each["type"] != "info" else each.get("subType", "info")
        sys.stdout.write(f"{kind}: {where.get(page, page)}: {each['message']} [{extract}]\n")
    sys.stdout.write(f"{len(where)} pages, {len(errors)} errors, {len(told) - len(errors)} remarks\n")
    return 1 if errors or not where else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
