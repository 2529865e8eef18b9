"""A Containerfile that builds pidex from its checkout, and a compose file that runs it over your folders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pidex.cli.service.running import SPARE_SECONDS, given, typed
from pidex.config import Effective, Settings, drop_boxes, flag, settings_fields

#: The image that it is built on, the user in it, and where things lie.
IMAGE, UID = "python:3.13-slim", 10001
PACKAGES, DATA, CONFIGURATION = "/srv/packages", "/srv/data", "/etc/pidex"
PORT = 3141
#: What a container decides itself, and files that are mounted into it.
_OWN = ("folders", "host", "port", "socket", "data", "log_file", "config")
_FILES = ("config", "tls_cert", "tls_key", "passwords", "welcome")


@dataclass(frozen=True, slots=True)
class Container:
    """The settings as they are inside: paths are those of the container."""

    settings: Settings
    arguments: tuple[str, ...]
    mounts: tuple[tuple[str, str, bool], ...]  # outside, inside, read-only


def container(effective: list[Effective]) -> Container:
    """What was set, with files and folders where the container has them."""
    settings = Settings(**{each.name: each.value for each in effective})  # type: ignore[arg-type]
    least = 1 if settings.storage is None else 0
    inside = [PACKAGES if n == 0 else f"{PACKAGES}-{n + 1}" for n in range(max(least, len(settings.folders)))]
    mounts = [(str(out), here, False) for out, here in zip(settings.folders, inside, strict=False)]
    arguments = [*inside, "--host", "0.0.0.0", "--port", str(PORT), "--data", DATA]  # noqa: S104
    mounts += [(str(folder), str(folder), False) for folder in drop_boxes(settings)]
    metas = {field.name: meta for field, meta in settings_fields()}
    for each in effective:
        if each.name in _FILES and isinstance(each.value, Path):
            there = f"{CONFIGURATION}/{each.value.name}"
            mounts.append((str(each.value), there, True))
            if given(each.origin):
                arguments += [flag(each.name, metas[each.name]), there]
        elif each.name not in _OWN and given(each.origin):
            arguments += typed(flag(each.name, metas[each.name]), each.value)
    return Container(settings, tuple(arguments), tuple(mounts))


def containerfile(inner: Container) -> str:
    """The file to build with, in a checkout of pidex."""
    settings = inner.settings
    extras = {
        " pyftpdlib pyopenssl": settings.ftp_port,
        " 'psycopg[binary]'": settings.catalogue,
        " obstore": settings.storage,
    }
    extra = "".join(text for text, wanted in extras.items() if wanted)
    scheme = "https" if inner.settings.tls_cert is not None else "http"
    unverified = ", context=ssl._create_unverified_context()" if scheme == "https" else ""
    url = f"{scheme}://127.0.0.1:{PORT}{inner.settings.prefix}/-/health"
    probe = f"import ssl, urllib.request as u; u.urlopen('{url}', timeout=4{unverified})"
    health = json.dumps(["/opt/pidex/bin/python", "-c", probe])
    entry = json.dumps(["/opt/pidex/bin/pidex", "serve"])
    ports = " ".join(_exposed(inner.settings))
    lines = [
        "# A Containerfile, printed by `pidex service docker`. In a checkout of pidex:",
        "#   docker build -f Containerfile -t pidex .     (or podman)",
        "# The installation comes from the checkout; its dependencies are pinned with hashes.",
        f"FROM {IMAGE} AS build",
        "COPY . /src",
        "RUN python -m venv /opt/pidex \\",
        " && /opt/pidex/bin/pip install --no-cache-dir --require-hashes -r /src/requirements/serve.txt \\",
        " && /opt/pidex/bin/pip install --no-cache-dir --no-deps --no-build-isolation /src"
        + (f" \\\n && /opt/pidex/bin/pip install --no-cache-dir{extra}" if extra else ""),
        "",
        f"FROM {IMAGE}",
        "# git is for pushes to an index.",
        "RUN apt-get update \\",
        " && apt-get install -y --no-install-recommends git \\",
        " && rm -rf /var/lib/apt/lists/* \\",
        f" && useradd --system --uid {UID} --user-group --shell /usr/sbin/nologin --home-dir {DATA} pidex \\",
        f" && install -d -o pidex -g pidex {' '.join([PACKAGES, *map(str, drop_boxes(settings))])} \\",
        f" && install -d -o pidex -g pidex -m 700 {DATA}",
        "COPY --from=build /opt/pidex /opt/pidex",
        f"USER {UID}:{UID}",
        "WORKDIR /srv",
        "# One volume for both, so that files have a second name in the data directory (a hard link).",
        'VOLUME ["/srv"]',
        f"EXPOSE {ports}",
        "STOPSIGNAL SIGTERM",
        f"HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD {health}",
        f"ENTRYPOINT {entry}",
        f"CMD {json.dumps(list(inner.arguments))}",
    ]
    return "\n".join(lines) + "\n"


def compose(inner: Container) -> str:
    """The compose file beside it."""
    return "\n".join(_compose(inner)) + "\n"


def _compose(inner: Container) -> Iterator[str]:
    settings = inner.settings
    yield "# A compose file, printed by `pidex service docker --compose`, for the Containerfile beside it."
    yield f"# Folders that are mounted have to be writable for the user {UID}: chown -R {UID}:{UID} FOLDER"
    yield "services:"
    yield "  pidex:"
    yield "    build:"
    yield "      context: ."
    yield "      dockerfile: Containerfile"
    yield "    image: pidex"
    yield f"    command: {json.dumps(list(inner.arguments))}"
    yield "    restart: unless-stopped"
    yield "    init: true"
    yield f"    stop_grace_period: {int(settings.grace) + SPARE_SECONDS}s"
    yield "    read_only: true"
    yield '    tmpfs: ["/tmp"]'
    yield '    cap_drop: ["ALL"]'
    yield '    security_opt: ["no-new-privileges:true"]'
    yield "    #mem_limit: 1g"
    yield "    ports:"
    address = settings.host if ":" not in settings.host else f"[{settings.host}]"
    yield f"      - {json.dumps(f'{address}:{settings.port or PORT}:{PORT}')}"
    if settings.ftp_port:
        if settings.ftp_passive_ports is None:
            yield "      # FTP needs ftp_passive_ports and ftp_masquerade, to be reached from outside."
        outside = settings.ftp_host or settings.host
        for port in (str(settings.ftp_port), settings.ftp_passive_ports):
            if port is not None:
                yield f"      - {json.dumps(f'{outside}:{port}:{port}')}"
    yield "    volumes:"
    yield f"      - {json.dumps('pidex:/srv')}"
    if any(not read_only for _, _, read_only in inner.mounts):
        yield "      # A folder of its own mount has no hard links into the data directory: the last good"
        yield "      # version of a replaced file is then not kept."
    for outside, inside, read_only in inner.mounts:
        yield f"      - {json.dumps(outside + ':' + inside + (':ro' if read_only else ''))}"
    yield "volumes:"
    yield "  pidex: {}"


def _exposed(settings: Settings) -> Iterator[str]:
    yield str(PORT)
    if settings.ftp_port:
        yield str(settings.ftp_port)
        if settings.ftp_passive_ports:
            yield settings.ftp_passive_ports
