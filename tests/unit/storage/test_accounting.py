"""Accounting: files and jobs together or not at all; damaged inputs go out and their jobs run again; kills; the ledger."""

import pytest
import sqlalchemy as sa

from domain.events import JobsFailed, JobsKilled
from domain.exit_codes import EVENTS_DIFFER, INPUT_UNREADABLE, REPORT_MISSING
from domain.job import JobState, JobType
from domain.ranges import Range
from storage import (
    accounting,
    allocations,
    attempts,
    datasets,
    jobs,
    log,
    merges,
    removals,
    schema,
    transfers,
    workflows,
)
from storage.moves import StaleState

file = schema.file


async def lfns(campaign, state=None):
    query = sa.select(file.c.id, file.c.lfn).order_by(file.c.id)
    if state is not None:
        query = query.where(file.c.state == state)
    return dict(await campaign.read(lambda c: [tuple(row) for row in c.execute(query)]))


async def at_target(campaign, count=10):
    await campaign.request()
    await campaign.cut(limit=count)
    await campaign.release()
    ids = await campaign.submit()
    await campaign.run(ids)
    return ids


@pytest.mark.feature("DBS-05")
async def test_good_and_bad_in_one_unit(campaign):
    ids = await at_target(campaign)
    loaded = await campaign.load(ids)
    bad = accounting.Bad(loaded[3], attempts.Failure(ids[3], REPORT_MISSING, "no report", "last lines"))
    outcomes = [bad, *(campaign.good(job) for job in loaded if job.id != ids[3])]
    await campaign.write(lambda tx: accounting.account(tx, outcomes))
    assert await campaign.ids(JobState.FAILED) == [ids[3]]
    assert len(await campaign.ids(JobState.ACCOUNTED)) == 9
    assert len(await lfns(campaign, "unmerged")) == 9
    assert await campaign.breaches() == []
    row = await campaign.read(
        lambda c: c.execute(sa.select(schema.attempt).where(schema.attempt.c.job_id == ids[3])).one()
    )
    assert (row.outcome, row.exit_code, row.blame, row.live) == ("failed", REPORT_MISSING, "infrastructure", None)
    assert (row.cause, row.log) == ("no report", "last lines")


@pytest.mark.feature("PA-008", "DBS-04")
async def test_the_same_report_twice_changes_nothing(campaign):
    ids = await at_target(campaign)
    found = [campaign.good(job) for job in await campaign.load(ids)]
    await campaign.write(lambda tx: accounting.account(tx, found))
    before = await campaign.read(log.last)
    await campaign.write(lambda tx: accounting.account(tx, found))
    assert await campaign.read(log.last) == before
    assert len(await lfns(campaign)) == 10
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-017")
async def test_reports_of_killed_jobs_change_nothing(campaign):
    ids = await at_target(campaign)
    found = [campaign.good(job) for job in await campaign.load(ids)]
    await campaign.write(lambda tx: jobs.kill(tx, ids, "on command"))
    await campaign.write(lambda tx: accounting.account(tx, found))
    assert set(await campaign.states()) == {"killed"}
    assert await lfns(campaign) == {}
    assert await campaign.breaches() == []
    row = await campaign.ledger()
    assert (row.in_progress, row.lost) == (0, 1000)


@pytest.mark.feature("DBS-04")
async def test_one_name_twice_in_one_unit_spoils_only_the_second(campaign):
    first, second, third, *_ = await campaign.load(await at_target(campaign))
    same = campaign.output(first, lfn="/store/same.txt")
    outcomes = [campaign.good(first, same), campaign.good(second, same), campaign.good(third)]
    await campaign.write(lambda tx: accounting.account(tx, outcomes))
    assert await campaign.ids(JobState.ACCOUNTED) == [first.id, third.id]
    assert await campaign.ids(JobState.FAILED) == [second.id]
    assert await campaign.breaches() == []


