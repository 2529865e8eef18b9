"""`pidex config`: show the settings in force, check a file, and describe what there is to set."""

from __future__ import annotations

import json
from typing import Any

import click

from pidex.cli.options import settings_options
from pidex.config import environment, explain, load, settings_fields, shown
from pidex.core.errors import ConfigError


@click.group("config")
def command() -> None:
    """Show, check and describe the settings."""


@command.command("show")
@settings_options()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(as_json: bool, **flags: Any) -> None:
    """Show every setting in force, and where it came from.

    Takes what `pidex serve` takes: shows what it would run with.
    """
    effective = explain(flags, environment())
    if as_json:
        rows = {each.name: {"value": shown(each.value), "origin": each.origin} for each in effective}
        click.echo(json.dumps(rows, indent=2))
        return
    width = max(len(each.name) for each in effective)
    for each in effective:
        value = "-" if each.value is None else json.dumps(shown(each.value), ensure_ascii=False)
        origin = "" if each.origin == "default" else f"   ({each.origin})"
        click.echo(f"{each.name:<{width}}  {value}{origin}")


@command.command("check")
@click.argument("file", type=click.Path())
def check(file: str) -> int:
    """Check a configuration file alone. Exit code 1 where something in it is wrong."""
    try:
        load({"config": file}, {})
    except ConfigError as error:
        for sentence in str(error).splitlines():
            click.echo(sentence, err=True)
        return 1
    click.echo(f"{file} is a good configuration file.")
    return 0


@command.command("schema")
def schema() -> None:
    """Print the JSON schema of the configuration file, for editors and checks."""
    click.echo(json.dumps(json_schema(), indent=2))


def json_schema() -> dict[str, object]:
    """The JSON schema (2020-12) of the configuration file."""
    kinds = {"boolean": "boolean", "integer": "integer", "number": "number"}
    properties: dict[str, object] = {}
    for field, meta in settings_fields():
        if not meta.in_file:
            continue
        one: dict[str, object] = {"type": kinds.get(meta.kind, "string")}
        if meta.choices:
            one["enum"] = list(meta.choices)
        if meta.least is not None:
            one |= {"minimum": meta.least, "maximum": meta.most}
        if meta.pattern:
            one["pattern"] = f"^({meta.pattern})$"
        if meta.kind in ("paths", "words"):
            one = {"type": "array", "items": one, "uniqueItems": True}
        one["description"] = meta.doc + (f" In {meta.unit}." if meta.unit else "")
        if field.default is not None:
            one["default"] = shown(field.default)
        properties[field.name] = one
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pidex.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }
