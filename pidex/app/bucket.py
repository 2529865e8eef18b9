"""Where files lie: in folders, and in the bucket that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pidex.core.folder import BUCKET, MOST_ROOTS
from pidex.core.interfaces import Storage
from pidex.core.model import DEFAULT_INDEX

# See parts: what opens the catalogue takes half a second to import.
if TYPE_CHECKING:
    from pidex.accounts import Accounts
    from pidex.backends.objects.bucket import Bucket
    from pidex.backends.objects.storage import Member
    from pidex.catalogue.engine import Catalogue, Connection
    from pidex.config import Settings
    from pidex.holdings import Holdings

#: Below the data directory: objects that were read, and what is on its way.
CACHE = "objects"


def storage_of(settings: Settings, data: Path, keep: Path, catalogue: Catalogue) -> Storage:
    """The storage of the settings: folders, with a bucket beside them where one is named.

    `keep` is the folder of second names. Raises `CannotStart` where the library for buckets is missing.
    """
    from pidex.backends.folder import Folder  # noqa: PLC0415  # see above

    folder, bucket = Folder(settings.folders, keep), bucket_of(settings)
    if bucket is None:
        return folder
    from pidex.backends.objects.beside import Beside  # noqa: PLC0415  # an extra
    from pidex.backends.objects.storage import Objects  # noqa: PLC0415

    objects = Objects(
        bucket, data / CACHE, Decided(catalogue), cache=int(settings.storage_cache * 1024**3),
        redirect=settings.storage_redirect,
    )  # fmt: skip
    storage = Beside(folder, objects)
    if not settings.folders:
        storage.add({0: BUCKET})
    return storage


def bucket_of(settings: Settings) -> Bucket | None:
    """The bucket of the settings, which is not asked for anything yet; None where they name none.

    Raises `CannotStart` where the library is missing, and `ConfigError` where a setting is wrong.
    """
    if settings.storage is None:
        return None
    from pidex.backends.objects.bucket import Bucket, Place  # noqa: PLC0415  # an extra

    place = Place(
        settings.storage, settings.storage_endpoint, settings.storage_region, settings.storage_credentials,
        settings.storage_ca, settings.storage_timeout,
    )  # fmt: skip
    return Bucket(place)


def located(settings: Settings, folders: Sequence[str]) -> Sequence[str]:
    """The folders of an index; what lies in a bucket that no setting names any more is nowhere."""
    return [folder for folder in folders if folder != BUCKET or settings.storage is not None]


class Decided:
    """Which files an index has: its admissions."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def list(self, root: int) -> Iterator[Member]:
        from pidex.backends.objects.storage import Member  # noqa: PLC0415  # an extra
        from pidex.catalogue import admissions  # noqa: PLC0415  # see above

        with self._catalogue.read() as conn:
            for each in admissions.list(conn, _number(conn, root)):
                yield Member(each.filename, each.sha256, each.size)

    def find(self, root: int, filename: str) -> Member | None:
        from pidex.backends.objects.storage import Member  # noqa: PLC0415
        from pidex.catalogue import admissions  # noqa: PLC0415

        with self._catalogue.read() as conn:
            found = admissions.find(conn, _number(conn, root), filename.casefold())
        return None if found is None else Member(found.filename, found.sha256, found.size)


def _number(conn: Connection, root: int) -> int:
    """The number of the index whose root it is."""
    from pidex.catalogue import indexes  # noqa: PLC0415

    if root >= MOST_ROOTS:
        return root // MOST_ROOTS
    found = indexes.find(conn, DEFAULT_INDEX)
    return 0 if found is None else found.id


def holdings_of(
    catalogue: Catalogue, storage: Storage, accounts: Accounts, clock: Callable[[], float]
) -> Holdings | None:
    """What looks after the bucket; None where there is none."""
    if storage.bucket is None:
        return None
    from pidex.backends.objects.beside import Beside  # noqa: PLC0415  # an extra
    from pidex.holdings import Holdings  # noqa: PLC0415  # see above

    assert isinstance(storage, Beside), "nothing else has a bucket"
    return Holdings(catalogue, storage.objects, accounts, clock)
