"""Nothing that an agent does all day reads a large table from end to end: the plans of all its statements are looked at."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from bench.filling import fill, plan
from bench.lifecycle import Place, lives, trivial
from bench.queries import questions
from storage import laws, views
from storage.engines.opening import open_reader
from storage.store import Store

LARGE = ("job", "attempt", "file", "merge_input", "replica", "transfer", "event", "daily", "folded", "archive")
SCAN = re.compile(rf"SCAN (?:TABLE )?({'|'.join(LARGE)})\b")
ALLOWED = re.compile(r"max\(|min\(|ORDER BY \w+\.id DESC\s+LIMIT", re.IGNORECASE)
"""An end of an index; the newest rows of all, which stop at their limit."""


@pytest.fixture
def statements() -> Iterator[dict[str, object]]:
    """Every statement that is executed meanwhile, with parameters of one execution."""
    seen: dict[str, object] = {}

    def note(_connection, _cursor, statement, parameters, _context, many) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE")):
            seen.setdefault(statement, parameters[0] if many else parameters)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(sa.Engine, "before_cursor_execute", note)


def scans(path: Path, statements: dict[str, object]) -> list[str]:
    """Return the statements that would read a large table whole."""
    with closing(sqlite3.connect(path)) as connection:
        found = []
        for statement, parameters in statements.items():
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
            if any(SCAN.search(row[3]) for row in plan) and not ALLOWED.search(statement):
                found.append(f"{[row[3] for row in plan]}: {statement}")
    return found


@pytest.mark.feature("PA-201", "PA-505", "REL-12")
async def test_a_whole_life_scans_no_large_table(tmp_path, statements, monkeypatch):
    monkeypatch.setattr(laws, "check", lambda *_args, **_options: [])  # a proof reads everything, on purpose
    await lives(tmp_path, trivial(120), Place(sites=2, slots=50), within=90)
    paths = list(tmp_path.rglob("agent.db"))
    assert len(statements) > 80
    found = scans(paths[0], statements)
    assert not found, "\n\n".join(found)


@pytest.mark.feature("OPS-07", "PA-416")
async def test_what_operators_ask_scans_no_large_table(tmp_path, statements):
    path = tmp_path / "agent.db"
    store = await Store.open(f"sqlite:///{path}")
    await fill(store, plan(600))
    await store.close()
    statements.clear()
    reader = open_reader(f"sqlite:///{path}", 1)
    for ask in questions(600).values():
        await reader.read(ask)
    await reader.close()
    assert len(statements) > 20
    assert scans(path, statements) == []


@pytest.mark.feature("PA-416")
async def test_the_most_frequent_causes_are_added_up_in_the_order_of_an_index(tmp_path, statements):
    """No row of the table is looked at, and none is sorted before it is added up, however many kinds of failure there are."""
    path = tmp_path / "agent.db"
    store = await Store.open(f"sqlite:///{path}")
    orders = [
        ("exit_code", "blame", "site"),
        ("exit_code", "blame", "site", "fingerprint"),
        ("exit_code", "blame", "site", "node", "fingerprint"),
        ("exit_code", "blame", "site", "node", "workflow_id", "fingerprint"),
    ]
    statements.clear()
    for by in orders:
        await store.read(lambda c, by=by: views.causes(c, by=by))
    asked = {text: given for text, given in statements.items() if "FROM cause" in text}
    assert len(asked) == len(orders)
    with closing(sqlite3.connect(path)) as connection:
        for text, given in asked.items():
            steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", given)]
            assert steps == ["SCAN cause USING COVERING INDEX ix_cause_top", "USE TEMP B-TREE FOR ORDER BY"]
    await store.close()
