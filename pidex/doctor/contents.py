"""Checks of what pidex keeps: catalogue, snapshots, files on their way, passwords."""

from __future__ import annotations

from contextlib import closing

from pidex import accounts
from pidex.backends.cache import Cache
from pidex.catalogue import indexes, places, problems, requirements, snapshots, soundness
from pidex.catalogue.engine import Catalogue, address_of
from pidex.catalogue.expendable import Expendable
from pidex.catalogue.mirrored import Store
from pidex.core.errors import CatalogueError
from pidex.core.model import DEFAULT_INDEX, PlaceState
from pidex.doctor.finding import Clock, Findings, Target, fail, ok, warn

#: Seconds without a daily snapshot that are too many.
SNAPSHOT_SECONDS = 2 * 86_400


def sqlite(target: Target, _: Clock) -> Findings:
    """The SQLite library is new enough."""
    version = soundness.sqlite_version()
    text = ".".join(map(str, version))
    if version < soundness.OLDEST_SQLITE:
        oldest = ".".join(map(str, soundness.OLDEST_SQLITE))
        yield fail(
            f"SQLite is {text}, and {oldest} is the oldest that works.", "Use a newer Python or system."
        )
    else:
        yield ok(f"SQLite is {text}.")


def catalogue(target: Target, _: Clock) -> Findings:
    """The catalogue opens, belongs to this program, and is whole."""
    if target.catalogue is not None:
        yield from _database(target.catalogue)
        return
    path = target.catalogue_file
    if not path.exists():
        yield ok("There is no catalogue yet: `pidex serve` makes it.")
        return
    mode = soundness.journal_mode(path)
    if mode != "wal":
        yield warn(
            f"The catalogue {path} has the journal mode {mode}, not wal: readers wait for writers.",
            "Restart `pidex serve`, which sets it.",
        )
    damage = soundness.damage(path)
    if damage is not None:
        yield fail(
            f"The catalogue {path} is damaged ({damage}).",
            "Stop the server, run `pidex restore --latest`, then `pidex scan`.",
        )
        return
    with closing(Catalogue.open(path, create=False)):
        yield ok(f"The catalogue {path} is whole and of this version.")


def _database(url: str) -> Findings:
    """The database answers, is what is needed, and has this program's tables."""
    with closing(Catalogue(address_of(url))) as opened:
        with opened.read() as conn:
            found = [*requirements.faults(conn)]
            version = requirements.version(conn)
        for fault in found:
            yield (fail if fault.fatal else warn)(fault.sentence, fault.remedy)
        if not any(fault.fatal for fault in found):
            yield ok(f"The database is PostgreSQL {version}, with all that is needed.")
    with closing(Catalogue.open(url, create=False)) as opened:
        yield ok(f"The catalogue {opened.name} is of this version.")


def snapshot(target: Target, clock: Clock) -> Findings:
    """There is a young snapshot of the catalogue."""
    if target.catalogue is not None or not target.catalogue_file.exists():
        return
    if not target.snapshots:
        yield warn("No snapshots of the catalogue are taken.", "Set snapshots to 7.")
        return
    newest = next(iter(snapshots.list(snapshots.folder_of(target.catalogue_file))), None)
    if newest is None:
        yield warn(
            "There is no snapshot of the catalogue yet.",
            "The running server takes one a day; see its log if none appears.",
        )
        return
    age = clock() - newest.taken
    if age > SNAPSHOT_SECONDS:
        yield warn(
            f"The last snapshot of the catalogue is {age / 86400:.0f} days old.",
            "Keep the server running, and see its log.",
        )
    else:
        yield ok(f"The last snapshot of the catalogue is {max(age, 0) / 3600:.0f} hours old.")


def files(target: Target, _: Clock) -> Findings:
    """Every file of the folders is listed, or known to be on its way."""
    place = target.catalogue_place
    if place is None:
        return
    try:
        with closing(Catalogue.open(place, create=False)) as opened, opened.read() as conn:
            index = indexes.find(conn, DEFAULT_INDEX)
            if index is None:
                return
            unfinished = places.list_unfinished(conn, index.id)
            found = problems.list(conn, index.id)
    except CatalogueError:
        return  # what is wrong with it, the check of the catalogue has said
    for state, words in ((PlaceState.PENDING, "Not whole yet"), (PlaceState.REFUSED, "Refused")):
        some = [each for each in unfinished if each.state is state]
        if some:
            yield warn(
                f"{words}: {len(some)}, such as {some[0].path}: {some[0].reason}.", "Run `pidex scan`."
            )
    if found:
        yield warn(
            f"Not to be served: {len(found)}, such as {found[0].path}: {found[0].reason}.",
            "Run `pidex scan`.",
        )
    if not found and not any(each.state is not PlaceState.UNREAD for each in unfinished):
        yield ok("No file is pending or refused.")


def mirror(target: Target, _: Clock) -> Findings:
    """Upstreams sent the files that they declared."""
    if not (target.data / "cache.db").exists():
        return
    expendable = Expendable(target.data / "cache.db")
    with closing(expendable):
        store = Store(expendable)
        used, pages = store.lists(), store.list_pages()
    wrong = Cache(target.data / "mirror").quarantined()
    if wrong:
        yield warn(
            f"{len(wrong)} files were not what their upstream declared, such as {wrong[0].get('filename')}.",
            "Run `pidex mirror status`, and tell whoever runs the upstream.",
        )
    if used and not wrong:
        yield ok(f"{len(pages)} pages of {len(used)} upstreams are held.")


def passwords(target: Target, _: Clock) -> Findings:
    """The htpasswd file is private and holds only strong hashes."""
    path = target.passwords
    if path is None:
        return
    entries = accounts.read(path)
    mode = path.stat().st_mode & 0o777
    if mode & 0o002:
        yield fail(f"Everybody may write the password file {path} (mode {mode:o}).", f"chmod 600 {path}")
    elif mode & 0o044:
        yield warn(f"Other users may read the password file {path} (mode {mode:o}).", f"chmod 600 {path}")
    for sentence in entries.refused:
        yield fail(f"The password file {path}: {sentence}", "")
    if not entries.people:
        yield warn(f"Nobody is in the password file {path}.", f"Add somebody: htpasswd -B {path} NAME")
    elif not entries.refused and not mode & 0o046:
        yield ok(f"The password file {path} holds {len(entries.people)} people.")
