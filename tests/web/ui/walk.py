"""From an empty folder, in a browser, to a package installed elsewhere; run by scripts/interface walk."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import samples
from tests.clients.environments import CLIENTS, make
from tests.walks.server import Server, environment
from tests.web.ui.chromium import Window

PASSWORD = "correct horse battery"


def typed(line: str, place: Path, home: Path, said: str = "") -> str:
    """A line in a shell: `pidex` is this one, `pip` one of another machine; what was printed."""
    pip = make(CLIENTS["pip"]) / "bin"
    bin_ = place / "bin"
    if not bin_.exists():
        bin_.mkdir()
        (bin_ / "pidex").write_text(f'#!/bin/sh\nexec {sys.executable} -m pidex "$@"\n')
        (bin_ / "pidex").chmod(0o755)
    environ = environment(HOME=str(home), PATH=f"{bin_}:{pip}:{os.environ['PATH']}")
    environ.pop("PIP_CONFIG_FILE")
    done = subprocess.run(
        ["bash", "-ec", line], input=said, capture_output=True, text=True, check=False, env=environ,
        cwd=home, timeout=120,
    )  # fmt: skip
    sys.stdout.write(f"$ {line}\n{done.stdout}{done.stderr}")
    assert done.returncode == 0, line
    return done.stdout


def main(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        home, other = place / "home", place / "other"
        (home / "packages").mkdir(parents=True)
        other.mkdir()
        wheel = samples.write(
            place, samples.wheel("hello-team", "1.0", files={"hello_team.py": b"print('hello')\n"})
        )
        server = stack.enter_context(Server(home / "packages"))
        window = stack.enter_context(Window(f"{server.url}/"))
        window.look(960)
        steps = 0

        def picture() -> None:
            nonlocal steps
            steps += 1
            window.shot(folder / f"walk-{steps}.webp")

        window.open("")
        picture()
        for line in window.find(".steps .command code").text.splitlines():
            typed(line, place, home, f"{PASSWORD}\n{PASSWORD}\n")
        window.leave(window.find(".steps a.button").click)
        window.find("#name").send_keys("me")
        window.find("#password").send_keys(PASSWORD)
        window.leave(window.find("main form button").click)
        assert window.path == "-/upload"
        window.find("input[type=file]").send_keys(str(wheel))
        window.find("main form.drop button").click()
        window.until(lambda: window.all("[data-results] .badge.good"))
        picture()
        window.leave(window.find("[data-results] li a").click)
        picture()
        window.leave(window.find("header nav a[href$='-/setup']").click)
        picture()
        blocks = [each.text for each in window.all("main .block code") if "pip " in each.text]
        for line in blocks:
            typed(line, place, other)
        typed(f"pip install --target {other}/site hello-team", place, other)
        told = typed(f"PYTHONPATH={other}/site python3 -c 'import hello_team'", place, other)
        assert told == "hello\n"
    sys.stdout.write(f"{steps} pictures in {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
