"""Debian's chromium with one server before it: pages as people see them, and everything that they ask for."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

PROGRAM, DRIVER = "chromium", "chromedriver"
#: What is not held against a page: a missing project's own 404, and what the policy stopped before it began.
TOLERATED = ("404 (Not Found)",)
#: WCAG 2.2 A and AA, the contrast rule among them.
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--lang=en",
    # Whatever a page asks of another host is recorded, and never leaves.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
#: Each element that the Tab key has to reach, in the order of the page; the browser adds some that scroll.
_STOPS = """
const wanted = 'a[href], button:not([disabled]), input:not([type=hidden]):not([disabled]), select, textarea,'
  + ' summary, [tabindex]:not([tabindex="-1"])';
const stops = [...document.querySelectorAll(wanted)].filter(
  (each) => each.tabIndex >= 0 && each.checkVisibility({visibilityProperty: true}));
window.stops = stops;
window.walked = [];
document.addEventListener('focusin', () => {
  const here = document.activeElement, style = getComputedStyle(here), box = here.getBoundingClientRect();
  const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2
    && box.right > 0 && box.bottom > 0 && box.left < innerWidth && box.top < innerHeight;
  window.walked.push([stops.indexOf(here), seen, here.outerHTML.slice(0, 120)]);
}, true);
const before = document.activeElement;
if (before) before.blur();
return stops.length;
"""
#: Elements of READMEs that leave the flow of their page, and boxes that would let something out (T11).
_OUTSIDE = """
const found = [];
for (const box of document.querySelectorAll('.readme')) {
  const style = getComputedStyle(box), page = document.querySelector('main').getBoundingClientRect();
  const edge = box.getBoundingClientRect();
  if (style.overflowX !== 'hidden' || style.overflowY !== 'hidden' || !style.contain.includes('paint')
      && style.contain !== 'content') found.push('the box is open');
  if (edge.left < page.left || edge.right > page.right) found.push('the box is wider than the page');
  for (const each of box.querySelectorAll('*'))
    if (['fixed', 'sticky', 'absolute'].includes(getComputedStyle(each).position))
      found.push(each.outerHTML.slice(0, 200));
}
return found;
"""


def missing() -> str:
    """What this machine lacks to run a browser; empty where nothing."""
    for program in (PROGRAM, DRIVER):
        if shutil.which(program) is None:
            return f"{program} is not installed: scripts/screenshots installs it"
    with contextlib.suppress(ImportError):
        import axe_core_python  # noqa: F401
        import selenium  # noqa: F401

        return ""
    return "selenium is not installed: scripts/install dev does that"


class Window:
    """A browser of its own, at `base`. Close it. Nothing but 127.0.0.1 can be reached from it."""

    def __init__(self, base: str, *, width: int = 1280) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        for argument in (*_ARGUMENTS, f"--window-size={width},900"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        options.set_capability("unhandledPromptBehavior", "ignore")
        service = webdriver.ChromeService(shutil.which(DRIVER))
        self.base = base
        self.driver: Any = webdriver.Chrome(options=options, service=service)
        #: Cookies that a test keeps for later.
        self.kept: Sequence[dict[str, Any]] = ()

    def close(self) -> None:
        self.driver.quit()

    def __enter__(self) -> Window:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def command(self, name: str, **values: object) -> Any:
        """One of the browser's own commands (DevTools protocol)."""
        return self.driver.execute_cdp_cmd(name, values)

    def look(self, width: int, theme: str = "light") -> None:
        """The size of the screen, and what the system prefers."""
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.command("Emulation.setEmulatedMedia", features=features)
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def open(self, path: str) -> None:
        """Open a page by its path on the server, without a slash before it."""
        self.driver.get(self.base + path)

    @property
    def path(self) -> str:
        """Where the window is, as `open` takes it."""
        return str(self.driver.current_url).removeprefix(self.base)

    def script(self, text: str, *arguments: object) -> Any:
        """What a function's body returns."""
        return self.driver.execute_script(text, *arguments)

    @property
    def text(self) -> str:
        """What can be read on the page."""
        return str(self.find("body").text)

    def find(self, selector: str) -> Any:
        """The first element that a CSS selector names."""
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> Sequence[Any]:
        """All of them."""
        found: Sequence[Any] = self.driver.find_elements("css selector", selector)
        return found

    def press(self, *keys: str) -> None:
        """Keys, one after the other, wherever the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def sign_in(self, name: str, password: str) -> None:
        self.open("-/login")
        self.find("#name").send_keys(name)
        self.find("#password").send_keys(password)
        self.leave(self.find("main form button").click)

    def leave(self, act: Callable[[], object]) -> None:
        """Do what leads to another page, and wait for that."""
        before = self.find("html")
        act()
        self.until(lambda: _is_gone(before))
        self.until(lambda: self.script("return document.readyState") == "complete")

    @staticmethod
    def until(true: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait for something; an assertion fails where it never comes."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it never came"
            time.sleep(0.05)

    def shot(self, path: Path) -> None:
        """A picture of the whole page: PNG or WebP, by its ending."""
        form = {"quality": 70} if path.suffix == ".webp" else {}
        taken = self.command(
            "Page.captureScreenshot", format=path.suffix[1:], captureBeyondViewport=True, **form
        )
        path.write_bytes(base64.b64decode(taken["data"]))

    # --- what is found --------------------------------------------------------------------------------------

    def requested(self) -> set[str]:
        """Every URL that was asked for since the last question, also those that lead nowhere."""
        urls = set()
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                urls.add(message["params"]["request"]["url"])
        return urls

    def strangers(self) -> list[str]:
        """Those of them that are not of this server."""
        ours = (self.base, "data:", "about:", "chrome:")
        return sorted(url for url in self.requested() if not url.startswith(ours))

    def complaints(self) -> list[str]:
        """What the browser wrote into its console since the last question."""
        told = [str(each["message"]) for each in self.driver.get_log("browser")]
        return [each for each in told if not any(text in each for text in TOLERATED)]

    def violations(self) -> list[str]:
        """What axe-core finds against WCAG; that of PIDEX_AXE, else the one of axe-core-python."""
        self.script(_axe())
        told = self.driver.execute_async_script(
            "axe.run(document, {runOnly: arguments[0]}).then(arguments[1])", RULES
        )
        return [
            f"{each['id']}: {node['html'][:160]}" for each in told["violations"] for node in each["nodes"][:3]
        ]

    def overflow(self) -> int:
        """Pixels by which the page is wider than the screen."""
        return max(0, int(self.script("return document.documentElement.scrollWidth - innerWidth")))

    def outside(self) -> list[str]:
        """Elements of a README that reach beyond its box."""
        return [*self.script(_OUTSIDE)]

    def walk(self) -> list[str]:
        """Go through the page by the Tab key; what is wrong about that.

        Every stop is reached, in the order of the page, and seen to be where the focus is; none holds it.
        """
        from selenium.webdriver import Keys

        stops = int(self.script(_STOPS))
        dates = len(self.all("input[type=date]"))
        # A date has some stops inside, and the browser lets what scrolls be a stop.
        self.press(*[Keys.TAB] * (stops + 4 * dates + 6))
        walked = self.script("return window.walked")
        order, wrong = [], []
        for number, seen, html in walked:
            if number >= 0 and number not in order:
                order.append(number)
            if not seen:
                wrong.append(f"the focus is not seen on {html}")
        if order != sorted(order):
            wrong.append(f"the order is {order}")
        for number in sorted({*range(stops)} - {*order}):
            html = self.script("return window.stops[arguments[0]].outerHTML.slice(0, 120)", number)
            wrong.append(f"never reached: {html}")
        return wrong


@cache
def _axe() -> str:
    given = os.environ.get("PIDEX_AXE")
    if given is None:
        import axe_core_python

        given = str(Path(axe_core_python.__file__).with_name("axe.min.js"))
    return Path(given).read_text(encoding="utf-8")


def _is_gone(element: Any) -> bool:
    from selenium.common import WebDriverException

    try:
        element.is_enabled()
    except WebDriverException:
        return True
    return False
