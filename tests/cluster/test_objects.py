"""The contract of places for bytes, on a real S3 server."""

from __future__ import annotations

from tests.contracts.test_bytes import *  # noqa: F403
