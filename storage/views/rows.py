"""Turn rows into records."""

import difflib
from typing import Any, TypeVar

import sqlalchemy as sa

from storage.views.records import Unknown, View

V = TypeVar("V", bound=View)

MAX_ROWS = 10_000
"""Most rows of one answer."""


def rows(connection: sa.Connection, kind: type[V], query: sa.Select[Any]) -> list[V]:
    """Run a query whose columns are named as the fields of the record."""
    return [kind(**row) for row in connection.execute(query).mappings()]


def unknown(what: str, name: str, known: list[str]) -> Unknown:
    """Say that there is none, and which one was probably meant."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return Unknown(f"there is no {what} {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
