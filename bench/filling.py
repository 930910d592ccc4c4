"""Fill a store with the rows of jobs that have lived, as fast as rows can be written.

The books hold afterwards: every law can be checked on what is made here, and an agent can go on with it. Shares of the jobs
stand in all stages of life, so that what scans the store, and what should not, shows.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from domain import events as e
from domain.allocation import AllocationState
from domain.file import BlockState, FileKind, FileState
from domain.job import JobState, JobType, rank
from domain.names import unit_id
from domain.ranges import Range
from domain.spec import Merge, Step, WorkflowSpec
from domain.transfer import TransferState
from storage import allocations, bulk, counters, log, schema, workflows
from storage.laws.breach import Limits, Scope
from storage.laws.counters import counted
from storage.store import Store
from storage.transaction import Tx

CHUNK = 1000
MERGED_OF = 20
EVENTS = 500
SIZE = 100_000_000
TRIED_TWICE = 20
"""Every so many jobs one has failed once."""

FOLLOWERS = ("error", "catalogue", "monitor")
"""Stages of an agent without a ProdMgr that follow facts."""

LIFE = (e.JobsCreated, e.JobsQueued, e.JobsReleased, e.JobsSubmitting, e.JobsSubmitted, e.JobsStarted, e.JobsEnded)
AGAIN = (e.JobsFailed, e.JobsRequeued, *LIFE[2:])


class Plan(NamedTuple):
    """How many jobs are where. `sites` are named s0, s1 …, each with a target t0, t1 …"""

    done: int
    waiting: int = 0
    running: int = 0
    queued: int = 0
    sites: int = 4

    @property
    def jobs(self) -> int:
        return self.done + self.waiting + self.running + self.queued


def plan(jobs: int, sites: int = 4, *, live: float = 0.2) -> Plan:
    """Share jobs out: `live` of them are queued, at work or waiting to be merged, in equal parts."""
    part = int(jobs * live / 3)
    return Plan(done=jobs - 3 * part, waiting=part, running=part, queued=part, sites=sites)


def specification(name: str, jobs: int) -> WorkflowSpec:
    merge = Merge(max_bytes=MERGED_OF * SIZE, min_fraction=1.0, max_files=MERGED_OF, max_wait_s=10 * 365 * 86400)
    steps = [Step(command=["true"])]
    return WorkflowSpec(name=name, events=jobs * EVENTS, events_per_job=EVENTS, steps=steps, merge=merge)


async def fill(store: Store, shares: Plan, name: str = "filled") -> None:
    """Add the jobs of `shares` as one workflow."""
    spec = specification(name, shares.jobs)
    filler = await store.write(lambda tx: Filler.begin(tx, spec, shares))
    parts = [(shares.done, filler.done), (shares.waiting, filler.waiting), (shares.running, filler.running)]
    for count, make in [*parts, (shares.queued, filler.queued)]:
        for start in range(0, count, CHUNK):
            size = min(CHUNK, count - start)
            await store.write(lambda tx, make=make, size=size: make(tx, size), sender="filler")  # type: ignore[misc]
    await store.write(filler.close, sender="filler")


class Filler:
    """Writes chunks of rows; ids go on from what is there."""

    def __init__(self, workflow_id: int, allocation_id: int, spec: WorkflowSpec, shares: Plan) -> None:
        self.workflow_id = workflow_id
        self.allocation_id = allocation_id
        self.spec = spec
        self.shares = shares
        self.first_event = 1
        self.merged_events = 0
        self.dataset_id = 0
        self._next: dict[sa.Table, int] = {}
        self._place = itertools.cycle(range(shares.sites))

    @classmethod
    def begin(cls, tx: Tx, spec: WorkflowSpec, shares: Plan) -> "Filler":
        owner, _ = workflows.add(tx, spec, name=spec.name, sandbox="", events=spec.events)
        span = Range(1, spec.events)
        filler = cls(owner, allocations.acquire(tx, owner, f"local:{spec.name}", span), spec, shares)
        for table in (schema.job, schema.attempt, schema.file, schema.block, schema.transfer, schema.dataset):
            filler._next[table] = 1 + int(
                tx.connection.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0))).scalar_one()
            )
        (filler.dataset_id,) = filler.ids(schema.dataset, 1)
        row = {"id": filler.dataset_id, "name": spec.dataset_name, "status": "PRODUCTION", "created_at": tx.now}
        bulk.insert(tx.connection, schema.dataset, [row])
        return filler

    def close(self, tx: Tx) -> None:
        """Write the ledger, the counters anew from the rows, and the cursors of the stages that have read all of it."""
        for stage in FOLLOWERS:
            log.begin(tx, stage, from_now=True)
            log.advance(tx, stage, log.last(tx.connection))
        over = self.merged_events == self.spec.events
        state, version = (AllocationState.DONE, 2) if over else (AllocationState.CUT, 1)
        whole = {
            "cut_events": self.spec.events,
            "merged_events": self.merged_events,
            "state": state,
            "version": version,
        }
        mine = schema.allocation.c.id == self.allocation_id
        tx.connection.execute(schema.allocation.update().where(mine).values(**whole))
        tx.emit(e.AllocationsCut(ids=[self.allocation_id]))
        if over:
            tx.emit(e.AllocationsDone(ids=[self.allocation_id]))
        tx.connection.execute(schema.tally.delete())
        scope = Scope(tx.connection, tx.now, Limits())
        rows = [(*place, *sums) for place, sums in counted(scope).items()]
        names = [column.name for column in schema.tally.columns]
        order = ("entity", *counters.Place._fields, "number", "events", "bytes")
        found = [dict(zip(order, row, strict=True)) for row in rows]
        bulk.insert(tx.connection, schema.tally, [{name: row[name] for name in names} for row in found])

    def ids(self, table: sa.Table, count: int) -> list[int]:
        first = self._next[table]
        self._next[table] = first + count
        return list(range(first, first + count))

    # ------------------------------------------------------------ stages of life
    def done(self, tx: Tx, count: int) -> None:
        """Jobs that have lived: merged, catalogued, delivered nowhere else, cleaned."""
        site, ids = self._jobs(tx, count, JobState.CLEANED, 9)
        small = self._files(tx, site, ids, FileKind.UNMERGED, FileState.REMOVED, 4)
        bins = [ids[start : start + MERGED_OF] for start in range(0, count, MERGED_OF)]
        merges = self._merges(tx, site, bins)
        self._life(tx, merges, site)
        pairs = zip((merge for merge, members in zip(merges, bins, strict=True) for _ in members), small, strict=True)
        bulk.insert(tx.connection, schema.merge_input, [{"job_id": m, "file_id": f, "live": 1} for m, f in pairs])
        tx.emit(e.FilesUnderMerge(ids=small))
        for fact in (e.JobsAccounted, e.FilesMerged):
            tx.emit(fact(ids=merges if fact is e.JobsAccounted else small))
        self._catalogue(tx, site, merges, bins)
        tx.emit(e.JobsSucceeded(ids=[*ids, *merges]))
        tx.emit(e.FilesRemoving(ids=small))
        tx.emit(e.FilesRemoved(ids=small))
        tx.connection.execute(schema.replica.delete().where(schema.replica.c.file_id.between(small[0], small[-1])))
        tx.emit(e.JobsCleaned(ids=[*ids, *merges]))
        self.merged_events += count * EVENTS

    def waiting(self, tx: Tx, count: int) -> None:
        """Jobs whose small files wait for a merge."""
        site, ids = self._jobs(tx, count, JobState.ACCOUNTED, 7)
        self._files(tx, site, ids, FileKind.UNMERGED, FileState.UNMERGED, 0)

    def running(self, tx: Tx, count: int) -> None:
        self._jobs(tx, count, JobState.RUNNING, 5)

    def queued(self, tx: Tx, count: int) -> None:
        self._jobs(tx, count, JobState.QUEUED, 1)

    # ------------------------------------------------------------ rows
    def _jobs(self, tx: Tx, count: int, state: JobState, version: int) -> tuple[str, list[int]]:
        number = next(self._place)
        ids = self.ids(schema.job, count)
        twice = set(ids[::TRIED_TWICE]) if state is not JobState.QUEUED else set()
        away = state is not JobState.QUEUED
        common = {
            "workflow_id": self.workflow_id, "allocation_id": self.allocation_id, "type": JobType.PROCESSING,
            "rank": rank(JobType.PROCESSING, self.spec.priority), "events": EVENTS, "created_at": tx.now,
            "since": tx.now, "state": state, "site": f"s{number}" if away else None,
            "target": f"t{number}" if away else None,
        }  # fmt: skip
        rows = []
        for identity in ids:
            first, self.first_event = self.first_event, self.first_event + EVENTS
            more = len(AGAIN) if identity in twice else 0
            unit = unit_id(self.workflow_id, identity)
            rows.append({**common, "id": identity, "unit": unit, "first_event": first, "version": version + more})
        bulk.insert(tx.connection, schema.job, rows)
        if away:
            self._life(tx, ids, f"s{number}", sorted(twice), live=state is JobState.RUNNING)
            if state is not JobState.RUNNING:
                tx.emit(e.JobsAccounted(ids=ids))
        else:
            tx.emit(e.JobsCreated(ids=ids))
            tx.emit(e.JobsQueued(ids=ids))
        return f"s{number}", ids

    def _life(self, tx: Tx, ids: list[int], site: str, twice: Sequence[int] = (), *, live: bool = False) -> None:
        """Write the facts from creation to the end of the attempts (live: to their start), and the attempts."""
        target = f"t{site[1:]}"
        for step in _facts(ids, twice, site, target, live=live):
            tx.emit(step)
        common = {"site": site, "target": target, "node": "n1", "created_at": tx.now, "submitted_at": tx.now}
        good: dict[str, Any] = {
            "live": 1 if live else None,
            "outcome": None if live else "success",
            "exit_code": None if live else 0,
        }
        good |= {"blame": None, "cause": None, "closed_at": None if live else tx.now, "cleaned": None if live else 1}
        bad: dict[str, Any] = {"live": None, "outcome": "failed", "exit_code": 134, "blame": "payload", "cleaned": 1}
        bad |= {"cause": "payload: exit code 134", "closed_at": tx.now}
        tries = [(owner, 1, bad) for owner in twice]
        tries += (
            [(owner, 2 if owner in set(twice) else 1, good) for owner in ids] if twice else [(i, 1, good) for i in ids]
        )
        numbers = self.ids(schema.attempt, len(tries))
        rows = [
            {
                **common,
                **end,
                "id": n,
                "job_id": owner,
                "number": number,
                "token": unit_id("token", n),
                "batch_id": str(n),
            }
            for n, (owner, number, end) in zip(numbers, tries, strict=True)
        ]
        bulk.insert(tx.connection, schema.attempt, rows)
        if twice:
            cause = {
                "workflow_id": self.workflow_id, "outcome": "failed", "exit_code": 134, "blame": "payload", "site": site,
                "node": "n1", "fingerprint": f"{numbers[0]:032x}", "count": len(twice), "first_at": tx.now,
                "last_at": tx.now, "attempt_id": numbers[len(twice) - 1],
            }  # fmt: skip
            bulk.insert(tx.connection, schema.cause, [cause])

    def _files(
        self, tx: Tx, site: str, owners: list[int], kind: FileKind, state: FileState, version: int, size: int = SIZE
    ) -> list[int]:
        """Write a file of each job; a merged one is written by `_catalogue`."""
        ids = self.ids(schema.file, len(owners))
        area = "unmerged/" if kind is FileKind.UNMERGED else ""
        common = {
            "kind": kind, "workflow_id": self.workflow_id, "dataset_id": self.dataset_id, "site": site, "size": size,
            "events": EVENTS * size // SIZE, "adler32": "0" * 8, "sha256": "0" * 64, "created_at": tx.now,
            "since": tx.now, "state": state, "version": version, "block_id": None,
        }  # fmt: skip
        rows = [
            {**common, "id": n, "job_id": owner, "lfn": f"/store/{area}mc/{self.spec.name}/GEN/{owner:010d}.root"}
            for n, owner in zip(ids, owners, strict=True)
        ]
        bulk.insert(tx.connection, schema.file, rows)
        copies = [{"file_id": n, "site": site, "method": "read back", "verified_at": tx.now} for n in ids]
        bulk.insert(tx.connection, schema.replica, copies)
        tx.emit(e.UnmergedRegistered(ids=ids) if kind is FileKind.UNMERGED else e.MergedRegistered(ids=ids))
        return ids

    def _merges(self, tx: Tx, site: str, bins: list[list[int]]) -> list[int]:
        ids = self.ids(schema.job, len(bins))
        common = {
            "workflow_id": self.workflow_id, "allocation_id": None, "type": JobType.MERGE, "pinned": site,
            "rank": rank(JobType.MERGE, self.spec.priority), "created_at": tx.now, "since": tx.now,
            "state": JobState.CLEANED, "version": 9, "site": site, "target": f"t{site[1:]}",
        }  # fmt: skip
        start = self.first_event - sum(map(len, bins)) * EVENTS
        rows = []
        for n, members in zip(ids, bins, strict=True):
            events = len(members) * EVENTS
            rows.append({**common, "id": n, "unit": unit_id("merge", n), "first_event": start, "events": events})
            start += events
        bulk.insert(tx.connection, schema.job, rows)
        return ids

    def _catalogue(self, tx: Tx, site: str, merges: list[int], bins: list[list[int]]) -> None:
        """Put the merged files into a block of their own."""
        (owner,) = self.ids(schema.block, 1)
        full = [n for n, members in zip(merges, bins, strict=True) if len(members) == MERGED_OF]
        rest = [(n, len(members)) for n, members in zip(merges, bins, strict=True) if len(members) < MERGED_OF]
        files = self._files(tx, site, full, FileKind.MERGED, FileState.CATALOGUED, 1, MERGED_OF * SIZE) if full else []
        for n, count in rest:
            files += self._files(tx, site, [n], FileKind.MERGED, FileState.CATALOGUED, 1, count * SIZE)
        members = sum(map(len, bins))
        row = {
            "id": owner, "dataset_id": self.dataset_id, "site": site, "name": f"{self.spec.dataset_name}#{site}-{owner}",
            "open": None, "files": len(files), "bytes": members * SIZE, "events": members * EVENTS, "created_at": tx.now,
            "state": BlockState.CLOSED, "since": tx.now, "version": 1,
        }  # fmt: skip
        bulk.insert(tx.connection, schema.block, [row])
        tx.connection.execute(
            schema.file.update().where(schema.file.c.id.between(files[0], files[-1])).values(block_id=owner)
        )
        tx.emit(e.BlocksOpened(ids=[owner]))
        tx.emit(e.FilesCatalogued(ids=files))
        tx.emit(e.BlocksClosed(ids=[owner]))
        self._transfers(tx, site, files)

    def _transfers(self, tx: Tx, site: str, files: list[int]) -> None:
        """Bring the merged files to one archive."""
        ids = self.ids(schema.transfer, len(files))
        common = {"source": site, "destination": "archive", "attempt": 1, "fence": 1, "created_at": tx.now}
        common |= {"state": TransferState.SAFE, "version": 7, "since": tx.now}
        rows = [{**common, "id": n, "file_id": owner} for n, owner in zip(ids, files, strict=True)]
        bulk.insert(tx.connection, schema.transfer, rows)
        copies = [{"file_id": n, "site": "archive", "method": "read back", "verified_at": tx.now} for n in files]
        bulk.insert(tx.connection, schema.replica, copies)
        way = (
            e.TransfersWanted, e.TransfersPlanned, e.TransfersOffered, e.TransfersReady, e.TransfersMoving,
            e.TransfersLanded, e.TransfersVerified, e.TransfersSafe,
        )  # fmt: skip
        for kind in way:
            tx.emit(kind(ids=ids))


def _facts(ids: list[int], twice: Sequence[int], site: str, target: str, *, live: bool) -> Iterator[e.Event]:
    """Yield what moves jobs from nothing to their end (live: to their start), some of them by way of a failure."""
    first, again = (LIFE[:-1], AGAIN[:-1]) if live else (LIFE, AGAIN)
    if twice:
        once = sorted(set(ids) - set(twice))
        yield from (_fact(kind, list(twice), site, target) for kind in (*LIFE, *again))
        yield from (_fact(kind, once, site, target) for kind in first)
    else:
        yield from (_fact(kind, ids, site, target) for kind in first)


def _fact(kind: type[e.Event], ids: list[int], site: str, target: str) -> e.Event:
    more: dict[str, Any] = {"site": site, "target": target} if kind is e.JobsReleased else {}
    return kind(ids=ids, **more)
