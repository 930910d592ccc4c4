"""Lists of sites of single jobs, jobs without a site, and sites beside the file, in the store of both databases."""

from functools import partial
from typing import Any

import msgspec
import pytest

from config.settings import Settings
from domain.job import JobState
from domain.siting import Lists
from storage import added_sites, controls, housing, job_lists, jobs, leaving, workflows
from tests.unit.storage.conftest import Campaign


def settings(*names: str) -> Settings:
    sites: dict[str, Any] = {
        name: {"storage": {"kind": "posix"}, "targets": {f"{name}.batch": {"kind": "local"}}} for name in names
    }
    return msgspec.convert({"agent": {"name": "here"}, "sites": sites}, Settings)


@pytest.mark.feature("PA-205")
async def test_jobs_are_parked_and_taken_up_by_their_lists(campaign: Campaign) -> None:
    await campaign.request()
    ids = await campaign.cut(limit=8)
    known = await campaign.read(workflows.load)
    await campaign.write(lambda tx: jobs.admit(tx, ids))
    only_b, not_a, free = ids[:2], ids[2:4], ids[4:]
    await campaign.write(lambda tx: job_lists.put(tx, only_b, Lists(frozenset("B")), "ann", "a look"))
    await campaign.write(lambda tx: job_lists.put(tx, not_a, Lists(denied=frozenset("A")), "ann", ""))
    assert await campaign.read(lambda c: job_lists.load(c, [*not_a, free[0]])) == dict.fromkeys(
        not_a, Lists(denied=frozenset("A"))
    )
    found = await campaign.read(lambda c: housing.stranded(c, settings("A"), known, 100))
    assert sorted(job for some in found.values() for job in some) == ids[:4]
    assert any(text.endswith("of its own it is allowed B, denied none") for text in found)
    for reason, some in found.items():
        await campaign.write(partial(jobs.pause, ids=some, reason=f"{housing.NO_SITE}{reason}"))
    await campaign.write(lambda tx: jobs.pause(tx, free[:2], "for another reason"))
    back, left = await campaign.read(lambda c: housing.rehoused(c, settings("A"), known, 100))
    assert (back, dict(left)) == ([], {campaign.workflow_id: 4})
    back, left = await campaign.read(lambda c: housing.rehoused(c, settings("A", "B"), known, 3))
    assert (len(back), left.total()) == (3, 0)
    back, _ = await campaign.read(lambda c: housing.rehoused(c, settings("A", "C"), known, 100))
    assert back == not_a
    await campaign.write(lambda tx: controls.readmit(tx, not_a, "there"))
    await campaign.write(lambda tx: jobs.admit(tx, not_a))
    assert [one.id for one in await campaign.read(job_lists.queued)] == not_a
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-205", "PA-216")
async def test_what_waits_where_its_own_lists_forbid_it_is_found_and_lists_of_the_dead_are_forgotten(
    campaign: Campaign,
) -> None:
    await campaign.request()
    await campaign.cut(limit=4)
    await campaign.release()
    ids = await campaign.submit()
    await campaign.write(lambda tx: job_lists.put(tx, ids[:2], Lists(denied=frozenset("A")), "ann", "a look"))
    await campaign.write(lambda tx: job_lists.put(tx, ids[2:], Lists(frozenset("A")), "ann", "a look"))
    assert await campaign.read(job_lists.misplaced) == ids[:2]
    await campaign.write(lambda tx: jobs.withdraw(tx, ids[:2], "its own lists of sites"))
    assert await campaign.read(job_lists.misplaced) == []
    await campaign.write(lambda tx: jobs.kill(tx, ids[:1], "not wanted"))
    await campaign.write(job_lists.prune)
    assert sorted(await campaign.read(lambda c: job_lists.load(c, ids))) == ids[1:]
    await campaign.write(lambda tx: job_lists.put(tx, ids, Lists(), "ann", ""))
    assert await campaign.read(lambda c: job_lists.load(c, ids)) == {}
    assert {job.state for job in await campaign.load(ids[1:2])} == {JobState.QUEUED}


@pytest.mark.feature("PA-205")
async def test_a_site_beside_the_file_is_read_with_it_unless_the_file_names_it(campaign: Campaign) -> None:
    beside, file = settings("B").sites["B"], settings("A")
    storage = msgspec.structs.replace(beside.storage, options={"token": "hidden"})
    dear = msgspec.structs.replace(beside, cost=2.0, storage=storage)
    for site, who in ((beside, "ann"), (dear, "bob")):
        await campaign.write(lambda tx, site=site, who=who: added_sites.put(tx, "B", site, who, "new"))
    assert (await campaign.read(lambda c: leaving.beside(c, file))).sites == {**file.sites, "B": dear}
    both = settings("A", "B")
    assert await campaign.read(lambda c: leaving.beside(c, both)) == both
    record = await campaign.read(lambda c: added_sites.record(c, file, "B"))
    assert (record.who, record.reason, record.site["cost"]) == ("bob", "new", 2.0)
    assert record.site["storage"] == {"kind": "posix", "token": "(not shown)"}
    assert (await campaign.read(lambda c: added_sites.record(c, file, "A"))).who is None
    assert await campaign.read(lambda c: added_sites.record(c, file, "C")) is None
    assert await campaign.read(lambda c: leaving.in_use(c, "A", file.sites["A"])) == ""
    await campaign.request()
    await campaign.cut(limit=1)
    await campaign.release()
    assert "1 jobs" in await campaign.read(lambda c: leaving.in_use(c, "A", file.sites["A"]))
