"""The description of the API (OpenAPI 3.1): made from its operations and the values they answer with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pidex import __version__

#: What HTTP statuses say of a refusal. Any may answer any operation.
PROBLEM = "application/problem+json"
_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was refused, why, and what to do."},
        "code": {"type": "string", "description": "Stable, for programs."},
    },
}


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a body or query: 'string', 'integer', 'boolean' or 'strings', and what it is about."""

    kind: str
    about: str
    required: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of one path does. `answers`: the type of the answer; `body` None: none is taken."""

    method: str
    path: str
    name: str
    summary: str
    answers: Any
    query: Mapping[str, Field] = field(default_factory=dict)
    body: Mapping[str, Field] | None = None
    status: int = 200


def document(operations: Iterable[Operation], base: str) -> dict[str, object]:
    """The whole description. `base`: where the API is, relative to the document."""
    schemas = _Schemas()
    paths: dict[str, dict[str, object]] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pidex",
            "version": __version__,
            "description": "Times are microseconds since 1970, UTC, unless said otherwise.",
        },
        "servers": [{"url": base}],
        "security": [{"basic": []}, {"bearer": []}, {}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.named.items())),
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API token."},
            },
            "responses": {
                "Problem": {
                    "description": "Refused.",
                    "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
            },
        },
    }


def _operation(each: Operation, schemas: _Schemas) -> dict[str, object]:
    inside = [part[1:-1] for part in each.path.split("/") if part.startswith("{")]
    parameters: list[dict[str, object]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in inside
    ]
    for name, one in each.query.items():
        given = {"name": name, "in": "query", "required": one.required, "description": one.about}
        parameters.append({**given, "schema": _member(one)})
    told: dict[str, object] = {
        "operationId": each.name,
        "summary": each.summary,
        "parameters": parameters,
        "responses": {
            str(each.status): {
                "description": "Done.",
                "content": {"application/json": {"schema": schemas.of(each.answers)}},
            },
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }
    if each.body is not None:
        needed = [name for name, one in each.body.items() if one.required]
        schema: dict[str, object] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: {**_member(one), "description": one.about} for name, one in each.body.items()
            },
        }
        if needed:
            schema["required"] = needed
        told["requestBody"] = {
            "required": bool(needed),
            "content": {"application/json": {"schema": schema}},
        }
    return told


def _member(one: Field) -> dict[str, object]:
    if one.kind == "strings":
        items: dict[str, object] = {"type": "string"}
        if one.choices:
            items["enum"] = list(one.choices)
        return {"type": "array", "items": items}
    return {"type": one.kind, **({"enum": list(one.choices)} if one.choices else {})}


class _Schemas:
    """The JSON schemas of types; those of dataclasses and named tuples are in `named` and referred to."""

    def __init__(self) -> None:
        self.named: dict[str, object] = {"Problem": _PROBLEM}
        self._kinds: dict[str, object] = {}

    def of(self, kind: Any) -> dict[str, object]:
        """The schema of a type."""
        if kind in _SIMPLE:
            return {"type": _SIMPLE[kind]}
        if isinstance(kind, type) and issubclass(kind, str):
            return {"type": "string"}
        origin, inside = get_origin(kind), get_args(kind)
        if origin in (UnionType, Union):
            return {"anyOf": [self.of(each) for each in inside]}
        if origin in (list, tuple, Sequence):
            return {"type": "array", "items": self.of(inside[0])}
        if origin in (dict, Mapping):
            return {"type": "object"}
        if not is_dataclass(kind) and not hasattr(kind, "_fields"):
            raise TypeError(f"{kind} has no schema")
        name = str(kind.__name__).removesuffix("View")
        if self._kinds.setdefault(name, kind) is not kind:
            raise TypeError(f"two kinds of {name}")
        if name not in self.named:
            self.named[name] = {}  # for kinds that hold themselves
            hints = get_type_hints(kind)
            members = {each: self.of(hint) for each, hint in hints.items()}
            self.named[name] = {"type": "object", "required": [*members], "properties": members}
        return {"$ref": f"#/components/schemas/{name}"}