@pytest.mark.feature("DBS-04")
async def test_a_name_that_stands_already_is_not_registered_again(campaign):
    first, second, *_ = await campaign.load(await at_target(campaign))
    same = campaign.output(first, lfn="/store/same.txt")
    await campaign.write(lambda tx: accounting.account(tx, [campaign.good(first, same)]))
    await campaign.write(lambda tx: accounting.account(tx, [campaign.good(second, same)]))
    assert await campaign.ids(JobState.FAILED) == [second.id]
    row = await campaign.read(
        lambda c: c.execute(sa.select(schema.attempt.c.cause).where(schema.attempt.c.job_id == second.id)).scalar_one()
    )
    assert row == "/store/same.txt is registered already"


# ------------------------------------------------------------ merges
async def merging(campaign):
    await campaign.process()
    made = await campaign.merge()
    await campaign.release()
    await campaign.submit(made)
    await campaign.run(made)
    return made


@pytest.mark.feature("PA-508")
async def test_a_file_is_taken_by_one_merge(campaign):
    await campaign.process()
    members = list(await lfns(campaign))
    await campaign.write(lambda tx: merges.create(tx, 1, "A", members[:3], 100))
    with pytest.raises(Exception, match=r"no longer in a state|UNIQUE") as caught:
        await campaign.write(lambda tx: merges.create(tx, 1, "A", members[2:5], 100))
    assert isinstance(caught.value, StaleState | sa.exc.IntegrityError)
    assert await campaign.breaches() == []
    assert len(await campaign.ids(JobState.NEW, kind=JobType.MERGE)) == 1


@pytest.mark.feature("PA-511")
async def test_a_merge_that_loses_events_is_not_registered(campaign):
    (first, *_) = await campaign.load(await merging(campaign))
    short = campaign.good(first, campaign.output(first, events=first.range.events - 1))
    await campaign.write(lambda tx: accounting.account(tx, [short]))
    assert await campaign.ids(JobState.FAILED) == [first.id]
    assert not await lfns(campaign, "registered")
    assert await campaign.breaches() == []
    (failed,) = await campaign.read(lambda c: log.after(c, 0, [JobsFailed], 10))
    assert failed.fact.ids == [first.id]


@pytest.mark.feature("PA-508", "PA-511")
async def test_a_damaged_input_goes_out_and_its_job_runs_again(campaign):
    (first, *_) = await merging(campaign)
    members = (await campaign.read(lambda c: merges.inputs(c, [first])))[first]
    await campaign.fail([first], INPUT_UNREADABLE, (members[1].lfn,))
    assert await campaign.breaches() == []
    assert list((await lfns(campaign, "invalid")).values()) == [members[1].lfn]
    assert set((await lfns(campaign, "unmerged")).values()) == {members[0].lfn, members[2].lfn}
    assert await campaign.ids(JobState.KILLED) == [first]
    (again,) = await campaign.ids(JobState.QUEUED, kind=JobType.PROCESSING)
    assert again == 2
    row = await campaign.ledger()
    assert (row.in_progress, row.lost) == (1000, 0)
    await campaign.release()
    assert await campaign.submit() == [again]
    await campaign.run([again])
    await campaign.account([again])
    others = await campaign.ids(JobState.ENDED, kind=JobType.MERGE)
    await campaign.account(others)
    await campaign.merge_all()
    await campaign.catalogue()
    await campaign.deliver()
    await campaign.close()
    await campaign.remove()
    assert await campaign.breaches() == []
    assert (await campaign.ledger()).complete
    assert set(await campaign.states()) == {"cleaned", "killed"}
    assert await lfns(campaign, "removed")
    assert not await lfns(campaign, "invalid")


