"""A hardened unit for systemd: it may write the folder and the data directory, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pidex.cli.service.running import Running
from pidex.core.errors import ConfigError

#: Where systemd makes directories of a service, and the settings that have it do so.
STATE = Path("/var/lib")
_PLAIN = re.compile(r"[A-Za-z0-9_@:,./=+-]+")


def unit(running: Running, *, name: str, dynamic: bool) -> str:
    """The unit NAME.service. `dynamic`: its user exists only while it runs, and everything is below STATE.

    Raises `ConfigError` where that is not so.
    """
    state = STATE / name
    if dynamic and not all(path.is_relative_to(state) for path in running.written()):
        raise ConfigError(
            f"With --dynamic-user folders, data directory and log have to lie below {state}: nothing else"
            " keeps its owner."
        )
    lines = [*_head(running, name, dynamic), *_unit(running), *_service(running, name, dynamic), *_install()]
    return "\n".join(lines) + "\n"


def _head(running: Running, name: str, dynamic: bool) -> Iterator[str]:
    yield "# A unit for systemd, printed by `pidex service systemd`."
    yield f"# Put it into /etc/systemd/system/{name}.service, then: systemctl enable --now {name}"
    if not dynamic and running.data is not None:
        user = running.user
        yield "# Before the first start, where they are not there yet:"
        yield f"#   useradd --system --user-group --shell /usr/sbin/nologin {user}"
        private = {*running.private()}
        for path in dict.fromkeys(running.written()):
            mode = "700" if path in private else "755"
            yield f"#   install -d -o {user} -g {user} -m {mode} {_word(str(path))}"


def _unit(running: Running) -> Iterator[str]:
    yield "[Unit]"
    yield "Description=pidex, a private Python package index"
    yield "Wants=network-online.target"
    yield "After=network-online.target"
    yield f"RequiresMountsFor={_words(map(str, dict.fromkeys(running.written())))}"
    yield "StartLimitIntervalSec=60"
    yield "StartLimitBurst=20"
    yield ""


def _service(running: Running, name: str, dynamic: bool) -> Iterator[str]:
    yield "[Service]"
    yield "Type=exec"
    if dynamic:
        yield "DynamicUser=yes"
    else:
        yield f"User={running.user}"
    yield f"ExecStart={_words(running.command)}"
    yield "ExecReload=/bin/kill -HUP $MAINPID"
    yield "Restart=on-failure"
    yield "RestartSec=1"
    yield "KillMode=mixed"
    yield f"TimeoutStopSec={running.stop_seconds}"
    yield "UMask=0022"
    yield "LimitNOFILE=65536"
    yield "# A limit, so that nothing else on the machine suffers: 100 MB for each worker are plenty."
    yield "#MemoryMax=1G"
    yield "#TasksMax=512"
    yield "# What it may write:"
    yield "ProtectSystem=strict"
    paths = list(dict.fromkeys(running.written()))
    if dynamic:
        yield f"StateDirectory={name}"
    else:
        yield f"ReadWritePaths={_words(map(str, paths))}"
    yield from _homes(running, paths)
    yield "# What it does not need:"
    yield from _without(running)
    yield ""


def _homes(running: Running, paths: Iterable[Path]) -> Iterator[str]:
    """Homes and temporary folders are hidden, unless something that is needed lies there."""
    needed = [*paths, Path(running.program[0]), *_read(running)]
    homes = [Path("/home"), Path("/root"), Path("/run/user")]
    if any(path.is_relative_to(home) for path in needed for home in homes):
        yield "ProtectHome=read-only"
    else:
        yield "ProtectHome=yes"
    if any(path.is_relative_to(there) for path in needed for there in ("/tmp", "/var/tmp")):  # noqa: S108
        yield "# PrivateTmp=yes would hide what is served: move it out of /tmp."
    else:
        yield "PrivateTmp=yes"


def _read(running: Running) -> Iterator[Path]:
    settings = running.settings
    for path in (settings.config, settings.tls_cert, settings.tls_key, settings.passwords, settings.welcome):
        if path is not None:
            yield path


def _without(running: Running) -> Iterator[str]:
    ports = (running.settings.port, running.settings.ftp_port)
    if any(0 < port < 1024 for port in ports):
        yield "AmbientCapabilities=CAP_NET_BIND_SERVICE"
        yield "CapabilityBoundingSet=CAP_NET_BIND_SERVICE"
    else:
        yield "CapabilityBoundingSet="
    yield "NoNewPrivileges=yes"
    yield "PrivateDevices=yes"
    yield "ProtectClock=yes"
    yield "ProtectControlGroups=yes"
    yield "ProtectHostname=yes"
    yield "ProtectKernelLogs=yes"
    yield "ProtectKernelModules=yes"
    yield "ProtectKernelTunables=yes"
    yield "ProtectProc=invisible"
    yield "LockPersonality=yes"
    yield "RemoveIPC=yes"
    yield "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"
    yield "RestrictNamespaces=yes"
    yield "RestrictRealtime=yes"
    yield "RestrictSUIDSGID=yes"
    yield "SystemCallArchitectures=native"
    yield "SystemCallFilter=@system-service"
    yield "SystemCallErrorNumber=EPERM"


def _install() -> Iterator[str]:
    yield "[Install]"
    yield "WantedBy=multi-user.target"


def _words(words: Iterable[str]) -> str:
    return " ".join(_word(word) for word in words)


def _word(word: str) -> str:
    """A word without expansions (% and $), quoted where it has to be."""
    if "\n" in word or "\r" in word:
        raise ConfigError("A path with a line break cannot be written into a unit.")
    word = word.replace("%", "%%").replace("$", "$$")
    if _PLAIN.fullmatch(word):
        return word
    return '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'
