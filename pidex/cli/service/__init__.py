"""`pidex service`: ready files for what keeps pidex running, and for what stands in front of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pidex.cli.options import settings_options
from pidex.config import environment, explain
from pidex.core.errors import CannotStart

Function = TypeVar("Function", bound=Callable[..., Any])


@click.group("service", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Print a ready file for supervisor, systemd, nginx or docker.

    Each takes what `pidex serve` takes, and prints what runs that. docs/service.md says what is in them.
    """


def _output(function: Function) -> Function:
    text = "Write to this file, which must not be there yet, instead of standard output."
    return click.option("--output", type=click.Path(path_type=Path), metavar="PATH", help=text)(function)


def _user(function: Function) -> Function:
    text = "The system user that runs it. Default: the folder's owner, or pidex where that is root."
    return click.option("--user", metavar="NAME", help=text)(function)


def _name(function: Function) -> Function:
    return click.option("--name", default="pidex", show_default=True, help="The service's name.")(function)


def _put(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CannotStart(f"{output} is there already. Remove it first, or name another file.") from None
    except OSError as error:
        raise CannotStart(f"{output} cannot be written: {error.strerror}.") from None
    click.echo(f"Written: {output}", err=True)


@command.command("supervisor")
@settings_options()
@_user
@_name
@click.option(
    "--service-log", default="/var/log/pidex.log", show_default=True, type=click.Path(path_type=Path),
    metavar="PATH", help="Where supervisord writes what pidex prints.",
)  # fmt: skip
@_output
def supervisor(user: str | None, name: str, service_log: Path, output: Path | None, **flags: Any) -> None:
    """A section for supervisord."""
    from pidex.cli.service.running import running
    from pidex.cli.service.supervisor import section

    _put(section(running(flags, environment(), user), name=_word(name), log=service_log.absolute()), output)


@command.command("systemd")
@settings_options()
@_user
@_name
@click.option(
    "--dynamic-user", is_flag=True, help="A user of its own while it runs, all below /var/lib/NAME."
)
@_output
def systemd(user: str | None, name: str, dynamic_user: bool, output: Path | None, **flags: Any) -> None:
    """A hardened unit for systemd."""
    from pidex.cli.service.running import running
    from pidex.cli.service.systemd import unit

    _put(unit(running(flags, environment(), user), name=_word(name), dynamic=dynamic_user), output)


@command.command("nginx")
@settings_options()
@click.option("--server-name", metavar="HOST", help="The site's host name. Default: that of public_url.")
@click.option("--certificate", type=click.Path(path_type=Path), metavar="PATH", help="nginx's chain (PEM).")
@click.option("--key", type=click.Path(path_type=Path), metavar="PATH", help="The certificate's key (PEM).")
@click.option("--http", is_flag=True, help="Without https: for a network of one's own.")
@click.option(
    "--node", "nodes", multiple=True, metavar="HOST:PORT", help="A node of a cluster; once for each of them."
)
@_output
def nginx(
    *,
    server_name: str | None,
    certificate: Path | None,
    key: Path | None,
    http: bool,
    nodes: tuple[str, ...],
    output: Path | None,
    **flags: Any,
) -> None:
    """A site for nginx in front of pidex."""
    from pidex.cli.service.nginx import site
    from pidex.cli.service.running import running

    if (certificate is None) != (key is None):
        raise click.UsageError("--certificate and --key go together.")
    pair = None if certificate is None or key is None else (certificate.absolute(), key.absolute())
    run = running(flags, environment())
    _put(site(run, server_name=server_name, certificate=pair, http=http, nodes=nodes), output)


@command.command("docker")
@settings_options()
@click.option("--compose", "as_compose", is_flag=True, help="The compose file instead of the Containerfile.")
@_output
def docker(as_compose: bool, output: Path | None, **flags: Any) -> None:
    """A Containerfile, or a compose file."""
    from pidex.cli.service.container import compose, container, containerfile

    inner = container(explain(flags, environment()))
    _put(compose(inner) if as_compose else containerfile(inner), output)


def _word(name: str) -> str:
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise click.UsageError(f"{name!r} is no name for a service: letters, digits, - and _ are.")
    return name
