"""A real S3 server for all tests of a session, and a part of its bucket for each."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from pidex.backends.objects.bucket import Place
from tests.clients.environments import Unavailable
from tests.cluster.seaweed import Seaweed


@pytest.fixture(scope="session")
def seaweed() -> Iterator[Seaweed]:
    try:
        server = Seaweed()
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield server
    server.close()


@pytest.fixture
def bucket(seaweed: Seaweed) -> Place:
    """A prefix of its bucket that nobody else uses."""
    return seaweed.place(secrets.token_hex(6))
