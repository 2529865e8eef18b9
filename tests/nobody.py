"""Run a function as a user without rights: what root may do hides what others may not."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

UID = 65534
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="becomes another user, which only root can")


def let_in(path: Path) -> None:
    """Open the way to a folder, and the folder, to every user: only what is shut, so never a shared place."""
    for each in (path, *path.parents):
        mode = each.stat().st_mode
        if mode & 0o005 != 0o005:
            each.chmod(mode & 0o7777 | 0o055)


def as_nobody(function: Callable[[], str]) -> str:
    """What `function` returns when it runs in a child process of the user `nobody`."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(UID)
            os.setuid(UID)
            text = function()
        except BaseException:
            text = traceback.format_exc()
        with os.fdopen(writing, "w") as file:
            file.write(text)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    os.waitpid(child, 0)
    return text
