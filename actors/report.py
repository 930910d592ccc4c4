"""Report: reads what ended attempts left, and accounts for it.

A report that is missing, unreadable or of another job fails that one attempt; the rest goes on.
Woken by: JobsEnded. Writes: JobsAccounted, UnmergedRegistered, MergedRegistered, FilesMerged, JobsFailed, FilesReturned,
FilesInvalidated. Settings: report.sweep_s, report.batch.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping

import msgspec

from actors.stage import Stage
from backends.batch.base import BatchError
from domain.events import JobsEnded
from domain.exit_codes import INPUT_UNREADABLE, REPORT_MISSING, REPORT_UNREADABLE, RUNTIME_KILLED
from domain.job import JobState, JobType
from domain.report import JobReport, decode_report
from domain.splitting import makes_each_event
from storage import accounting, attempts, jobs, workflows
from storage.accounting import Bad, Good
from storage.attempts import Attempt, Failure
from storage.errors import StoreAway
from storage.jobs import Job
from storage.workflows import Workflow

TEXT = 2000
"""Most characters of a cause that are kept."""


class Report(Stage):
    woken_by = (JobsEnded,)

    @property
    def sweep_s(self) -> float:
        return self.world.settings.report.sweep_s

    async def work(self) -> bool:
        batch = self.world.settings.report.batch
        ended = await self.store.read(lambda c: jobs.in_state(c, JobState.ENDED, batch))
        if not ended:
            return False
        known = await self.store.read(workflows.load)
        live = await self.store.read(lambda c: attempts.live(c, [job.id for job in ended]))
        raw, silent = await self._fetch(ended, live)
        outcomes = [
            self._judge(job, live[job.id], known[job.workflow_id], raw.get(live[job.id].token))
            for job in ended
            if job.id in live and job.target not in silent
        ]
        await self._account(outcomes)
        return len(ended) == batch and not silent

    async def _account(self, outcomes: list[Good | Bad]) -> None:
        """Book all at once; if that fails, each alone, so that one that cannot be booked spoils no other."""
        if not outcomes:
            return
        try:
            await self.write(lambda tx: accounting.account(tx, outcomes))
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
                await self._account([alone])

    async def _fetch(self, ended: list[Job], live: Mapping[int, Attempt]) -> tuple[dict[str, bytes], set[str | None]]:
        """Return the raw reports by token, and the targets that did not answer."""
        tokens: dict[str, list[str]] = defaultdict(list)
        for job in ended:
            if job.target is not None and job.id in live:
                tokens[job.target].append(live[job.id].token)
        raw: dict[str, bytes] = {}
        silent: set[str | None] = set()
        for target, wanted in tokens.items():
            if target not in self.world.batches:
                self.log.error("target %s is no longer configured; %d ended jobs wait for it", target, len(wanted))
                silent.add(target)
                continue
            try:
                async with asyncio.timeout(self.world.settings.tracker.call_deadline_s):
                    raw |= await self.world.batches[target].fetch(wanted)
            except (BatchError, TimeoutError) as error:
                self.log.warning("target %s gives no reports: %s", target, error)
                silent.add(target)
        return raw, silent

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
        if report.exit_code or report.errors:
            return _failed(job, report)
        merged = job.type is JobType.MERGE or not report.outputs[0].lfn.startswith("/store/unmerged/")
        exact = job.type is JobType.PROCESSING and makes_each_event(workflow.spec)
        return Good(job, workflow.spec.dataset_name, report, merged, job.range.events if exact else None)


def _without_report(job: Job, attempt: Attempt) -> Failure:
    code = attempt.exit_code
    if code is None:
        return Failure(job.id, REPORT_MISSING, "no report and no exit code")
    if code > 128:
        return Failure(job.id, RUNTIME_KILLED, f"the worker runtime was killed by signal {code - 128}")
    return Failure(job.id, REPORT_MISSING, f"no report; the runtime ended with {code}")


def _failed(job: Job, report: JobReport) -> Bad:
    first = report.errors[0] if report.errors else None
    code = first.code if first else report.exit_code
    text = f"{first.step}: {first.text}" if first else f"exit code {code}"
    bad_inputs = tuple(item.lfn for item in report.inputs if not item.ok) if code == INPUT_UNREADABLE else ()
    return Bad(job, Failure(job.id, code, text[:TEXT], first.log if first else ""), bad_inputs)
