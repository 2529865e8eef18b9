"""Loaded by every Python of a server under test: kills its session at a named step, when that step is armed.

The product holds no code for this. `FAULTS_POINTS` is the file that lists the steps, one `module:name` each;
`FAULTS_ARM` the file that, while it is there, says `module:name when count`: kill before or after the
count-th call of it. A step that is not there any more is noted beside, and fails the run.
"""

import contextlib
import functools
import importlib.abc
import importlib.machinery
import os
import signal
import sys
from typing import Any

_ARM = os.environ.get("FAULTS_ARM", "")
_CALLS: dict[tuple[str, str], int] = {}


def _stop() -> None:
    session = os.getsid(0)
    with contextlib.suppress(OSError):
        os.unlink(_ARM)
        with open(_ARM + ".hit", "a") as out:
            out.write("hit\n")
    own = os.getpid()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != own:
            with contextlib.suppress(OSError):
                if os.getsid(int(entry)) == session:
                    os.kill(int(entry), signal.SIGKILL)
    os.kill(own, signal.SIGKILL)


def _armed(step: str, when: str) -> bool:
    try:
        with open(_ARM) as file:
            which, moment, count = file.read().split()
    except (OSError, ValueError):
        _CALLS.clear()
        return False
    if which != step or moment != when:
        return False
    _CALLS[step, when] = _CALLS.get((step, when), 0) + 1
    return bool(_CALLS[step, when] >= int(count))


def _wrap(step: str, original: Any) -> Any:
    @functools.wraps(original)
    def act(*args: Any, **kwargs: Any) -> Any:
        if _armed(step, "before"):
            _stop()
        result = original(*args, **kwargs)
        if _armed(step, "after"):
            _stop()
        return result

    return act


class _Finder(importlib.abc.MetaPathFinder):
    """Finds nothing by itself: it has the steps of a module wrapped as soon as that is loaded."""

    def __init__(self, steps: dict[str, list[str]]) -> None:
        self._steps = steps

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        names = self._steps.pop(fullname, None)
        if names is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            _missing(fullname)
            return None
        load = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            load(module)
            for name in names:
                owner = module
                *path_to, last = name.split(".")
                try:
                    for part in path_to:
                        owner = getattr(owner, part)
                    raw = owner.__dict__[last]
                except (AttributeError, KeyError):
                    _missing(f"{fullname}:{name}")
                    continue
                step = f"{fullname}:{name}"
                if isinstance(raw, staticmethod):
                    setattr(owner, last, staticmethod(_wrap(step, raw.__func__)))
                else:
                    setattr(owner, last, _wrap(step, raw))

        setattr(spec.loader, "exec_module", exec_module)  # noqa: B010
        return spec


def _missing(step: str) -> None:
    with open(_ARM + ".missing", "a") as out:
        out.write(f"{step}\n")


def _install() -> None:
    steps: dict[str, list[str]] = {}
    with open(os.environ["FAULTS_POINTS"]) as file:
        for line in file.read().split():
            module, _, name = line.partition(":")
            steps.setdefault(module, []).append(name)
    sys.meta_path.insert(0, _Finder(steps))


if _ARM and "FAULTS_POINTS" in os.environ:
    _install()
