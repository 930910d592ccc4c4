"""Submitter: hands released jobs to one target, each at most once.

Intent with token first, then the call, then its result. In any doubt (a crash, a time-out, an error in the middle) it asks the
target for the tokens before it does anything else: an attempt that is found is adopted, one that is not was never
submitted and is closed as our own fault.
Woken by: JobsReleased. Writes: JobsSubmitting, JobsSubmitted, JobsFailed.
Settings: the target's max_submit, tracker.call_deadline_s.
"""

import asyncio
import math
from collections.abc import Sequence

from actors import staging
from actors.brakes import Work
from actors.describing import surroundings
from actors.messages import Wake
from actors.stage import Stage
from actors.world import World
from backends.batch.base import BatchError, JobDescription, Verdict
from backends.storage_element.base import StorageError
from domain import events as e
from domain import jobspec
from domain.events import JobsReleased
from domain.exit_codes import NEVER_SUBMITTED, SPEC_INVALID, SUBMIT_REFUSED
from domain.job import JobState, JobType
from domain.jobspec import Assignment, Surroundings
from domain.siting import demand
from storage import alerts, attempts, breakers, courses, jobs, merges, told, workflows
from storage.attempts import Attempt, Failure, Intent
from storage.courses import Course
from storage.jobs import Job
from storage.store import Tx
from storage.told import Answer
from storage.workflows import Workflow

PAUSES_S = (1.0, 2.0, 5.0, 15.0, 60.0, 300.0)
"""Waits while the target does not answer."""
SILENT = "submission-silent"
"""Code of the alert then."""


