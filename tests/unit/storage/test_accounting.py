"""Accounting: files and jobs together or not at all; damaged inputs go out and their jobs run again."""

import pytest
import sqlalchemy as sa

from domain.events import JobsFailed
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


@pytest.mark.feature("DBS-05")
async def test_good_and_bad_in_one_unit(campaign):
    ids = await campaign.at_target()
    loaded = await campaign.load(ids)
    bad = accounting.Bad(loaded[3], attempts.Failure(ids[3], REPORT_MISSING, "no report", "last lines"))
    outcomes = [bad, *(campaign.good(job) for job in loaded if job.id != ids[3])]
    await campaign.write(lambda tx: accounting.account(tx, outcomes))
    assert await campaign.ids(JobState.FAILED) == [ids[3]]
    assert len(await campaign.ids(JobState.ACCOUNTED)) == 9
    assert len(await campaign.files("unmerged")) == 9
    assert await campaign.breaches() == []
    row = await campaign.read(
        lambda c: c.execute(sa.select(schema.attempt).where(schema.attempt.c.job_id == ids[3])).one()
    )
    assert (row.outcome, row.exit_code, row.blame, row.live) == ("failed", REPORT_MISSING, "infrastructure", None)
    assert (row.cause, row.log) == ("no report", "last lines")


@pytest.mark.feature("PA-008", "DBS-04")
async def test_the_same_report_twice_changes_nothing(campaign):
    ids = await campaign.at_target()
    found = [campaign.good(job) for job in await campaign.load(ids)]
    await campaign.write(lambda tx: accounting.account(tx, found))
    before = await campaign.read(log.last)
    await campaign.write(lambda tx: accounting.account(tx, found))
    assert await campaign.read(log.last) == before
    assert len(await campaign.files()) == 10
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-017")
async def test_reports_of_killed_jobs_change_nothing(campaign):
    ids = await campaign.at_target()
    found = [campaign.good(job) for job in await campaign.load(ids)]
    await campaign.write(lambda tx: jobs.kill(tx, ids, "on command"))
    await campaign.write(lambda tx: accounting.account(tx, found))
    assert set(await campaign.states()) == {"killed"}
    assert await campaign.files() == {}
    assert await campaign.breaches() == []
    row = await campaign.ledger()
    assert (row.in_progress, row.lost) == (0, 1000)


@pytest.mark.feature("DBS-04")
async def test_one_name_twice_in_one_unit_spoils_only_the_second(campaign):
    first, second, third, *_ = await campaign.load(await campaign.at_target())
    same = campaign.output(first, lfn="/store/same.txt")
    outcomes = [campaign.good(first, same), campaign.good(second, same), campaign.good(third)]
    await campaign.write(lambda tx: accounting.account(tx, outcomes))
    assert await campaign.ids(JobState.ACCOUNTED) == [first.id, third.id]
    assert await campaign.ids(JobState.FAILED) == [second.id]
    assert await campaign.breaches() == []


@pytest.mark.feature("DBS-04")
async def test_a_name_that_stands_already_is_not_registered_again(campaign):
    first, second, *_ = await campaign.load(await campaign.at_target())
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
    members = list(await campaign.files())
    await campaign.write(lambda tx: merges.create_all(tx, [merges.Planned(1, "A", 100, members[:3])]))
    with pytest.raises(Exception, match=r"no longer in a state|UNIQUE") as caught:
        await campaign.write(lambda tx: merges.create_all(tx, [merges.Planned(1, "A", 100, members[2:5])]))
    assert isinstance(caught.value, StaleState | sa.exc.IntegrityError)
    assert await campaign.breaches() == []
    assert len(await campaign.ids(JobState.NEW, kind=JobType.MERGE)) == 1


@pytest.mark.feature("PA-511")
async def test_a_merge_that_loses_events_is_not_registered(campaign):
    (first, *_) = await campaign.load(await merging(campaign))
    short = campaign.good(first, campaign.output(first, events=first.range.events - 1))
    await campaign.write(lambda tx: accounting.account(tx, [short]))
    assert await campaign.ids(JobState.FAILED) == [first.id]
    assert not await campaign.files("registered")
    assert await campaign.breaches() == []
    (failed,) = await campaign.read(lambda c: log.after(c, 0, [JobsFailed], 10))
    assert failed.fact.ids == [first.id]


