"""What is counted beside the rows is the sum of the rows, whatever happens to them; and questions read no more than that."""

import pytest
import sqlalchemy as sa

from domain.file import FileState
from domain.job import JobState, JobType
from storage import attempts, causes, counters, heads, jobs, merges, schema, transfers, views, workflows
from storage.counters import Place
from storage.laws.breach import Limits, Scope
from storage.laws.counters import kept


async def wrong(campaign):
    return await campaign.read(lambda c: list(kept(Scope(c, campaign.clock.now, Limits()))))


async def counted(campaign, entity, by=("state",), *where):
    return await campaign.read(
        lambda c: {tuple(row[: len(by)]): row[len(by)] for row in counters.sums(c, entity, by, *where)}
    )


@pytest.mark.feature("PA-021")
async def test_counters_move_with_the_rows_at_every_step(campaign):
    steps = 0

    async def look():
        nonlocal steps
        steps += 1
        assert await wrong(campaign) == []

    campaign.after = look
    ids = await campaign.at_target()
    await campaign.fail(ids[:2], code=134)
    await campaign.write(lambda tx: jobs.requeue(tx, ids[:1], "again"))
    await campaign.write(lambda tx: jobs.cool_off(tx, ids[1:2], campaign.clock.now + 60, "later"))
    await campaign.write(lambda tx: jobs.kill(tx, ids[1:2], "on command"))
    await campaign.account(ids[2:])
    made = await campaign.merge()
    await campaign.release()
    await campaign.submit(made)
    await campaign.write(lambda tx: jobs.kill(tx, made[-1:], "on command"))
    await campaign.run(made[:-1])
    await campaign.account(made[:-1])
    await campaign.catalogue()
    await campaign.deliver()
    await campaign.remove()
    assert steps > 20
    assert await counted(campaign, counters.DELIVERED) == {("",): len(made) - 1}


@pytest.mark.feature("PA-021")
async def test_a_unit_that_fails_counts_nothing(campaign):
    ids = await campaign.at_target()

    def torn(tx):
        jobs.kill(tx, ids, "on command")
        raise RuntimeError("torn")

    with pytest.raises(RuntimeError, match="torn"):
        await campaign.write(torn)
    assert await counted(campaign, counters.JOB) == {("ended",): 10}
    assert await wrong(campaign) == []


@pytest.mark.feature("PA-021")
@pytest.mark.parametrize(
    "damage",
    [
        schema.tally.update().where(schema.tally.c.number > 0).values(number=schema.tally.c.number + 1),
        schema.tally.update().values(events=schema.tally.c.events + 1),
        schema.tally.delete(),
        schema.cause.update().values(count=schema.cause.c["count"] + 1),
        schema.cause.delete(),
    ],
)
async def test_a_wrong_counter_is_named(campaign, damage):
    ids = await campaign.at_target()
    await campaign.fail(ids[:1])
    assert await wrong(campaign) == []
    await campaign.write(lambda tx: tx.connection.execute(damage))
    found = await wrong(campaign)
    assert found
    assert all("the rows" in text for _, text in found)


@pytest.mark.feature("PA-021")
async def test_places_of_a_workflow_that_is_over_are_forgotten(campaign):
    await campaign.whole()
    rows = await campaign.read(lambda c: c.execute(sa.select(schema.tally)).all())
    assert len(rows) < 20
    assert await wrong(campaign) == []


async def test_attempts_are_counted_by_target(campaign):
    ids = await campaign.at_target()
    await campaign.fail(ids[:3])
    await campaign.account(ids[3:5])
    (found,) = await campaign.read(views.attempts_by_target)
    assert (found.site, found.target) == ("A", "A.batch")
    assert found.outcomes == {"failed": 3, "live": 5, "success": 2}
    assert await campaign.read(attempts.outcomes) == {"A.batch": {"failed": 3, "success": 2}}


