"""Report: reads what ended attempts left, and accounts for it.

A report that is missing, unreadable or of another job fails that one attempt; the rest goes on.
Woken by: JobsEnded. Writes: JobsAccounted, UnmergedRegistered, MergedRegistered, FilesMerged, JobsFailed, FilesReturned,
FilesInvalidated. Persists: archives of the attempts (actors/keeping.py). Settings: report.sweep_s, report.batch; the
[archives] table.
"""

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from actors.keeping import Ended, Keeping, keeping
from actors.stage import Stage
from actors.world import World
from backends.batch.base import BatchError
from domain import events as e
from domain.archive import Kind
from domain.events import JobsEnded
from domain.exit_codes import (
    INPUT_UNREADABLE,
    MEMORY,
    REPORT_MISSING,
    REPORT_NEVER_UPDATED,
    REPORT_UNREADABLE,
    RUNTIME_KILLED,
    WALL_TIME,
)
from domain.job import JobState, JobType
from domain.report import JobReport, decode_report
from domain.splitting import makes_each_event
from storage import accounting, alerts, archives, attempts, jobs, workflows
from storage.accounting import Bad, Good
from storage.archives import Volume
from storage.attempts import Attempt, Failure
from storage.engine import Connection
from storage.errors import StoreAway
from storage.jobs import Job
from storage.store import Tx
from storage.workflows import Workflow

TEXT = 2000
"""Most characters of a cause that are kept."""
NOT_KEPT = "not-archived"
"""Code of the alert while archives cannot be written."""


class Booking(NamedTuple):
    """What attempts came to, and volumes with their archives."""

    outcomes: Sequence[Good | Bad]
    volumes: Sequence[Volume]


