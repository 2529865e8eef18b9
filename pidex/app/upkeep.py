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


def busy() -> bool:
    """Whether the machine has better things to do."""
    return os.getloadavg()[0] > BUSY_LOAD * (os.cpu_count() or 1)
