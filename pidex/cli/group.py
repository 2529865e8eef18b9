"""The root command: sub-commands loaded when they are asked for, and errors as sentences with exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import cast

import click

from pidex import __version__
from pidex.core.errors import ConfigError, PidexError

#: Name: module below pidex.cli, with `:NAME` where its command is not called `command`, and the help line.
COMMANDS = {
    "serve": ("serve", "Serve folders of packages to pip, uv, poetry and pdm."),
    "scan": ("scan", "Look through the folders now, and say what is listed and what is not, and why."),
    "verify": ("verify", "Compare rows, files, hashes and history, and mend what can be mended."),
    "backup": ("backup", "Take a backup of catalogue, files and repositories while the server works."),
    "restore": ("restore", "Put a backup back, or a snapshot of the catalogue."),
    "migrate": ("migrate", "Move everything between folder and bucket, or SQLite and PostgreSQL, in use."),
    "why": ("why", "Say everything known of a project or a file: listed or not, and why."),
    "doctor": ("doctor", "Check the set-up, and say what to do about what is wrong."),
    "upload": ("upload", "Put files into the index of this machine."),
    "yank": ("marks:yank", "Have installers pass over a release or a file."),
    "unyank": ("marks:unyank", "Offer a yanked release or file again."),
    "status": ("marks:status", "Say of a project that it is active, deprecated, archived or quarantined."),
    "owner": ("marks:owner", "Show, add and remove a project's owners."),
    "remove": ("removals:remove", "Delete a project, a release or a file."),
    "restore-file": ("removals:restore_file", "Bring back a file that was deleted or replaced."),
    "prune": ("removals:prune", "Drop kept files for good, or delete old releases."),
    "user": ("users", "Users: make, lock out, remove and list them; change passwords."),
    "group": ("groups", "Groups of users."),
    "token": ("tokens", "API tokens, with ready lines for twine, uv, pip and netrc."),
    "grant": ("grants", "Roles: who may read, upload and administer what."),
    "policy": ("policy", "What of its contents an index shows: rules, exemptions, quarantine."),
    "advisories": ("advisories", "Known malware and vulnerabilities: taken in, shown, forgotten."),
    "index": ("indexes", "Indexes beside the default one, with bases and upstreams."),
    "bucket": ("bucket", "The bucket: what it holds, manifests, rebuilding, and clearing away."),
    "mirror": ("mirror", "What is held of upstreams: fetched ahead, listed, counted, dropped."),
    "upstream": ("upstreams", "Other indexes that are asked for what nobody here has."),
    "origin": ("origins", "Whose a name is: claim, release, merge, block or reserve it."),
    "promote": ("indexes:promote", "Have a release of one index in another too."),
    "git": ("git", "Fill an index by git push."),
    "service": ("service", "Print ready files for supervisor, systemd, nginx and docker."),
    "config": ("configuration", "Show, check and describe the settings."),
}
#: Module: the extra that brings it, and what that stands for. The extra's own name would ask an index for
#: pidex, which may be somebody else's there.
EXTRAS = {
    "psycopg": ("postgres", "'psycopg[binary]'"),
    "pyftpdlib": ("ftp", "pyftpdlib pyopenssl"),
    "OpenSSL": ("ftp", "pyftpdlib pyopenssl"),
}
DONE, FAILED, USAGE, UNHEALTHY, INTERRUPTED = 0, 1, 2, 3, 130


class LazyGroup(click.Group):
    """A group that knows its commands' names and help lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, command = COMMANDS[cmd_name][0].partition(":")
        loaded = importlib.import_module(f"pidex.cli.{module}")
        return cast("click.Command", getattr(loaded, command or "command"))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(_unknown(args[0]), ctx)
        return super().resolve_command(ctx, args)


def _unknown(name: str) -> str:
    import difflib

    if os.path.isdir(name):
        return f"No such command: {name}. To serve that folder, run `pidex serve {name}`."
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"No such command: {name}." + (f" Did you mean {near[0]}?" if near else "")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="pidex", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an unexpected error.")
def pidex(debug: bool) -> None:
    """A private Python package index: `pidex serve FOLDER` is all it takes."""


def refusal(platform: str) -> str | None:
    """Why pidex does not run on a platform (`sys.platform`), or None where it does."""
    if platform in ("win32", "cygwin"):
        return (
            "pidex does not run on Windows: it relies on hard links, file locks and process signals of"
            " Linux and macOS; run it in WSL 2 or in a Linux container."
        )
    return None


def run(command: click.Command, args: Sequence[str] | None = None, *, platform: str = sys.platform) -> int:
    """Run a command line and return its exit code."""
    given = list(sys.argv[1:] if args is None else args)
    name = command.name or "pidex"

    def act() -> object:
        return command.main(given, prog_name=name, standalone_mode=False)

    return guarded(name, act, debug="--debug" in given, platform=platform)


def guarded(
    name: str, act: Callable[[], object], *, debug: bool = False, platform: str = sys.platform
) -> int:
    """Do what a command line asks for. Errors are one sentence on stderr, and never a traceback."""
    refused = refusal(platform)
    if refused:
        return _say(name, refused, FAILED)
    try:
        result = act()
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.UsageError as error:
        hint = error.ctx.command_path if error.ctx else name
        return _say(name, f"{error.format_message()} `{hint} --help` says more.", USAGE)
    except click.ClickException as error:
        return _say(name, error.format_message(), FAILED)
    except PidexError as error:
        return _say(name, str(error), USAGE if isinstance(error, ConfigError) else FAILED)
    except BrokenPipeError:
        # Whoever read our output has gone (`pidex scan | head`): no complaint at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (KeyboardInterrupt, click.Abort):
        return _say(name, "interrupted.", INTERRUPTED)
    except OSError as error:
        if debug:
            raise
        where = f" ({error.filename})" if error.filename else ""
        return _say(name, f"the system refuses: {error.strerror or error}{where}.", FAILED)
    except Exception as error:
        if debug:
            raise
        if isinstance(error, ModuleNotFoundError):
            return _say(name, missing(error.name or str(error)), FAILED)
        text = f"unexpected {type(error).__name__}: {error}. `{name} --debug ...` shows where."
        return _say(name, text, FAILED)
    return result if isinstance(result, int) else DONE


def missing(module: str) -> str:
    """What to install where a module is missing: named by its extra where it belongs to one."""
    top = module.partition(".")[0]
    extra, projects = EXTRAS.get(top, ("", ""))
    if extra:
        return (
            f"the Python module {top} is missing, which the extra {extra} of pidex brings."
            f" Install it with: {sys.executable} -m pip install {projects}"
        )
    if top == "pidex":
        return (
            "a part of pidex itself is missing ("
            + module
            + "): this installation is not complete. Install it again."
        )
    project = {"passlib": "libpass"}.get(top, top)
    return (
        f"the Python module {top} is missing: this installation is not complete."
        f" Install it with: {sys.executable} -m pip install {project}"
    )


def _say(name: str, text: str, code: int) -> int:
    for line in text.splitlines() or [text]:
        print(f"{name}: {line}", file=sys.stderr)
    return code