class Report(Stage):
    emits = (
        e.JobsAccounted,
        e.JobsFailed,
        e.JobsRequeued,
        e.JobsExhausted,
        e.JobsKilled,
        e.UnmergedRegistered,
        e.MergedRegistered,
        e.FilesMerged,
        e.FilesReturned,
        e.FilesInvalidated,
        e.AllocationsDone,
    )
    woken_by = (JobsEnded,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._asked: set[str] = set()
        self._keeping = keeping(world)
        self._told: str | None = None
        """Text of the alert about archives; None: an earlier life may have left one."""

    @property
    def sweep_s(self) -> float:
        return self.world.settings.report.sweep_s

    async def on_stop(self) -> None:
        for reader in self._readers.values():
            reader.cancel()
        await asyncio.gather(*self._readers.values(), return_exceptions=True)

    async def on_failure(self, *_: object) -> None:
        await self.on_stop()

    async def work(self) -> bool:
        """Start a reader for each target with ended jobs that has none: a silent target keeps no other waiting."""
        for target in await self.store.read(lambda c: jobs.targets_with(c, JobState.ENDED)):
            if target not in self.world.batches:
                self.log.error("target %s is no longer configured; its ended jobs wait for it", target)
                continue
            self._asked.add(target)
            if target not in self._readers:
                self._readers[target] = asyncio.create_task(self._read(target), name=f"reports of {target}")
        return False

    async def _read(self, target: str) -> None:
        """Read and book the reports of one target until none is left; what goes wrong is found again by the next sweep."""
        try:
            while target in self._asked:
                self._asked.discard(target)
                while await self._book(target):
                    pass
        except (BatchError, TimeoutError) as error:
            self.log.warning("target %s gives no reports: %s", target, error)
        except StoreAway as error:
            self.log.warning("reports of %s are booked later: %s", target, error)
        except Exception:
            self.log.exception("reports of %s", target)
        finally:
            del self._readers[target]

    async def _book(self, target: str) -> bool:
        """Book one batch; True = there may be more."""
        batch = self.world.settings.report.batch
        ended, live, known = await self.store.read(lambda c: _look(c, target, batch))
        mine = [job for job in ended if job.id in live]
        if not mine:
            return False
        async with asyncio.timeout(self.world.settings.tracker.call_deadline_s):
            raw = await self.world.batches[target].fetch([live[job.id].token for job in mine])
        outcomes = [self._judge(job, live[job.id], known[job.workflow_id], raw.get(live[job.id].token)) for job in mine]
        if self._keeping is None:
            await self._account(outcomes)
        else:
            await self._account_and_keep(self._keeping, outcomes, live, raw)
        return len(ended) == batch

    async def _account_and_keep(
        self, keeping: Keeping, outcomes: list[Good | Bad], live: Mapping[int, Attempt], raw: Mapping[str, bytes]
    ) -> None:
        """Write archives first: no directory may be removed before its report is kept (PA-517)."""
        made: list[Volume] = []
        try:
            made = await keeping.keep([_ended(one, live[one.job.id], raw) for one in outcomes])
        except OSError as error:
            await self._tell(f"attempts are booked without an archive: {error}")
        else:
            await self._tell("")
        await self._account(outcomes, {live[one.job.id].id: one.job.id for one in outcomes}, made)

    async def _tell(self, text: str) -> None:
        """Keep the alert open as long as archives cannot be written."""
        if text == self._told:
            return
        if text:
            self.log.warning("%s", text)
            await self.write(lambda tx: alerts.raise_alert(tx, "warning", NOT_KEPT, "archives", text))
        else:
            await self.write(lambda tx: alerts.close_alert(tx, NOT_KEPT, "archives"))
        self._told = text

    async def _account(
        self, outcomes: list[Good | Bad], owners: Mapping[int, int] = MappingProxyType({}), made: Sequence[Volume] = ()
    ) -> None:
        """Book all at once; if that fails, each alone, so that one that cannot be booked spoils no other. `made` are volumes
        with their archives, `owners` the jobs of the attempts in them."""
        if not outcomes:
            return
        ours = {outcome.job.id for outcome in outcomes}
        volumes = [one._replace(attempts=[each for each in one.attempts if owners[each] in ours]) for one in made]
        try:
            await self.write_together(_book_all, Booking(outcomes, [one for one in volumes if one.attempts]))
        except StoreAway:
            raise
        except Exception as error:
            if len(outcomes) == 1 and isinstance(outcomes[0], Bad):
                raise
            self.log.exception("%d reports are booked one by one", len(outcomes))
            for outcome in outcomes:
                alone = outcome
                if len(outcomes) == 1:
                    text = f"report cannot be booked: {error}"
                    alone = Bad(outcome.job, Failure(outcome.job.id, REPORT_UNREADABLE, text[:TEXT]))
                await self._account([alone], owners, made if alone is outcome else ())

    def _judge(self, job: Job, attempt: Attempt, workflow: Workflow, raw: bytes | None) -> Good | Bad:
        if raw is None:
            return Bad(job, _without_report(job, attempt))
        try:
            report = decode_report(raw)
            if (report.token, report.job) != (attempt.token, job.id):
                raise ValueError(
                    f"report of job {report.job}, attempt {report.token}; expected {job.id}, {attempt.token}"
                )
            if report.exit_code == 0 and not report.errors and len(report.outputs) != 1:
                raise ValueError(f"report of a success with {len(report.outputs)} outputs; expected 1")
        except (msgspec.DecodeError, ValueError) as error:
            return Bad(job, Failure(job.id, REPORT_UNREADABLE, f"report unreadable: {error}"[:TEXT]))
        if any(output.site not in ("", *self.world.settings.sites) for output in report.outputs):
            return Bad(
                job,
                Failure(
                    job.id, REPORT_UNREADABLE, f"its output is at {report.outputs[0].site[:100]!r}, no site of ours"
                ),
            )
        if report.exit_code == REPORT_NEVER_UPDATED:
            return Bad(job, _without_report(job, attempt, REPORT_NEVER_UPDATED))
        if report.exit_code or report.errors:
            return _failed(job, report)
        merged = job.type is JobType.MERGE or not report.outputs[0].lfn.startswith("/store/unmerged/")
        exact = job.type is JobType.PROCESSING and makes_each_event(workflow.spec)
        return Good(job, workflow.spec.dataset_name, report, merged, job.range.events if exact else None)


def _book_all(tx: Tx, bookings: Sequence[Booking]) -> list[None]:
    """Book what was read at several targets."""
    accounting.account(tx, [outcome for booking in bookings for outcome in booking.outcomes])
    archives.note(tx, [one for booking in bookings for one in booking.volumes])
    return [None] * len(bookings)


def _look(connection: Connection, target: str, most: int) -> tuple[list[Job], dict[int, Attempt], dict[int, Workflow]]:
    """Return the ended jobs at a target, their live attempts by job, and the workflows, all at one instant."""
    ended = jobs.at_target(connection, target, JobState.ENDED, limit=most)
    return ended, attempts.live(connection, [job.id for job in ended]), workflows.load(connection)


def _ended(outcome: Good | Bad, attempt: Attempt, raw: Mapping[str, bytes]) -> Ended:
    """Return what is kept of an attempt besides its specification."""
    job = outcome.job
    where = (attempt.id, attempt.number, attempt.token, job.site or "", attempt.target, job)
    if isinstance(outcome, Good):
        return Ended(*where, Kind.SUCCESS, node=outcome.report.node, raw=raw.get(attempt.token))
    failure = outcome.failure
    return Ended(*where, Kind.FAILURE, failure.code, failure.text, failure.log, raw=raw.get(attempt.token))


def _without_report(job: Job, attempt: Attempt, missing: int = REPORT_MISSING) -> Failure:
    """Return what is known of an attempt that left no report, or (`missing` is 50117) only the one it began with."""
    code = attempt.exit_code
    if code is None:
        return Failure(job.id, missing, "no report and no exit code")
    if code in (WALL_TIME, MEMORY):
        return Failure(job.id, code, "ended by the batch system: the job used more than it had asked for")
    if code > 128:
        return Failure(job.id, RUNTIME_KILLED, f"the worker runtime was killed by signal {code - 128}")
    return Failure(job.id, missing, f"no report; the runtime ended with {code}")


def _failed(job: Job, report: JobReport) -> Bad:
    first = report.errors[0] if report.errors else None
    code = first.code if first else report.exit_code
    text = f"{first.step}: {first.text}" if first else f"exit code {code}"
    bad_inputs = tuple(item.lfn for item in report.inputs if not item.ok) if code == INPUT_UNREADABLE else ()
    return Bad(job, Failure(job.id, code, text[:TEXT], first.log if first else ""), bad_inputs)
