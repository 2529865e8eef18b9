"""What is wrong with a push before anybody looks into its files: its refs, rights, and links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pidex.core import names, pushes
from pidex.core.errors import PidexError
from pidex.core.folder import filename_key
from pidex.core.model import Principal
from pidex.core.permissions import Action
from pidex.core.pushes import LINK_BYTES, REF, Kind, Plan, Refusal, Update
from pidex.ingress.repositories import Repository, Rights
from pidex.intake.pushes import Arrivals

#: Lines that a refused push is answered with.
REFUSED_LINES = 200
#: Reasons that say something else to who pushes than to who looks after the folder, by their beginning.
_SAID = {
    "it is a git-LFS pointer": "it is a git-LFS pointer, not the file it points to: push the file itself"
    " (git lfs untrack, then git add --renormalize)",
}


def of_refs(
    rights: Rights,
    index: str,
    repository: Repository,
    told: Sequence[Update],
    *,
    tip: str | None,
    who: Principal,
) -> Iterator[Refusal]:
    """What is wrong with the refs of a push, whatever they contain. `tip`: where the branch stands."""
    for update in told:
        if update.ref != REF:
            reason = f"an index follows the branch {pushes.BRANCH} only: nothing else is kept here"
            yield Refusal(update.ref, reason)
        elif update.new is None:
            yield Refusal(update.ref, "the branch that the index follows cannot be deleted")
        elif update.old != tip or tip != repository.tip():
            yield Refusal(update.ref, "somebody else has pushed meanwhile: fetch first")
        elif (
            update.old is not None
            and not repository.is_ancestor(update.old, update.new)
            and not rights.allows(who, Action.ADMIN, index)
        ):
            reason = "a push that rewrites history takes the role admin: fetch and merge first"
            yield Refusal(update.ref, reason)


def of_rights(
    rights: Rights, arrivals: Arrivals, index: str, plan: Plan, who: Principal
) -> Iterator[Refusal]:
    """Which changes the pusher may not make."""
    burnt = arrivals.burnt(index)
    name = who.name or "anonymous"
    token = " with this token" if who.token is not None else ""
    for put in plan.put:
        project = names.parse(put.filename).project
        if put.key in burnt:
            stone = burnt[put.key]
            yield Refusal(put.path, f"it was deleted by {stone.by}, and its name stays burnt")
        elif not rights.allows(who, Action.UPLOAD, index, project):
            yield Refusal(put.path, f"{name} may not upload to project {project}{token}")
        elif put.kind is Kind.REPLACED and not rights.allows(who, Action.OVERWRITE, index, project):
            reason = f"{name} may not change files of project {project}{token}: use a new version"
            yield Refusal(put.path, reason)
    for path in plan.removed:
        if filename_key(path) in burnt:
            continue  # it is gone already: nothing is left to be allowed
        try:
            project = names.parse(path.rpartition("/")[2]).project
        except PidexError:
            continue
        if not rights.allows(who, Action.DELETE, index, project):
            yield Refusal(path, f"{name} may not delete files of project {project}{token}")


def of_links(repository: Repository, plan: Plan) -> Iterator[Refusal]:
    """New links that lead out of the tree."""
    for path, oid in plan.links:
        if pushes.leaves(path, repository.blob(oid, LINK_BYTES)):
            yield Refusal(path, "it is a symbolic link that leads out of the repository")


def answer(refused: Sequence[Refusal]) -> Mapping[str, Any]:
    """What the hook is told."""
    return {"accepted": not refused, "lines": pushes.lines(refused, REFUSED_LINES)}


def said(reason: str) -> str:
    """Why a package is refused, to who pushed it."""
    plain = reason.removeprefix("Invalid distribution file. ")
    for beginning, words in _SAID.items():
        if plain.lower().startswith(beginning.lower()):
            return words
    return plain
