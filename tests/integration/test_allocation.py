"""The allocation actor of a whole agent against a ProdMgr in memory: what it takes, gives back, prolongs and reports."""

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from actors.allocation import Allocation
from actors.messages import Refused
from backends.prodmgr.base import Allocation as Offered
from backends.prodmgr.base import Lease, ProdMgrError, Progress, Released, Workflow
from backends.prodmgr.fake import FakeBooks, FakeProdMgr
from domain import events as e
from domain.policy import PolicySettings, RequestState
from domain.ranges import Range
from domain.spec import Resources
from storage import alerts, allocations, laws, revisions, workflows
from supervisors.testing import Signal
from tests.integration.agent import Agent, running, workflow

CONFIG = """
[[prodmgr]]
name = "pm"
url = "http://127.0.0.1:1"
token_env = "HOME"
poll_s = 0.1
renew_s = 600.0
retry_base_s = 0.05
retry_cap_s = 0.1
call_deadline_s = 5.0
"""


class Watched(FakeProdMgr):
    """Counts renewals; may be silent at them, and may show another checksum than it leases."""

    def __init__(self, books: FakeBooks) -> None:
        super().__init__(books, agent="test")
        self.renewals = Signal()
        self.renewed_at: list[float] = []
        self.released = Signal()
        self.silent = False
        self.other_spec = False

    async def renew(self, call_id: str, allocation: int, fence: int, progress: Progress) -> Lease:
        self.renewed_at.append(time.monotonic())
        self.renewals.fire()
        if self.silent:
            raise ProdMgrError("no answer", transient=True)
        return await super().renew(call_id, allocation, fence, progress)

    async def release(
        self, call_id: str, allocation: int, fence: int, ranges: Sequence[Range] | None = None
    ) -> Released:
        back = await super().release(call_id, allocation, fence, ranges)
        self.released.fire()
        return back

    async def workflow(self, request: int) -> Workflow:
        fetched = await super().workflow(request)
        return msgspec.structs.replace(fetched, spec_checksum="0" * 64) if self.other_spec else fetched


async def open_codes(agent: Agent) -> dict[str, str]:
    return {alert.code: alert.text for alert in await agent.world.store.read(alerts.open_alerts)}


async def held(agent: Agent) -> list[allocations.Allocation]:
    return await agent.world.store.read(lambda c: allocations.load(c, *allocations.AllocationState))


@pytest.mark.feature("PM-04", "PM-09")
async def test_a_request_is_worked_through_and_reported(tmp_path: Path) -> None:
    manager = Watched(FakeBooks())
    made = await manager.make("make-0001", workflow(events=40), settings=PolicySettings(jobs_per_allocation=2))
    async with running(tmp_path, more=CONFIG, managers={"pm": manager}) as agent:
        await agent.fact(e.AllocationsReported).reached(2)
        await agent.fact(e.WorkflowsCompleted).reached()
    assert (await manager.request(made.id)).state is RequestState.COMPLETE


@pytest.mark.feature("PM-07")
async def test_a_short_lease_is_prolonged_long_before_its_end(tmp_path: Path) -> None:
    manager = Watched(FakeBooks())
    await manager.make("make-0001", workflow(events=10, command="sleep 600"), settings=PolicySettings(lease_s=3.0))
    async with running(tmp_path, more=CONFIG, managers={"pm": manager}) as agent:
        await agent.fact(e.JobsStarted).reached()
        await manager.renewals.reached(4)
        assert [item.state for item in await held(agent)] == [allocations.AllocationState.CUT]


@pytest.mark.feature("PM-07", "REL-04")
async def test_a_silent_manager_is_asked_once_a_round_not_once_a_lease(tmp_path: Path) -> None:
    manager = Watched(FakeBooks())
    manager.silent = True
    policy = PolicySettings(lease_s=30.0, jobs_per_allocation=1)
    await manager.make("make-0001", workflow(events=60, command="sleep 600"), settings=policy)
    async with running(tmp_path, more=CONFIG, managers={"pm": manager}) as agent:
        await agent.fact(e.JobsStarted).reached()
        await manager.renewals.reached(3)
        assert "prodmgr-renew" in await open_codes(agent)
        assert len(await held(agent)) == 6
        assert min(later - sooner for sooner, later in pairwise(manager.renewed_at)) > 0.9
        manager.silent = False
        await manager.renewals.reached(9)


@pytest.mark.feature("PM-07", "REL-04")
async def test_a_manager_that_stays_silent_is_asked_ever_more_rarely(tmp_path: Path) -> None:
    manager = Watched(FakeBooks())
    manager.silent = True
    await manager.make("make-0001", workflow(events=10, command="sleep 600"), settings=PolicySettings(lease_s=3.0))
    pauses = CONFIG.replace("retry_cap_s = 0.1", "retry_cap_s = 2.0").replace(
        "retry_base_s = 0.05", "retry_base_s = 0.5"
    )
    async with running(tmp_path, more=pauses, managers={"pm": manager}) as agent:
        await agent.fact(e.JobsStarted).reached()
        await manager.renewals.reached(4)
        assert manager.renewed_at[3] - manager.renewed_at[2] > 1.9


