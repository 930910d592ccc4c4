"""The simulated cluster has the vices that it was given, and the same ones each time."""

from typing import Any

import pytest

from backends.batch.base import BatchError, BatchState, JobDescription, JobStatus
from backends.batch.simulated import SimulatedBatch
from backends.batch.simulated_model import SimulatedSettings
from domain.report import OutputReport, decode_report

pytestmark = pytest.mark.feature("PA-307")


class Hand:
    """A clock wound by hand."""

    now = 5.0

    def time(self) -> float:
        return 1_700_000_000 + self.now

    def monotonic(self) -> float:
        return self.now


class Cluster:
    def __init__(self, **settings: Any) -> None:
        self.clock = Hand()
        self.written: dict[str, OutputReport] = {}
        self.batch = SimulatedBatch(SimulatedSettings(**settings), clock=self.clock, on_output=self.write)

    def write(self, output: OutputReport) -> None:
        assert output.lfn not in self.written
        self.written[output.lfn] = output

    async def submit(self, count: int, **more: Any) -> list[str]:
        tokens = [f"t{number}" for number in range(count)]
        await self.batch.submit([job(token, **more) for token in tokens])
        return tokens

    async def after(self, seconds: float) -> dict[str, JobStatus]:
        self.clock.now += seconds
        return {status.token: status for status in (await self.batch.poll("")).statuses}


def job(token: str, wall_s: int = 86400, **more: Any) -> JobDescription:
    output = {"file": "x", "lfn": f"/store/{token}", "count": "lines"}
    spec = {"job": 3, "output": output, "stage_out": [{"kind": "posix", "root": "/se"}], "events": 50, **more}
    return JobDescription(token=token, spec=spec, wall_s=wall_s)


def share(statuses: dict[str, JobStatus], state: BatchState) -> float:
    return sum(status.state is state for status in statuses.values()) / len(statuses)


async def test_the_same_seed_tells_the_same_story() -> None:
    stories = []
    for seed in (1, 1, 2):
        cluster = Cluster(seed=seed, success=0.9, lost=0.1, late=0.1, slots=50)
        await cluster.submit(200)
        stories.append([await cluster.after(30) for _ in range(10)])
    assert stories[0] == stories[1] != stories[2]


async def test_jobs_wait_for_a_slot() -> None:
    cluster = Cluster(slots=10, run_s=60, run_sigma=0)
    await cluster.submit(25)
    assert share(await cluster.after(0), BatchState.RUNNING) == 10 / 25
    assert share(await cluster.after(61), BatchState.ENDED) == 10 / 25
    assert share(await cluster.after(120), BatchState.ENDED) == 1


async def test_outputs_are_written_as_large_as_their_events() -> None:
    cluster = Cluster(event_bytes=7)
    tokens = await cluster.submit(3)
    await cluster.after(10_000)
    first = cluster.written["/store/t0"]
    assert (first.events, first.size, first.pfn) == (50, 350, "/se/store/t0")
    reports = {token: decode_report(raw) for token, raw in (await cluster.batch.fetch(tokens)).items()}
    assert {report.outputs[0].lfn: report.outputs[0] for report in reports.values()} == cluster.written


async def test_a_merge_sums_its_inputs() -> None:
    cluster = Cluster()
    inputs = [{"lfn": f"/in/{number}", "path": "", "size": 100 + number, "events": number} for number in range(4)]
    await cluster.submit(1, inputs=inputs, type="merge")
    await cluster.after(10_000)
    assert [(output.events, output.size) for output in cluster.written.values()] == [(6, 406)]


async def test_a_share_of_jobs_fails() -> None:
    cluster = Cluster(success=0.9)
    tokens = await cluster.submit(1000)
    statuses = await cluster.after(10_000)
    good = [status for status in statuses.values() if status.exit_code == 0]
    assert 0.87 < len(good) / 1000 < 0.93
    reports = [decode_report(raw) for raw in (await cluster.batch.fetch(tokens)).values()]
    assert len([report for report in reports if report.exit_code == 0]) == len(good) == len(cluster.written)


async def test_a_share_of_outputs_is_not_full() -> None:
    cluster = Cluster(full_events=0.95)
    await cluster.submit(1000)
    await cluster.after(10_000)
    assert 0.93 < sum(output.events == 50 for output in cluster.written.values()) / 1000 < 0.97


async def test_lost_jobs_never_end_until_cancelled() -> None:
    cluster = Cluster(lost=1.0)
    tokens = await cluster.submit(5)
    assert share(await cluster.after(10_000), BatchState.UNKNOWN) == 1
    await cluster.batch.cancel(tokens)
    assert share(await cluster.after(0), BatchState.ENDED) == 1
    assert await cluster.batch.fetch(tokens) == {}


async def test_held_jobs_wait_for_their_release() -> None:
    cluster = Cluster(held=1.0, hold_s=100)
    await cluster.submit(5)
    assert share(await cluster.after(99), BatchState.HELD) == 1
    assert share(await cluster.after(10_000), BatchState.ENDED) == 1


async def test_duplicated_jobs_are_told_of_twice() -> None:
    cluster = Cluster(duplicated=1.0)
    cursor = (await cluster.batch.poll("")).cursor
    await cluster.submit(1)
    cluster.clock.now += 10_000
    assert [status.state for status in (await cluster.batch.poll(cursor)).statuses] == [BatchState.ENDED] * 2


async def test_late_jobs_show_their_end_later_than_it_was() -> None:
    cluster = Cluster(late=1.0, late_s=500, run_sigma=0)
    await cluster.submit(1)
    assert share(await cluster.after(61), BatchState.RUNNING) == 1
    assert len(cluster.written) == 1
    status = (await cluster.after(500))["t0"]
    assert (status.state, status.ended_at) == (BatchState.ENDED, 1_700_000_000 + 65)


async def test_lying_jobs_report_what_they_never_wrote() -> None:
    cluster = Cluster(lying=1.0)
    tokens = await cluster.submit(1)
    await cluster.after(10_000)
    assert cluster.written == {}
    assert decode_report((await cluster.batch.fetch(tokens))["t0"]).outputs


async def test_a_black_hole_draws_more_than_its_share() -> None:
    cluster = Cluster(slots=10, nodes=10, black_holes=1)
    await cluster.submit(1000)
    statuses = await cluster.after(120)
    assert sum(status.node == "node-000" for status in statuses.values()) > 100


async def test_a_job_beyond_its_wall_time_is_killed() -> None:
    cluster = Cluster(run_s=60, run_sigma=0)
    await cluster.submit(1, wall_s=10)
    await cluster.after(10)
    assert decode_report((await cluster.batch.fetch(["t0"]))["t0"]).exit_code == 50664


async def test_a_cancelled_job_frees_its_slot() -> None:
    cluster = Cluster(slots=1, run_s=1000, run_sigma=0)
    await cluster.submit(2)
    await cluster.batch.cancel(["t0"])
    statuses = await cluster.after(1)
    assert [statuses[token].state for token in ("t0", "t1")] == [BatchState.ENDED, BatchState.RUNNING]
    assert share(await cluster.after(1000), BatchState.ENDED) == 1


async def test_in_an_outage_nobody_answers_while_jobs_go_on() -> None:
    cluster = Cluster(outages=((10.0, 100.0),), run_s=60, run_sigma=0)
    await cluster.submit(1)
    with pytest.raises(BatchError) as caught:
        await cluster.after(50)
    assert caught.value.transient
    status = (await cluster.after(60))["t0"]
    assert (status.state, status.ended_at) == (BatchState.ENDED, 1_700_000_000 + 65)
