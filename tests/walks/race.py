"""`python -m tests.walks.race [ROUNDS]`: 16 clients upload one name with different bytes; one wins (T30)."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.walks.server import Server
from tests.walks.test_upload import race

ROUNDS = 200


def main() -> int:
    """Fails by an assertion that names what was answered."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "packages"
        folder.mkdir()
        before = time.perf_counter()
        with Server(folder, options=["--workers", "2", "--guard", ""]) as server:
            race(server, rounds)
        took = time.perf_counter() - before
    print(f"{rounds} rounds of 16 clients in {took:.0f} s: exactly one winner each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
