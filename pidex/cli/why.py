"""`pidex why`: everything known of a project, a release or a file."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from typing import Any

import click

from pidex.cli.marks import index_option
from pidex.cli.options import settings_options
from pidex.config import environment, load
from pidex.core.model import OPERATOR


@click.command("why")
@click.argument("subject")
@settings_options("folders", "config", "data")
@index_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(subject: str, index: str, as_json: bool, **flags: Any) -> None:
    """Say everything known of SUBJECT in an index: a project, a release (NAME==1.0) or a file name.

    FOLDER is what the server serves (or --config names it). The answer is what the catalogue knows: what
    changed since the last scan, `pidex scan` finds.
    """
    from pidex.app import build

    environ = environment()
    with contextlib.closing(build(load(flags, environ), environ)) as pidex:
        reasons = pidex.resolver.why(index, subject, by=OPERATOR)
    if as_json:
        click.echo(json.dumps([asdict(each) for each in reasons], indent=2))
        return
    for each in reasons:
        click.echo(each.text)
