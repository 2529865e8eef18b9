"""`pypi-server`: pypiserver's command line, flag by flag, over pidex."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import click

from pidex import __version__
from pidex.cli.fallback import default_fallback
from pidex.cli.group import guarded
from pidex.cli.serve import start
from pidex.config import ENV_PREFIX, environment

NAME = "pypi-server"
SUBCOMMANDS = ("run", "update")
OFF = ("off", "no", "false", "0")
#: What pypiserver does where nothing is said; weaker than a PIDEX_ variable.
DEFAULTS: Mapping[str, object] = {
    "port": "8080",
    "host": "0.0.0.0",  # noqa: S104  # as pypiserver
    "log_level": "warning",
    "access_log": False,
}
IGNORED = {
    "backend": "every backend of pypiserver is a view of one folder, which pidex keeps in a catalogue",
    "server": "pidex brings its own HTTP server",
    "log_frmt": "log lines have one form; PIDEX_LOG=json makes them JSON",
    "log_req_frmt": "log lines have one form; PIDEX_LOG=json makes them JSON",
    "log_res_frmt": "log lines have one form; PIDEX_LOG=json makes them JSON",
    "log_err_frmt": "log lines have one form; PIDEX_LOG=json makes them JSON",
}


class Plan(NamedTuple):
    """A command line, decided: settings as flags, notes for stderr, and which stream log lines go to."""

    flags: dict[str, object]
    notes: tuple[str, ...]
    to_stderr: bool


def main() -> None:
    """The `pypi-server` command. Exit codes: 0 done, 1 failed, 2 usage."""
    given = sys.argv[1:]
    sys.exit(guarded(NAME, lambda: act(given), debug="--debug" in given))


def act(given: Sequence[str]) -> int:
    """Do what a command line asks for. Returns the exit code."""
    command, rest, notes = split(given)
    if command is None:
        overview().parse_args(rest)
        return 0
    parsed = parser(command).parse_args(rest)
    if command == "update":
        from pidex.cli.update import update

        return update(parsed, folders(parsed))
    environ = environment()
    made = plan(parsed, environ)
    for note in (*notes, *made.notes):
        print(f"{NAME}: note: {note}", file=sys.stderr)
    if made.to_stderr:
        os.dup2(2, 1)  # log lines go to standard output: here that is standard error
    return start(made.flags, environ)


def split(given: Sequence[str]) -> tuple[str | None, list[str], tuple[str, ...]]:
    """The sub-command (None: help or version of the whole), the arguments without it, and notes.

    All options are understood before and after the sub-command, and without one at all, as in pypiserver
    before 2.0; `-U` asks for `update` there.
    """
    rest = list(given)
    position = _first_word(rest)
    if position is not None and rest[position] in SUBCOMMANDS:
        return rest.pop(position), rest, ()
    if not rest or rest[0] in ("-h", "--help", "--version"):
        return (None, rest, ()) if rest else ("run", rest, ())
    update = "-U" in rest
    command = "update" if update else "run"
    if update:
        rest.remove("-U")
    return command, rest, (f"without a sub-command, `{NAME} {command}` is meant; say so.",)


def _first_word(given: Sequence[str]) -> int | None:
    """Where the first argument stands that is neither an option nor an option's value."""
    taking = {
        flag
        for command in SUBCOMMANDS
        for action in parser(command)._actions
        if action.nargs is None
        for flag in action.option_strings
    }
    skip = False
    for position, argument in enumerate(given):
        if skip:
            skip = False
        elif argument == "--":
            return position + 1 if position + 1 < len(given) else None
        elif any(flag == argument or (flag.startswith(argument) and argument[1:2] == "-") for flag in taking):
            skip = True  # argparse takes beginnings of long options too
        elif not argument.startswith("-"):
            return position
    return None


class Parser(argparse.ArgumentParser):
    """argparse, as pypiserver uses it (so `--pass` is `--passwords`), with errors in one line."""

    def error(self, message: str) -> NoReturn:
        raise click.UsageError(f"{message[:1].upper()}{message[1:]}.")


def overview() -> argparse.ArgumentParser:
    """The parser of `pypi-server --help` and `--version`."""
    top = Parser(
        prog=NAME,
        description="pypiserver's command line over pidex. docs/pypiserver.md says what differs.",
        epilog="run [FOLDER ...]: serve packages (also without saying `run`).  update [FOLDER ...]: look for"
        " newer versions of the packages.  `pypi-server run --help` shows the options.",
    )
    top.add_argument("--version", action="version", version=f"{NAME} (pidex) {__version__}")
    return top


