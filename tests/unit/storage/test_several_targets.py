"""What is written for several targets at once counts for each as if it had been written alone."""

import pytest
import sqlalchemy as sa

from domain.job import JobState
from storage import attempts, counters, jobs, merges, removals, schema, told
from storage.attempts import Failure, Intent, Seen
from storage.moves import StaleState
from storage.removals import Answer as Removed
from storage.told import Answer, Told
from tests.unit.storage.conftest import Campaign

TARGETS = ("A.batch", "B.batch")


@pytest.fixture
async def released(campaign: Campaign) -> list[int]:
    """Ten queued jobs, of which five go to each of two sites."""
    await campaign.request()
    await campaign.cut()
    new = await campaign.ids(JobState.NEW)
    await campaign.write(lambda tx: jobs.admit(tx, new))
    await campaign.write(lambda tx: jobs.release(tx, new[:5], "A", "A.batch"))
    await campaign.write(lambda tx: jobs.release(tx, new[5:], "B", "B.batch"))
    return new


async def live(campaign: Campaign, target: str) -> list[int]:
    found = await campaign.read(lambda c: attempts.live_at(c, target))
    return sorted(owner for owner, _ in found.values())


@pytest.mark.feature("PA-308")
async def test_each_target_gets_its_own_attempts_and_none_that_went_elsewhere(
    campaign: Campaign, released: list[int]
) -> None:
    here, there = released[:5], released[5:]
    intents = [
        Intent("A", "A.batch", {job: f"a{job}" for job in [*here, there[0]]}),
        Intent("B", "B.batch", {job: f"b{job}" for job in there}),
    ]
    mine, theirs = await campaign.write(lambda tx: attempts.intend_all(tx, intents))
    assert [one.job_id for one in mine] == here
    assert [one.job_id for one in theirs] == there
    assert {one.token for one in theirs} == {f"b{job}" for job in there}
    assert [await live(campaign, target) for target in TARGETS] == [here, there]
    sites = await campaign.read(lambda c: c.execute(sa.select(schema.attempt.c.site, schema.attempt.c.number)).all())
    assert sorted(map(tuple, sites)) == [("A", 1)] * 5 + [("B", 1)] * 5
    assert await campaign.write(lambda tx: attempts.intend_all(tx, intents)) == [[], []]
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-308", "PA-020")
async def test_answers_and_listings_of_several_targets_are_booked_for_each_job(
    campaign: Campaign, released: list[int]
) -> None:
    here, there = released[:5], released[5:]
    intents = [Intent(t[0], t, {job: f"t{job}" for job in ids}) for t, ids in zip(TARGETS, (here, there), strict=True)]
    await campaign.write(lambda tx: attempts.intend_all(tx, intents))
    answers = [
        Answer("A.batch", {job: f"x{job}" for job in here[:4]}, [Failure(here[4], 90003, "too large")]),
        Answer("B.batch", {job: f"y{job}" for job in there[:4]}, (), [Failure(there[4], 90002, "queue full")]),
    ]
    await campaign.write(lambda tx: told.answered_all(tx, answers))
    assert await campaign.ids(JobState.PENDING) == [*here[:4], *there[:4]]
    assert await campaign.read(attempts.outcomes) == {"A.batch": {"failed": 1}, "B.batch": {"void": 1}}
    ended = Seen("", exit_code=0, ended_at=2.0)
    listings = [
        Told([], {here[1]: "Priority"}, {here[0]: Seen("", node="n1", started_at=1.0)}, {}),
        Told([], {}, {}, {there[0]: ended, there[1]: ended}),
    ]
    await campaign.write(lambda tx: told.told_all(tx, listings))
    assert [job.state for job in await campaign.load([here[0], here[1], there[0], there[1]])] == [
        JobState.RUNNING,
        JobState.PENDING,
        JobState.ENDED,
        JobState.ENDED,
    ]
    reason = sa.select(schema.job.c.reason).where(schema.job.c.id == here[1])
    assert await campaign.read(lambda c: c.execute(reason).scalar_one()) == "Priority"
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-501", "PA-508")
async def test_merges_of_several_sites_are_made_at_once_or_not_at_all(campaign: Campaign) -> None:
    await campaign.process()
    files = list(await campaign.files())
    moved = schema.file.update().where(schema.file.c.id.in_(files[5:])).values(site="B")
    await campaign.write(lambda tx: tx.connection.execute(moved))
    await campaign.write(_count_files_anew)
    one = merges.Planned(campaign.workflow_id, "A", 100, files[:3])
    other = merges.Planned(campaign.workflow_id, "B", 100, files[5:8])
    ids = await campaign.write(lambda tx: merges.create_all(tx, [one, other]))
    made = await campaign.load(ids)
    assert [(job.pinned, job.range.events) for job in made] == [("A", 300), ("B", 300)]
    taken = merges.Planned(campaign.workflow_id, "A", 100, [files[0], files[3]])
    free = merges.Planned(campaign.workflow_id, "B", 100, files[8:10])
    with pytest.raises(StaleState):
        await campaign.write(lambda tx: merges.create_all(tx, [free, taken]))
    assert await campaign.ids(JobState.NEW) == ids


def _count_files_anew(tx: object) -> None:
    """The files were moved behind the back of the counters."""
    connection = tx.connection  # type: ignore[attr-defined]
    connection.execute(schema.tally.delete().where(schema.tally.c.entity == counters.FILE))
    counted = counters.COUNTED[schema.file]
    rows = connection.execute(sa.select(*counted.place, counted.events, counted.size)).all()
    changes: counters.Sums = {}
    for *place, events, size in rows:
        counters.change(changes, counters.FILE, counters.Place(*place), 1, events, size)
    counters.book(connection, changes)


@pytest.mark.feature("PA-513")
async def test_deletions_at_several_sites_are_booked_together(campaign: Campaign) -> None:
    await campaign.process()
    files = list(await campaign.files())
    invalid = schema.file.update().where(schema.file.c.id.in_(files[:4])).values(state="removing")
    await campaign.write(lambda tx: tx.connection.execute(invalid))
    await campaign.write(_count_files_anew)
    answers = [Removed(files[:2], {}, 3), Removed([files[2]], {"it is locked": [files[3]]}, 1)]
    await campaign.write(lambda tx: removals.answered_all(tx, answers))
    states = await campaign.states(schema.file)
    assert states[:5] == ["removed"] * 3 + ["removefailed", "unmerged"]
