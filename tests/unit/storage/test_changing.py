"""What is changed while the agent runs, in the stores of both databases: where workflows are, versions, targets that leave."""

from collections.abc import Callable

import msgspec
import pytest

from config.settings import Settings
from config.site_settings import Site
from domain.job import JobState
from domain.revising import Revision, differences, revised
from domain.spec import WorkflowSpec
from storage import attempts, jobs, leaving, messages, revisions, spread, workflows
from storage.attempts import Seen
from storage.views import Unknown
from storage.views.versions import versions
from tests.unit.storage.conftest import Campaign, HandClock

AT = {"A.batch": "A", "B.batch": "B"}
SITE = {"storage": {"kind": "posix", "root": "files"}, "targets": {"A.batch": {"kind": "local", "slots": 3}}}


@pytest.mark.feature("PA-210")
async def test_a_workflow_is_where_its_jobs_and_outputs_are(campaign: Campaign) -> None:
    async def at(*without: JobState) -> list[str]:
        found = await campaign.read(lambda c: spread.used(c, AT, without))
        return sorted(found.get(campaign.workflow_id, ()))

    await campaign.request()
    await campaign.cut(limit=4)
    assert await at() == []
    await campaign.release("A")
    assert (await at(), await at(JobState.RELEASED)) == (["A"], [])
    first = await campaign.submit()
    await campaign.run(first)
    await campaign.account(first[:2])
    await campaign.write(lambda tx: jobs.kill(tx, first[2:], "not wanted"))
    assert await at() == ["A"], "outputs that wait for their merge lie there"
    made = await campaign.merge()
    assert await at(JobState.ACCOUNTED) == ["A"], "a queued merge is bound to the site"
    await campaign.release()
    await campaign.submit(made)
    await campaign.run(made)
    await campaign.account(made)
    await campaign.catalogue()
    assert await at() == [], "it is freed"
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-216")
async def test_versions_are_kept_and_the_books_stay_right(
    campaign: Campaign, spec_of: Callable[..., WorkflowSpec]
) -> None:
    ids = await campaign.at_target(3)
    (only,) = await campaign.read(lambda c: versions(c, "w"))
    assert (only.version, only.who, only.spec["name"]) == (1, "", "w")
    for number, change in ((2, Revision(memory_mb=3000)), (3, Revision(sites=["B"], max_sites=2))):
        flow = (await campaign.read(workflows.load))[campaign.workflow_id]
        spec = revised(flow.spec, change)
        told = differences(flow.spec, spec)
        made = await campaign.write(lambda tx, f=flow, s=spec, t=told: revisions.put(tx, f, s, "ann", "a look", t))
        assert made == number
    assert await campaign.read(revisions.unsettled) == [campaign.workflow_id]
    await campaign.write(lambda tx: revisions.settle(tx, campaign.workflow_id, 3))
    assert await campaign.read(revisions.unsettled) == []
    found = await campaign.read(lambda c: versions(c, "w"))
    assert [(one.version, one.who, one.changes, one.open) for one in found] == [
        (1, "", [], False),
        (2, "ann", ["memory_mb: 2000 -> 3000"], False),
        (3, "ann", ["sites: any -> B", "max_sites: any -> 2"], False),
    ]
    again, new = await campaign.write(lambda tx: workflows.add(tx, spec_of(), name="w", sandbox="", events=1000))
    assert (again, new) == (campaign.workflow_id, False), "what was submitted is still known"
    await campaign.account(ids)
    assert await campaign.breaches() == []
    facts = (await campaign.read(lambda c: messages.history(c, "workflow", campaign.workflow_id))).facts
    assert [fact.type for fact in facts].count("WorkflowRevised") == 2
    with pytest.raises(Unknown, match="no workflow 'v'"):
        await campaign.read(lambda c: versions(c, "v"))


@pytest.mark.feature("PA-216")
async def test_what_has_not_begun_is_found_with_its_attempt(campaign: Campaign, clock: HandClock) -> None:
    await campaign.request()
    await campaign.cut(limit=3)
    ids = await campaign.release()
    await campaign.submit(ids[:2])
    await campaign.write(lambda tx: attempts.started(tx, {ids[0]: Seen("t")}))
    found = await campaign.read(lambda c: revisions.waiting(c, campaign.workflow_id))
    assert [(one.id, str(one.state), one.site, one.asked_at is None) for one in found] == [
        (ids[1], "pending", "A", False), (ids[2], "released", "A", True),
    ]  # fmt: skip


@pytest.mark.feature("PA-205", "OPS-03")
async def test_a_target_leaves_when_nothing_is_left_there(campaign: Campaign, clock: HandClock) -> None:
    settings = msgspec.convert({"agent": {"name": "a"}}, Settings)
    site = leaving.added(settings, [])
    assert site == settings
    known = msgspec.structs.replace(settings, sites={"A": _site()})
    gone = leaving.of(known, ["A.batch"], clock.now)
    await campaign.write(lambda tx: leaving.put(tx, gone))
    assert await campaign.read(leaving.load) == gone
    assert await campaign.read(lambda c: leaving.beside(c, settings)) == known
    assert await campaign.read(lambda c: leaving.beside(c, known)) == known, "what is configured stays as it is"

    async def left(*, last: bool = True) -> str:
        return await campaign.read(lambda c: leaving.left(c, "A.batch", "A", last=last))

    assert await left() == ""
    ids = await campaign.process()
    assert await left(last=False) == ""
    assert await left() == "10 outputs, 10 files"
    made = await campaign.merge()
    assert f"{len(made)} merges" in await left()
    await campaign.release()
    await campaign.submit(made)
    assert await left(last=False) == f"{len(made)} jobs"
    await campaign.run(made)
    await campaign.account(made)
    await campaign.catalogue()
    assert "files" in await left()
    await campaign.deliver()
    await campaign.close()
    await campaign.remove()
    assert await left() == ""
    await campaign.write(lambda tx: leaving.drop(tx, ["A.batch"]))
    assert await campaign.read(leaving.names) == frozenset()
    assert len(ids) == 10


def _site() -> Site:
    from config.faults import convert_collecting

    found, faults = convert_collecting(SITE, Site, "test")
    assert not faults
    return found  # type: ignore[no-any-return]
