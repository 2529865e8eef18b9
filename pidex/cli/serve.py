"""`pidex serve`: serve folders of packages until told to stop."""

from __future__ import annotations

from typing import Any

import click

from pidex.cli.options import settings_options
from pidex.config import environment, load, served_folders


@click.command("serve")
@settings_options()
def command(**flags: Any) -> int:
    """Serve folders of packages to pip, uv, poetry and pdm.

    Every option is also a variable (--scan-interval: PIDEX_SCAN_INTERVAL) and a key of the configuration
    file (scan_interval); docs/configuration.md describes them. SIGHUP reads the file again.
    """
    return start(flags, environment())


def start(flags: dict[str, object], environ: dict[str, str]) -> int:
    """Serve with these settings, after the cheap checks: a mistyped folder is said at once."""
    served_folders(load(flags, environ))
    from pidex.app import Source, serve

    return serve(Source(flags, environ))
