"""`scripts/coverage`: how much of the packages that must not be wrong the tests reach, branches counted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: What is measured, and what of it has to be reached, in percent.
PACKAGES = ("core", "intake", "reconciler", "mirror", "accounts")
LEAST = 95.0
#: What is not counted: what types alone ask for, and methods of seams that have no body.
SETTINGS = """
[run]
branch = true
parallel = true
patch = subprocess
data_file = {place}/data
source = pidex
[report]
include = {include}
exclude_also =
    if TYPE_CHECKING:
    @abstractmethod
    raise NotImplementedError
    ^\\s*\\.\\.\\.$
"""


def package_of(path: str) -> str:
    """'core' of 'pidex/core/names.py' and 'pidex/core.py'."""
    return Path(path).parts[1].removesuffix(".py")


def main(chosen: list[str]) -> int:
    """Run tests (the suites core and web) and print the table; 1 where a package is below `LEAST`."""
    include = ", ".join(f"pidex/{each}/*, pidex/{each}.py" for each in PACKAGES)
    wanted = chosen or ["--suite", "core", "--suite", "web"]
    with tempfile.TemporaryDirectory(prefix="pidex-coverage-") as place:
        rc = Path(place) / "rc"
        rc.write_text(SETTINGS.format(place=place, include=include), encoding="utf-8")
        coverage = [sys.executable, "-m", "coverage"]
        processes = os.environ.get("PIDEX_TEST_PROCESSES", "2")
        tests = ["-m", "pytest", "-q", "-p", "tests.suites", "-n", processes, "--dist", "loadfile", *wanted]
        status = subprocess.call([*coverage, "run", f"--rcfile={rc}", *tests], cwd=ROOT)
        subprocess.run([*coverage, "combine", "-q", f"--rcfile={rc}"], cwd=ROOT, check=True)
        out = Path(place) / "report.json"
        subprocess.run([*coverage, "json", "-q", f"--rcfile={rc}", "-o", str(out)], cwd=ROOT, check=True)
        found = json.loads(out.read_text(encoding="utf-8"))["files"]
    return max(1 if status else 0, report(found))


def report(files: dict[str, dict[str, object]]) -> int:
    """Print what is reached of each package, and the lines of each module that nothing reaches."""
    counts: dict[str, Counter[str]] = {each: Counter() for each in PACKAGES}
    for path, told in files.items():
        summary = told["summary"]
        assert isinstance(summary, dict)
        counts[package_of(path)].update({name: n for name, n in summary.items() if isinstance(n, int)})
    print(f"\n{'':12}{'lines':>16}{'branches':>16}{'together':>10}")
    below = 0
    for package, count in counts.items():
        reached = count["covered_lines"] + count["covered_branches"]
        every = count["num_statements"] + count["num_branches"]
        percent = 100 * reached / every if every else 0.0
        below += percent < LEAST
        lines = f"{count['covered_lines']:,}/{count['num_statements']:,}"
        branches = f"{count['covered_branches']:,}/{count['num_branches']:,}"
        print(f"{package:12}{lines:>16}{branches:>16}{percent:>9.1f}%")
    print()
    for path, told in sorted(files.items()):
        missing, partial = told["missing_lines"], told["missing_branches"]
        if missing or partial:
            print(f"{path}: lines {missing}, branches {partial}")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
