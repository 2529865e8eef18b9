"""The web face of a worker: the site over the parts."""

from __future__ import annotations

import logging
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from pidex import logs
from pidex.app import upkeep
from pidex.app.ground import identity
from pidex.app.parts import Pidex, Source, build
from pidex.config import Settings, data_dir
from pidex.core.errors import CatalogueError, ConfigError, PidexError

# What opens the catalogue takes half a second to import. The main process does that after it has started the
# workers, which do the same meanwhile.
if TYPE_CHECKING:
    from pidex.web.options import Options
    from pidex.web.site import Site

#: Seconds between two looks of a starting worker whether the catalogue is ready.
READY_SECONDS = 0.02
#: How long a thread of a worker goes on while another one waits for its turn.
SWITCH_SECONDS = 0.001
#: Bytes of a welcome page.
WELCOME_BYTES = 1024 * 1024

log = logging.getLogger("pidex")


def worker(source: Source, number: int = 1, parent: int | None = None) -> Site:
    """The application of worker `number`, in its own process.

    With `parent`, it waits until that process has the catalogue ready, and dies with it.
    """
    if parent is not None:
        from pidex.processes import die_with, few_arenas, trim  # noqa: PLC0415  # only workers of a server have it loaded
        from pidex.web import asgi  # noqa: F401, PLC0415  # while the main process is busy, too

        die_with(parent)
        few_arenas()
    # Where threads read and write big pages, the loop gets its turn soon: after a fifth of the usual time.
    sys.setswitchinterval(SWITCH_SECONDS)
    settings = source.settings()
    sink = logs.open_sink(settings.log, settings.log_file)
    logs.configure(sink, form=settings.log, level=settings.log_level)
    try:
        if parent is not None:
            _await(data_dir(settings, source.environ) / "ready", parent)
        pidex = _built(settings, source.environ, patient=parent is not None)
        made = site(pidex, sink, number)
        if parent is not None:
            made.tidy = trim
        if parent is not None and not settings.offline:
            from pidex.app.upstream import prepare  # noqa: PLC0415  # see above

            Thread(target=prepare, args=(pidex.catalogue,), name="pidex-prepare", daemon=True).start()
        return made
    except PidexError as error:
        if parent is None:
            raise
        log.error("Worker %d cannot start: %s", number, error)
        sys.exit(1)


def _built(settings: Settings, environ: Mapping[str, str], *, patient: bool) -> Pidex:
    """The parts; `patient`: once the catalogue answers. A worker that gave up would only be started again."""
    while True:
        try:
            return build(settings, environ)
        except CatalogueError as error:
            if not patient or error.retry_after is None:
                raise
            log.warning("%s", error)
            time.sleep(error.retry_after)


def _await(ready: Path, parent: int) -> None:
    """Wait until the main process has written its number into a file."""
    while True:
        try:
            if ready.read_text(encoding="ascii") == str(parent):
                return
        except OSError:
            pass
        time.sleep(READY_SECONDS)


def site(pidex: Pidex, sink: logs.Sink | None, number: int = 1) -> Site:
    """The web face over the parts."""
    from pidex.accounts.sessions import Sessions  # noqa: PLC0415  # commands do without it
    from pidex.app.gits import Clonable  # noqa: PLC0415
    from pidex.web.asgi import Reading, application  # noqa: PLC0415
    from pidex.web.ledger import Ledger  # noqa: PLC0415
    from pidex.web.tally import Tally  # noqa: PLC0415

    settings = pidex.settings
    accounts, intake = pidex.accounts(), pidex.intake()
    sessions = Sessions(pidex.catalogue, clock=pidex.clock, random=secrets.token_bytes)
    options = _options(settings, number, identity(pidex.data), pidex.lineages)
    statistics = pidex.statistics()
    tally = Tally(statistics.note, settings.prefix, options.indexes)
    lines = sink if settings.access_log else None
    ledger = Ledger(lines, settings.log, pidex.metrics, worker=number, downloaded=tally.add)
    made = application(
        pidex.resolver,
        pidex.catalogue.probe(),
        accounts,
        options,
        clock=pidex.clock,
        want=pidex.expendable.want,
        signature=pidex.signature,
        mirror=pidex.mirror,
        ledger=ledger,
        metrics=pidex.metrics,
        intake=intake,
        curator=pidex.curator(intake, accounts),
        administration=pidex.administration(),
        repositories=Clonable(pidex),
        health=upkeep.health(pidex),
        sessions=sessions,
        statistics=statistics,
        reading=Reading(
            pidex.search(),
            *pidex.readings(),
            sessions,
            pidex.indexing(intake),
            pidex.overview(),
            pidex.examine,
            pidex.verifier(),
        ),
    )
    made.closers.append(tally.close)
    return made


def _options(
    settings: Settings, number: int, instance: str, lineages: Callable[[], Mapping[str, Sequence[str]]]
) -> Options:
    from pidex.web.indexes import Indexes  # noqa: PLC0415
    from pidex.web.options import Options  # noqa: PLC0415

    return Options(
        host=settings.host,
        port=settings.port,
        prefix=settings.prefix,
        public_url=settings.public_url,
        trusted_proxies=settings.trusted_proxies,
        indexes=Indexes(lineages),
        login_header=settings.login_header,
        page_wait=settings.page_wait,
        page_cache=settings.page_cache * 1024 * 1024,
        unmatched_accept=settings.unmatched_accept,
        max_age=settings.max_age,
        file_cache_control=settings.file_cache_control,
        hash_fragment=settings.hash_fragment,
        fallback_url=settings.fallback_url,
        welcome=welcome_text(settings.welcome),
        health_path=settings.health_path,
        worker=number,
        instance=instance,
        unix=settings.socket is not None,
    )


def welcome_text(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return file.read(WELCOME_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise ConfigError(f"The welcome page {path} cannot be read: {error.strerror}. Set welcome.") from None