@pytest.mark.feature("PA-508", "PA-511")
async def test_a_damaged_input_goes_out_and_its_job_runs_again(campaign):
    (first, *_) = await merging(campaign)
    members = (await campaign.read(lambda c: merges.inputs(c, [first])))[first]
    await campaign.fail([first], INPUT_UNREADABLE, (members[1].lfn,))
    assert await campaign.breaches() == []
    assert list((await campaign.files("invalid")).values()) == [members[1].lfn]
    assert set((await campaign.files("unmerged")).values()) == {members[0].lfn, members[2].lfn}
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
    assert await campaign.files("removed")
    assert not await campaign.files("invalid")


@pytest.mark.feature("PA-508")
async def test_a_merge_that_can_read_nothing_blames_the_storage(campaign):
    (first, *_) = await merging(campaign)
    members = (await campaign.read(lambda c: merges.inputs(c, [first])))[first]
    await campaign.fail([first], INPUT_UNREADABLE, tuple(member.lfn for member in members))
    assert not await campaign.files("invalid")
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
    assert len(await campaign.files("invalid")) == 3
    assert await campaign.ids(JobState.QUEUED, kind=JobType.PROCESSING) == [1, 2, 3]
    assert await campaign.breaches() == []


async def test_an_ordinary_failure_of_a_merge_keeps_its_members(campaign):
    (first, *_) = await merging(campaign)
    await campaign.fail([first], 1)
    assert len((await campaign.read(lambda c: merges.inputs(c, [first])))[first]) == 3
    await campaign.write(
        lambda tx: (accounting.dissolve_merges(tx, [first], "given up"), jobs.exhaust(tx, [first], "over"))
    )
    assert len(await campaign.files("unmerged")) == 3
    assert await campaign.breaches() == []
    assert (await campaign.ledger()).lost == 0


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
    ids = await campaign.at_target(count=2)
    for code in (1, 2):
        await campaign.fail(ids, code)
        await campaign.write(lambda tx: jobs.requeue(tx, ids, "again"))
        await campaign.release()
        await campaign.submit(ids)
        await campaign.run(ids)
    tried = await campaign.read(lambda c: attempts.tried(c, ids))
    assert {owner: [one.code for one in found] for owner, found in tried.items()} == {owner: [1, 2] for owner in ids}
    live = await campaign.read(lambda c: attempts.live(c, ids))
    assert {found.number for found in live.values()} == {3}
    assert await campaign.breaches() == []


@pytest.mark.feature("TX-06")
async def test_an_older_fence_changes_nothing(campaign):
    ids = await campaign.at_target(count=1)
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
        return removals.grant(tx, 100).moved

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
    granted = (await campaign.write(lambda tx: removals.grant(tx, 100))).moved
    for _ in range(3):
        await campaign.write(lambda tx: removals.refused(tx, granted[:2], 3, "permission denied"))
    await campaign.write(lambda tx: removals.removed(tx, granted[2:]))
    assert list(await campaign.files("removefailed")) == granted[:2]
    assert await campaign.breaches() == []


@pytest.mark.feature("DBS-06")
async def test_blocks_close_when_full_and_never_reopen(campaign):
    ids = await campaign.at_target()
    await campaign.account(ids, merged=True)
    await campaign.catalogue()
    query = sa.select(schema.block.c.name, schema.block.c.state, schema.block.c.files).order_by(schema.block.c.id)
    rows = await campaign.read(lambda c: [tuple(row) for row in c.execute(query)])
    assert [row[1:] for row in rows] == [("closed", 3), ("closed", 3), ("closed", 3), ("open", 1)]
    assert rows[0][0] == "/w/v1/GEN#A-000001"
    campaign.clock.wind(86_401)
    await campaign.write(lambda tx: datasets.close_aged(tx, 86400, {campaign.spec.dataset_name}))
    assert set(await campaign.states(schema.block)) == {"closed"}
    assert await campaign.breaches() == []
