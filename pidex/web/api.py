"""The API at /-/api/v1: what is there, and every change to it, as JSON; described at /-/api/openapi.json."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from starlette.routing import Route

from pidex.core.errors import BadRequest, MethodNotAllowed, NotFound, PidexError
from pidex.core.simpleapi import to_json
from pidex.web import estates, resources
from pidex.web.call import Call
from pidex.web.openapi import Field, document
from pidex.web.replies import SAFE, refusal, reply
from pidex.web.resources import BASE, Ask, Services, plain
from pidex.web.site import Site

#: Requests of one worker that are worked on at a time; others wait for a thread.
THREADS = 8
#: Bytes of a request's body at most.
BODY_BYTES = 64 * 1024
#: Every operation and what answers it.
OPERATIONS = (*resources.OPERATIONS, *estates.OPERATIONS)
#: Where the description is.
DOCUMENT = "/-/api/openapi.json"

_JSON = {"content-type": "application/json", "cache-control": "no-store", "vary": "Authorization", **SAFE}
_KINDS: Mapping[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "boolean": (bool,)}


class Api:
    """Answers below /-/api. What it does is done by services, as whoever signed in."""

    def __init__(self, site: Site, services: Services) -> None:
        self._site, self._services = site, services
        self._pool = ThreadPoolExecutor(THREADS, "pidex-api")

    def routes(self) -> Sequence[Route]:
        """One route a path, and that of the description."""
        paths: dict[str, dict[str, Any]] = {}
        for each, act in OPERATIONS:
            paths.setdefault(BASE + each.path, {})[each.method] = (each, act)
        return [
            Route(DOCUMENT, _Endpoint(self, {"GET": None})),
            *(Route(path, _Endpoint(self, methods)) for path, methods in paths.items()),
        ]

    def takes_body(self, call: Call) -> bool:
        """Whether a request is one of ours, which reads its body itself."""
        return not call.named and call.rest.startswith(f"{BASE}/")

    def close(self) -> None:
        """End the threads that wait; those that work end with their work."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def respond(self, call: Call, methods: Mapping[str, Any]) -> None:
        """Answer one request; a refusal is a problem document (RFC 9457), in whatever form was asked for."""
        call.kind = "api"
        allow = ", ".join([*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"])
        try:
            if call.named:
                raise NotFound(f"There is nothing at {call.path}.")
            if call.method == "OPTIONS":
                await call.reply(reply(204, {"allow": allow}))
                return
            method = "GET" if call.head else call.method
            if method not in methods:
                raise MethodNotAllowed(f"{call.method} is not offered here, but {allow}.")
            if methods[method] is None:
                status, body = (
                    200,
                    to_json(document((each for each, _ in OPERATIONS), BASE.rpartition("/")[2])),
                )
            else:
                status, body = await self._do(call, *methods[method])
            await call.reply(reply(status, _JSON, body, head=call.head))
        except PidexError as error:
            await call.drain()
            more = {"allow": allow} if isinstance(error, MethodNotAllowed) else None
            kind = "application/problem+json"
            told = self._site.told(call, error)
            await call.reply(refusal(told, kind, private=True, head=call.head, more=more))

    async def _do(self, call: Call, operation: Any, act: Any) -> tuple[int, bytes]:
        loop = asyncio.get_running_loop()
        query = _query(call, operation.query)
        body = {} if operation.body is None else _checked(await _object(call), operation.body)
        ask = Ask(call.by, call.params, query, body)
        told = await loop.run_in_executor(self._pool, partial(act, self._services, ask))
        return operation.status, await loop.run_in_executor(self._pool, lambda: to_json(plain(told)))


class _Endpoint:
    """A path as an ASGI application, which the router hands every method to."""

    def __init__(self, api: Api, methods: Mapping[str, Any]) -> None:
        self._api, self._methods = api, methods

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        call: Call = scope["pidex"]
        call.params = scope["path_params"]
        await self._api.respond(call, self._methods)


async def _object(call: Call) -> Mapping[str, object]:
    """The body, a JSON object; nothing is an empty one."""
    data = await call.body(BODY_BYTES, "The body of a request")
    if not data.strip():
        return {}
    # A page of another origin cannot send this kind without asking first.
    if call.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BadRequest("The body has to be JSON, with Content-Type: application/json.")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise BadRequest("The body is not JSON.") from None
    if not isinstance(found, dict):
        raise BadRequest("The body has to be a JSON object.")
    return found


def _checked(given: Mapping[str, object], known: Mapping[str, Field]) -> Mapping[str, object]:
    """What was given, where it is what is asked for."""
    for name in given:
        if name not in known:
            raise BadRequest(f"There is no {name[:80]!r} here: it takes {', '.join(known) or 'nothing'}.")
    for name, one in known.items():
        value = given.get(name)
        if value is None:
            if one.required:
                raise BadRequest(f"{name} is missing.")
            continue
        values = value if isinstance(value, list) else [value]
        is_list = isinstance(value, list)
        kinds = _KINDS.get(one.kind, (str,))
        if is_list != (one.kind == "strings") or any(type(each) not in kinds for each in values):
            raise BadRequest(f"{name} has to be of the kind {one.kind}.")
        if one.choices and any(each not in one.choices for each in values):
            raise BadRequest(f"{name} has to be one of {', '.join(one.choices)}.")
    return {name: value for name, value in given.items() if value is not None}


def _query(call: Call, known: Mapping[str, Field]) -> Mapping[str, object]:
    """The query, its texts made what they stand for."""
    try:
        pairs = parse_qsl(
            call.query.decode("latin-1"), keep_blank_values=True, max_num_fields=50, errors="strict"
        )
    except ValueError:
        raise BadRequest("The query cannot be read.") from None
    given: dict[str, object] = {}
    for name, text in pairs:
        kind = known[name].kind if name in known else "string"
        if kind == "boolean" and text in ("true", "false", "1", "0", ""):
            given[name] = text in ("true", "1", "")
        elif kind == "integer" and text.isascii() and text.isdigit() and len(text) < 19:
            given[name] = int(text)
        else:
            given[name] = text
    return _checked(given, known)
