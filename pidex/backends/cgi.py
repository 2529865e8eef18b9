"""A CGI program as a child process: a request goes in and an answer comes out, both in pieces."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

#: Bytes read from the program at once, of its answer's head, and of its complaints that are logged.
BLOCK_BYTES, HEAD_BYTES, COMPLAINT_BYTES = 64 * 1024, 32 * 1024, 4096
#: Seconds that a program may take to end, once nobody listens or its input has ended early.
END_SECONDS = 10.0

#: Status and headers of an answer; then each piece of its body.
Start = Callable[[int, list[tuple[str, str]]], Awaitable[None]]
Piece = Callable[[bytes], Awaitable[None]]

log = logging.getLogger("pidex.git")


class Silent(Exception):
    """The program ended without an answer. The text is what it complained of, for the log."""


async def run(
    program: Sequence[str],
    environ: Mapping[str, str],
    body: AsyncIterator[bytes],
    start: Start,
    piece: Piece,
    *,
    folder: str,
) -> None:
    """Run a program for one request. Memory does not grow with either body.

    What `body` raises ends the input: the program sees the end of a body that is shorter than announced.
    What `start` and `piece` raise ends the program. Both are raised on. `Silent` where no answer came.
    """
    process = await asyncio.create_subprocess_exec(
        *program, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=dict(environ), cwd=folder,
        start_new_session=True, limit=HEAD_BYTES,
    )  # fmt: skip
    feeding = asyncio.create_task(_feed(process, body))
    complaining = asyncio.create_task(_complaints(process))
    silent, complaint = False, ""
    try:
        await _answer(process, start, piece)
        await process.wait()
    except Silent:
        silent = True
    finally:
        await _end(process, feeding)
        with suppress(asyncio.CancelledError):
            complaint = await complaining
    failure = feeding.exception() if feeding.done() and not feeding.cancelled() else None
    if failure is not None:
        raise failure
    if silent:
        raise Silent(complaint or "it ended without a word")
    if complaint:
        log.info("git says: %s", complaint)


async def _feed(process: Process, body: AsyncIterator[bytes]) -> None:
    assert process.stdin is not None
    try:
        async for data in body:
            if process.stdin.is_closing():  # uvloop's pipes raise RuntimeError then
                raise BrokenPipeError
            process.stdin.write(data)
            await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        # The program has heard enough; what is left is still taken from the client, so that it listens.
        async for _ in body:
            pass
    finally:
        process.stdin.close()


async def _answer(process: Process, start: Start, piece: Piece) -> None:
    assert process.stdout is not None
    try:
        head = await process.stdout.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise Silent from None
    status, headers = 200, []
    for line in head.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and name.lower() == "status":
            status = int(value.split()[0])
        elif colon:
            headers.append((name.strip().lower(), value.strip()))
    await start(status, headers)
    while data := await process.stdout.read(BLOCK_BYTES):
        await piece(data)


async def _complaints(process: Process) -> str:
    assert process.stderr is not None
    kept = b""
    while data := await process.stderr.read(COMPLAINT_BYTES):
        kept = (kept + data)[:COMPLAINT_BYTES]
    return " / ".join(kept.decode("utf-8", "replace").split("\n")).strip(" /")


async def _end(process: Process, feeding: asyncio.Task[None]) -> None:
    """See to it that the program has ended: kindly first, so that it removes what it has begun."""
    if not feeding.done():
        feeding.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await feeding
    for sign in (None, signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        if sign is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
        with suppress(TimeoutError):
            await asyncio.wait_for(_drained(process), END_SECONDS if sign else 0.2)


async def _drained(process: Process) -> None:
    assert process.stdout is not None
    while await process.stdout.read(BLOCK_BYTES):
        pass
    await process.wait()