class Submitter(Stage):
    emits = (e.JobsSubmitting, e.JobsSubmitted, e.JobsFailed, e.JobsReturned)
    woken_by = (JobsReleased,)

    def __init__(self, world: World, target: str) -> None:
        super().__init__(world)
        self.target = target
        self.site, self.settings = world.targets()[target]
        self.batch = world.batches[target]
        self.in_doubt = True
        self._silent = 0
        self._told = True  # an alert of an earlier life may be open
        self._open = False
        self._not_before = 0.0
        self._portion = math.inf  # most jobs of the next call: half of what was too much for now, twice what was not

    async def work(self) -> bool:
        held = self.world.brakes.held(Work.SUBMISSION, self.target)
        if self.clock.monotonic() < self._not_before or (held and not await self._open_ones()):
            return False
        limit = int(min(self.settings.max_submit, self.batch.capabilities.max_submit, self._portion))
        answered = not self._open
        try:
            if not self._open:
                await self.batch.open()
                self._open = True
            if self.in_doubt:
                await self._settle()
            released = [] if held else await self._released(limit)
            if released:
                await self._submit(released)
        except (BatchError, TimeoutError) as error:
            await self._no_answer(error)
            return False
        if self._told and (released or answered):
            self._silent, self._told = 0, False
            await self.write(lambda tx: alerts.close_alert(tx, SILENT, self.target))
        return len(released) == limit

    async def _open_ones(self) -> bool:
        """Whether there are submissions of an earlier life to be found out about, which is done whatever is held back."""
        return self.in_doubt and bool(
            await self.store.read(lambda c: jobs.at_target(c, self.target, JobState.SUBMITTING, limit=1))
        )

    async def _released(self, limit: int) -> list[Job]:
        return await self.store.read(lambda c: jobs.at_target(c, self.target, JobState.RELEASED, limit=limit))

    async def _no_answer(self, error: Exception) -> None:
        pause = PAUSES_S[min(self._silent, len(PAUSES_S) - 1)]
        self._silent += 1
        self._told = True
        self._not_before = self.clock.monotonic() + pause
        text = f"target {self.target} does not take jobs: {error or 'no answer in time'}"
        self.log.warning("%s; next try in %g s", text, pause)

        def tell(tx: Tx) -> None:
            alerts.raise_alert(tx, "error", SILENT, self.target, text)
            breakers.no_answer(tx, self.target, str(error) or "no answer in time")

        await self.write(tell)
        self.after(pause, Wake(), key="again")

    async def _settle(self) -> None:
        """Find out about every attempt whose submission has no recorded result."""
        open_jobs = await self.store.read(lambda c: jobs.at_target(c, self.target, JobState.SUBMITTING))
        if open_jobs:
            live = await self.store.read(lambda c: attempts.live(c, [job.id for job in open_jobs]))
            async with asyncio.timeout(self.world.settings.tracker.call_deadline_s):
                found = await self.batch.find([attempt.token for attempt in live.values()])
            adopted = {owner: found[item.token].batch_id for owner, item in live.items() if item.token in found}
            absent = [
                Failure(owner, NEVER_SUBMITTED, "not known to the batch system")
                for owner in live
                if owner not in adopted
            ]

            def settle(tx: Tx) -> None:
                attempts.submitted(tx, adopted)
                attempts.fail(tx, absent, outcome="void", reason="never submitted")

            await self.write(settle)
            self.log.info(
                "settled %d open submissions: %d adopted, %d never made", len(live), len(adopted), len(absent)
            )
        self.in_doubt = False

    async def _submit(self, released: Sequence[Job]) -> None:
        tokens = {job.id: f"{self.world.chance.getrandbits(128):032x}" for job in released}
        made = await self.write_together(attempts.intend_all, Intent(self.site, self.target, tokens))
        self.in_doubt = True
        descriptions, unfit = await self._describe(made, {job.id: job for job in released})
        if unfit:
            await self.write(lambda tx: attempts.fail(tx, unfit, reason="no specification could be written"))
        if descriptions:
            async with asyncio.timeout(self.world.settings.tracker.call_deadline_s):
                verdicts = await self.batch.submit(descriptions)
            await self._book(made, verdicts)
        self.in_doubt = False

    async def _book(self, made: Sequence[Attempt], verdicts: Sequence[Verdict]) -> None:
        owner = {attempt.token: attempt.job_id for attempt in made}
        accepted = {owner[verdict.token]: verdict.batch_id for verdict in verdicts if verdict.accepted}
        refused = [verdict for verdict in verdicts if not verdict.accepted]
        for_good = [Failure(owner[no.token], SUBMIT_REFUSED, no.reason) for no in refused if not no.transient]
        for_now = [Failure(owner[no.token], NEVER_SUBMITTED, no.reason) for no in refused if no.transient]
        answer = Answer(self.target, accepted, for_good, for_now)
        await self.write_together(told.answered_all, answer, patient=False)  # before a listing tells how they are
        self._portion = max(1, len(made) // 2) if for_now else 2 * self._portion
        if for_now:  # the jobs go back to the queue; as many of them would fare no better now
            self.in_doubt = False
            raise BatchError(for_now[0].text, transient=True)

    async def _describe(
        self, made: Sequence[Attempt], by_id: dict[int, Job]
    ) -> tuple[list[JobDescription], list[Failure]]:
        merging = [attempt.job_id for attempt in made if by_id[attempt.job_id].type is JobType.MERGE]
        known, inputs, course = await self.store.read(
            lambda c: (
                workflows.load(c),
                merges.inputs(c, merging) if merging else {},
                courses.load(c, self.site, self.target, list(by_id), self.clock.time()),
            )
        )
        descriptions: list[JobDescription] = []
        unfit: list[Failure] = []
        around: dict[tuple[int, JobType], Surroundings] = {}
        for attempt in made:
            job = by_id[attempt.job_id]
            alike, workflow = (job.workflow_id, job.type), known[job.workflow_id]
            try:
                if alike not in around:
                    around[alike] = surroundings(self.world, self.site, self.settings, workflow, job.type, course)
                description = self._describe_one(job, attempt, workflow, around[alike], inputs.get(job.id, []), course)
            except (LookupError, ValueError, StorageError) as error:
                unfit.append(Failure(job.id, SPEC_INVALID, str(error)))
            else:
                descriptions.append(description)
        return descriptions, unfit

    def _describe_one(
        self,
        job: Job,
        attempt: Attempt,
        workflow: Workflow,
        around: Surroundings,
        members: Sequence[merges.Input],
        course: Course,
    ) -> JobDescription:
        needs, asked = course.need(job, workflow.spec.resources), demand(workflow.spec, job.type)
        inputs = staging.inputs(self.world, self.site, members)
        assignment = Assignment(job.id, job.type, job.range, attempt.token)
        return JobDescription(
            token=attempt.token,
            spec=jobspec.write(workflow.name, workflow.spec, assignment, around, inputs, needs),
            cores=workflow.spec.resources.cores,
            gpus=asked.gpus,
            architecture=asked.architecture,
            memory_mb=needs.memory_mb,
            wall_s=needs.wall_s + jobspec.BATCH_MARGIN_S,
            avoid_nodes=course.avoided(job.id),
        )
