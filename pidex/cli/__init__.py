"""The command line: one module a group of commands, each a few lines on a service."""

from __future__ import annotations

import sys


def main() -> None:
    """The `pidex` command. Exit codes: 0 done, 1 failed, 2 usage, 3 unhealthy."""
    # Workers import this module again when they are spawned: click is loaded by who runs a command.
    from pidex.cli.group import pidex, run

    sys.exit(run(pidex))
