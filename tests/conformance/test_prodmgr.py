"""What every ProdMgr promises: the one in memory and the real service over HTTP."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from backends.prodmgr.base import ProdMgrError, Progress
from backends.prodmgr.fake import FakeBooks, FakeProdMgr
from backends.prodmgr.http import HttpProdMgr
from backends.prodmgr.wire import TokenCall
from domain.policy import PolicySettings, RequestState, RequestVerb, Verdict
from domain.ranges import Range, covers, first_overlap
from domain.spec import Step, WorkflowSpec
from services.prodmgr.accountant import book_token
from services.prodmgr.identity import Caller, digest
from services.prodmgr.server import Server
from storage.accounts import PRODMGR, Scope
from storage.store import Store

HOUR = 3600.0


class HandClock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


class House(NamedTuple):
    """A ProdMgr with its clock, a manager and two agents."""

    clock: HandClock
    desk: Any
    one: Any
    two: Any


async def real_house(url: str, stack: AsyncExitStack) -> House:
    clock = HandClock()
    store = await Store.open(url, PRODMGR, clock=clock)
    for name, scope in (("boss", "manager"), ("one", "agent"), ("two", "agent")):
        call = TokenCall(call_id=f"token-{name}", agent=name, scope=scope, sha256=digest(name))  # type: ignore[arg-type]
        await store.write(lambda tx, call=call: book_token(tx, Caller("test", Scope.MANAGER), call))
    await store.close()
    server = Server(url, "127.0.0.1", 0, clock=clock)
    await server.start()
    stack.push_async_callback(server.stop)
    clients = [HttpProdMgr(server.address, name, agent=name) for name in ("boss", "one", "two")]
    for client in clients:
        stack.push_async_callback(client.close)
    return House(clock, *clients)


@pytest.fixture(params=["memory", "http", "http-mariadb"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        if request.param == "http":
            yield await real_house(f"sqlite:///{tmp_path}/prodmgr.db", stack)
        elif request.param == "http-mariadb":
            yield await real_house(request.getfixturevalue("maria_url")(PRODMGR), stack)
        else:
            clock = HandClock()
            books = FakeBooks(clock.time)
            yield House(clock, *(FakeProdMgr(books, name) for name in ("boss", "one", "two")))


def spec(events: int = 1000, **changes: Any) -> WorkflowSpec:
    plain: dict[str, Any] = {"name": "plain", "events": events, "events_per_job": 10, "steps": [Step(command=["true"])]}
    return WorkflowSpec(**{**plain, **changes})


async def refusal(call: Awaitable[object]) -> ProdMgrError:
    with pytest.raises(ProdMgrError) as caught:
        await call
    return caught.value


@pytest.mark.feature("PM-01")
async def test_a_request_is_shown_as_made(house: House) -> None:
    sandbox = await house.desk.upload(b"archive")
    assert sandbox == hashlib.sha256(b"archive").hexdigest() == await house.desk.upload(b"archive")
    asked = spec(files=["a"], priority=7)
    made = await house.desk.make("call-0001", asked, sandbox_sha256=sandbox, preferences={"two": 9})
    assert (made.name, made.state, made.priority, made.preferences) == ("plain", RequestState.NEW, 7, {"two": 9})
    assert (made.ledger.requested, made.ledger.unassigned) == (1000, 1000)
    workflow = await house.one.workflow(made.id)
    assert workflow.spec == asked
    assert (workflow.spec_version, workflow.spec_checksum) == (made.spec_version, made.spec_checksum)
    assert await house.one.sandbox(workflow.sandbox_sha256) == b"archive"
    assert [row.id for row in await house.one.requests()] == [made.id]
    assert (await refusal(house.one.sandbox("0" * 64))).status == 404
    assert (await refusal(house.desk.make("call-0002", asked))).status == 400


@pytest.mark.feature("PM-02")
async def test_allocations_are_disjoint_and_cover_the_request(house: House) -> None:
    made = await house.desk.make("call-0001", spec(1234, first_event=501))
    ranges: list[Range] = []
    exhausted = False
    for number in range(20):
        agent = (house.one, house.two)[number % 2]
        offer = await agent.acquire(f"acquire-{number}", max_events=150)
        assert sum(allocation.events for allocation in offer.allocations) <= 150
        ranges += [Range(allocation.first_event, allocation.events) for allocation in offer.allocations]
        exhausted = offer.exhausted
        if exhausted:
            break
    assert exhausted
    assert covers(ranges, Range(501, 1234))
    assert max(piece.events for piece in ranges) == 100  # ten jobs' worth
    empty = await house.one.acquire("acquire-last", max_events=150)
    assert (empty.allocations, empty.exhausted) == ([], True)
    ledger = (await house.desk.request(made.id)).ledger
    assert (ledger.leased, ledger.unassigned) == (1234, 0)


@pytest.mark.feature("PM-04")
async def test_the_most_urgent_reachable_request_comes_first(house: House) -> None:
    low = await house.desk.make("call-0001", spec(100, priority=1), preferences={"two": 50})
    high = await house.desk.make("call-0002", spec(100, priority=5))
    await house.desk.make("call-0003", spec(100, priority=9, sites=["far"]))
    mine = await house.one.acquire("acquire-1", max_events=10, sites=["near"])
    theirs = await house.two.acquire("acquire-2", max_events=10)
    assert [found.request for found in (*mine.allocations, *theirs.allocations)] == [high.id, low.id]
    chosen = await house.one.acquire("acquire-3", max_events=10, request=low.id)
    assert [found.request for found in chosen.allocations] == [low.id]
    assert (await house.one.acquire("acquire-4", max_events=10, sites=["far"])).allocations[0].priority == 9
    assert (await refusal(house.one.acquire("acquire-5", max_events=10, request=99))).status == 404
    others = await house.one.acquire(
        "acquire-6", max_events=10, sites=["near"], without=[chosen.allocations[0].request]
    )
    assert low.id not in {found.request for found in others.allocations}


@pytest.mark.feature("PM-04", "PA-205")
@pytest.mark.parametrize(
    "lists",
    [
        {"deny_sites": ["near"]},
        {"sites": ["near", "far"], "deny_sites": ["near"]},
        {"steps": [Step(command=["true"], sites=["far"])]},
        {"steps": [Step(command=["true"]), Step(name="reco", command=["true"], deny_sites=["near"])]},
    ],
)
async def test_what_an_agent_may_not_run_anywhere_is_not_offered_to_it(house: House, lists: dict[str, Any]) -> None:
    made = await house.desk.make("call-0001", spec(100, **lists))
    assert (await house.one.acquire("acquire-1", max_events=10, sites=["near"])).allocations == []
    (mine,) = (await house.one.acquire("acquire-2", max_events=10, sites=["near", "far"])).allocations
    assert mine.request == made.id


@pytest.mark.feature("PM-08")
async def test_a_repeated_call_happens_once(house: House) -> None:
    made = await house.desk.make("call-0001", spec())
    assert (await house.desk.make("call-0001", spec())).id == made.id
    offer = await house.one.acquire("acquire-1", max_events=100)
    assert await house.one.acquire("acquire-1", max_events=100) == offer
    assert (await house.two.acquire("acquire-1", max_events=100)).allocations != offer.allocations
    error = await refusal(house.one.acquire("acquire-1", max_events=200))
    assert (error.status, error.code, error.transient) == (409, "call_conflict", False)
    found = offer.allocations[0]
    done = [Range(found.first_event, found.events)]
    decision = await house.one.report("report-1", found.id, found.fence, done=done)
    assert await house.one.report("report-1", found.id, found.fence, done=done) == decision
    again = await refusal(house.one.report("report-2", found.id, found.fence, done=done))
    assert (again.status, again.code) == (409, "already_returned")
    assert (await house.desk.request(made.id)).ledger.merged == 100


@pytest.mark.feature("PM-08")
async def test_concurrent_repeats_happen_once(house: House) -> None:
    await house.desk.make("call-0001", spec())
    offers = await asyncio.gather(*(house.one.acquire("acquire-1", max_events=100) for _ in range(5)))
    assert all(offer == offers[0] for offer in offers)
    spread = await asyncio.gather(*(house.one.acquire(f"spread-{n}", max_events=50) for n in range(10)))
    ranges = [Range(found.first_event, found.events) for offer in (offers[0], *spread) for found in offer.allocations]
    assert first_overlap(ranges) is None


@pytest.mark.feature("PM-03")
async def test_a_request_is_complete_when_all_is_merged_or_lost(house: House) -> None:
    made = await house.desk.make("call-0001", spec(200))
    first, second = (await house.one.acquire("acquire-1", max_events=200)).allocations
    decision = await house.one.report("report-1", first.id, first.fence, done=[Range(1, 100)])
    assert (decision.verdict, decision.request_state) == (Verdict.COMPLETE, RequestState.ACTIVE)
    settings = PolicySettings()
    assert settings.complete_below == 0.01
    missing = [Range(101, 1)]
    decision = await house.one.report("report-2", second.id, second.fence, done=[Range(102, 99)], lost=missing)
    assert (decision.verdict, decision.ranges) == (Verdict.REALLOCATE, missing)  # 1 of 100 is not below 1 %
    (third,) = (await house.two.acquire("acquire-2", max_events=200)).allocations
    assert Range(third.first_event, third.events) == missing[0]
    decision = await house.two.report("report-3", third.id, third.fence, done=missing)
    assert decision.request_state is RequestState.COMPLETE
    ledger = (await house.desk.request(made.id)).ledger
    assert (ledger.requested, ledger.merged, ledger.leased, ledger.unassigned, ledger.lost) == (200, 200, 0, 0, 0)
    error = await refusal(house.one.acquire("acquire-3", max_events=10, request=made.id))
    assert (error.status, error.code) == (409, "request_finished")


@pytest.mark.feature("PM-03")
async def test_a_small_loss_is_named(house: House) -> None:
    made = await house.desk.make("call-0001", spec(200), settings=PolicySettings(jobs_per_allocation=20))
    (found,) = (await house.one.acquire("acquire-1", max_events=200)).allocations
    decision = await house.one.report("report-1", found.id, found.fence, done=[Range(2, 199)], lost=[Range(1, 1)])
    assert (decision.verdict, decision.ranges) == (Verdict.COMPLETE, [Range(1, 1)])
    shown = await house.desk.request(made.id)
    assert (shown.state, shown.ledger.merged, shown.ledger.lost) == (RequestState.COMPLETE, 199, 1)


@pytest.mark.feature("PM-03")
async def test_lost_events_are_replaced_by_new_ones(house: House) -> None:
    made = await house.desk.make("call-0001", spec(100), settings=PolicySettings(on_loss="expand"))
    (found,) = (await house.one.acquire("acquire-1", max_events=200)).allocations
    decision = await house.one.report("report-1", found.id, found.fence, done=[Range(1, 90)], lost=[Range(91, 10)])
    assert (decision.verdict, decision.ranges) == (Verdict.EXPAND, [Range(101, 10)])
    ledger = (await house.desk.request(made.id)).ledger
    assert (ledger.requested, ledger.merged, ledger.unassigned, ledger.lost, ledger.expanded) == (110, 90, 10, 10, 10)
    (more,) = (await house.one.acquire("acquire-2", max_events=200)).allocations
    assert Range(more.first_event, more.events) == Range(101, 10)
    decision = await house.one.report("report-2", more.id, more.fence, done=[Range(101, 10)])
    assert decision.request_state is RequestState.COMPLETE


@pytest.mark.feature("PM-03")
async def test_repeated_loss_suspends_until_a_manager_resumes(house: House) -> None:
    made = await house.desk.make("call-0001", spec(100), settings=PolicySettings(suspend_after=2))
    for number, verdict in ((1, Verdict.REALLOCATE), (2, Verdict.SUSPEND)):
        (found,) = (await house.one.acquire(f"acquire-{number}", max_events=100)).allocations
        decision = await house.one.report(f"report-{number}", found.id, found.fence, done=[], lost=[Range(1, 100)])
        assert (decision.verdict, decision.ranges) == (verdict, [Range(1, 100)])
    assert decision.request_state is RequestState.SUSPENDED
    assert (await house.one.acquire("acquire-3", max_events=100)).allocations == []
    resumed = await house.desk.change("resume-01", made.id, RequestVerb.RESUME)
    assert resumed.state is RequestState.ACTIVE
    error = await refusal(house.desk.change("resume-02", made.id, RequestVerb.RESUME))
    assert (error.status, error.code) == (409, "illegal_move")
    assert len((await house.one.acquire("acquire-4", max_events=100)).allocations) == 1
    assert (await house.desk.change("fail-0001", made.id, RequestVerb.FAIL)).state is RequestState.FAILED
    assert (await refusal(house.desk.change("fail-0002", 99, RequestVerb.FAIL))).status == 404


@pytest.mark.feature("PM-07")
async def test_an_ended_lease_is_handed_out_under_a_higher_fence(house: House) -> None:
    await house.desk.make("call-0001", spec(100))
    (old,) = (await house.one.acquire("acquire-1", max_events=100)).allocations
    house.clock.now += 23 * HOUR
    assert (
        await house.one.renew("renew-001", old.id, old.fence, Progress(done=5))
    ).lease_until == house.clock.now + 24 * HOUR
    house.clock.now += 23 * HOUR
    assert (await house.two.acquire("acquire-2", max_events=60)).allocations == []
    house.clock.now += HOUR
    (new,) = (await house.two.acquire("acquire-3", max_events=60)).allocations
    assert new.fence > old.fence
    assert (new.first_event, new.events) == (1, 60)
    error = await refusal(house.one.renew("renew-002", old.id, old.fence, Progress()))
    assert (error.status, error.code) == (409, "lease_ended")
    late = await house.one.report("report-1", old.id, old.fence, done=[Range(1, 100)])
    assert late.late
    assert (late.counted, late.refused) == ([Range(61, 40)], [Range(1, 60)])
    decision = await house.two.report("report-2", new.id, new.fence, done=[Range(1, 60)])
    assert (decision.request_state, decision.late) == (RequestState.COMPLETE, False)


@pytest.mark.feature("PM-07")
async def test_a_late_report_of_an_untouched_range_counts(house: House) -> None:
    await house.desk.make("call-0001", spec(100))
    (found,) = (await house.one.acquire("acquire-1", max_events=100)).allocations
    house.clock.now += 30 * HOUR
    decision = await house.one.report("report-1", found.id, found.fence, done=[Range(1, 100)])
    assert (decision.counted, decision.request_state) == ([Range(1, 100)], RequestState.COMPLETE)


@pytest.mark.feature("PM-02")
async def test_unstarted_work_returns_without_blame(house: House) -> None:
    made = await house.desk.make("call-0001", spec(100), settings=PolicySettings(suspend_after=1))
    (found,) = (await house.one.acquire("acquire-1", max_events=100)).allocations
    part = await house.one.release("release-1", found.id, found.fence, [Range(51, 50)])
    assert (part.returned, part.held) == ([Range(51, 50)], 50)
    (other,) = (await house.two.acquire("acquire-2", max_events=100)).allocations
    assert Range(other.first_event, other.events) == Range(51, 50)
    decision = await house.one.report("report-1", found.id, found.fence, done=[Range(1, 20)])
    assert (decision.verdict, decision.ranges) == (Verdict.REALLOCATE, [Range(21, 30)])
    rest = await house.two.release("release-2", other.id, other.fence)
    assert (rest.returned, rest.held) == ([Range(51, 50)], 0)
    error = await refusal(house.two.renew("renew-001", other.id, other.fence, Progress()))
    assert error.code == "already_returned"
    ledger = (await house.desk.request(made.id)).ledger
    assert (ledger.merged, ledger.unassigned, ledger.lost) == (20, 80, 0)


@pytest.mark.feature("PM-08")
@pytest.mark.parametrize(
    ("done", "lost"),
    [
        ([Range(0, 1)], []),
        ([Range(1, 101)], []),
        ([], [Range(100, 2)]),
        ([Range(1, 50)], [Range(50, 1)]),
        ([Range(1, 10), Range(5, 1)], []),
    ],
)
async def test_reports_that_cannot_be(house: House, done: list[Range], lost: list[Range]) -> None:
    await house.desk.make("call-0001", spec(200))
    found = (await house.one.acquire("acquire-1", max_events=100)).allocations[0]
    error = await refusal(house.one.report("report-1", found.id, found.fence, done=done, lost=lost))
    assert (error.status, error.code, error.transient) == (400, "bad_input", False)
    assert (await house.desk.request(found.request)).ledger.leased == 100


@pytest.mark.feature("PM-07")
async def test_only_the_holder_with_its_fence_may_speak(house: House) -> None:
    await house.desk.make("call-0001", spec(100))
    (found,) = (await house.one.acquire("acquire-1", max_events=100)).allocations
    calls: list[tuple[Callable[[], Awaitable[object]], int, str]] = [
        (lambda: house.two.renew("renew-001", found.id, found.fence, Progress()), 403, "forbidden"),
        (lambda: house.two.report("report-1", found.id, found.fence, done=[]), 403, "forbidden"),
        (lambda: house.one.release("release-1", found.id, found.fence + 1), 409, "wrong_fence"),
        (lambda: house.one.release("release-2", 99, 1), 404, "not_found"),
    ]
    for call, status, code in calls:
        error = await refusal(call())
        assert (error.status, error.code) == (status, code)


@pytest.mark.feature("PM-07")
async def test_a_failed_request_ends_the_leases_renewal(house: House) -> None:
    made = await house.desk.make("call-0001", spec(100))
    (found,) = (await house.one.acquire("acquire-1", max_events=100)).allocations
    await house.desk.change("fail-0001", made.id, RequestVerb.FAIL)
    error = await refusal(house.one.renew("renew-001", found.id, found.fence, Progress()))
    assert error.code == "request_finished"
    decision = await house.one.report("report-1", found.id, found.fence, done=[Range(1, 100)])
    assert decision.request_state is RequestState.FAILED
