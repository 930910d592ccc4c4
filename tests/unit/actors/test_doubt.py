"""A submission without an answer: the target is asked for the token before anything else is sent (PA-308)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from actors.messages import Wake
from backends.batch.base import BatchError, BatchState, JobDescription, JobStatus, Poll, Verdict
from domain.job import JobState
from storage import attempts, jobs, schema
from tests.unit.actors.one_target import TARGET, Mute, admitted, life
from tests.unit.actors.ruling import HandClock
from tests.unit.storage.conftest import Campaign


class Doubtful(Mute):
    """A batch system whose answers get lost; `has` are the tokens that reached it, `calls` what it was asked, in order."""

    away = False

    def __init__(self) -> None:
        self.has: list[str] = []
        self.calls: list[str] = []
        self.takes = self.answers = True
        self.listed = True
        self.state: Callable[[], Awaitable[str]]

    async def submit(self, descriptions: Sequence[JobDescription]) -> list[Verdict]:
        self.calls.append("submit")
        if self.takes:
            self.has += [one.token for one in descriptions]
        if not self.answers:
            raise BatchError("the connection was lost", transient=True)
        return [Verdict(token=one.token, accepted=True, batch_id=f"b-{one.token}") for one in descriptions]

    async def find(self, tokens: Sequence[str]) -> dict[str, JobStatus]:
        self.calls.append("find")
        return {token: self._status(token) for token in tokens if token in self.has and self.listed}

    async def poll(self, _cursor: str) -> Poll:
        return Poll(statuses=list(map(self._status, self.has if self.listed else [])), cursor="1", complete=True)

    async def cancel(self, tokens: Sequence[str]) -> None:
        self.calls.append(f"cancel one that is {await self.state()}" if len(tokens) == 1 else "cancel")

    async def clean(self, tokens: object) -> None:
        """Nothing lies here."""

    @staticmethod
    def _status(token: str) -> JobStatus:
        return JobStatus(token=token, state=BatchState.PENDING, batch_id=f"b-{token}")


class Case:
    """One job that is released to a doubtful target."""

    def __init__(self, campaign: Campaign, job: int) -> None:
        self.campaign, self.job = campaign, job

    async def release(self) -> None:
        await self.campaign.store.write(lambda tx: jobs.release(tx, [self.job], "alps", TARGET))

    async def state(self) -> str:
        (found,) = await self.campaign.states()
        return found

    async def attempts(self) -> list[tuple[str, str | None, str | None]]:
        """Return token, batch id and outcome of each attempt."""
        columns = (schema.attempt.c.token, schema.attempt.c.batch_id, schema.attempt.c.outcome)
        query = sa.select(*columns).order_by(schema.attempt.c.number)
        return [tuple(row) for row in await self.campaign.store.read(lambda c: c.execute(query).all())]


@asynccontextmanager
async def case(directory: Path, clock: HandClock, batch: Doubtful) -> AsyncIterator[tuple[Case, Any]]:
    async with life(directory, clock, batch) as (world, system):
        campaign, job = await admitted(world, clock)
        one = Case(campaign, job)
        batch.state = one.state
        yield one, system


@pytest.mark.feature("PA-308")
async def test_what_was_accepted_without_an_answer_is_adopted_and_not_sent_again(tmp_path: Path) -> None:
    clock, batch = HandClock(), Doubtful()
    batch.answers = False
    async with case(tmp_path, clock, batch) as (one, system):
        await one.release()
        await system.ref("submitter").ask(Wake())
        assert await one.state() == JobState.SUBMITTING
        batch.answers = True
        clock.now += 301.0
        await system.ref("submitter").ask(Wake())
        assert batch.calls == ["submit", "find"]
        assert await one.state() == JobState.PENDING
        (token,) = batch.has
        assert await one.attempts() == [(token, f"b-{token}", None)]


@pytest.mark.feature("PA-308")
async def test_what_never_arrived_is_closed_as_ours_and_goes_again_with_a_token_of_its_own(tmp_path: Path) -> None:
    clock, batch = HandClock(), Doubtful()
    batch.takes = batch.answers = False
    async with case(tmp_path, clock, batch) as (one, system):
        await one.release()
        await system.ref("submitter").ask(Wake())
        batch.takes = batch.answers = True
        clock.now += 301.0
        await system.ref("submitter").ask(Wake())
        assert batch.calls == ["submit", "find"]
        assert await one.state() == JobState.FAILED
        await one.campaign.store.write(lambda tx: jobs.requeue(tx, [one.job], "again"))
        await one.release()
        await system.ref("submitter").ask(Wake())
        first, second = await one.attempts()
        assert first[2] == "void"
        assert batch.has == [second[0]] != [first[0]]


@pytest.mark.feature("PA-308")
async def test_a_life_that_ended_between_intent_and_answer_is_settled_by_the_next_before_it_submits(
    tmp_path: Path,
) -> None:
    clock, batch = HandClock(), Doubtful()
    async with case(tmp_path, clock, batch) as (one, system):
        await one.release()
        await one.campaign.store.write(lambda tx: attempts.intend(tx, [one.job], "alps", TARGET, {one.job: "t1"}))
    batch.has = ["t1"]
    async with life(tmp_path, clock, batch) as (world, system):
        await system.ref("submitter").ask(Wake())
        assert batch.calls == ["find"]
        assert [item.batch_id for item in (await world.store.read(lambda c: attempts.live(c, [one.job]))).values()] == [
            "b-t1"
        ]


@pytest.mark.feature("PA-313")
async def test_absence_is_judged_after_its_grace_and_closed_after_its_time_and_not_before(tmp_path: Path) -> None:
    """A job is missing for 300 s, from the first look that misses it, before it is lost, and for 900 s more before it is fenced."""
    clock, batch = HandClock(), Doubtful()
    async with case(tmp_path, clock, batch) as (one, system):
        await one.release()
        await system.ref("submitter").ask(Wake())
        batch.listed = False
        seen: dict[float, str] = {}
        began = clock.now
        for _ in range(25):
            await system.ref("tracker").ask(Wake())
            seen[clock.now - began] = await one.state()
            clock.now += 60.0
        assert {at for at, state in seen.items() if state == JobState.PENDING} == {60.0 * n for n in range(6)}
        lost = [at for at, state in seen.items() if state == JobState.LOST]
        assert (min(lost), max(lost)) == (360.0, 1200.0)
        assert seen[1260.0] == JobState.FAILED
        fences = [call for call in batch.calls if call.startswith("cancel")]
        assert fences == ["cancel one that is lost"], "it is fenced before another attempt may begin"


@pytest.mark.feature("PA-314")
async def test_what_waits_for_five_days_is_ended_there_before_it_may_go_elsewhere(tmp_path: Path) -> None:
    clock, batch = HandClock(), Doubtful()
    async with case(tmp_path, clock, batch) as (one, system):
        await one.release()
        await system.ref("submitter").ask(Wake())
        for days, state in ((4.9, JobState.PENDING), (0.2, JobState.FAILED)):
            clock.now += days * 86_400
            await system.ref("tracker").ask(Wake())
            assert await one.state() == state
        ends = [call for call in batch.calls if call.startswith("cancel")]
        assert ends[0] == "cancel one that is pending"


@pytest.mark.feature("PA-316")
async def test_a_kill_is_asked_for_at_each_look_until_the_target_has_it_no_more(tmp_path: Path) -> None:
    clock, batch = HandClock(), Doubtful()
    async with case(tmp_path, clock, batch) as (one, system):
        await one.release()
        await system.ref("submitter").ask(Wake())
        await system.ref("tracker").ask(Wake())
        await one.campaign.store.write(lambda tx: jobs.kill(tx, [one.job], "enough"))
        for _ in range(3):  # without a comparison, which ends strangers too
            await system.ref("tracker").ask(Wake())
        assert batch.calls[1:] == ["find", "cancel one that is killed"] * 3
        batch.has = []
        await system.ref("tracker").ask(Wake())
        await system.ref("tracker").ask(Wake())
        assert batch.calls[7:] == ["find"], "it is gone: nobody asks any more"