# ---------------------------------------------------------------- causes
@pytest.mark.feature("PA-416")
async def test_failures_of_one_pattern_are_one_cause(campaign):
    ids = await campaign.at_target()
    texts = [f"no space left on /data/{n}/x{n}.root (errno {n})" for n in range(4)] + ["segmentation fault"]
    for owner, text in zip(ids, texts, strict=False):
        await campaign.write(lambda tx, o=owner, t=text: attempts.fail(tx, [attempts.Failure(o, 134, t, "the end")]))
    one, other = await campaign.read(lambda c: views.causes(c, by=("exit_code", "fingerprint", "node", "workflow_id")))
    assert (one.count, one.pattern, one.node, one.workflow) == (4, "no space left on # (errno #)", "n1", "w")
    assert (one.example, one.log, one.job) == (texts[3], "the end", ids[3])
    assert one.last_at - one.first_at == 3.0
    assert (other.count, other.example) == (1, "segmentation fault")
    (whole,) = await campaign.read(views.causes)
    assert (whole.count, whole.site, whole.pattern) == (5, "A", "")


async def test_a_failure_nobody_is_to_blame_for_is_no_cause(campaign):
    ids = await campaign.at_target()
    await campaign.write(lambda tx: attempts.fail(tx, [attempts.Failure(ids[0], 90006, "never")], outcome="void"))
    await campaign.write(lambda tx: causes.note(tx, "failed", {}))
    assert await campaign.read(views.causes) == []
    assert await campaign.read(views.failures) == []


# ---------------------------------------------------------------- heads
async def queued(campaign):
    await campaign.request()
    ids = await campaign.cut()
    await campaign.write(lambda tx: jobs.admit(tx, ids))
    return ids


@pytest.mark.feature("PA-201")
async def test_the_head_holds_only_what_may_go(new_campaign, spec_of):
    """Ten jobs of one workflow stand in front; only those of another may go."""
    first, second = new_campaign(spec_of()), new_campaign(spec_of(name="other", priority=10))
    front, behind = await queued(first), await queued(second)
    standing = {one.place.workflow_id: one for one in await first.read(jobs.queued)}
    both = [(1, standing[1], 1000), (0, standing[2], 1000)]
    assert [job.id for job in await first.read(lambda c: jobs.queue_head(c, both, 15))] == [*front, *behind[:5]]
    assert [job.id for job in await first.read(lambda c: jobs.queue_head(c, both[1:], 15))] == behind
    few = [(0, standing[1], 2), (0, standing[2], 2)]
    assert [job.id for job in await first.read(lambda c: jobs.queue_head(c, few, 15))] == [*front[:2], *behind[:2]]
    high = [(0, standing[1], 9), (5, standing[2], 3)]
    assert [job.id for job in await first.read(lambda c: jobs.queue_head(c, high, 4))] == [*behind[:3], front[0]]


async def test_heads_by_place(campaign):
    ids = await campaign.at_target()
    await campaign.account(ids[:4])
    place = Place("ended", 1, "processing", "", "A.batch")
    assert await campaign.read(lambda c: heads.ids(c, counters.JOB, [(place, 3)], 10)) == ids[4:7]
    assert await campaign.read(lambda c: heads.ids(c, counters.JOB, [(place, 9)], 2, newest=True)) == ids[:-3:-1]
    small = Place("unmerged", 1, "unmerged", "A", "")
    assert await campaign.read(lambda c: heads.ids(c, counters.FILE, [(small, 9)], 3)) == [1, 2, 3]
    assert (
        await campaign.read(lambda c: heads.oldest(c, counters.JOB, [JobState.ENDED, JobState.ACCOUNTED], 5)) == ids[:5]
    )
    assert await campaign.read(lambda c: jobs.targets_with(c, JobState.ENDED)) == ["A.batch"]


async def test_lists_by_state_and_site(campaign):
    ids = await campaign.at_target()
    await campaign.account(ids[:4])
    ended = await campaign.read(lambda c: views.jobs(c, states=[JobState.ENDED], site="A", limit=2))
    assert [row.id for row in ended] == ids[:-3:-1]
    assert await campaign.read(lambda c: views.jobs(c, site="B")) == []
    small = await campaign.read(lambda c: views.files(c, states=[FileState.UNMERGED], site="A", limit=2))
    assert [row.id for row in small] == [4, 3]


