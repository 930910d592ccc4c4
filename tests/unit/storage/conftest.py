"""A store on disk with a hand-wound clock, and a campaign that is driven through storage functions only."""

import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa

from domain.job import JobState, JobType
from domain.merging import plan
from domain.ranges import Range
from domain.report import JobReport, OutputReport, StepReport
from domain.spec import Merge, Step, WorkflowSpec
from domain.splitting import cut
from storage import (
    accounting,
    allocations,
    attempts,
    datasets,
    jobs,
    laws,
    merges,
    removals,
    schema,
    transfers,
    workflows,
)
from storage.accounting import Bad, Good
from storage.attempts import Failure, Seen
from storage.datasets import BlockLimits
from storage.jobs import Job
from storage.store import Store
from storage.transaction import Tx

T = TypeVar("T")


class HandClock:
    """Goes forward only when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def wind(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


@pytest.fixture
def url(store_url: str) -> str:
    return store_url


class Outside:
    """Somebody who looks into the same database, and changes it, over a connection of his own."""

    def __init__(self, url: str) -> None:
        address = sa.make_url(url)
        self._engine = sa.create_engine(
            address if address.drivername == "sqlite" else address.set(drivername="mysql+pymysql"),
            poolclass=sa.pool.NullPool,
        )

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement)]

    def run(self, statement: str) -> None:
        with self._engine.begin() as connection:
            connection.exec_driver_sql(statement)

    @contextmanager
    def busy(self, statement: str) -> Iterator[None]:
        """Keep a transaction with this statement open."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql(statement)
            yield
            connection.rollback()


@pytest.fixture
def outside_of() -> type[Outside]:
    return Outside


@pytest.fixture
def outside(url: str) -> Outside:
    return Outside(url)


@pytest.fixture
async def store(url: str, clock: HandClock) -> AsyncIterator[Store]:
    opened = await Store.open(url, clock=clock)
    yield opened
    await opened.close()


def make_spec(**changes: Any) -> WorkflowSpec:
    given = {"name": "w", "events": 1000, "steps": [Step(command=["true"])], "events_per_job": 100, "deliver_to": ["C"]}
    merge = Merge(max_bytes=1000, min_fraction=0.75, max_files=3)
    return WorkflowSpec(**(given | {"merge": merge} | changes))


LIMITS = BlockLimits(files=3, size=10**9, events=10**9, age_s=86400)


