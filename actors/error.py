"""Error: decides what follows a failed attempt, and carries out what operators say about jobs.

Takes: RetryJobs, KillJobs. Follows: JobsFailed. Writes: JobsRequeued, JobsCooledOff, JobsExhausted, JobsKilled, FilesReturned.
Settings: the workflow's [retry] table.
"""

import random
from collections import defaultdict
from typing import Any

from actors.messages import Changed, KillJobs, Refused, RetryJobs
from actors.stage import NOTHING, Effect, Stage
from domain import events as e
from domain.events import JobsFailed
from domain.job import JobState, JobType
from domain.retry import Again, GiveUp, decide
from domain.spec import WorkflowSpec
from storage import accounting, alerts, allocations, attempts, jobs, merges, workflows
from storage.engine import Connection
from storage.jobs import Job
from storage.log import Logged
from storage.store import Tx


class Error(Stage):
    emits = (
        e.JobsRequeued,
        e.JobsCooledOff,
        e.JobsExhausted,
        e.JobsKilled,
        e.JobsCreated,
        e.AllocationsCut,
        e.AllocationsDone,
        e.FilesReturned,
        e.WorkflowsResumed,
        e.WorkflowsAborted,
    )
    follows = (JobsFailed,)

    async def on_fact(self, logged: Logged) -> Effect:
        failed = await self.store.read(
            lambda c: [job for job in jobs.load(c, logged.fact.ids) if job.state is JobState.FAILED]
        )
        if not failed:
            return NOTHING
        known = await self.store.read(workflows.load)
        past = await self.store.read(lambda c: attempts.codes(c, [job.id for job in failed]))
        chance = random.Random(logged.id)  # noqa: S311 - the same decision if the fact is handled again
        again: dict[Again, list[int]] = defaultdict(list)
        over: dict[GiveUp, list[int]] = defaultdict(list)
        jitter = chance.random()
        for job in failed:
            verdict = _decide(job, past, known[job.workflow_id].spec, jitter)
            if isinstance(verdict, Again):
                again[verdict].append(job.id)
            else:
                over[verdict].append(job.id)

        def follow(tx: Tx) -> None:
            for verdict, ids in again.items():
                if verdict.delay_s <= 0:
                    jobs.requeue(tx, ids, verdict.reason)
                else:
                    jobs.cool_off(tx, ids, tx.now + verdict.delay_s, verdict.reason)
            for end, ids in over.items():
                jobs.exhaust(tx, ids, end.reason)  # a merge keeps its members: another one would end the same way

        return follow

    async def on_command(self, message: Any) -> Any:
        match message:
            case RetryJobs():
                return await self._retry(message)
            case KillJobs():
                return await self._kill(message)
        return await super().on_command(message)

    async def _retry(self, order: RetryJobs) -> Changed:
        if order.dry_run:
            return Changed(ids=await self.store.read(lambda c: _reopenable(c, order)))

        def reopen(tx: Tx) -> list[int]:
            moved = jobs.requeue(tx, _reopenable(tx.connection, order), f"retried by {order.who}")
            workflows.reopen(tx, moved)
            alerts.record(tx, order.who, "retry", str(order.workflow or order.jobs), f"{len(moved)} requeued")
            return moved

        return Changed(ids=await self.write(reopen))

    async def _kill(self, order: KillJobs) -> Changed:
        def chosen(connection: Connection) -> list[int]:
            return [job.id for job in _chosen(connection, order.jobs, order.workflow, jobs.KILLABLE)]

        if order.dry_run:
            return Changed(ids=await self.store.read(chosen))

        def end(tx: Tx) -> list[int]:
            moved = jobs.kill(tx, chosen(tx.connection), order.reason)
            if order.workflow:
                for identity in workflows.abort(tx, order.workflow, order.reason):
                    spec = workflows.load(tx.connection)[identity].spec
                    moved += jobs.kill_workflow(
                        tx, identity, spec, allocations.uncut(tx.connection, identity), order.reason
                    )
            accounting.dissolve_merges(tx, moved, order.reason)
            what = str(order.workflow or order.jobs)
            alerts.record(tx, order.who, "kill", what, f"{len(moved)} killed: {order.reason}")
            return moved

        return Changed(ids=await self.write(end))


def _reopenable(connection: Connection, order: RetryJobs) -> list[int]:
    """Return the jobs that may be tried again. Raises Refused if all of them are out of our hands."""
    found = _chosen(connection, order.jobs, order.workflow, (JobState.EXHAUSTED, JobState.PAUSED, JobState.COOLOFF))
    over = set(jobs.settled_with_manager(connection, [job.id for job in found]))
    given_up = {job.id for job in found if job.type is JobType.MERGE and job.state is JobState.EXHAUSTED}
    empty = given_up - merges.held(connection, sorted(given_up))
    chosen = sorted({job.id for job in found} - over - empty)
    if over and not chosen:
        raise Refused(
            f"jobs {sorted(over)[:10]}: their range was reported to its ProdMgr; expected a new request there"
        )
    return chosen


def _chosen(connection: Connection, ids: list[int], workflow: str, states: tuple[JobState, ...]) -> list[Job]:
    """Return the jobs meant by a command. Raises Refused for a workflow or a job that does not exist."""
    if workflow and workflow not in {item.name for item in workflows.load(connection).values()}:
        raise Refused(f"no workflow {workflow!r}")
    found = jobs.matching(connection, workflow_name=workflow, states=states, limit=1_000_000) if workflow else []
    if ids:
        named = jobs.load(connection, ids)
        if unknown := sorted(set(ids) - {job.id for job in named}):
            raise Refused(f"no job {', '.join(map(str, unknown[:10]))}")
        found += [job for job in named if job.state in states]
    return found


def _decide(job: Job, past: dict[int, tuple[JobType, list[int]]], spec: WorkflowSpec, jitter: float) -> Again | GiveUp:
    kind, codes = past.get(job.id, (job.type, []))
    if not codes:
        return Again(0.0, "never submitted: our own fault, no allowance used")
    return decide(codes, kind, spec.retry, jitter)
