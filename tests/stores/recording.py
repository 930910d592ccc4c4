"""Stores of every schema that ever was, with data in them: made by code, kept as JSON, loaded by the migration tests.

`python -m tests.stores.recording` records what is missing. The newest revision is filled by a campaign through the
storage functions of today; one that was passed over is the one before it, migrated.
"""

import asyncio
import base64
import itertools
import json
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command

from config.settings import Agent, Settings
from config.site_settings import Host, Plugin, Site, Target
from domain.archive import Kind as Keeping
from domain.controls import Control, Kind, Scope
from domain.escalation import Need
from domain.feed import SiteWord
from domain.job import JobState, JobType
from domain.revising import Revision, differences, revised
from domain.rules import Action, Blame, Rule
from domain.siting import Lists
from storage import (
    added_sites,
    adjustments,
    alerts,
    archives,
    braking,
    configured,
    controls,
    job_lists,
    jobs,
    learning,
    leaving,
    log,
    migrate,
    nodes,
    offers,
    outbox,
    overrides,
    revisions,
    rulebook,
    thresholds,
    workflows,
)
from storage.adjustments import Adjustment
from storage.archives import Volume
from storage.leaving import Leaving
from storage.migrate import revisions as all_revisions
from storage.nodes import Excluded
from storage.overrides import Override
from storage.schema import AGENT
from storage.store import Store
from storage.thresholds import Change
from tests.unit.storage.conftest import Campaign, HandClock, make_spec

A_BATCH = Target(kind="slurm", options={"host": "gate"})
SETTINGS = Settings(
    agent=Agent(name="then"),
    hosts={"gate": Host(address="gate.example.org")},
    sites={"A": Site(storage=Plugin(kind="posix"), targets={"A.batch": A_BATCH})},
)

HERE = Path(__file__).parent
Rows = dict[str, list[dict[str, Any]]]


def place(revision: str) -> Path:
    """Return the file of a revision."""
    return HERE / f"{AGENT.name}-{revision}.json"


async def fill(store: Store, clock: HandClock) -> None:
    """Put items in every kind of state into an empty store, and rows into every table."""
    for name, steps in (("whole", "whole"), ("merging", "process"), ("running", "at_target")):
        work = Campaign(store, clock, make_spec(name=name, events=400))
        await getattr(work, steps)()
    running = await work.ids(JobState.ENDED)
    await work.fail(running[:2])
    await store.write(lambda tx: jobs.cool_off(tx, running[:1], clock.now + 60, "again later"))
    started = Campaign(store, clock, make_spec(name="started", events=300))
    await started.request()
    await started.cut()
    await started.release()
    ours = [
        job.id
        for job in await started.load(await started.ids(JobState.RELEASED))
        if job.workflow_id == started.workflow_id
    ]
    await started.submit(ours[:2])
    await store.write(lambda tx: jobs.kill(tx, ours[2:], "not wanted"))
    await store.write(lambda tx: workflows.hold(tx, "started", hold=True, reason="a look", dry_run=False))
    await fail(store, clock, work.workflow_id, running[0])
    held = Control(Scope.SITE, "A", Kind.MODE, "drain", "a downtime", "ann", clock.now, clock.now + 3600)
    await store.write(lambda tx: controls.put(tx, held))
    await store.write(lambda tx: thresholds.book(tx, [Change("A.batch", JobType.PROCESSING, 10, 12, 10)]))
    await change(store, clock, work.workflow_id)
    await store.write(lambda tx: configured.remember(tx, SETTINGS))
    await store.write(lambda tx: overrides.put(tx, Override("A.batch", "merge", 3, "ann", "a downtime", clock.now)))
    await store.write(lambda tx: offers.put(tx, {"A": SiteWord(slots=400, releases=["r7"])}))
    await store.write(lambda tx: outbox.put(tx, "main", "acquire", "acquire-1", "{}"))
    await store.write(lambda tx: alerts.raise_alert(tx, "warning", "disk", "state", "87 % full"))
    await store.write(lambda tx: added_sites.put(tx, "C", SETTINGS.sites["A"], "ann", "a new cluster"))
    await store.write(lambda tx: job_lists.put(tx, [3], Lists(frozenset({"A"})), "ann", "a look"))
    await store.write(lambda tx: alerts.record(tx, "ann", "jobs/kill", "[3]", "changed"))
    await store.write(lambda tx: log.begin(tx, "counter"))
    await store.write(lambda tx: log.park(tx, "counter", 3, "Traceback: it would not", []))
    await store.write(lambda tx: log.advance(tx, "counter", 3))


