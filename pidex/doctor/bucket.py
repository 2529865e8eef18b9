"""Whether the bucket can be written, read, listed and cleared with the keys that pidex has."""

from __future__ import annotations

from io import BytesIO
from time import monotonic

from pidex.core.sentences import said
from pidex.doctor.finding import Clock, Findings, Target, fail, ok

#: What is written, and where.
BYTES, PREFIX = b"pidex doctor\n" * 100, "doctor/"


def bucket(target: Target, clock: Clock) -> Findings:
    """A small object comes and goes. Nothing where no bucket is set."""
    if target.storage is None:
        return
    from pidex.backends.objects.bucket import Bucket, Place  # noqa: PLC0415  # an extra

    place = Place(
        target.storage, target.storage_endpoint, target.storage_region, target.storage_credentials,
        target.storage_ca, target.storage_timeout,
    )  # fmt: skip
    store, key, began = Bucket(place), f"{PREFIX}{int(clock() * 1_000_000)}", monotonic()
    store.put(key, BytesIO(BYTES))
    try:
        same = b"".join(store.read(key, 13)) == BYTES[13:]
        listed = key in {item.key for item in store.list(PREFIX)}
    finally:
        store.delete([key])
    took = (monotonic() - began) * 1000
    if not same or not listed:
        what = said("is not in the bucket's listing") if same else said("has other bytes when it is read")
        yield fail(
            said("What is written to %(url)s %(what)s.", url=place.url, what=what),
            said("Look at the object server, and at what is before it."),
        )
    elif store.size(key) is not None:
        yield fail(
            said("What is deleted in %(url)s stays there.", url=place.url), said("Let the keys delete, too.")
        )
    else:
        yield ok(
            said(
                "%(url)s is written, read, listed and cleared, in %(took)s ms.",
                url=place.url,
                took=f"{took:.0f}",
            )
        )
