"""Files that are sent: staged, checked, announced, linked into place and admitted, or not there at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pidex.catalogue import admissions, deliveries, files, garbage, indexes, intents, moves, places, projects
from pidex.catalogue.engine import Catalogue, Connection
from pidex.core import uploads
from pidex.core.errors import (
    Busy,
    CatalogueError,
    Changing,
    FileExists,
    Forbidden,
    InvalidFile,
    PidexError,
    StorageFull,
)
from pidex.core.folder import Key, roots_of
from pidex.core.interfaces import Clock, Inspector, Mirrored, Storage
from pidex.core.model import (
    Admission,
    Distribution,
    Entry,
    Place,
    PlaceState,
    Principal,
)
from pidex.core.uploads import UploadPolicy
from pidex.intake import lock, parcels, standing
from pidex.intake.batch import Batch, index_of
from pidex.intake.parcels import Order, Parcel, Receipt, Sound, Stage
from pidex.intake.together import Together

#: How long an upload waits for another one of the same name, in seconds, and how often it looks.
WAIT_SECONDS, LOOK_SECONDS = 10.0, 0.02
#: Uploads that are placed and admitted at once; others wait for them.
TOGETHER = 64
#: Seconds after which another node's publish is nobody's any more, where it is not known whether that lives.
ELSEWHERE_SECONDS = 60.0
#: What a client is told to wait, in seconds, where trying again helps.
RETRY_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Received:
    """What came in by `receive` up to `mark`, and the paths of what is coming at this moment."""

    mark: int
    places: tuple[Place, ...] = ()
    coming: frozenset[Key] = frozenset()


class _Underway(Exception):
    """Another upload of the same name has announced itself, and not ended; argument: nobody works on it."""


class Deliveries:
    """The steps from a staged file to a listed one. Each may be the last before a kill."""

    def __init__(  # noqa: PLR0917  the seams, in the order of the layers
        self,
        catalogue: Catalogue,
        storage: Storage,
        clock: Clock,
        inspector: Inspector | None,
        mirror: Mirrored | None = None,
        owner: str = "",
    ) -> None:
        self._catalogue = catalogue
        self._storage = storage
        self._clock = clock
        self._inspector = inspector
        self._mirror = mirror
        self._owner = owner
        self._going: set[intents.Intent] = set()  # announced by this process, and not ended
        self._doubts: set[str] = set()  # indexes in which some may be left that ended without an answer
        self._groups: dict[str, Together[Order]] = {}
        self._lock = threading.Lock()

    def policy(self, index: str) -> UploadPolicy:
        with self._catalogue.read() as conn:
            return uploads.policy_of(index_of(conn, index).policy)

    def stage(self, index: str, *, size_hint: int = 0, limit: int = 0) -> Stage:
        reasons = []
        with self._catalogue.read() as conn:
            moves.check(conn, fresh=True)  # before anybody sends what could not be taken
            here = index_of(conn, index)
        for root in roots_of(self._storage.roots, here.name, here.id):
            reason = self._storage.refusal(root)
            if reason is None:
                return Stage(index, self._storage.stage(root, size_hint=size_hint), limit)
            reasons.append(reason)
        raise Forbidden(f"Nothing can be uploaded here. {'; '.join(reasons) or 'there is no folder'}.")

    def check_project(self, index: str, project: str) -> None:
        with self._catalogue.read() as conn:
            standing.check_status(conn, index_of(conn, index), project)

    def receive(self, parcel: Parcel) -> Receipt:
        """The whole way, in order of the checks' cost; see `Intake.receive`."""
        order: Order | None = None
        end = time.monotonic() + WAIT_SECONDS
        if self._owner and parcel.index in self._doubts:
            self._doubts.discard(parcel.index)
            self.recover(parcel.index, given_up=self._left)
        while True:
            with self._catalogue.read() as conn:
                here = index_of(conn, parcel.index)
                if order is None:
                    order = parcels.order(parcel, uploads.policy_of(here.policy))
                if self._judge(conn, here, order).identical:
                    return order.receipt("identical")
            if order.sound is None:
                order.sound = self._inspect(parcel, order.distribution, order.policy)
                parcel.stage.file.sync(parcel.stage.digests()["sha256"])
            try:
                self._group(parcel.index).do(order)
                if order.error is None:
                    return order.receipt(order.status)
                raise order.error
            except _Underway as other:
                order.error = None
                if any(other.args):
                    self.recover(parcel.index, given_up=self._left)
                    continue
                if time.monotonic() >= end:
                    raise Busy(
                        f"Another upload of {parcel.filename} is under way. Try again in a moment.",
                        retry_after=RETRY_SECONDS,
                    ) from None
                time.sleep(LOOK_SECONDS)

    # --- the steps -----------------------------------------------------------------------------------------

    def _group(self, index: str) -> Together[Order]:
        """What is received at once is placed and admitted at once: each sync and commit serves all of it."""
        with self._lock:
            group = self._groups.get(index)
            if group is None:
                group = self._groups[index] = Together(self._store, most=TOGETHER)
            return group

    def _judge(self, conn: Connection, here: indexes.Index, order: Order) -> standing.Judgement:
        lock.check(conn, here, order.distribution.project, self._mirror, claim=order.parcel.claim)
        return standing.judge(
            conn,
            here,
            order.distribution,
            sha256=order.parcel.stage.digests()["sha256"],
            one_sdist=order.policy.one_sdist,
            overwrite=order.parcel.overwrite,
        )

    def _inspect(self, parcel: Parcel, distribution: Distribution, policy: UploadPolicy) -> Sound:
        """Look into the file in a limited child (rows 5, 20 to 24). Raises `InvalidFile` or `BadRequest`."""
        if self._inspector is None:
            raise RuntimeError("nobody is there to look into files")
        staged = parcel.stage.file
        entry = Entry(staged.root, parcel.filename, staged.stat())
        check = "whole" if policy.framing == "off" else "strict"
        look = self._inspector.examine(staged.fileno(), entry, check)
        if look.state is PlaceState.UNREAD:
            raise Busy(
                f"{parcel.filename} cannot be looked into now: {look.reason}. Try again in a moment.",
                retry_after=RETRY_SECONDS,
            )
        facts = look.facts
        if look.state is not PlaceState.WHOLE or facts is None:
            raise InvalidFile(
                f"Invalid distribution file. {parcels.sentence(look.reason or 'it is not whole')}"
            )
        if facts.sha256 != parcel.stage.digests()["sha256"]:
            raise Changing(f"{parcel.filename} changed while it was received. Send it again.")
        warnings = parcels.framed(facts, policy) + parcels.agreeing(facts, distribution, policy)
        return Sound(replace(facts, framing=None), warnings[: parcels.MOST_WARNINGS])

    def _store(self, orders: Sequence[Order]) -> None:
        """Announce, place, admit. What a step fails for is undone; its order has the error."""
        announced: list[Order] = []
        try:
            self._announce(orders, announced)
            try:
                self._place(announced)
                self._sign(_going(announced))
                self._admit_each(_going(announced))
            except BaseException as error:
                for order in _going(announced):
                    order.error = error
            self._undo([order for order in announced if order.error is not None])
        except CatalogueError:
            self._doubts.add(orders[0].parcel.index)
            raise
        finally:
            self._going.difference_update(order.announced for order in announced)

    def _announce(self, orders: Sequence[Order], announced: list[Order]) -> None:
        """Commit what is about to happen: from here on nobody else takes the names.

        `announced` gets those that are ours. The others are there already, are refused, or have to wait
        (`_Underway`) for somebody else.
        """
        now = int(self._clock() * 1_000_000)
        with self._catalogue.write() as conn:
            here = index_of(conn, orders[0].parcel.index)
            for order in orders:
                try:
                    order.intent = self._intent(conn, here, order, now)
                except (PidexError, _Underway) as error:
                    order.error = error
                    continue
                if order.intent is not None:
                    announced.append(order)
                    self._going.add(order.intent)
                    intents.put(conn, here.id, order.intent)

    def _intent(self, conn: Connection, here: indexes.Index, order: Order, now: int) -> intents.Intent | None:
        """What is about to happen to a name; None: it has these bytes already. Raises why it may not."""
        parcel, judgement = order.parcel, self._judge(conn, here, order)
        if judgement.identical:
            order.status = "identical"
            return None
        other = intents.find(conn, here.id, parcel.filename.casefold())
        if other is not None:
            raise _Underway(self._left(other))
        file = parcel.stage.file
        root, path = judgement.replaces or (file.root, parcel.filename)
        if root != file.root:
            reason = self._storage.refusal(root) or "it lies in another folder than uploads go to"
            raise Forbidden(f"{parcel.filename} cannot be replaced: {reason}.")
        order.status = "stored" if judgement.replaces is None else "replaced"
        sha256, by = parcel.stage.digests()["sha256"], parcel.by.name or "anonymous"
        if garbage.dropping(conn, [sha256]):
            raise _Underway  # the bucket is about to be without these bytes: then they are sent again
        if judgement.replaces is None or root not in self._storage.folders:
            path = self._storage.place(root, parcel.filename, sha256)
            order.instead = judgement.replaces if judgement.replaces != (root, path) else None
        return intents.Intent(parcel.filename, root, path, sha256, parcel.stage.size, by, now, self._owner)

    def _left(self, intent: intents.Intent) -> bool:
        """Whether it is one of this process's own that ended without an answer from the catalogue."""
        return bool(self._owner) and intent.owner == self._owner and intent not in self._going

    def _place(self, orders: Sequence[Order]) -> None:
        """Give the files their names in the folders, for good."""
        folders = set()
        for order in orders:
            file, intent = order.parcel.stage.file, order.announced
            try:
                if order.status == "replaced":
                    self._storage.replace(file, intent.root, intent.path)
                else:
                    self._storage.put(file, intent.root, intent.path, sync=False)
                    folders.add((intent.root, intent.path.rpartition("/")[0]))
            except FileExistsError:
                order.error = self._occupied(intent)
            except Exception as error:
                order.error = error
        for root, folder in folders:
            self._storage.sync(root, folder)

    def _occupied(self, intent: intents.Intent) -> PidexError:
        """Why a file cannot be put where there is something."""
        if self._storage.stat(intent.root, intent.path) is None:
            return FileExists(
                f"File already exists ({intent.path!r}): something that is no file has its name in the "
                "folder. Move it away there."
            )
        return Busy(
            f"A file {intent.path} has come into the folder just now and is being read. Try again.",
            retry_after=RETRY_SECONDS,
        )

    def _sign(self, orders: Sequence[Order]) -> None:
        """Keep signatures beside their files: never listed, and of no meaning without them."""
        for order in orders:
            signature, intent = order.parcel.signature, order.announced
            if signature is None:
                continue
            try:
                beside = self._storage.stage(intent.root, size_hint=len(signature))
                try:
                    beside.write(signature)
                    beside.sync()
                    self._storage.replace(beside, intent.root, f"{intent.path}.asc")
                finally:
                    beside.discard()
            except Exception as error:
                order.error = error

    def _admit_each(self, orders: Sequence[Order]) -> None:
        """Admit all together; where that fails because of one of them, each by itself."""
        try:
            if orders:
                self._admit(orders)
        except Exception as error:
            if len(orders) == 1 or isinstance(error, CatalogueError | StorageFull):
                for order in orders:
                    order.error = error
                return
            for order in orders:
                self._admit_each([order])

    def _admit(self, orders: Sequence[Order]) -> None:
        """One transaction: they are members of the index, listed, and no longer on their way."""
        now, senders = self._clock(), dict[tuple[Principal, str], list[Order]]()
        for order in orders:
            senders.setdefault((order.parcel.by, order.parcel.how), []).append(order)
        with self._catalogue.write() as conn:
            here = index_of(conn, orders[0].parcel.index)
            for part in senders.values():
                self._admit_part(conn, here, part, now)

    def _admit_part(self, conn: Connection, here: indexes.Index, orders: Sequence[Order], now: float) -> None:
        """What one sender sends, one way."""
        first = orders[0].parcel
        known = projects.known(conn, here.id, {order.distribution.project for order in orders})
        keys = {order.announced.key for order in orders}
        batch = Batch(conn, here, keys, self._storage, now=now, by=first.by, how=first.how)
        there, facts = [], {}
        for order in orders:
            intent, found = order.announced, order.facts
            stat = order.parcel.stage.file.stat()
            there.append(Place(intent.root, intent.path, stat, PlaceState.WHOLE, found.sha256))
            facts[found.sha256, order.distribution.packagetype] = found
        batch.arrive(there, [order.instead for order in orders if order.instead is not None], facts)
        for order in orders:
            batch.settle(order.announced.key, first=False)
            if not batch.lists(order.announced.key, order.facts.sha256):
                raise Changing(
                    f"{order.announced.path} was changed in the folder while it was received. Send it again.",
                    retry_after=RETRY_SECONDS,
                )
        batch.write()
        intents.done_many(conn, here.id, keys)
        begun, sent = set(known), []
        for order in orders:
            project = order.distribution.project
            sent.append(standing.Sent(order.announced, order.distribution, project not in begun))
            begun.add(project)
        standing.note(conn, here, sent, first.by, how=first.how, now=now)

    def _undo(self, orders: Sequence[Order]) -> None:
        """Leave nothing behind, as far as that can be done; a start does the rest."""
        orders = self._decided(orders)
        if not orders:
            return
        for order in orders:
            intent, ours = order.announced, order.parcel.stage.file.stat()
            if intent.root not in self._storage.folders:
                continue  # what a bucket has without a name is cleared away
            there = self._storage.stat(intent.root, intent.path)
            if there is not None and there.inode == ours.inode and there.device == ours.device:
                self._storage.delete(intent.root, intent.path)
        with self._catalogue.write() as conn:
            number = index_of(conn, orders[0].parcel.index).id
            for order in orders:
                if intents.find(conn, number, order.announced.key) == order.intent:
                    intents.done(conn, number, order.announced.key)

    def _decided(self, orders: Sequence[Order]) -> Sequence[Order]:
        """Those orders that failed for certain.

        Where the connection broke while it was committed, nobody knows: the catalogue is asked. What it lists
        is done. Where it does not answer either, all stays as it lies, until `recover` finishes or undoes it;
        so does what another node has taken for given up, and finished: it is read there, and listed later.
        """
        doubtful = [order for order in orders if isinstance(order.error, CatalogueError)]
        if not doubtful:
            return orders
        elsewhere: list[Order] = []
        try:
            # In the writer's turn: what may still be under way at the server has ended by then.
            with self._catalogue.write() as conn:
                here = index_of(conn, doubtful[0].parcel.index)
                for order in doubtful:
                    intent = order.announced
                    admitted = admissions.find(conn, here.id, intent.key)
                    if (
                        intents.find(conn, here.id, intent.key) != intent
                        and admitted is not None
                        and admitted.sha256 == intent.sha256
                    ):
                        row = files.find_by_key(conn, here.id, intent.key)
                        if row is not None and row.sha256 == intent.sha256:
                            order.error = None
                        else:
                            elsewhere.append(order)
        except CatalogueError:
            self._doubts.add(doubtful[0].parcel.index)
            return [order for order in orders if not isinstance(order.error, CatalogueError)]
        return [order for order in orders if order.error is not None and order not in elsewhere]

    # --- afterwards ----------------------------------------------------------------------------------------

    def recover(
        self, index: str, *, older: float = 0.0, given_up: Callable[[intents.Intent], bool] | None = None
    ) -> tuple[int, int]:
        """Finish what lies in its place with its bytes, undo the rest; see `Intake.recover`."""
        now, node = self._clock(), self._owner.partition(":")[0]

        def old(intent: intents.Intent) -> bool:
            patience = older if intent.node == node else max(older, ELSEWHERE_SECONDS)
            return intent.at <= (now - patience) * 1_000_000

        with self._catalogue.read() as conn:
            every = intents.list(conn, index_of(conn, index).id)
        found = [intent for intent in every if (given_up or old)(intent)]
        finished = 0
        for intent in found:
            whole = self._storage.digest(intent.root, intent.path) == intent.sha256 or self._place_kept(
                intent
            )
            with self._catalogue.write() as conn:
                here = index_of(conn, index)
                if intents.find(conn, here.id, intent.key) != intent:
                    continue  # it ended meanwhile
                if whole:
                    finished += 1
                    self._readmit(conn, here, intent, now)
                intents.done(conn, here.id, intent.key)
        return finished, len(found) - finished

    def _place_kept(self, intent: intents.Intent) -> bool:
        """Place what some index has, and was on its way to this one: all of a release, or nothing."""
        if self._storage.stat(intent.root, intent.path) is not None:
            return False
        try:
            if self._storage.sound(intent.sha256) is None:
                return False
            self._storage.restore(intent.sha256, intent.root, intent.path)
        except (PidexError, OSError):
            return False
        return True

    def _readmit(self, conn: Connection, here: indexes.Index, intent: intents.Intent, now: float) -> None:
        """Write what was decided; what is in the file the reconciler reads, as of any file in the folder."""
        by = Principal(intent.by, frozenset({"authenticated"}), via="recovery")
        distribution = uploads.check_filename(intent.filename, None, UploadPolicy())
        former = admissions.find(conn, here.id, intent.key)
        if former is None or former.sha256 != intent.sha256:
            if former is not None:
                admissions.supersede(conn, here.id, [former], replaced=intent.at, by=intent.by, how="upload")
            admissions.put(
                conn,
                here.id,
                Admission(
                    intent.path.rpartition("/")[2], intent.sha256, intent.size, intent.at, "upload",
                    intent.by, "upload",
                ),
            )  # fmt: skip
        fresh = standing.is_new(conn, here, distribution.project)
        sent = standing.Sent(intent, distribution, fresh)
        standing.note(conn, here, [sent], by, how="upload", now=now)

    def received(self, index: str, since: int | None) -> Received:
        with self._catalogue.read() as conn:
            here = index_of(conn, index)
            mark = deliveries.mark(conn)
            coming = frozenset((intent.root, intent.path) for intent in intents.list(conn, here.id))
            if since is None or mark <= since:
                return Received(mark, (), coming)
            keys = {filename.casefold() for filename in deliveries.list_since(conn, index, since)}
            found = places.find_by_keys(conn, here.id, sorted(keys))
        return Received(mark, tuple(place for there in found.values() for place in there), coming)


def _going(orders: Sequence[Order]) -> Sequence[Order]:
    return [order for order in orders if order.error is None]