async def change(store: Store, clock: HandClock, workflow_id: int) -> None:
    """Leave what changes under way leave: a version of a workflow, a target that is out of the configuration."""
    flow = (await store.read(workflows.load))[workflow_id]
    spec = revised(flow.spec, Revision(memory_mb=3000, max_sites=2))
    await store.write(lambda tx: revisions.put(tx, flow, spec, "ann", "more memory", differences(flow.spec, spec)))
    local = Target(kind="local", options={"directory": "batch"})
    gone = Site(storage=Plugin(kind="posix", options={"root": "files"}), targets={"old.batch": local})
    await store.write(lambda tx: leaving.put(tx, [Leaving("old.batch", "old", gone, clock.now)]))


async def fail(store: Store, clock: HandClock, workflow_id: int, job: int) -> None:
    """Leave what failures leave besides attempts: rules, adjustments, lessons, bad nodes, a braked workflow."""
    rule = Rule(name="licence server away", codes="1", text="licence", blame=Blame.SITE, action=Action.WAIT)
    adjusted = Adjustment(
        site="A", node="n1", until=clock.now + 3600, memory_mb=3000, releases=1, reason="memory limit"
    )
    bad = Excluded("A", "n2", clock.now, None, "burns", "ann")
    await store.write(lambda tx: rulebook.install(tx, [rule]))
    await store.write(lambda tx: adjustments.put(tx, {job: adjusted}))
    await store.write(
        lambda tx: learning.note(tx, workflow_id, JobType.PROCESSING, Action.MORE_MEMORY, Need(3000, 60), 5.0)
    )
    await store.write(lambda tx: nodes.exclude(tx, bad))
    await store.write(lambda tx: braking.stop(tx, workflow_id, "all of its attempts failed"))
    await store.write(lambda tx: archives.note(tx, [Volume("t1-failure", Keeping.FAILURE, 900, [1, 2])]))


def dump(connection: sa.Connection) -> Rows:
    """Return every row of every table."""
    found = sa.MetaData()
    found.reflect(connection)
    return {
        table.name: [
            {name: plain(value) for name, value in row.items()}
            for row in connection.execute(sa.select(table)).mappings()
        ]
        for table in found.sorted_tables
    }


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):  # what a reflected DOUBLE of MariaDB comes as
        return float(value)
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def load(connection: sa.Connection, rows: Rows) -> None:
    """Insert recorded rows into the tables of the same names; what the tables do not have is left out."""
    found = sa.MetaData()
    found.reflect(connection)
    for table in found.sorted_tables:
        for row in rows.get(table.name, []):
            known = {name: value for name, value in row.items() if name in table.c}
            values = {name: base64.b64decode(v["base64"]) if isinstance(v, dict) else v for name, v in known.items()}
            connection.execute(table.insert().values(values))


def recorded(revision: str) -> Rows:
    """Return the rows that were recorded at a revision."""
    rows: Rows = json.loads(place(revision).read_text())
    return rows


def migrate_to(connection: sa.Connection, revision: str) -> None:
    """Bring a store to a revision."""
    command.upgrade(migrate._config(connection, AGENT), revision)
    connection.commit()


def passed_over(revision: str, before: Rows, earlier: str) -> Rows:
    """Return what an earlier recording becomes at a revision."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        migrate_to(connection, earlier)
        load(connection, {name: rows for name, rows in before.items() if name != "version_agent"})
        connection.commit()
        migrate_to(connection, revision)
        rows = dump(connection)
    engine.dispose()
    return rows


async def fresh() -> Rows:
    """Return a store of the newest revision, filled."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "agent.db")
        clock = HandClock()
        store = await Store.open(f"sqlite:///{path}", clock=clock)
        await fill(store, clock)
        rows = await store.read(dump)
        await store.close()
    for lease in rows["lease"]:
        lease["holder"] = "a process of then"
    return rows


def write(revision: str, rows: Rows) -> None:
    lines = [
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(row, sort_keys=True) for row in found) + "\n]"
        for name, found in sorted(rows.items())
    ]
    place(revision).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    known = all_revisions(AGENT)
    for earlier, revision in itertools.pairwise(["", *known]):
        if not place(revision).exists():
            newest = revision == known[-1]
            write(revision, asyncio.run(fresh()) if newest else passed_over(revision, recorded(earlier), earlier))
            print(f"recorded {place(revision).name}")
