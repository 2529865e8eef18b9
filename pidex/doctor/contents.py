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
from pidex.core.sentences import said
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
            said("SQLite is %(text)s, and %(oldest)s is the oldest that works.", text=text, oldest=oldest),
            said("Use a newer Python or system."),
        )
    else:
        yield ok(said("SQLite is %(text)s.", text=text))


def catalogue(target: Target, _: Clock) -> Findings:
    """The catalogue opens, belongs to this program, and is whole."""
    if target.catalogue is not None:
        yield from _database(target.catalogue)
        return
    path = target.catalogue_file
    if not path.exists():
        yield ok(said("There is no catalogue yet: `pidex serve` makes it."))
        return
    mode = soundness.journal_mode(path)
    if mode != "wal":
        yield warn(
            said(
                "The catalogue %(path)s has the journal mode %(mode)s, not wal: readers wait for writers.",
                path=path,
                mode=mode,
            ),
            said("Restart `pidex serve`, which sets it."),
        )
    damage = soundness.damage(path)
    if damage is not None:
        yield fail(
            said("The catalogue %(path)s is damaged (%(damage)s).", path=path, damage=damage),
            said("Stop the server, run `pidex restore --latest`, then `pidex scan`."),
        )
        return
    with closing(Catalogue.open(path, create=False)):
        yield ok(said("The catalogue %(path)s is whole and of this version.", path=path))


def _database(url: str) -> Findings:
    """The database answers, is what is needed, and has this program's tables."""
    with closing(Catalogue(address_of(url))) as opened:
        with opened.read() as conn:
            found = [*requirements.faults(conn)]
            version = requirements.version(conn)
        for fault in found:
            yield (fail if fault.fatal else warn)(fault.sentence, fault.remedy)
        if not any(fault.fatal for fault in found):
            yield ok(
                said("The database is PostgreSQL %(version)s, with all that is needed.", version=version)
            )
    with closing(Catalogue.open(url, create=False)) as opened:
        yield ok(said("The catalogue %(name)s is of this version.", name=opened.name))


def snapshot(target: Target, clock: Clock) -> Findings:
    """There is a young snapshot of the catalogue."""
    if target.catalogue is not None or not target.catalogue_file.exists():
        return
    if not target.snapshots:
        yield warn(said("No snapshots of the catalogue are taken."), said("Set snapshots to 7."))
        return
    newest = next(iter(snapshots.list(snapshots.folder_of(target.catalogue_file))), None)
    if newest is None:
        yield warn(
            said("There is no snapshot of the catalogue yet."),
            said("The running server takes one a day; see its log if none appears."),
        )
        return
    age = clock() - newest.taken
    if age > SNAPSHOT_SECONDS:
        yield warn(
            said("The last snapshot of the catalogue is %(age)s days old.", age=f"{age / 86400:.0f}"),
            said("Keep the server running, and see its log."),
        )
    else:
        yield ok(
            said("The last snapshot of the catalogue is %(age)s hours old.", age=f"{max(age, 0) / 3600:.0f}")
        )


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
    for state, words in (
        (PlaceState.PENDING, said("Not whole yet")),
        (PlaceState.REFUSED, said("Refused")),
    ):
        some = [each for each in unfinished if each.state is state]
        if some:
            yield warn(
                said(
                    "%(what)s: %(number)s, such as %(path)s: %(reason)s.",
                    what=words,
                    number=len(some),
                    path=some[0].path,
                    reason=some[0].reason,
                ),
                said("Run `pidex scan`."),
            )
    if found:
        yield warn(
            said(
                "Not to be served: %(number)s, such as %(path)s: %(reason)s.",
                number=len(found),
                path=found[0].path,
                reason=found[0].reason,
            ),
            said("Run `pidex scan`."),
        )
    if not found and not any(each.state is not PlaceState.UNREAD for each in unfinished):
        yield ok(said("No file is pending or refused."))


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
            said(
                "%(number)s files were not what their upstream declared, such as %(path)s.",
                number=len(wrong),
                path=wrong[0].get("filename"),
            ),
            said("Run `pidex mirror status`, and tell whoever runs the upstream."),
        )
    if used and not wrong:
        yield ok(said("%(pages)s pages of %(used)s upstreams are held.", pages=len(pages), used=len(used)))


def passwords(target: Target, _: Clock) -> Findings:
    """The htpasswd file is private and holds only strong hashes."""
    path = target.passwords
    if path is None:
        return
    entries = accounts.read(path)
    mode = path.stat().st_mode & 0o777
    if mode & 0o002:
        yield fail(
            said(
                "Everybody may write the password file %(path)s (mode %(mode)s).", path=path, mode=f"{mode:o}"
            ),
            said("chmod 600 %(path)s", path=path),
        )
    elif mode & 0o044:
        yield warn(
            said(
                "Other users may read the password file %(path)s (mode %(mode)s).",
                path=path,
                mode=f"{mode:o}",
            ),
            said("chmod 600 %(path)s", path=path),
        )
    for sentence in entries.refused:
        yield fail(said("The password file %(path)s: %(sentence)s", path=path, sentence=sentence), "")
    if not entries.people:
        yield warn(
            said("Nobody is in the password file %(path)s.", path=path),
            said("Add somebody: htpasswd -B %(path)s NAME", path=path),
        )
    elif not entries.refused and not mode & 0o046:
        yield ok(
            said("The password file %(path)s holds %(people)s people.", path=path, people=len(entries.people))
        )
