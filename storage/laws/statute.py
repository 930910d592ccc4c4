"""All laws in one table, in the order of the design, and the function that checks them."""

from collections.abc import Container, Iterator

import sqlalchemy as sa

from domain.job import UNFINISHED
from domain.workflow import WorkflowState
from storage import schema
from storage.laws import attempting, conservation, counters, cutting, folding, limbo, merging, outputs, removing
from storage.laws.breach import Breach, Finding, Law, Limits, Scope
from storage.laws.conservation import LedgerRow


def completed(scope: Scope) -> Iterator[Finding]:
    """Find workflows that count as over while jobs of theirs are not."""
    job, workflow = schema.job, schema.workflow
    over = (WorkflowState.COMPLETED, WorkflowState.ABORTED)
    query = (
        sa.select(workflow.c.id, workflow.c.state, sa.func.count())
        .join(job, job.c.workflow_id == workflow.c.id)
        .where(workflow.c.state.in_(over), job.c.state.in_(UNFINISHED))
        .where(
            sa.or_(workflow.c.state == WorkflowState.COMPLETED, workflow.c.since < scope.now - scope.limits.handover_s)
        )
        .group_by(workflow.c.id, workflow.c.state)
    )
    for identity, state, count in scope.rows(query):
        yield Finding(f"workflow {identity}", f"is {state} with {count} unfinished jobs")


def damaged(connection: sa.Connection) -> list[Breach]:
    """Return what is wrong with the database itself; reads all of it."""
    if connection.dialect.name != "sqlite":
        names = ", ".join(
            connection.dialect.identifier_preparer.format_table(table) for table in schema.metadata.sorted_tables
        )
        found = connection.exec_driver_sql(f"CHECK TABLE {names} QUICK")
        return [Breach("whole", row[0], row[3]) for row in found if row[2] in ("error", "warning")]
    return [
        Breach("whole", "database", text)
        for (text,) in connection.exec_driver_sql("PRAGMA quick_check")
        if text != "ok"
    ]


def whole(scope: Scope) -> Iterator[Finding]:
    """Find rows that refer to rows that are not there."""
    if scope.connection.dialect.name != "sqlite":
        yield from _orphans(scope)
        return
    for table, row, parent, _ in scope.connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(
        scope.limits.most
    ):
        yield Finding(f"{table} {row}", f"refers to a row of {parent} that does not exist")


def _orphans(scope: Scope) -> Iterator[Finding]:
    for table in schema.metadata.sorted_tables:
        for key in (found for column in table.columns for found in column.foreign_keys):
            parent = key.column.table.alias("parent")
            there = sa.exists().where(parent.c[key.column.name] == key.parent)
            for row in scope.rows(sa.select(*table.primary_key).where(key.parent.is_not(None), ~there)):
                yield Finding(
                    f"{table.name} {row[0]}", f"refers to a row of {key.column.table.name} that does not exist"
                )


LAWS: tuple[Law, ...] = (
    Law("whole", "Every reference leads to a row that is there.", whole),
    Law("cover", "The jobs of an allocation are disjoint and cover what was cut of it.", cutting.cover),
    Law(
        "conserved",
        "A requested event is in exactly one place: merged, in progress or lost.",
        conservation.conserved,
    ),
    Law(
        "once",
        "The events of a successful job are in exactly one catalogued file, those of any other in none.",
        outputs.once,
    ),
    Law(
        "one-live",
        "A job has one live attempt while an attempt decides its state, otherwise none.",
        attempting.one_live,
    ),
    Law(
        "one-token",
        "A token stands for one attempt; attempts are numbered without gaps, each open or closed.",
        attempting.one_token,
    ),
    Law("accounted", "A file is registered if and only if its job is accounted.", outputs.accounted),
    Law("one-merge", "An unmerged file is in at most one live merge.", merging.one_merge),
    Law("balance", "A merge has as many events in its output as in its members.", merging.balance),
    Law(
        "successor",
        "Nothing is deleted before its successor is verified, catalogued and delivered.",
        removing.successor,
    ),
    Law("replicas", "A replica is on record if and only if a verified copy is there.", removing.replicas),
    Law("fold", "The state of every item is what its facts add up to.", folding.fold),
    Law("counters", "What is counted beside the rows is the sum of the rows.", counters.kept),
    Law("blocks", "A block holds the files, bytes and events that it says.", counters.blocks),
    Law(
        "limbo",
        "Every live item progresses, waits with reason and wake time, is parked with reason, or is final.",
        limbo.limbo,
    ),
    Law("completed", "A workflow is over only when its jobs are.", completed),
    Law("fenced", "An attempt that was fenced has changed nothing.", attempting.fenced),
)


def check(
    connection: sa.Connection, *, now: float, limits: Limits | None = None, only: Container[str] | None = None
) -> list[Breach]:
    """Return every breach of every law, in the order of the laws; `now` is UTC epoch seconds.

    Reads only. Run it in one transaction: then all laws are asked about the same moment. `only`: just the laws of these
    names.
    """
    scope = Scope(connection, now, limits or Limits())
    return [breach for law in LAWS if only is None or law.name in only for breach in _breaches(law, scope)]


def prove(
    connection: sa.Connection, law: Law, *, now: float, limits: Limits | None = None
) -> tuple[list[Breach], list[LedgerRow]]:
    """Return every breach of one law, and from the law "conserved" where the events of each workflow are.

    Each law holds at every commit, so that they need not be asked about the same one.
    """
    scope = Scope(connection, now, limits or Limits())
    return _breaches(law, scope), conservation.known(scope)


def _breaches(law: Law, scope: Scope) -> list[Breach]:
    return [Breach(law.name, subject, text) for subject, text in law.find(scope)]
