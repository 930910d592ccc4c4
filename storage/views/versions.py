"""Versions of a workflow's specification as people look at them."""

from typing import Any

import msgspec
import sqlalchemy as sa

from domain.revising import differences
from storage import revisions, schema
from storage.views.records import View
from storage.views.rows import unknown

workflow = schema.workflow


class VersionView(View, frozen=True, kw_only=True):
    """A version: since when it counted (UTC epoch seconds), who gave it and why, what it changed against the one before; `open`
    while something that does not fit it waits to be withdrawn."""

    version: int
    at: float
    who: str
    reason: str
    changes: list[str]
    open: bool
    spec: Any


def versions(connection: sa.Connection, name: str) -> list[VersionView]:
    """Return the versions of a workflow, the first one first; raise Unknown for a name that is none."""
    query = sa.select(workflow.c.name, workflow.c.id, workflow.c.created_at, workflow.c.spec)
    known = {row.name: row for row in connection.execute(query)}
    if name not in known:
        raise unknown("workflow", name, list(known))
    found = revisions.versions(connection, known[name].id)
    if not found:
        spec = msgspec.json.decode(known[name].spec)
        only = VersionView(version=1, at=known[name].created_at, who="", reason="", changes=[], open=False, spec=spec)
        return [only]
    return [
        VersionView(
            version=one.version,
            at=one.at,
            who=one.who,
            reason=one.reason,
            changes=differences(before.spec, one.spec),
            open=one.open,
            spec=msgspec.to_builtins(one.spec),
        )
        for before, one in zip([found[0], *found], found, strict=False)
    ]
