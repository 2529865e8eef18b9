"""What people want to read of others' bytes, by the same limited children: READMEs, insides of archives."""

from __future__ import annotations

import os
from typing import Final

import msgspec

from pidex.backends.inspection import Answer, Fault, Inside, Open, Render, Rendered, Task
from pidex.backends.sandbox import Sandbox
from pidex.core.errors import Busy, NotFound, PidexError
from pidex.core.interiors import Excerpt, Members

#: Seconds that rendering a text may take, a new child's imports included; and looking into an archive.
RENDER_SECONDS: Final = 5.0
OPEN_SECONDS: Final = 20.0
#: What a caller is told to wait, in seconds, where no child could be had.
_RETRY_SECONDS: Final = 5


class Readings(Sandbox):
    """A pool of its own, so that whoever reads pages holds up nobody who uploads. As `Sandbox` otherwise."""

    def render(self, descriptor: int, content_type: str | None) -> str | None:
        """The README in a file as HTML that can do no harm; None where it cannot be rendered.

        Not in time, not within the memory, not at all: all the same, the text has to be shown as it is.
        """
        try:
            answer = self._told(Render(content_type, RENDER_SECONDS), descriptor)
        except NotFound:
            return None
        return answer.html if isinstance(answer, Rendered) else None

    def members(self, descriptor: int, filename: str) -> Members:
        """The files in an archive. Raises `NotFound` where it cannot be read, `Busy` where nobody could."""
        answer = self._told(Open(filename, None, OPEN_SECONDS, self._limits), descriptor)
        if not isinstance(answer, Inside) or answer.members is None:
            raise NotFound(f"{filename} cannot be read.")
        return answer.members

    def excerpt(self, descriptor: int, filename: str, member: str) -> Excerpt:
        """The beginning of a file in an archive, by its path there. Raises as `members` does."""
        answer = self._told(Open(filename, member, OPEN_SECONDS, self._limits), descriptor)
        if not isinstance(answer, Inside) or answer.excerpt is None:
            raise NotFound(f"{filename} cannot be read.")
        return answer.excerpt

    def _told(self, task: Render | Open, descriptor: int) -> Answer:
        """A child's answer. Raises `NotFound` with its reason, or `Busy` where there was no child."""
        try:
            own = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            own = os.dup(descriptor)
        try:
            try:
                answer = self._answer(task, own)
            except TimeoutError:
                raise NotFound(f"Reading it took more than {task.seconds:g} s.") from None
            except (OSError, EOFError, msgspec.DecodeError):
                raise NotFound("Reading it ended the process that read it.") from None
            except NotFound:
                raise
            except PidexError as error:
                raise Busy(f"It cannot be read now: {error}.", retry_after=_RETRY_SECONDS) from None
        finally:
            os.close(own)
        if isinstance(answer, Fault):
            raise NotFound(answer.reason)
        return answer

    def _answer(self, task: Task, descriptor: int) -> Answer:
        """Have a child do something, which is killed where it fails. Raises what `_Child.ask` does."""
        child = self._take()
        answer: Answer | None = None
        try:
            answer = child.ask(task, descriptor, task.seconds)
        except (TimeoutError, OSError, EOFError, msgspec.DecodeError):
            child.kill()
            raise
        finally:
            self._give(child, spent=answer is None or self._is_spent(child, answer))
        return answer
