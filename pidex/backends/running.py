"""Processes that are not our children, told apart by number and start, and waited for until they end."""

from __future__ import annotations

import contextlib
import os
import select
import time
from pathlib import Path

#: Seconds between two looks where the system cannot tell of a process's end.
LOOK_SECONDS = 0.05


def process_of(pid: int) -> tuple[int, str]:
    """A process by number and start, so that a later one of the same number is another."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return pid, text.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return pid, ""


def await_end(of: tuple[int, str], seconds: float) -> bool:
    """Wait until a process has ended; whether it is known to have. A zombie has.

    A look that fails (no descriptor is left, the disk gives nothing) says nothing: whoever is told of an end
    undoes what the process may still be doing.
    """
    pid, _ = of
    end = time.monotonic() + seconds
    with contextlib.ExitStack() as stack:
        ends = None
        with contextlib.suppress(OSError, AttributeError):
            fd = os.pidfd_open(pid)
            stack.callback(os.close, fd)
            ends = select.poll()  # of any number, unlike `select.select`
            ends.register(fd, select.POLLIN)
        while not _ended(of):
            left = end - time.monotonic()
            if left <= 0:
                return False
            if ends is None:
                time.sleep(min(left, LOOK_SECONDS))
            elif ends.poll(min(left, 1.0) * 1_000):
                break
        return True


def _ended(of: tuple[int, str]) -> bool:
    pid, started = of
    if started:
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return True
        except OSError:
            return False
        fields = text.rpartition(")")[2].split()
        return fields[0] in "ZX" or fields[19] != started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