@pytest.mark.feature("PA-508")
async def test_a_merge_that_can_read_nothing_blames_the_storage(campaign):
    (first, *_) = await merging(campaign)
    members = (await campaign.read(lambda c: merges.inputs(c, [first])))[first]
    await campaign.fail([first], INPUT_UNREADABLE, tuple(member.lfn for member in members))
    assert not await lfns(campaign, "invalid")
    assert await campaign.ids(JobState.FAILED) == [first]
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-508")
async def test_a_file_in_too_many_failed_merges_is_treated_as_bad(campaign):
    (first, *_) = await merging(campaign)
    for _ in range(accounting.BAD_INPUT_STRIKES - 1):
        await campaign.fail([first], EVENTS_DIFFER)
        assert await campaign.ids(JobState.FAILED) == [first]
        await campaign.write(lambda tx: jobs.requeue(tx, [first], "again"))
        await campaign.release()
        await campaign.submit([first])
        await campaign.run([first])
    await campaign.fail([first], EVENTS_DIFFER)
    assert len(await lfns(campaign, "invalid")) == 3
    assert await campaign.ids(JobState.QUEUED, kind=JobType.PROCESSING) == [1, 2, 3]
    assert await campaign.breaches() == []


async def test_an_ordinary_failure_of_a_merge_keeps_its_members(campaign):
    (first, *_) = await merging(campaign)
    await campaign.fail([first], 1)
    assert len((await campaign.read(lambda c: merges.inputs(c, [first])))[first]) == 3
    await campaign.write(
        lambda tx: (accounting.dissolve_merges(tx, [first], "given up"), jobs.exhaust(tx, [first], "over"))
    )
    assert len(await lfns(campaign, "unmerged")) == 3
    assert await campaign.breaches() == []
    assert (await campaign.ledger()).lost == 0


# ------------------------------------------------------------ kills and retries
@pytest.mark.feature("PA-019")
async def test_kill_in_every_state(campaign):
    await campaign.request()
    await campaign.cut()
    new = await campaign.ids(JobState.NEW)
    await campaign.write(lambda tx: jobs.kill(tx, new[:1], "new"))
    await campaign.release()
    await campaign.write(lambda tx: jobs.kill(tx, new[1:2], "released"))
    await campaign.submit(new[2:8])
    await campaign.write(lambda tx: jobs.kill(tx, new[2:3], "pending"))
    await campaign.run(new[3:8])
    await campaign.write(lambda tx: jobs.kill(tx, new[3:4], "ended"))
    await campaign.fail(new[4:7])
    await campaign.write(lambda tx: jobs.kill(tx, new[4:5], "failed"))
    await campaign.write(lambda tx: jobs.cool_off(tx, new[5:6], 9e9, "later"))
    await campaign.write(lambda tx: jobs.kill(tx, new[5:6], "cooling"))
    await campaign.write(lambda tx: jobs.pause(tx, new[6:7], "look"))
    await campaign.write(lambda tx: jobs.kill(tx, new[6:7], "paused"))
    await campaign.account(new[7:8])
    assert await campaign.write(lambda tx: jobs.kill(tx, new, "all")) == new[8:]
    assert await campaign.write(lambda tx: jobs.kill(tx, new, "again")) == []
    assert await campaign.breaches() == []
    row = await campaign.ledger()
    assert (row.in_progress, row.lost) == (100, 900)
    killed = await campaign.read(lambda c: log.after(c, 0, [JobsKilled], 100))
    assert sorted(identity for logged in killed for identity in logged.fact.ids) == [*new[:7], *new[8:]]


