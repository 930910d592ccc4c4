"""Error: decides what follows a failed attempt, and carries out what operators say about jobs.

Takes: RetryJobs, KillJobs. Follows: JobsFailed. Writes: JobsRequeued, JobsCooledOff, JobsExhausted, JobsKilled, FilesReturned.
Settings: the workflow's [retry] table.
"""

import random
from collections import defaultdict
from typing import Any

from actors.messages import Changed, KillJobs, RetryJobs
from actors.stage import NOTHING, Effect, Stage
from domain.events import JobsFailed
from domain.job import JobState, JobType
from domain.retry import Again, GiveUp, decide
from domain.spec import WorkflowSpec
from storage import accounting, alerts, attempts, jobs, workflows
from storage.jobs import Job
from storage.log import Logged
from storage.store import Tx


class Error(Stage):
    follows = (JobsFailed,)

    async def on_fact(self, logged: Logged) -> Effect:
        failed = await self.store.read(lambda c: [job for job in jobs.load(c, logged.fact.ids) if job.state is JobState.FAILED])
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
        merging = {job.id for job in failed if job.type is JobType.MERGE}

        def follow(tx: Tx) -> None:
            for verdict, ids in again.items():
                if verdict.delay_s <= 0:
                    jobs.requeue(tx, ids, verdict.reason)
                else:
                    jobs.cool_off(tx, ids, tx.now + verdict.delay_s, verdict.reason)
            for end, ids in over.items():
                accounting.dissolve_merges(tx, [identity for identity in ids if identity in merging], end.reason)
                jobs.exhaust(tx, ids, end.reason)

        return follow

    async def on_command(self, message: Any) -> Any:
        match message:
            case RetryJobs():
                return await self._retry(message)
            case KillJobs():
                return await self._kill(message)
        return await super().on_command(message)

    async def _retry(self, order: RetryJobs) -> Changed:
        states = (JobState.EXHAUSTED, JobState.PAUSED, JobState.COOLOFF)
        chosen = await self._chosen(order.jobs, order.workflow, states, processing_only=(JobState.EXHAUSTED,))
        if order.dry_run or not chosen:
            return Changed(ids=chosen)

        def reopen(tx: Tx) -> list[int]:
            moved = jobs.requeue(tx, chosen, f"retried by {order.who}")
            workflows.reopen(tx, moved)
            alerts.record(tx, order.who, "retry", str(chosen), f"{len(moved)} requeued")
            return moved

        return Changed(ids=await self.write(reopen))

    async def _kill(self, order: KillJobs) -> Changed:
        chosen = await self._chosen(order.jobs, order.workflow, jobs.KILLABLE)
        if order.dry_run or not chosen:
            return Changed(ids=chosen)

        def end(tx: Tx) -> list[int]:
            moved = jobs.kill(tx, chosen, order.reason)
            accounting.dissolve_merges(tx, moved, order.reason)
            alerts.record(tx, order.who, "kill", str(chosen), f"{len(moved)} killed: {order.reason}")
            return moved

        return Changed(ids=await self.write(end))

    async def _chosen(
        self, ids: list[int], workflow: str, states: tuple[JobState, ...], processing_only: tuple[JobState, ...] = ()
    ) -> list[int]:
        found: list[Job] = []
        if workflow:
            found += await self.store.read(lambda c: jobs.matching(c, workflow_name=workflow, states=states, limit=1_000_000))
        if ids:
            found += [job for job in await self.store.read(lambda c: jobs.load(c, ids)) if job.state in states]
        wanted = {job.id for job in found if not (job.type is JobType.MERGE and job.state in processing_only)}
        return sorted(wanted)


def _decide(job: Job, past: dict[int, tuple[JobType, list[int]]], spec: WorkflowSpec, jitter: float) -> Again | GiveUp:
    kind, codes = past.get(job.id, (job.type, []))
    if not codes:
        return Again(0.0, "never submitted: our own fault, no allowance used")
    return decide(codes, kind, spec.retry, jitter)
