"""Pictures of the pages in a real browser, and what axe-core finds there; run by scripts/screenshots."""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pidex import app
from pidex.core.model import DEFAULT_INDEX, OPERATOR
from tests import samples
from tests.walks.server import fetch, free_port

PASSWORD = "correct horse battery"
WIDTHS = (360, 1280)
THEMES = ("light", "dark")
PAGES = {
    "home": "",
    "search": "-/search?q=sample",
    "nothing": "-/search?q=exampel-client",
    "project": "project/example-client/",
    "release": "project/example-client/1.0/",
    "files": "project/example-client/-/files/",
    "releases": "project/example-client/-/history/",
    "dependencies": "project/example-client/-/dependencies/",
    "needed": "project/example-core/-/dependencies/",
    "inside": "project/example-client/-/file/example_client-2.0-py3-none-any.whl/",
    "member": "project/example-client/-/file/example_client-2.0-py3-none-any.whl/example_client/__init__.py",
    "setup-pip": "-/setup",
    "setup-uv": "-/setup?client=uv",
    "setup-github": "-/setup?client=github",
    "why": "-/why?subject=example-client",
    "error": "project/nothing-here/",
    "login": "-/login",
    "account": "-/account",
    "upload": "-/upload",
    "manage": "project/example-client/-/manage/",
    "index": "-/index",
    "statistics": "-/statistics",
    "names": "-/origins",
    "folders": "-/folders",
    "server": "-/admin",
    "people": "-/admin/people",
    "person": "-/admin/person?user=ann",
    "indexes": "-/admin/indexes",
    "audit": "-/admin/audit",
    "health": "-/admin/health",
}
#: Pages that only who signed in sees.
SIGNED_IN = (
    "account", "upload", "manage", "index", "statistics", "names", "folders", "server", "people", "person",
    "indexes", "audit", "health",
)  # fmt: skip

README = """# Example client

A small client for the *example* service. It speaks plain HTTP and needs nothing but the standard library.

![build](https://badges.example/build.svg)

## Use

```python
from example_client import Client

for item in Client("https://service.example").items(limit=10):
    print(item.name)  # at most ten
```

| option | meaning |
| --- | --- |
| `limit` | how many items |
| `timeout` | in seconds |

- [x] items
- [ ] streams

> It is young: expect changes.
"""


def packages() -> Iterator[samples.Sample]:
    lines = [
        "Metadata-Version: 2.4", "Name: example-client", "Version: 2.0",
        "Summary: A small client for the example service", "Author-email: Ann Example <ann@example.org>",
        "License-Expression: MIT", "Requires-Python: >=3.10", "Keywords: http,client",
        "Project-URL: Source, https://code.example/client", "Classifier: Framework :: AsyncIO",
        "Requires-Dist: example-core>=1.2", "Requires-Dist: rich>=13; extra == 'cli'", "Provides-Extra: cli",
        "Description-Content-Type: text/markdown", "", README,
    ]  # fmt: skip
    text = "\n".join(lines)
    code = {"example_client/__init__.py": b'"""A client."""\n\n\ndef main() -> None:\n    print("hello")\n'}
    yield samples.wheel("example-client", "2.0", files=code, metadata=text.encode())
    yield samples.sdist("example-client", "2.0")
    for version in ("1.0", "1.1", "1.2", "2.1rc1"):
        yield samples.wheel("example-client", version)
    yield samples.wheel("example-core", "1.3")
    for name in ("example-tools", "sample-data", "sample-views"):
        yield samples.wheel(name, "0.4", requires=["example-core"])


def browser(width: int) -> Any:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"):
        options.add_argument(argument)
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))


def requested(driver: Any) -> set[str]:
    """Every URL that was asked for since the last question."""
    urls = set()
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            urls.add(message["params"]["request"]["url"])
    return urls


def violations(driver: Any) -> list[str]:
    """What axe-core finds against WCAG 2.2 A and AA."""
    from axe_core_python.selenium import Axe

    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    told = Axe().run(driver, options={"runOnly": rules})
    return [f"{each['id']}: {each['nodes'][0]['html'][:160]}" for each in told["violations"]]


def visit(driver: Any, base: str, folder: Path, width: int, theme: str, names: list[str]) -> list[str]:
    found = []
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    )
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    for name in names:
        driver.get(base + PAGES[name])
        where = f"{name} {width} {theme}"
        found += [
            f"{where}: {url} was asked for"
            for url in requested(driver)
            if not url.startswith((base, "data:"))
        ]
        wide = driver.execute_script("return document.documentElement.scrollWidth")
        found += [f"{where}: {wide} px wide"] if wide > width else []
        found += [f"{where}: {each}" for each in violations(driver)]
        found += [
            f"{where}: {each['message']}"
            for each in driver.get_log("browser")
            if "404" not in each["message"]
        ]
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        (folder / f"{name}-{width}-{theme}.png").write_bytes(base64.b64decode(shot["data"]))
    return found


def main(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    found: list[str] = []
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        shelf = Path(place) / "packages"
        shelf.mkdir()
        for package in packages():
            samples.write(shelf, package)
        base = stack.enter_context(started(shelf))
        driver = browser(1280)
        stack.callback(driver.quit)
        for width in WIDTHS:
            for theme in THEMES:
                found += visit(driver, base, folder, width, theme, [n for n in PAGES if n not in SIGNED_IN])
        driver.get(base + "-/login")
        driver.find_element("id", "name").send_keys("ann")
        driver.find_element("id", "password").send_keys(PASSWORD)
        driver.find_element("css selector", "main form button").click()
        for width in WIDTHS:
            for theme in THEMES:
                found += visit(driver, base, folder, width, theme, [*SIGNED_IN])
    sys.stdout.write("".join(f"{line}\n" for line in found))
    sys.stdout.write(
        f"{len(PAGES) * len(WIDTHS) * len(THEMES)} pictures in {folder}, {len(found)} findings\n"
    )
    return 1 if found else 0


@contextlib.contextmanager
def started(shelf: Path) -> Iterator[str]:
    """The real server over a folder, with one user, who may do everything in the index."""
    data = shelf.parent / "data"
    source = app.Source({"folders": (str(shelf),), "data": str(data)}, {})
    pidex = app.build(source.settings(), {}, create=True)
    people = pidex.administration()
    people.add_user("ann", PASSWORD, by=OPERATOR)
    people.grant("user:ann", "admin", by=OPERATOR)
    clients = ('pip/24.0 {"python":"3.12.1"}', 'uv/0.9 {"python":"3.11.2"}', "poetry/1.8 CPython/3.10.1")
    counted = {
        (DEFAULT_INDEX, "example_client-2.0-py3-none-any.whl", agent): 40 - 12 * number
        for number, agent in enumerate(clients)
    }
    pidex.statistics().note(counted)
    pidex.statistics().settle()
    people.create_token("ann", scopes=["read", "upload"], comment="CI", by=OPERATOR)
    pidex.close()
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "pidex",
        "serve",
        "--no-upstream",
        "--data",
        str(data),
        "--port",
        str(port),
        str(shelf),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True
    )
    base = f"http://127.0.0.1:{port}/"
    try:
        until(lambda: _answers(base + "project/example-client/"))
        yield base
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return fetch(url, {"accept": "text/html"}).status == 200
    except OSError:
        return False


def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("the server does not answer")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
