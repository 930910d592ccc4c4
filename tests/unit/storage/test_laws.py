"""Each law, broken on purpose, is found; a store that is in order breaks none."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from domain.job import JobState
from domain.ranges import Range
from services.verify.storages import TEXTS
from storage import jobs, laws, schema
from storage.laws import LAWS, Breach, Limits
from storage.store import Store

NOW = 1_000_500.0


@pytest.fixture(scope="module")
def template(tmp_path_factory, kit) -> Path:
    """A store with one workflow that is over and one that has come half way."""
    path = tmp_path_factory.mktemp("laws") / "agent.db"

    async def build() -> None:
        clock = kit.HandClock()
        store = await Store.open(f"sqlite:///{path}", clock=clock)
        try:
            await fill(store, clock)
        finally:
            await store.close()

    async def fill(store, clock) -> None:
        await kit.Campaign(store, clock, kit.make_spec(name="over")).whole()
        half = kit.Campaign(store, clock, kit.make_spec(name="half", events=2000))
        await half.request(pieces=2)
        await half.cut(limit=9)
        await half.release()
        ids = await half.submit()
        await half.run(ids[:12])
        await half.account(ids[:9])
        await half.fail(ids[9:10])
        await half.write(lambda tx: jobs.cool_off(tx, ids[9:10], NOW + 60, "again later"))
        await half.fail(ids[10:11])
        await half.write(lambda tx: jobs.exhaust(tx, ids[10:11], "no allowance is left"))
        await half.write(lambda tx: jobs.kill(tx, ids[12:13], "on command"))
        merging = await half.merge()
        await half.release()
        await half.submit(merging)
        await half.run(merging[:2])
        await half.account(merging[:2])
        await half.catalogue()

    asyncio.run(build())
    return path


@pytest.fixture
def broken(template: Path, tmp_path: Path) -> Callable[..., list[Breach]]:
    """Copy the store, run statements on it without constraints, and return what the laws say."""

    def damage(*statements: str, loosen: tuple[str, ...] = (), limits: Limits | None = None) -> list[Breach]:
        path = tmp_path / "damaged.db"
        shutil.copy(template, path)
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("PRAGMA ignore_check_constraints=ON")
        for table in loosen:
            writer.execute(f"CREATE TABLE loose AS SELECT * FROM {table}")
            writer.execute(f"DROP TABLE {table}")
            writer.execute(f"ALTER TABLE loose RENAME TO {table}")
            writer.execute(f"CREATE UNIQUE INDEX key_of_{table} ON {table} (id)")  # others refer to it
        for statement in statements:
            assert writer.execute(statement).rowcount != 0, statement
        writer.close()
        return look(path, limits)

    return damage


_at: list[Path] = []
_engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(_at[-1]), poolclass=sa.pool.NullPool)
"""One engine for all damaged copies: the statements of the laws are compiled once."""


def look(path: Path, limits: Limits | None = None) -> list[Breach]:
    _at.append(path)
    with _engine.connect() as connection:
        return laws.check(connection, now=NOW, limits=limits)


HALF = "(SELECT id FROM workflow WHERE name = 'half')"


def copied(table: str, where: str, **changes: str) -> str:
    """A statement that copies a row, with other values (SQL) in some of its columns."""
    names = [column.name for column in schema.metadata.tables[table].columns]
    values = ", ".join(changes.get(name, name) for name in names)
    return f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} WHERE {where}"


def copy_on_record(site: str, where: str) -> str:
    return (
        f"INSERT INTO replica (file_id, site, method, verified_at) SELECT id, '{site}', 'm', 1 FROM file WHERE {where}"
    )


def attempts_of(jobs_where: str) -> str:
    return f"job_id IN (SELECT id FROM job WHERE {jobs_where})"


def one(table: str, where: str) -> str:
    return f"id = (SELECT min(id) FROM {table} WHERE {where})"


def half_job(state: str, kind: str = "processing") -> str:
    return one("job", f"workflow_id = {HALF} AND state = '{state}' AND type = '{kind}'")


RUNNING = half_job("pending")
BOOKED = half_job("accounted")
MERGED_SMALL = one("file", "state = 'merged'")
UNDER = one("file", "state = 'undermerge'")
SHOWN = one("file", f"state = 'catalogued' AND workflow_id = {HALF}")

DAMAGES = [
    ("cover", f"UPDATE job SET first_event = first_event + 5 WHERE {RUNNING}"),
    ("cover", f"UPDATE job SET events = events - 1 WHERE {RUNNING}"),
    ("cover", "UPDATE allocation SET cut_events = cut_events - 100 WHERE state = 'active'"),
    ("cover", f"UPDATE job SET allocation_id = NULL WHERE {RUNNING}"),
    ("cover", "UPDATE allocation SET state = 'cut' WHERE state = 'active'"),
    ("conserved", f"UPDATE job SET first_event = first_event - 100 WHERE {RUNNING}"),
    ("conserved", f"UPDATE job SET first_event = first_event + 5 WHERE {RUNNING}"),
    ("conserved", f"UPDATE file SET state = 'invalid' WHERE {SHOWN}"),
    ("once", f"UPDATE job SET state = 'accounted' WHERE {half_job('success')}"),
    ("once", f"UPDATE job SET state = 'success' WHERE {RUNNING}"),
    ("one-live", f"UPDATE job SET state = 'queued' WHERE {RUNNING}"),
    ("one-live", f"UPDATE attempt SET live = NULL WHERE {attempts_of(RUNNING)}"),
    ("one-live", f"UPDATE attempt SET live = 1 WHERE {attempts_of(BOOKED)}"),
    ("one-token", "UPDATE attempt SET number = 7 WHERE id = 3"),
    ("one-token", "UPDATE attempt SET outcome = 'failed' WHERE live = 1"),
    ("one-token", "UPDATE attempt SET outcome = NULL WHERE id = 1"),
    ("accounted", f"UPDATE file SET state = 'invalid' WHERE {UNDER}"),
    ("accounted", f"UPDATE job SET state = 'accounted' WHERE {RUNNING}"),
    ("accounted", f"UPDATE file SET kind = 'unmerged' WHERE {SHOWN}"),
    ("one-merge", f"UPDATE file SET state = 'unmerged' WHERE {UNDER}"),
    ("one-merge", f"UPDATE merge_input SET live = NULL WHERE file_id IN (SELECT id FROM file WHERE {UNDER})"),
    ("one-merge", f"UPDATE file SET state = 'undermerge' WHERE {MERGED_SMALL}"),
    ("one-merge", f"DELETE FROM merge_input WHERE {attempts_of(half_job('pending', 'merge'))}"),
    ("balance", f"UPDATE file SET events = events - 1 WHERE {SHOWN}"),
    ("balance", f"UPDATE file SET events = events - 1 WHERE {MERGED_SMALL}"),
    ("balance", f"UPDATE file SET site = 'B' WHERE {UNDER}"),
    ("successor", "UPDATE file SET state = 'registered' WHERE state = 'catalogued'"),
    ("successor", "DELETE FROM replica WHERE file_id IN (SELECT id FROM file WHERE kind = 'merged')"),
    ("successor", f"UPDATE file SET state = 'removing' WHERE {SHOWN}"),
    ("successor", "DELETE FROM transfer WHERE state = 'safe'"),
    ("replicas", f"DELETE FROM replica WHERE file_id IN (SELECT id FROM file WHERE {UNDER})"),
    ("replicas", "UPDATE replica SET site = 'X' WHERE site = 'C'"),
    (
        "replicas",
        f"INSERT INTO replica (file_id, site, method, verified_at) SELECT id, 'C', 'm', 1 FROM file WHERE {SHOWN}",
    ),
    ("replicas", copy_on_record("A", "state = 'removed'")),
    ("fold", f"UPDATE job SET state = 'running' WHERE {RUNNING}"),
    ("fold", f"UPDATE job SET version = version + 1 WHERE {RUNNING}"),
    ("fold", "UPDATE file SET state = 'removing' WHERE state = 'removed'"),
    ("fold", "UPDATE allocation SET state = 'done' WHERE state = 'reported'"),
    ("fold", "UPDATE transfer SET state = 'parked', reason = 'x' WHERE state = 'wanted'"),
    ("fold", "UPDATE block SET state = 'closed', open = NULL WHERE state = 'open'"),
    ("fold", "UPDATE workflow SET state = 'paused', reason = 'x' WHERE name = 'half'"),
    ("fold", "DELETE FROM event WHERE id = (SELECT max(id) FROM event WHERE type = 'JobsStarted')"),
    ("fold", "UPDATE event SET type = 'JobsForgotten' WHERE id = (SELECT max(id) FROM event)"),
    ("fold", "UPDATE event SET body = '{}' WHERE id = (SELECT max(id) FROM event)"),
    ("fold", "UPDATE event SET type = 'JobsStarted' WHERE id = (SELECT max(id) FROM event WHERE type = 'JobsCleaned')"),
    ("fold", "DELETE FROM alert"),
    ("counters", "UPDATE allocation SET merged_events = merged_events + 1 WHERE state = 'cut' OR state = 'active'"),
    ("counters", "UPDATE allocation SET lost_events = 0"),
    ("counters", "UPDATE allocation SET cut_events = cut_events + 1 WHERE state = 'active'"),
    ("counters", "UPDATE job SET events = events + 1 WHERE id = 1"),
    ("counters", "UPDATE allocation SET state = 'cut' WHERE state = 'reported'"),
    ("blocks", "UPDATE block SET bytes = bytes + 1"),
    ("blocks", "UPDATE block SET files = files - 1"),
    ("blocks", "UPDATE block SET events = events * 2"),
    ("blocks", "UPDATE block SET open = NULL WHERE state = 'open'"),
    ("blocks", f"UPDATE file SET block_id = NULL WHERE {SHOWN}"),
    ("blocks", "UPDATE block SET site = 'X' WHERE state = 'open'"),
    ("limbo", "UPDATE job SET wake_at = NULL WHERE state = 'cooloff'"),
    ("limbo", "UPDATE job SET wake_at = 5 WHERE state = 'cooloff'"),
    ("limbo", f"UPDATE job SET since = 5 WHERE {half_job('ended')}"),
    ("limbo", "UPDATE job SET reason = '' WHERE state = 'exhausted'"),
    ("limbo", f"UPDATE job SET since = -2000000 WHERE {RUNNING}"),
    ("limbo", "UPDATE transfer SET since = -2000000 WHERE state = 'wanted'"),
    ("limbo", "UPDATE transfer SET state = 'quarantined' WHERE state = 'wanted'"),
    ("limbo", f"UPDATE file SET state = 'unmerged', since = 5 WHERE {UNDER}"),
    ("limbo", "UPDATE file SET state = 'removing', since = -2000000 WHERE state = 'removed'"),
    ("limbo", f"UPDATE job SET state = 'killed', since = 5 WHERE {half_job('pending', 'merge')}"),
    ("limbo", "UPDATE block SET created_at = 5 WHERE state = 'open'"),
    ("limbo", "INSERT INTO outbox (manager, kind, call_id, body, next_at) VALUES ('m', 'report', 'c', '{}', 5)"),
    ("completed", "UPDATE workflow SET state = 'completed' WHERE name = 'half'"),
    ("fenced", f"UPDATE attempt SET outcome = 'failed' WHERE {attempts_of(BOOKED)}"),
    (
        "fenced",
        f"UPDATE attempt SET outcome = 'success' WHERE {attempts_of(half_job('killed'))}",
    ),
    ("whole", f"DELETE FROM file WHERE {UNDER}"),
]


@pytest.mark.feature("REL-10", "PA-508", "PA-511", "PA-513", "DBS-05")
@pytest.mark.parametrize(("law", "damage"), [case for case in DAMAGES if "alert" not in case[1]])
def test_a_broken_law_is_found(broken, law, damage):
    found = broken(damage)
    assert law in {breach.law for breach in found}, found
    assert all(breach.subject and breach.text for breach in found)


def test_every_law_is_broken_here():
    assert {law.name for law in LAWS} == {law for law, _ in DAMAGES}


def test_the_page_in_the_docs_names_every_law_and_limit():
    page = (Path(__file__).parents[3] / "docs" / "reference" / "laws.md").read_text()
    rows = [line.split(" | ")[:2] for line in page.splitlines() if line.startswith("| `")]
    shown = [(name.strip("| `"), text.strip(" |")) for name, text in rows]
    assert shown[: len(LAWS)] == [(law.name, law.text) for law in LAWS]
    assert shown[len(LAWS) : len(LAWS) + len(TEXTS)] == list(TEXTS.items())
    limits = set(Limits.__struct_fields__) - {"most"}
    assert {name for name, _ in shown[len(LAWS) + len(TEXTS) :]} == limits


def test_a_store_in_order_breaks_none(template):
    assert look(template) == []


LATER = {"id": "id + 1000", "number": "number + 1", "token": "token || 'x'"}
GONE = one("file", "state = 'removed'")
BOOKED_FILE = f"job_id IN (SELECT id FROM job WHERE {BOOKED})"


@pytest.mark.feature("REL-10")
@pytest.mark.parametrize(
    ("law", "damage", "text"),
    [
        ("one-live", copied("attempt", attempts_of(RUNNING), **LATER, live="NULL", outcome="'failed'"), "attempt 1 is live though 2 came after it"),
        ("one-live", f"DELETE FROM attempt WHERE {attempts_of(RUNNING)}", "is pending with 0 live attempts, expected 1"),
        ("one-token", f"UPDATE attempt SET number = 2 WHERE {attempts_of(RUNNING)}", "has 1 attempts, the last has number 2"),
        ("fenced", f"DELETE FROM attempt WHERE {attempts_of(BOOKED)}", "has 1 files registered from 0 successful attempts"),
        ("fenced", f"UPDATE attempt SET outcome = 'failed' WHERE {attempts_of(BOOKED)}", "has 1 files registered from 0 successful attempts"),
        ("fenced", f"DELETE FROM file WHERE {BOOKED_FILE}", "has 0 files registered from 1 successful attempts"),
        ("fenced", copied("attempt", attempts_of(BOOKED), **LATER), "has 1 files registered from 2 successful attempts"),
        ("fenced", copied("file", BOOKED_FILE, id="id + 1000", lfn="lfn || 'x'"), "has 2 files registered from 1 successful attempts"),
        ("fenced", copied("attempt", attempts_of(BOOKED), **LATER, outcome="'failed'"), "is booked by attempt 1 though 2 came after it"),
        ("accounted", f"DELETE FROM file WHERE {BOOKED_FILE}", "is accounted with 0 registered files, expected 1"),
        ("accounted", f"UPDATE merge_input SET live = NULL WHERE file_id IN (SELECT id FROM file WHERE {GONE})", "is cleaned with 0 registered files, expected 1"),
        ("accounted", copied("file", BOOKED_FILE, id="id + 1000", lfn="lfn || 'x'"), "is accounted with 2 registered files, expected 1"),
        ("accounted", f"UPDATE job SET state = 'killed' WHERE {BOOKED}", "is killed with 1 registered files, expected 0"),
        ("one-merge", f"UPDATE file SET state = 'merged' WHERE {UNDER}", "is merged in 1 live merges, 0 of them booked"),
        ("one-merge", f"UPDATE file SET state = 'removing' WHERE {UNDER}", "is removing in 1 live merges, 0 of them booked"),
        ("one-merge", f"UPDATE file SET state = 'undermerge' WHERE {SHOWN}", "is undermerge in 0 live merges, 0 of them booked"),
        ("cover", f"DELETE FROM job WHERE {RUNNING}", "it leaves a gap"),
    ],
)  # fmt: skip
def test_a_breach_names_the_one_offender_and_how(broken, law, damage, text):
    assert [breach.text for breach in broken(damage) if breach.law == law and text in breach.text]
    assert len([breach for breach in broken(damage) if breach.law == law]) == 1


def test_jobs_that_were_not_cut_in_the_order_of_their_ids_are_in_order(broken):
    two = f"SELECT id FROM job WHERE workflow_id = {HALF} AND type = 'processing' ORDER BY id LIMIT 2"
    swap = f"UPDATE job SET first_event = (SELECT sum(first_event) FROM job WHERE id IN ({two})) - first_event WHERE id IN ({two})"
    assert not [breach for breach in broken(swap) if breach.law == "cover"]


def test_versions_beyond_a_byte_are_compared_one_by_one(broken):
    assert "fold" in {breach.law for breach in broken(f"UPDATE job SET version = version + 255 WHERE {RUNNING}")}
    assert broken(f"UPDATE job SET version = version + 256 WHERE {RUNNING}") == []  # moves are counted modulo 256


@pytest.mark.parametrize("away", ["id + 1000000000000", "-id"])
def test_an_item_far_away_is_found_at_once(broken, away):
    found = broken(f"UPDATE job SET id = {away} WHERE {RUNNING}")
    assert {"fold", "whole"} <= {breach.law for breach in found}


@pytest.mark.feature("PA-508")
def test_two_live_merges_are_found_where_the_constraint_is_gone(broken):
    double = copied(
        "merge_input", f"file_id IN (SELECT id FROM file WHERE {MERGED_SMALL})", id="id + 1000", job_id="job_id + 1"
    )
    found = broken(double, loosen=("merge_input",))
    assert {"one-merge", "balance"} <= {breach.law for breach in found}


@pytest.mark.feature("PA-020")
def test_two_live_attempts_and_one_token_twice_are_found_where_the_constraint_is_gone(broken):
    double = copied("attempt", attempts_of(RUNNING), id="id + 1000", number="number + 1")
    found = broken(double, loosen=("attempt",))
    assert {"one-live", "one-token"} <= {breach.law for breach in found}


def test_events_in_two_files_are_found(broken):
    copy = copied("file", SHOWN, id="id + 1000", lfn="lfn || 'x'")
    names = {breach.law: breach.text for breach in broken(copy)}
    assert "300 events are in two places" in names["conserved"]
    assert {"once", "accounted", "balance", "blocks", "fenced"} <= set(names)


def test_catalogued_after_the_range_was_taken_back(broken):
    taken = f"UPDATE allocation SET state = 'revoked', since = 5 WHERE {one('allocation', f'workflow_id = {HALF}')}"
    assert any("revoked" in breach.text for breach in broken(taken) if breach.law == "conserved")


def test_a_grant_before_delivery_is_found(broken):
    order = "UPDATE transfer SET state = 'quarantined', reason = 'damaged' WHERE state = 'safe'"
    assert "successor" not in {breach.law for breach in broken(order)}
    late = "UPDATE event SET id = id + 100000 WHERE type IN ('TransfersVerified', 'TransfersSafe')"
    found = [breach for breach in broken(order, late) if breach.law == "successor"]
    assert found
    assert "was landed" in found[0].text


def test_a_merged_file_that_goes_is_found(broken):
    found = broken(f"UPDATE file SET state = 'removing' WHERE {SHOWN}")
    assert any("is a merged file and removing" in breach.text for breach in found)


def test_limits_are_those_of_the_caller(broken):
    age = "UPDATE job SET since = since - 100 WHERE state = 'ended'"
    assert "limbo" not in {breach.law for breach in broken(age)}
    assert "limbo" in {breach.law for breach in broken(age, limits=Limits(handover_s=50))}


def test_the_number_of_names_is_bounded(broken):
    found = broken("UPDATE job SET state = 'new'", limits=Limits(most=3))
    assert sum(breach.law == "one-live" for breach in found) == 3
    assert sum(breach.law == "fold" for breach in found) == 3


@pytest.mark.feature("REL-10")
def test_the_ledger_says_where_events_are(template):
    engine = sa.create_engine(f"sqlite:///{template}")
    with engine.connect() as connection:
        over, half = laws.ledger(connection)
    engine.dispose()
    assert over.complete
    assert (half.requested, half.merged, half.in_progress, half.lost) == (2000, 600, 1200, 200)
    assert half.balanced
    assert not half.complete


def test_the_ledger_names_doubles_and_gaps(broken, tmp_path):
    broken(f"UPDATE job SET first_event = first_event + 5 WHERE {RUNNING}")
    engine = sa.create_engine(f"sqlite:///{tmp_path}/damaged.db")
    with engine.connect() as connection:
        half = laws.ledger(connection)[1]
    engine.dispose()
    assert half.missing == 5
    assert half.doubled == 5
    assert [piece.events for piece in half.gaps] == [5]
    assert half.gaps[0].end == half.doubles[0].first - 95


@pytest.mark.feature("PM-04")
async def test_a_lost_range_may_be_given_again(campaign):
    """Lost events that come back in another allocation are in progress, not lost and not doubled."""
    await campaign.request()
    await campaign.cut()
    (first, *_) = await campaign.ids(JobState.NEW)
    await campaign.write(lambda tx: jobs.kill(tx, [first], "on command"))
    row = await campaign.ledger()
    assert (row.in_progress, row.lost) == (900, 100)
    await campaign.acquire("again", Range(1, 100))
    await campaign.cut()
    row = await campaign.ledger()
    assert (row.requested, row.in_progress, row.lost, row.doubled) == (1000, 1000, 0, 0)
    assert await campaign.breaches() == []