class Campaign:
    """One workflow, from the request to clean nodes; each step is a unit that an actor would write."""

    def __init__(self, store: Store, clock: HandClock, spec: WorkflowSpec | None = None) -> None:
        self.store = store
        self.clock = clock
        self.spec = spec or make_spec()
        self.workflow_id = 0
        self.allocation_ids: list[int] = []
        self.after: Callable[[], Any] | None = None
        self._serial = itertools.count(1)

    async def write(self, unit: Callable[[Tx], T]) -> T:
        self.clock.wind(1.0)
        result = await self.store.write(unit, sender="test")
        if self.after is not None:
            await self.after()
        return result

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        return await self.store.read(query)

    async def breaches(self, **limits: Any) -> list[laws.Breach]:
        now = self.clock.now
        return await self.read(lambda c: laws.check(c, now=now, limits=laws.Limits(**limits)))

    async def ledger(self) -> laws.LedgerRow:
        (row,) = await self.read(laws.ledger)
        return row

    async def states(self, table: sa.Table = schema.job) -> list[str]:
        return await self.read(lambda c: list(c.execute(sa.select(table.c.state).order_by(table.c.id)).scalars()))

    async def ids(self, *states: JobState, kind: JobType | None = None) -> list[int]:
        query = sa.select(schema.job.c.id).where(schema.job.c.state.in_(states)).order_by(schema.job.c.id)
        if kind is not None:
            query = query.where(schema.job.c.type == kind)
        return await self.read(lambda c: list(c.execute(query).scalars()))

    async def load(self, ids: Sequence[int]) -> list[Job]:
        return await self.read(lambda c: jobs.load(c, ids))

    # ------------------------------------------------------------ what the actors do, in the order of a job's life
    async def request(self, pieces: int = 1, manager: str = "") -> None:
        spec = self.spec
        self.workflow_id, _ = await self.write(
            lambda tx: workflows.add(tx, spec, name=spec.name, sandbox="", events=spec.events, manager=manager)
        )
        size = spec.events // pieces
        for n in range(pieces):
            first = spec.first_event + n * size
            span = Range(first, size if n < pieces - 1 else spec.events - n * size)
            await self.acquire(f"{spec.name}/{n}", span)

    async def acquire(self, remote: str, span: Range) -> int:
        identity = await self.write(lambda tx: allocations.acquire(tx, self.workflow_id, remote, span))
        self.allocation_ids.append(identity)
        return identity

    async def cut(self, limit: int | None = None) -> list[int]:
        made: list[int] = []
        for identity in self.allocation_ids:
            (owner,) = await self.read(lambda c, i=identity: allocations.by_id(c, [i]))
            pieces = list(cut(owner.range, self.spec.events_per_job, done=owner.cut_events, limit=limit))
            made += await self.write(lambda tx, o=owner, p=pieces: jobs.create(tx, o, self.spec, p))
        return made

    async def release(self, site: str = "A") -> list[int]:
        new = await self.ids(JobState.NEW)
        await self.write(lambda tx: jobs.admit(tx, new))
        queued = await self.ids(JobState.QUEUED)
        return await self.write(lambda tx: jobs.release(tx, queued, site, f"{site}.batch"))

    async def submit(self, ids: Sequence[int] | None = None, site: str = "A") -> list[int]:
        given = list(ids) if ids is not None else await self.ids(JobState.RELEASED)
        tokens = {identity: f"{self.spec.name}-{next(self._serial)}" for identity in given}
        await self.write(lambda tx: attempts.intend(tx, given, site, f"{site}.batch", tokens))
        await self.write(lambda tx: attempts.submitted(tx, {identity: f"b{identity}" for identity in given}))
        return given

    async def run(self, ids: Sequence[int]) -> None:
        seen = {identity: Seen("", node="n1", started_at=1.0) for identity in ids}
        await self.write(lambda tx: attempts.started(tx, seen))
        ended = {i: Seen("", node="n1", exit_code=0, started_at=1.0, ended_at=2.0) for i in ids}
        await self.write(lambda tx: attempts.ended(tx, ended))

    def output(self, job: Job, events: int | None = None, lfn: str | None = None) -> OutputReport:
        name = lfn or f"/store/{self.spec.name}/{job.type}/{next(self._serial)}.txt"
        count = job.range.events if events is None else events
        return OutputReport(lfn=name, pfn=name, size=300, events=count, adler32="0" * 8, sha256="0" * 64)

    def good(self, job: Job, *outputs: OutputReport, merged: bool | None = None) -> Good:
        report = JobReport(
            schema=1,
            token="t",
            job=job.id,
            exit_code=0,
            started_at=1.0,
            ended_at=3.0,
            steps=[StepReport(name="payload", cpu_s=1.0, max_rss_mb=10.0)],
            outputs=list(outputs or (self.output(job),)),
        )
        return Good(job, self.spec.dataset_name, report, job.type is JobType.MERGE if merged is None else merged)

    async def account(self, ids: Sequence[int], merged: bool | None = None) -> None:
        found = [self.good(job, merged=merged) for job in await self.load(ids)]
        await self.write(lambda tx: accounting.account(tx, found))

    async def fail(self, ids: Sequence[int], code: int = 1, bad_inputs: tuple[str, ...] = ()) -> None:
        found = [Bad(job, Failure(job.id, code, "it failed"), bad_inputs) for job in await self.load(ids)]
        await self.write(lambda tx: accounting.account(tx, found))

    async def merge(self, *, flush: bool = True) -> list[int]:
        bins = [
            merges.Planned(owner, site, 100, members)
            for owner, site, _ in await self.read(merges.gatherings)
            for members in plan(
                await self.read(lambda c, o=owner, s=site: merges.waiting(c, o, s, 10_000)),
                self.spec.merge,
                now=self.clock.now,
                flush=flush,
            )
        ]
        return [identity for one in bins for identity in await self.write(lambda tx, b=one: merges.create_all(tx, [b]))]

    async def catalogue(self) -> list[int]:
        waiting = list(await self.files("registered"))

        def unit(tx: Tx) -> list[int]:
            booked = datasets.book(tx, waiting, LIMITS)
            rows = tx.connection.execute(
                sa.select(schema.file.c.id, schema.file.c.site).where(schema.file.c.id.in_(booked))
            )
            transfers.want(tx, [(i, site, to) for i, site in rows for to in self.spec.deliver_to])
            return booked

        return await self.write(unit)

    async def deliver(self) -> None:
        wanted = await self.read(lambda c: transfers.load(c, ["wanted"]))
        await self.write(lambda tx: transfers.offer(tx, [task.id for task in wanted]))
        for ready in await self.read(lambda c: transfers.load(c, ["ready"])):
            task = await self.write(lambda tx, r=ready: transfers.begin(tx, r))
            assert task is not None
            assert await self.write(lambda tx, t=task: transfers.landed(tx, t))
            assert await self.write(lambda tx, t=task: transfers.verified(tx, t, "adler32"))

    async def close(self) -> None:
        done = await self.read(lambda c: allocations.load(c, "done"))
        for owner in done:
            await self.write(lambda tx, o=owner: allocations.reported(tx, o.id))
        await self.write(workflows.complete_finished)
        going_on = await self.read(lambda c: workflows.load(c, "active", "paused"))
        adding = {found.spec.dataset_name for found in going_on.values()}
        await self.write(lambda tx: datasets.close_aged(tx, 86400, adding))

    async def remove(self) -> list[int]:
        granted = (await self.write(lambda tx: removals.grant(tx, 10_000))).moved
        await self.write(lambda tx: removals.removed(tx, granted))
        tokens = await self.read(lambda c: attempts.left_behind(c, "A.batch", 100_000).ended)
        await self.write(lambda tx: attempts.cleaned(tx, tokens))
        await self.write(lambda tx: removals.clean_jobs(tx, 100_000))
        return granted

    async def at_target(self, count: int = 10) -> list[int]:
        """From nothing to jobs that have ended."""
        await self.request()
        await self.cut(limit=count)
        await self.release()
        ids = await self.submit()
        await self.run(ids)
        return ids

    async def files(self, state: str | None = None) -> dict[int, str]:
        """Return the LFNs by id."""
        query = sa.select(schema.file.c.id, schema.file.c.lfn).order_by(schema.file.c.id)
        if state is not None:
            query = query.where(schema.file.c.state == state)
        return dict(await self.read(lambda c: [tuple(row) for row in c.execute(query)]))

    async def process(self) -> list[int]:
        """From nothing to small files."""
        await self.request()
        await self.cut()
        await self.release()
        ids = await self.submit()
        await self.run(ids)
        await self.account(ids)
        return ids

    async def merge_all(self) -> list[int]:
        """From small files to registered ones."""
        made = await self.merge()
        await self.release()
        await self.submit(made)
        await self.run(made)
        await self.account(made)
        return made

    async def whole(self) -> None:
        """From nothing to clean nodes."""
        await self.process()
        await self.merge_all()
        await self.catalogue()
        await self.deliver()
        await self.close()
        await self.remove()


@pytest.fixture
def campaign(store: Store, clock: HandClock) -> Campaign:
    return Campaign(store, clock)


@pytest.fixture
def new_campaign(store: Store, clock: HandClock) -> Callable[[WorkflowSpec], Campaign]:
    return lambda spec: Campaign(store, clock, spec)


@pytest.fixture
def spec_of() -> Callable[..., WorkflowSpec]:
    return make_spec


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The parts from which fixtures that live longer than one test build a store."""
    return SimpleNamespace(HandClock=HandClock, Campaign=Campaign, make_spec=make_spec)
