"""Ports for servers that are told theirs on the command line."""

from __future__ import annotations

import random
import socket

#: Below the ports that systems give to whoever asks for any (and so to each connection that leaves).
FIRST, BEHIND = 15_000, 32_000
_chance = random.SystemRandom()


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago, and that nothing is given by accident."""
    while True:
        port = _chance.randrange(FIRST, BEHIND)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
