"""What operators said, and what attempts say of sites and targets, in the store of both databases."""

import pytest

from domain.breaker import Breaker, BreakerState, state_of
from domain.controls import Control, Kind, Scope
from domain.exit_codes import NEVER_SUBMITTED, STAGE_OUT
from domain.feed import SiteWord
from domain.job import JobState, JobType
from storage import alerts, attempts, breakers, controls, jobs, offers, sites, workflows
from storage.attempts import Seen
from tests.unit.storage.conftest import Campaign, HandClock

A, TARGET = (Scope.SITE, "A"), (Scope.TARGET, "A.batch")


async def pending(campaign: Campaign, count: int) -> list[int]:
    """Return jobs that a batch system has."""
    await campaign.request()
    await campaign.cut(limit=count)
    await campaign.release()
    return await campaign.submit()


def said(scope: Scope, subject: str, kind: Kind, value: str = "", until: float | None = None) -> Control:
    return Control(scope, subject, kind, value, "flood", "ann", 1.0, until)


@pytest.mark.feature("PA-203", "PA-211")
async def test_a_word_replaces_the_one_before_and_ends(campaign: Campaign, clock: HandClock) -> None:
    drain, down = (said(Scope.SITE, "A", Kind.MODE, word) for word in ("drain", "down"))
    timed = said(Scope.TARGET, "A.batch", Kind.HOLD, until=clock.now + 50)
    for one in (drain, timed, down):
        await campaign.write(lambda tx, new=one: controls.put(tx, new))
    assert await campaign.read(controls.load) == [timed, down]
    assert await campaign.read(controls.next_end) == timed.until
    assert await campaign.read(lambda c: controls.load(c, timed.until)) == [down]
    assert await campaign.read(lambda c: controls.over(c, timed.until)) == [timed]
    assert await campaign.write(lambda tx: controls.lift(tx, Scope.TARGET, "A.batch", Kind.HOLD))
    assert not await campaign.write(lambda tx: controls.lift(tx, Scope.TARGET, "A.batch", Kind.HOLD))
    await campaign.write(lambda tx: controls.put(tx, said(Scope.SITE, "A", Kind.MODE, "enabled")))
    assert await campaign.read(controls.load) == []


@pytest.mark.feature("PA-203")
async def test_held_jobs_come_back_as_they_were_and_the_laws_hold(campaign: Campaign, clock: HandClock) -> None:
    await campaign.request()
    new = await campaign.cut(limit=2)
    first, second = new
    await campaign.write(lambda tx: jobs.admit(tx, [first]))
    assert await campaign.write(lambda tx: controls.hold_jobs(tx, new, "a look", "ann", None)) == new
    assert await campaign.write(lambda tx: controls.hold_jobs(tx, new, "a look", "ann", None)) == []
    assert await campaign.states() == ["paused", "paused"]
    assert await campaign.read(lambda c: jobs.waiting_count(c)) == 0, "held ones do not stop the intake"
    assert await campaign.write(lambda tx: controls.resume_jobs(tx, [*new, 99], "enough")) == new
    assert {job.id: job.state for job in await campaign.load(new)} == {first: JobState.QUEUED, second: JobState.NEW}
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-211")
async def test_withdrawn_jobs_keep_the_books_right(campaign: Campaign) -> None:
    ids = await pending(campaign, 4)
    await campaign.write(lambda tx: attempts.started(tx, {ids[0]: Seen("t")}))
    assert await campaign.write(lambda tx: jobs.withdraw(tx, ids, "A is down")) == ids[1:]
    assert await campaign.breaches() == []
    left = await campaign.read(lambda c: attempts.left_behind(c, "A.batch", 10))
    assert len(left.killed) == 3
    await campaign.write(lambda tx: attempts.submitted(tx, {ids[1]: "late"}))
    await campaign.write(lambda tx: attempts.ended(tx, {ids[1]: Seen("t", exit_code=0)}))
    assert {job.id: job.state for job in await campaign.load(ids)}[ids[1]] is JobState.QUEUED, (
        "a late word moves nothing"
    )
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-213", "PA-214", "PA-215")
async def test_attempts_are_booked_where_they_ran(campaign: Campaign, clock: HandClock) -> None:
    ids = await campaign.at_target(10)
    good, bad, payload, ours = ids[:3], ids[3:6], ids[6:8], ids[8:]
    await campaign.account(good)
    await campaign.fail(bad, STAGE_OUT)
    await campaign.fail(payload, 1)
    await campaign.fail(ours, NEVER_SUBMITTED)
    known = await campaign.read(breakers.load)
    assert known[A] == known[TARGET] == Breaker(recent="+++---..")
    sums = (await campaign.read(lambda c: breakers.sums(c, clock.now - 3600)))["A", "A.batch"]
    assert (sums["good"], sums["bad"], sums["payload"]) == (3, 3, 2)
    assert sums["started"] == 8
    await campaign.write(lambda tx: breakers.prune(tx, clock.now + 7200))
    assert await campaign.read(lambda c: breakers.sums(c, 0.0)) == {}