def parser(command: str) -> argparse.ArgumentParser:
    """The parser of a sub-command, with the options that all have."""
    made = Parser(prog=f"{NAME} {command}", argument_default=argparse.SUPPRESS)
    add = made.add_argument
    add("folders", nargs="*", metavar="PACKAGE_DIRECTORY", help="folders of packages [~/packages]")
    add("-v", "--verbose", action="count", help="-v: a line for each request; -vv: all that is logged")
    add("--log-file", metavar="FILE", help="write log lines to this file")
    add("--log-stream", metavar="STREAM", help="stdout, stderr or none [stdout]")
    add("--log-frmt", metavar="FORMAT", help="accepted, without effect")
    add("--hash-algo", metavar="ALGO", help="sha256, or off: links without a hash [sha256]")
    add("--backend", choices=("auto", "simple-dir", "cached-dir"), help="accepted, without effect")
    add("--version", action="version", version=f"{NAME} (pidex) {__version__}")
    add("--debug", action="store_true", help="show the traceback of an unexpected error")
    if command == "update":
        add("-x", "--execute", action="store_true", help="run the pip commands instead of printing them")
        add("-d", "--download-directory", metavar="DIR", help="where to [beside the old file]")
        add("-u", "--allow-unstable", action="store_true", help="take pre-releases too")
        add("--ignorelist-file", "--blacklist-file", metavar="FILE", help="names to leave alone, one a line")
        return made
    add("-p", "--port", metavar="PORT", help="[8080]")
    add("-i", "-H", "--interface", "--host", dest="host", metavar="ADDRESS", help="[0.0.0.0]")
    add("-a", "--authenticate", metavar="ACTIONS", help="list, download, update, or . for none [update]")
    add("-P", "--passwords", metavar="FILE", help="an htpasswd file, or . for none")
    add("--disable-fallback", action="store_true", help="answer 404 for unknown projects")
    add(
        "--fallback-url", metavar="URL", help="where unknown projects are redirected to [PyPI's simple index]"
    )
    add("--health-endpoint", metavar="PATH", help="[/health]")
    add("--server", metavar="NAME", help="accepted, without effect")
    add("-o", "--overwrite", action="store_true", help="uploads may replace files")
    add("--welcome", metavar="FILE", help="HTML of the welcome page")
    add("--cache-control", metavar="SECONDS", help="Cache-Control: public, max-age=SECONDS, of files")
    for name in ("--log-req-frmt", "--log-res-frmt", "--log-err-frmt"):
        add(name, metavar="FORMAT", help="accepted, without effect")
    add("--server-base-url", metavar="PATH", help="serve everything below this path [/]")
    add("--check", metavar="whole|none", help="pidex's: none lists every file at once, as pypiserver [whole]")
    add("--data", metavar="DIR", help="pidex's: the data directory")
    return made


def folders(parsed: argparse.Namespace) -> tuple[str, ...]:
    """The folders a command line means."""
    named: Sequence[str] = getattr(parsed, "folders", ())
    return tuple(named) or (str(Path("~/packages").expanduser()),)


def plan(parsed: argparse.Namespace, environ: Mapping[str, str]) -> Plan:
    """What a `run` command line means as settings. Raises `click.UsageError`, `ConfigError`."""
    given = vars(parsed)
    flags: dict[str, object] = {"folders": folders(parsed)}
    notes: list[str] = [f"--{name.replace('_', '-')} has no effect: {why}."
                        for name, why in IGNORED.items() if name in given]  # fmt: skip
    plain = {
        "port": "port",
        "host": "host",
        "welcome": "welcome",
        "log_file": "log_file",
        "health_endpoint": "health_path",
        "server_base_url": "prefix",
        "check": "check",
        "data": "data",
    }
    flags |= {ours: given[theirs] for theirs, ours in plain.items() if theirs in given}
    if given.get("overwrite"):
        flags["mutability"] = "volatile"
    if "cache_control" in given:
        if not re.fullmatch("[0-9]{1,9}", given["cache_control"]):
            raise click.UsageError(f"--cache-control takes seconds, not {given['cache_control']!r}.")
        flags["file_cache_control"] = f"public, max-age={given['cache_control']}"
    flags |= _access(given)
    flags |= _hash(given, notes)
    flags |= _logging(given)
    if given.get("disable_fallback"):
        flags["fallback_url"] = ""
    elif "fallback_url" in given:
        flags["fallback_url"] = given["fallback_url"]
    elif not environ.get(f"{ENV_PREFIX}FALLBACK_URL"):
        flags["fallback_url"] = default_fallback()
    # What is not here is asked for where the fallback says, and by the client.
    if not environ.get(f"{ENV_PREFIX}UPSTREAM"):
        flags["no_upstream"] = True
    for name, value in DEFAULTS.items():
        if not environ.get(ENV_PREFIX + name.upper()):
            flags.setdefault(name, value)
    return Plan(flags, tuple(notes), given.get("log_stream", "").lower() == "stderr")


def _access(given: Mapping[str, str]) -> dict[str, object]:
    """Who may do what: `-a` and `-P` (heritage: `-a . -P .` open everything, and only together)."""
    actions = [word.strip().lower() for word in given.get("authenticate", "update").split(",")]
    passwords = given.get("passwords")
    if (actions == ["."]) != (passwords == "."):
        raise click.UsageError("-a . and -P . go together: they mean that nobody ever needs to sign in.")
    if actions == ["."]:
        return {"guard": frozenset()}
    result: dict[str, object] = {"guard": ",".join(actions)} if "authenticate" in given else {}
    return result | ({"passwords": passwords} if passwords else {})


def _hash(given: Mapping[str, str], notes: list[str]) -> dict[str, object]:
    algorithm = given.get("hash_algo", "sha256").lower()
    if algorithm in OFF:
        return {"hash_fragment": "none"}
    if algorithm not in hashlib.algorithms_available:
        raise click.UsageError(f"--hash-algo: there is no {algorithm!r}; links carry sha256, or none (off).")
    if algorithm != "sha256":
        notes.append(f"--hash-algo {algorithm}: links carry sha256, which every installer checks.")
    return {}


def _logging(given: Mapping[str, object]) -> dict[str, object]:
    stream = str(given.get("log_stream", "stdout")).lower()
    if stream not in ("stdout", "stderr", "none"):
        raise click.UsageError(f"--log-stream is stdout, stderr or none, not {stream!r}.")
    result: dict[str, object] = {}
    verbosity = given.get("verbose")
    if isinstance(verbosity, int):
        result = {"log_level": "debug" if verbosity > 1 else "info", "access_log": True}
    if stream == "none" and "log_file" not in given:
        result["log"] = "none"
    return result
