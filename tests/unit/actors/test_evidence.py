"""What ends an attempt in the books: nothing but a proof of its end (PA-312)."""

from pathlib import Path

import pytest

from actors.messages import Wake
from backends.batch.base import BatchState, Evidence, JobStatus, Poll
from domain.job import JobState
from storage import attempts, jobs
from tests.unit.actors.one_target import TARGET, Mute, admitted, life
from tests.unit.actors.ruling import HandClock


class Telling(Mute):
    """A batch system that says of one attempt what it is told to say."""

    away = False
    status: JobStatus

    async def poll(self, _cursor: str) -> Poll:
        return Poll(statuses=[self.status], cursor="1", complete=True)

    async def clean(self, tokens: object) -> None:
        """Nothing lies here."""


@pytest.mark.feature("PA-312")
async def test_an_end_without_a_proof_is_none(tmp_path: Path) -> None:
    clock, batch = HandClock(), Telling()
    batch.status = JobStatus(token="t1", state=BatchState.ENDED, exit_code=0)
    async with life(tmp_path, clock, batch) as (world, system):
        campaign, job = await admitted(world, clock)
        await world.store.write(lambda tx: jobs.release(tx, [job], "alps", TARGET))
        await world.store.write(lambda tx: attempts.intend(tx, [job], "alps", TARGET, {job: "t1"}))
        await world.store.write(lambda tx: attempts.submitted(tx, {job: "b1"}))
        await system.ref("tracker").ask(Wake())
        assert await campaign.states() == [JobState.PENDING], "a listing that says no more than `ended` proves nothing"
        batch.status = JobStatus(token="t1", state=BatchState.ENDED, exit_code=0, evidence=Evidence.ACCOUNTING)
        clock.now += 600.0
        await system.ref("tracker").ask(Wake())
        assert await campaign.states() == [JobState.ENDED]
