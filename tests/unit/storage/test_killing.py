"""Kills, revocations and retries: late news change nothing, and every event is named."""

import pytest

from domain.events import JobsKilled
from domain.job import JobState
from storage import (
    allocations,
    attempts,
    jobs,
    log,
    schema,
    workflows,
)
from storage.attempts import Failure
from storage.endings import endings
from storage.revoking import revoke
from tests.unit.storage.conftest import Campaign, make_spec


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
    ids = await campaign.at_target()
    await campaign.write(lambda tx: jobs.kill(tx, ids, "on command"))
    before = await campaign.read(log.last)
    await campaign.write(lambda tx: attempts.submitted(tx, dict.fromkeys(ids, "late")))
    await campaign.run(ids)
    await campaign.write(lambda tx: attempts.lost(tx, ids, "late"))
    await campaign.fail(ids)
    assert await campaign.read(log.last) == before
    assert set(await campaign.read(lambda c: attempts.left_behind(c, "A.batch", 100).killed)) == {
        f"w-{n}" for n in range(1, 11)
    }
    assert await campaign.read(lambda c: attempts.left_behind(c, "A.batch", 100).ended) == []
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-021")
async def test_lost_events_come_back_when_a_job_is_reopened(campaign):
    ids = await campaign.at_target()
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
    ids = await campaign.at_target()
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
    ids = await campaign.at_target(count=8)
    (owner,) = campaign.allocation_ids
    await campaign.account(ids[:2], merged=True)
    await campaign.catalogue()

    await campaign.write(lambda tx: revoke(tx, owner, "the lease is gone"))
    assert await campaign.breaches() == []
    row = await campaign.ledger()
    assert (row.requested, row.merged, row.surplus) == (0, 0, 200)


@pytest.mark.feature("PM-08")
async def test_a_revoked_range_leaves_nothing_that_is_catalogued_later(campaign):
    """Small files of a range that was taken back must not reach the catalogue: their events are another agent's."""
    ids = await campaign.at_target()
    await campaign.account(ids[:6])
    (owner,) = campaign.allocation_ids

    await campaign.write(lambda tx: revoke(tx, owner, "the lease is gone"))
    await campaign.merge_all()
    await campaign.catalogue()
    assert await campaign.breaches() == []
    assert (await campaign.ledger()).surplus == 0


@pytest.mark.feature("PA-021")
async def test_an_aborted_workflow_names_every_event_as_lost(campaign):
    ids = await campaign.at_target(count=4)
    await campaign.account(ids[:1])

    def abort(tx):
        for identity in workflows.abort(tx, "w", "not wanted"):
            jobs.kill_workflow(tx, identity, campaign.spec, allocations.uncut(tx.connection, identity), "not wanted")

    await campaign.write(abort)
    assert await campaign.breaches() == []
    row = await campaign.ledger()
    assert (row.in_progress, row.lost) == (100, 900)


@pytest.mark.feature("PA-316")
async def test_what_was_ended_is_counted_until_its_target_confirms_it(campaign):
    """By job, workflow, request; withdrawn and given up ones too, ended ones never."""
    ids = await campaign.at_target(5)
    other = Campaign(campaign.store, campaign.clock, make_spec(name="other"))
    far = await other.at_target(2)
    await campaign.write(
        lambda tx: tx.connection.execute(
            schema.workflow.update().where(schema.workflow.c.name == "other").values(request="winter")
        )
    )
    assert await campaign.read(endings) == []
    await campaign.write(lambda tx: jobs.kill(tx, [*ids[:2], far[0]], "not wanted"))
    killed_at = campaign.clock.now
    await campaign.write(lambda tx: attempts.fail(tx, [Failure(ids[2], 90014, "waited")], outcome="lost"))
    await campaign.fail(ids[3:4])

    async def left(**which):
        return [
            (one.target, one.workflow, one.attempts, one.jobs, one.job)
            for one in await campaign.read(lambda c: endings(c, **which))
        ]

    ours, theirs = ("A.batch", "w", 3, 3, ids[0]), ("A.batch", "other", 1, 1, far[0])
    assert await left() == [theirs, ours]
    assert await left(workflow_name="w") == [ours]
    assert await left(request="winter") == [theirs]
    assert await left(jobs=[ids[1], ids[3]]) == [("A.batch", "w", 1, 1, ids[1])]
    assert await left(jobs=[]) == await left(workflow_name="none") == []
    assert (await campaign.read(endings))[1].since == killed_at
    found = await campaign.read(lambda c: attempts.left_behind(c, "A.batch", 10))
    assert len(found.killed) == 4
    await campaign.write(lambda tx: attempts.cleaned(tx, found.killed[:3]))
    assert sum(one.attempts for one in await campaign.read(endings)) == 1
    await campaign.write(lambda tx: attempts.cleaned(tx, found.killed))
    assert await campaign.read(endings) == []
