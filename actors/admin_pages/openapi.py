"""The OpenAPI document, made from the route table and the structs."""

import re
from typing import Any

import msgspec

from actors.admin_pages.refusal import ProblemAnswer
from actors.admin_pages.routes import API, ROUTES, Route

_PARAMETER = re.compile(r"\{(\w+)(:[^}]*)?\}")


def plain_path(path: str) -> str:
    """Return a path without the patterns of its parameters."""
    return _PARAMETER.sub(r"{\1}", path)


def document() -> dict[str, Any]:
    """Return the description of the whole programming interface."""
    kinds = list(
        dict.fromkeys(
            [
                *(r.answer for r in ROUTES),
                *(r.later for r in ROUTES if r.later),
                *(r.body for r in ROUTES if r.body),
                ProblemAnswer,
            ]
        )
    )
    refs, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schemas = dict(zip(kinds, refs, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(API + plain_path(route.path), {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ProdAgent",
            "version": "1",
            "description": "Look at an agent, and act on it with its token.",
        },
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(route: Route, schemas: dict[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "parameters": [
            *(_parameter(name, "path") for name, _ in _PARAMETER.findall(route.path)),
            *(_parameter(name, "query", about) for name, about in route.query.items()),
        ],
        "responses": {
            "200": {"description": "done", "content": _json(schemas[route.answer])},
            "default": {"description": "refused", "content": _json(schemas[ProblemAnswer])},
        },
    }
    if route.later is not None:
        found["responses"]["202"] = {"description": "under way", "content": _json(schemas[route.later])}
    if route.body is not None:
        found |= {"requestBody": {"content": _json(schemas[route.body])}, "security": [{"token": []}]}
    return found


def _parameter(name: str, place: str, about: str = "") -> dict[str, Any]:
    found = {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}
    return found | ({"description": about} if about else {})


def _json(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