@pytest.mark.feature("PA-020")
async def test_late_news_of_a_killed_job_change_nothing(campaign):
    ids = await at_target(campaign)
    await campaign.write(lambda tx: jobs.kill(tx, ids, "on command"))
    before = await campaign.read(log.last)
    await campaign.write(lambda tx: attempts.submitted(tx, dict.fromkeys(ids, "late")))
    await campaign.run(ids)
    await campaign.write(lambda tx: attempts.lost(tx, ids, "late"))
    await campaign.fail(ids)
    assert await campaign.read(log.last) == before
    assert set(await campaign.read(lambda c: attempts.killed(c, "A.batch", 100))) == {f"w-{n}" for n in range(1, 11)}
    assert await campaign.read(lambda c: attempts.to_clean(c, "A.batch", 100)) == []
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-021")
async def test_lost_events_come_back_when_a_job_is_reopened(campaign):
    ids = await at_target(campaign)
    await campaign.fail(ids[:2])
    await campaign.write(lambda tx: jobs.exhaust(tx, ids[:2], "no allowance"))
    assert (await campaign.ledger()).lost == 200
    assert await campaign.breaches() == []
    await campaign.write(lambda tx: jobs.requeue(tx, ids[:1], "retried"))
    row = await campaign.ledger()
    assert (row.lost, row.in_progress) == (100, 900)
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-021")
async def test_a_reported_range_of_our_own_may_be_reopened(campaign):
    ids = await at_target(campaign)
    await campaign.account(ids[:9], merged=True)
    await campaign.fail(ids[9:])
    await campaign.write(lambda tx: jobs.exhaust(tx, ids[9:], "no allowance"))
    await campaign.catalogue()
    await campaign.deliver()
    await campaign.close()
    assert await campaign.states(schema.allocation) == ["reported"]

    def reopen(tx):
        moved = jobs.requeue(tx, ids[9:], "retried")
        workflows.reopen(tx, moved)

    await campaign.write(reopen)
    assert await campaign.breaches() == []
    await campaign.release()
    await campaign.submit()
    await campaign.run(ids[9:])
    await campaign.account(ids[9:], merged=True)
    await campaign.catalogue()
    await campaign.deliver()
    await campaign.close()
    assert await campaign.breaches() == []
    assert (await campaign.ledger()).complete
    assert await campaign.states(schema.workflow) == ["completed"]


async def test_a_range_that_was_taken_back(campaign):
    ids = await at_target(campaign, count=8)
    (owner,) = campaign.allocation_ids
    await campaign.account(ids[:2], merged=True)
    await campaign.catalogue()

    def revoke(tx):
        allocations.revoke(tx, owner, "the lease is gone")
        jobs.kill_of_allocation(tx, owner, "the lease is gone")

    await campaign.write(revoke)
    assert await campaign.breaches() == []
    row = await campaign.ledger()
    assert (row.requested, row.merged, row.surplus) == (0, 0, 200)


@pytest.mark.feature("PM-08")
async def test_a_revoked_range_leaves_nothing_that_is_catalogued_later(campaign):
    """Small files of a range that was taken back must not reach the catalogue: their events are another agent's."""
    ids = await at_target(campaign)
    await campaign.account(ids[:6])
    (owner,) = campaign.allocation_ids

    def revoke(tx):
        allocations.revoke(tx, owner, "the lease is gone")
        jobs.kill_of_allocation(tx, owner, "the lease is gone")

    await campaign.write(revoke)
    await campaign.merge_all()
    await campaign.catalogue()
    assert await campaign.breaches() == []
    assert (await campaign.ledger()).surplus == 0


@pytest.mark.feature("PA-021")
async def test_an_aborted_workflow_names_every_event_as_lost(campaign):
    ids = await at_target(campaign, count=4)
    await campaign.account(ids[:1])

    def abort(tx):
        for identity in workflows.abort(tx, "w", "not wanted"):
            jobs.kill_workflow(tx, identity, campaign.spec, allocations.uncut(tx.connection, identity), "not wanted")

    await campaign.write(abort)
    assert await campaign.breaches() == []
    row = await campaign.ledger()
    assert (row.in_progress, row.lost) == (100, 900)