@pytest.mark.feature("PM-07", "PA-415", "REL-03")
async def test_a_range_that_we_have_already_is_given_back_and_our_late_report_counts(tmp_path: Path) -> None:
    """The manager's clock is ahead: for it our lease has ended, and it leases the range to us once more."""
    ahead = [0.0]
    manager = Watched(FakeBooks(now=lambda: time.time() + ahead[0]))
    go = tmp_path / "go"
    command = f"until test -e {go}; do sleep 0.1; done; seq {{first_event}} {{last_event}} > '{{output}}'"
    made = await manager.make("make-0001", workflow(events=10, command=command))
    async with running(tmp_path, more=CONFIG, managers={"pm": manager}) as agent:
        await agent.fact(e.JobsStarted).reached()
        ahead[0] = 10 * 86400.0
        await manager.released.reached(2)
        go.touch()
        await agent.fact(e.AllocationsReported).reached()
        assert [(item.range, item.fence) for item in await held(agent)] == [(Range(1, 10), 1)]
        assert "events-refused" not in await open_codes(agent)
        breaches = await agent.world.store.read(lambda c: list(laws.check(c, now=0.0)))
        assert breaches == []
    assert (await manager.request(made.id)).ledger.merged == 10


@pytest.mark.feature("PM-06", "PA-205")
async def test_sites_of_other_agents_in_a_request_are_no_obstacle(tmp_path: Path) -> None:
    manager = Watched(FakeBooks())
    await manager.make("make-0001", workflow(events=10, sites=["alpha", "elsewhere"]))
    async with running(tmp_path, more=CONFIG, managers={"pm": manager}) as agent:
        await agent.fact(e.AllocationsReported).reached()


@pytest.mark.feature("PM-08", "REL-03")
async def test_what_cannot_run_here_is_given_back_and_blocks_nothing_else(tmp_path: Path) -> None:
    manager = Watched(FakeBooks())
    unfit = await manager.make("make-0001", workflow("unfit", events=10, deliver_to=["elsewhere"]))
    good = await manager.make("make-0002", workflow("good", events=10))
    async with running(tmp_path, more=CONFIG, managers={"pm": manager}) as agent:
        await agent.fact(e.AllocationsReported).reached()
        text = (await open_codes(agent))["request-unfit"]
        assert f"request {unfit.id} cannot run here" in text
        assert "no site 'elsewhere'; expected one of alpha, gamma" in text
        assert [item.range for item in await held(agent)] == [Range(1, 10)]
    assert (await manager.request(good.id)).state is RequestState.COMPLETE
    assert (await manager.request(unfit.id)).ledger.leased == 0


@pytest.mark.feature("PM-08", "PA-205", "PA-310")
async def test_a_range_that_nothing_here_can_run_goes_back_to_those_who_may(tmp_path: Path) -> None:
    manager = Watched(FakeBooks())
    unfit = await manager.make("make-0001", workflow("unfit", events=10, resources=Resources(gpus=1)))
    async with running(tmp_path, more=CONFIG, managers={"pm": manager}) as agent:
        await manager.released.reached()
        assert "has 1 GPU for a job" in (await open_codes(agent))["request-unfit"]
    assert (await manager.request(unfit.id)).ledger.leased == 0


@pytest.mark.feature("PM-08", "PA-205")
async def test_no_more_is_taken_of_a_request_whose_workflow_may_not_run_here_any_more(tmp_path: Path) -> None:
    manager = Watched(FakeBooks())
    await manager.make("make-0001", workflow(events=10))
    async with running(tmp_path, more=CONFIG, managers={"pm": manager}) as agent:
        await agent.fact(e.AllocationsReported).reached()
        (flow,) = (await agent.world.store.read(workflows.load)).values()
        stage = Allocation(agent.world, agent.world.settings.prodmgr[0])
        lease = Offered(
            id=2, fence=2, request=int(flow.request), first_event=1, events=10, lease_until=0.0, priority=1,
            spec_version=1, spec_checksum="",
        )  # fmt: skip
        assert await stage._workflow_of(lease) == flow.id
        spec = msgspec.structs.replace(flow.spec, deny_sites=["alpha"])
        await agent.world.store.write(lambda tx: revisions.put(tx, flow, spec, "ann", "a look", ["deny_sites"]))
        with pytest.raises(Refused, match="no site with a batch target is left: allowed any, denied alpha"):
            await stage._workflow_of(lease)


@pytest.mark.feature("PM-01")
async def test_another_specification_than_was_leased_is_not_run(tmp_path: Path) -> None:
    manager = Watched(FakeBooks())
    manager.other_spec = True
    await manager.make("make-0001", workflow(events=10))
    async with running(tmp_path, more=CONFIG, managers={"pm": manager}) as agent:
        await manager.released.reached()
        assert "has the checksum 000000000000, expected" in (await open_codes(agent))["request-unfit"]
        assert await held(agent) == []