# ---------------------------------------------------------------- merging and the rest
@pytest.mark.feature("PA-505")
async def test_what_gathers_for_a_merge_is_read_from_the_counters(campaign):
    ids = await campaign.at_target()
    await campaign.account(ids[:2])
    (gathering,) = await campaign.read(merges.gatherings)
    assert (gathering.workflow_id, gathering.site, tuple(gathering.load)) == (1, "A", (2, 600, 200))
    assert not gathering.load.full(campaign.spec.merge)
    first = await campaign.read(lambda c: merges.oldest(c, 1, "A"))
    await campaign.account(ids[2:3])
    (gathering,) = await campaign.read(merges.gatherings)
    assert gathering.load.full(campaign.spec.merge)
    assert await campaign.read(lambda c: merges.oldest(c, 1, "A")) == first
    assert await campaign.read(lambda c: merges.oldest(c, 1, "B")) is None
    assert len(await campaign.read(lambda c: merges.waiting(c, 1, "A", 2))) == 2


async def test_processing_is_over_when_nothing_is_under_way(campaign):
    ids = await campaign.at_target()
    assert not await campaign.read(lambda c: workflows.processing_over(c, 1))
    await campaign.account(ids)
    assert await campaign.read(lambda c: workflows.processing_over(c, 1)) is (len(ids) * 100 == campaign.spec.events)


async def test_transfers_of_a_full_destination_hide_no_others(campaign):
    ids = await campaign.at_target()
    await campaign.account(ids, merged=True)
    await campaign.catalogue()
    await campaign.write(lambda tx: transfers.want(tx, [(1, "A", "D")]))
    due = await campaign.read(lambda c: transfers.due(c, campaign.clock.now))
    assert [(task.destination, task.file_id) for task in due[-1:]] == [("D", 1)]
    await campaign.write(lambda tx: transfers.offer(tx, [task.id for task in due]))
    assert await campaign.read(lambda c: transfers.destinations(c, "ready")) == ["C", "D"]
    (other,) = await campaign.read(lambda c: transfers.ahead(c, "ready", "D", 5))
    assert other.file_id == 1
    assert await campaign.read(lambda c: transfers.ahead(c, "ready", "C", 0)) == []
    assert await campaign.read(transfers.next_wake) is None
    await campaign.write(lambda tx: transfers.wait(tx, transfers.begin(tx, other), 5e9, "later"))
    assert await campaign.read(transfers.next_wake) == 5e9


@pytest.mark.feature("REL-10")
async def test_a_merge_that_is_given_up_keeps_its_members_and_waits_for_a_person(campaign):
    await campaign.process()
    made = await campaign.merge()
    await campaign.release()
    await campaign.submit(made)
    await campaign.run(made)
    await campaign.fail(made[:1])
    await campaign.write(lambda tx: jobs.exhaust(tx, made[:1], "all attempts were used"))
    assert await campaign.read(lambda c: merges.held(c, made)) == set(made)
    assert await campaign.breaches() == []
    await campaign.write(lambda tx: jobs.requeue(tx, made[:1], "retried by somebody"))
    assert await campaign.breaches() == []


async def test_lost_attempts_are_asked_after_and_their_outputs_named(campaign):
    ids = await campaign.at_target()
    lost, failed, good = ids[:1], ids[1:2], ids[2:]
    await campaign.write(lambda tx: attempts.fail(tx, [attempts.Failure(lost[0], 90008, "absent")], outcome="lost"))
    await campaign.fail(failed)
    await campaign.account(good)
    left = await campaign.read(lambda c: attempts.left_behind(c, "A.batch", 100))
    assert len(left.killed) == 1
    assert len(left.ended) == 9
    assert await campaign.read(lambda c: attempts.unused(c, 100)) == []
    await campaign.write(lambda tx: attempts.cleaned(tx, [*left.killed, *left.ended]))
    unused = await campaign.read(lambda c: attempts.unused(c, 100))
    assert sorted(item.job_id for item in unused) == [*lost, *failed]
    assert {item.type for item in unused} == {JobType.PROCESSING}
    await campaign.write(lambda tx: attempts.forgotten(tx, [item.id for item in unused]))
    assert await campaign.read(lambda c: attempts.unused(c, 100)) == []
    assert await campaign.read(lambda c: attempts.left_behind(c, "A.batch", 100)) == attempts.LeftBehind([], [])
