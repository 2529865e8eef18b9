"""The named steps at which a server is killed: of an upload, a deletion, a push and a start."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_STAGING, _DELIVERY = "pidex.backends.staging", "pidex.intake.delivery:Deliveries"

#: `module:name` of each step, and what has to go on for it to be reached.
STEPS: dict[str, str] = {
    f"{_STAGING}:StagedFile.write": "upload",
    f"{_STAGING}:StagedFile.sync": "upload",
    f"{_STAGING}:StagedFile.link": "upload",
    f"{_STAGING}:sync_folder": "upload",
    f"{_STAGING}:delete": "delete",
    "pidex.backends.folder:Folder.keep": "upload",
    f"{_DELIVERY}._inspect": "upload",
    f"{_DELIVERY}._announce": "upload",
    f"{_DELIVERY}._place": "upload",
    f"{_DELIVERY}._sign": "upload",
    f"{_DELIVERY}._admit": "upload",
    "pidex.intake.standing:note": "upload",
    "pidex.catalogue.intents:put": "upload",
    "pidex.catalogue.intents:done": "upload",
    "pidex.intake.batch:Batch.write": "upload",
    "pidex.intake:Intake.forget": "delete",
    "pidex.curator.removals:Removals._bury": "delete",
    "pidex.curator.removals:Removals._clear": "delete",
    "pidex.intake.pushes:Arrivals.place": "push",
    "pidex.intake.pushes:Arrivals._announce_all": "push",
    "pidex.intake.pushes:Arrivals._put": "push",
    "pidex.intake.pushes:Arrivals._admit_push": "push",
    "pidex.intake.pushes:Arrivals._over": "push",
    "pidex.backends.git:Repository.keep": "push",
    "pidex.ingress.recorded:Recorded.take": "push",
    "pidex.ingress.recorded:Recorded._settle": "push",
}
#: Steps of a start after a kill: reached where something was cut off, so that a start dies in its own repair.
REPAIRS = (
    f"{_DELIVERY}.recover",
    f"{_DELIVERY}._readmit",
    "pidex.curator.removals:Removals.finish",
    "pidex.ingress.recorded:Recorded._put_back",
    "pidex.backends.folder:Folder.sweep",
)


@dataclass
class Points:
    """The files by which a server is told at which step to die."""

    place: Path

    @property
    def arm_file(self) -> Path:
        return self.place / "arm"

    def environ(self) -> dict[str, str]:
        """What a server needs to know of them."""
        listed = self.place / "points"
        listed.write_text("\n".join([*STEPS, *REPAIRS]))
        here = Path(__file__).parent / "points"
        return {"PYTHONPATH": os.fspath(here), "FAULTS_ARM": str(self.arm_file), "FAULTS_POINTS": str(listed)}

    def arm(self, step: str, when: str, count: int = 1) -> None:
        """Have the server die at the `count`-th call of a step from now on; `when`: before or after it."""
        fresh = self.place / "arm.new"
        fresh.write_text(f"{step} {when} {count}")
        fresh.rename(self.arm_file)

    def disarm(self) -> bool:
        """Whether it died there; nothing is armed any more."""
        hit = self.arm_file.with_name("arm.hit")
        self.arm_file.unlink(missing_ok=True)
        found = hit.exists()
        hit.unlink(missing_ok=True)
        return found

    def missing(self) -> list[str]:
        """Steps that the program does not have."""
        path = self.arm_file.with_name("arm.missing")
        return sorted(set(path.read_text().split())) if path.exists() else []