@pytest.mark.feature("PA-213", "PA-214")
async def test_an_outage_opens_the_breaker_and_enters_the_record_once(campaign: Campaign, clock: HandClock) -> None:
    ids = await campaign.at_target(10)
    await campaign.fail(ids, STAGE_OUT)
    known = await campaign.read(breakers.load)
    assert state_of(known[A], clock.now) is state_of(known[TARGET], clock.now) is BreakerState.OPEN
    told = {alert.subject: alert.text for alert in await campaign.read(alerts.open_alerts)}
    assert (
        told["site A"] == "site A gets no jobs for 600 s: 10 of the last 10 attempts failed by the fault of the place"
    )
    assert "target A.batch" in told
    assert await campaign.write(lambda tx: breakers.close(tx, *A))
    assert A not in await campaign.read(breakers.load)
    assert [alert.subject for alert in await campaign.read(alerts.open_alerts)] == ["target A.batch"]


@pytest.mark.feature("PA-214")
async def test_submissions_without_an_answer(campaign: Campaign, clock: HandClock) -> None:
    for _ in range(4):
        await campaign.write(lambda tx: breakers.no_answer(tx, "A.batch", "no route"))
    await campaign.write(lambda tx: breakers.answers(tx, {"A.batch": 7}))
    assert (await campaign.read(breakers.load))[TARGET].errors == 0
    for _ in range(5):
        await campaign.write(lambda tx: breakers.no_answer(tx, "A.batch", "no route"))
    found = await campaign.read(breakers.load)
    assert "5 submissions in a row" in found[TARGET].evidence
    assert A not in found, "the other targets of the site have nothing to do with it"


@pytest.mark.feature("PA-207")
async def test_loads_count_cores_by_the_tallies(campaign: Campaign) -> None:
    ids = await pending(campaign, 5)
    await campaign.write(lambda tx: attempts.started(tx, {ids[0]: Seen("t")}))
    known = await campaign.read(workflows.load)
    found = (await campaign.read(lambda c: sites.load(c, known)))["A.batch"]
    assert found.held[JobType.PROCESSING] == (5, 4)
    assert (found.cores, found.memory_mb) == (5, 10_000)
    assert found.held[JobType.MERGE] == (0, 0)


@pytest.mark.feature("PA-212")
async def test_what_a_site_offers_is_kept_until_something_else_is_said(campaign: Campaign) -> None:
    first = {"A": SiteWord(slots=400, releases=["r8", "r7"]), "B": SiteWord(slots=0), "C": SiteWord(releases=[])}
    await campaign.write(lambda tx: offers.put(tx, first))
    assert await campaign.read(offers.load) == {name: offers.of(word) for name, word in first.items()}
    await campaign.write(lambda tx: offers.put(tx, {"A": SiteWord(releases=["r9"]), "B": SiteWord(state="down")}))
    assert await campaign.read(offers.load) == {
        "A": offers.Offer(None, frozenset({"r9"})),
        "C": offers.Offer(None, frozenset()),
    }
