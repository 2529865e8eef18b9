"""`pidex doctor`: check the set-up, and say what to do about what is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import click

from pidex.app.ground import shared_dir
from pidex.cli.options import settings_options
from pidex.config import data_dir, environment, load
from pidex.core.errors import ConfigError
from pidex.doctor import Check, Target, examine

SIGNS = {"ok": ("ok", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


@click.command("doctor")
@settings_options()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool, **flags: Any) -> int:
    """Check the set-up, and say what to do about what is wrong.

    Takes what `pidex serve` takes, and may be run beside it. Exit code 3 where a check fails.
    """
    checks: list[Check] = []
    for check in examined(flags, environment()):
        checks.append(check)
        if not as_json:
            sign, colour = SIGNS[check.state]
            click.echo(f"{click.style(f'{sign:4}', fg=colour)}  {check.name}: {check.sentence}")
            if check.remedy:
                click.echo(f"      {check.remedy}")
    if as_json:
        click.echo(json.dumps([each._asdict() for each in checks], indent=2))
    return 3 if any(each.state == "fail" for each in checks) else 0


def examined(flags: dict[str, object], environ: dict[str, str]) -> Iterator[Check]:
    """The configuration's check, and all that need one."""
    try:
        settings = load(flags, environ)
        data = data_dir(settings, environ)
    except ConfigError as error:
        for sentence in str(error).splitlines():
            yield Check("configuration", "fail", sentence, "`pidex config show` shows what is in force.")
        return
    source = f"the file {settings.config}" if settings.config else "flags, variables and defaults"
    yield Check("configuration", "ok", f"The configuration is good: {source}.")
    named = [each.name for each in fields(Target) if each.name not in ("data", "shared")]
    taken = {name: getattr(settings, name) for name in named}
    target = Target(data=data, shared=shared_dir(settings, data), **taken)
    yield from examine(target, clock=time.time)
