"""What looks after the bytes of a server, and says how it is."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pidex.app.parts import Pidex
    from pidex.verify import Healer, Verifier
    from pidex.verify.health import Health

#: Processes that wait for a processor, for each that there is: above that the scrub pauses.
BUSY_LOAD = 0.7
#: Seconds between two looks at how much room there is.
BALLAST_SECONDS = 1.0
#: Seconds between two looks whether the bucket's daily work is due, and of a day.
BUCKET_SECONDS, DAY_SECONDS = 600.0, 86_400.0


def verifier(pidex: Pidex) -> Verifier:
    """What compares all that is kept."""
    from pidex.verify import Stock, Verifier  # noqa: PLC0415  # rarely asked for

    return Verifier(pidex.catalogue, pidex.storage, pidex.clock, Stock(pidex.mirror, fetch=False))


def healer(pidex: Pidex, *, fetch: bool = False) -> Healer:
    """What mends it. For who holds the lock; `fetch`: and has the mirror for themselves."""
    from pidex.backends.quarantine import Quarantine  # noqa: PLC0415
    from pidex.verify import Healer, Stock  # noqa: PLC0415
    from pidex.verify.health import QUARANTINE  # noqa: PLC0415

    aside = Quarantine(pidex.shared / QUARANTINE)
    stock = Stock(pidex.mirror, fetch=fetch)
    return Healer(pidex.catalogue, pidex.storage, pidex.intake(), aside, clock=pidex.clock, stock=stock)


def health(pidex: Pidex) -> Health:
    """What says whether a server can do its work."""
    from pidex.backends.staging import RESERVE_BYTES  # noqa: PLC0415
    from pidex.verify.health import Health  # noqa: PLC0415

    return Health(
        pidex.catalogue,
        pidex.storage,
        pidex.data,
        clock=pidex.clock,
        reserve=RESERVE_BYTES,
        scan_interval=pidex.settings.scan_interval,
        shared=pidex.shared,
    )


def scrub(pidex: Pidex, stop: threading.Event) -> None:
    """Read every byte once in `scrub_days`, until `stop`. For who holds the lock."""
    from pidex.verify.scrub import NAME, Scrub  # noqa: PLC0415

    Scrub(
        verifier(pidex),
        healer(pidex),
        pidex.data / NAME,
        days=pidex.settings.scrub_days,
        clock=pidex.clock,
        busy=busy,
        log=logging.getLogger("pidex.scrub"),
    ).run(stop)


def ballast(pidex: Pidex, stop: threading.Event) -> None:
    """Keep room for the catalogue until `stop`, and give it up where the disk is full."""
    from pidex.backends.ballast import SIZE_BYTES, Ballast  # noqa: PLC0415
    from pidex.backends.staging import RESERVE_BYTES  # noqa: PLC0415

    log, held = logging.getLogger("pidex"), Ballast(pidex.data, reserve=RESERVE_BYTES)
    while not stop.is_set():
        if held.balance() == "given":
            room = SIZE_BYTES // 1024**2
            log.error(
                "The disk of %s is full: %d MiB were kept for this, and are free now.", pidex.data, room
            )
        stop.wait(BALLAST_SECONDS)


def bucket(pidex: Pidex, stop: threading.Event) -> None:
    """Once a day: write down what is in the bucket, clear away what nobody has. For one process of all."""
    from pidex.core.errors import PidexError  # noqa: PLC0415
    from pidex.core.model import OPERATOR  # noqa: PLC0415

    log, kept = logging.getLogger("pidex.bucket"), pidex.holdings()
    while kept is not None and not stop.is_set():
        try:
            if kept.due(DAY_SECONDS):
                name = kept.write_manifest(keep=max(pidex.settings.snapshots, 1), by=OPERATOR)
                cleared = kept.collect(stopped=stop.is_set, by=OPERATOR)
                log.info("Wrote %s; cleared away %d objects that nobody has.", name, cleared.dropped)
        except PidexError as error:
            log.warning("The bucket is not looked after: %s", error)
        stop.wait(BUCKET_SECONDS)


def busy() -> bool:
    """Whether the machine has better things to do."""
    return os.getloadavg()[0] > BUSY_LOAD * (os.cpu_count() or 1)
