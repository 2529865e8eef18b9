"""A real object server for all tests of a session, and a part of its bucket for each."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from pidex.backends.objects.bucket import Place
from tests.clients.environments import Unavailable
from tests.cluster.seaweed import Seaweed


class Elsewhere:
    """A bucket of another server, which nobody stops: as `scripts/cluster bucket` names it."""

    def __init__(self, url: str, endpoint: str, credentials: Path) -> None:
        self._url, self._endpoint, self._credentials = url.rstrip("/"), endpoint, credentials

    def place(self, prefix: str) -> Place:
        """A prefix of it, as settings name it."""
        return Place(f"{self._url}/{prefix}", self._endpoint or None, credentials=self._credentials)


@pytest.fixture(scope="package")
def seaweed() -> Iterator[Seaweed | Elsewhere]:
    """SeaweedFS, unless another server is named. It ends with these tests, for idle it takes much, too."""
    if named := os.environ.get("CLUSTER_BUCKET"):
        endpoint, credentials = os.environ["CLUSTER_ENDPOINT"], Path(os.environ["CLUSTER_CREDENTIALS"])
        yield Elsewhere(named, endpoint, credentials)
        return
    try:
        server = Seaweed()
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield server
    server.close()


@pytest.fixture
def bucket(seaweed: Seaweed | Elsewhere) -> Place:
    """A prefix of its bucket that nobody else uses."""
    return seaweed.place(secrets.token_hex(6))