# ------------------------------------------------------------ repeats
@pytest.mark.feature("PA-106")
async def test_the_same_twice_makes_nothing_new(campaign):
    await campaign.request()
    spec, span = campaign.spec, Range(1, 1000)
    again = await campaign.write(lambda tx: workflows.add(tx, spec, name="w", sandbox="", events=1000))
    assert again == (1, False)
    assert await campaign.write(lambda tx: allocations.acquire(tx, 1, "w/0", span)) == campaign.allocation_ids[0]
    with pytest.raises(workflows.NameTaken, match="exists with other content"):
        await campaign.write(lambda tx: workflows.add(tx, spec, name="w", sandbox="x", events=1000))
    (owner,) = await campaign.read(lambda c: allocations.by_id(c, campaign.allocation_ids))
    pieces = [Range(1, 100)]
    assert await campaign.write(lambda tx: jobs.create(tx, owner, spec, pieces)) == [1]
    assert await campaign.write(lambda tx: jobs.create(tx, owner, spec, pieces)) == []
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-020")
async def test_attempts_are_numbered_and_codes_are_their_own(campaign):
    ids = await at_target(campaign, count=2)
    for code in (1, 2):
        await campaign.fail(ids, code)
        await campaign.write(lambda tx: jobs.requeue(tx, ids, "again"))
        await campaign.release()
        await campaign.submit(ids)
        await campaign.run(ids)
    assert await campaign.read(lambda c: attempts.codes(c, ids)) == {i: (JobType.PROCESSING, [1, 2]) for i in ids}
    live = await campaign.read(lambda c: attempts.live(c, ids))
    assert {found.number for found in live.values()} == {3}
    assert await campaign.breaches() == []


@pytest.mark.feature("TX-06")
async def test_an_older_fence_changes_nothing(campaign):
    ids = await at_target(campaign, count=1)
    await campaign.account(ids, merged=True)
    await campaign.catalogue()
    (wanted,) = await campaign.read(lambda c: transfers.load(c, ["wanted"]))
    await campaign.write(lambda tx: transfers.offer(tx, [wanted.id]))
    (ready,) = await campaign.read(lambda c: transfers.load(c, ["ready"]))
    old = await campaign.write(lambda tx: transfers.begin(tx, ready))
    new = await campaign.write(lambda tx: transfers.begin(tx, old))
    assert (old.fence, new.fence) == (1, 2)
    assert await campaign.write(lambda tx: transfers.begin(tx, ready)) is None
    assert not await campaign.write(lambda tx: transfers.landed(tx, old))
    assert not await campaign.write(lambda tx: transfers.wait(tx, old, 5.0, "x"))
    assert not await campaign.write(lambda tx: transfers.quarantine(tx, old, "x"))
    assert await campaign.write(lambda tx: transfers.landed(tx, new))
    assert not await campaign.write(lambda tx: transfers.verified(tx, old, "m"))
    assert await campaign.write(lambda tx: transfers.verified(tx, new, "m"))
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-513")
async def test_nothing_goes_before_its_successor_is_delivered(campaign):
    await campaign.process()
    await campaign.merge_all()

    def grant(tx):
        return removals.grant(tx, 100)

    assert await campaign.write(grant) == []
    await campaign.catalogue()
    assert await campaign.write(grant) == [], "not before it is delivered"
    await campaign.deliver()
    assert len(await campaign.write(grant)) == 10
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-513")
async def test_what_storage_will_not_delete_is_listed_with_its_reason(campaign):
    await campaign.process()
    await campaign.merge_all()
    await campaign.catalogue()
    await campaign.deliver()
    granted = await campaign.write(lambda tx: removals.grant(tx, 100))
    for _ in range(3):
        await campaign.write(lambda tx: removals.refused(tx, granted[:2], 3, "permission denied"))
    await campaign.write(lambda tx: removals.removed(tx, granted[2:]))
    assert list(await lfns(campaign, "removefailed")) == granted[:2]
    assert await campaign.breaches() == []


@pytest.mark.feature("DBS-06")
async def test_blocks_close_when_full_and_never_reopen(campaign):
    ids = await at_target(campaign)
    await campaign.account(ids, merged=True)
    await campaign.catalogue()
    query = sa.select(schema.block.c.name, schema.block.c.state, schema.block.c.files).order_by(schema.block.c.id)
    rows = await campaign.read(lambda c: [tuple(row) for row in c.execute(query)])
    assert [row[1:] for row in rows] == [("closed", 3), ("closed", 3), ("closed", 3), ("open", 1)]
    assert rows[0][0] == "/w/v1/GEN#A-000001"
    campaign.clock.wind(86_401)
    await campaign.write(lambda tx: datasets.close_aged(tx, 86400))
    assert set(await campaign.states(schema.block)) == {"closed"}
    assert await campaign.breaches() == []
