"""Reviser and queue over a real store: a new version of a specification counts at once, what runs stays."""

from pathlib import Path

import pytest

from actors.messages import Refused
from storage import attempts, jobs, revisions, workflows
from storage.attempts import Seen
from storage.messages import history
from tests.unit.actors.ruling import SITES, J, Place

pytestmark = pytest.mark.feature("PA-216")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def in_every_hand(place: Place) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return a job of `w` at alps that runs, one that waits in its batch queue, one that is only released, and one queued."""
    ids = await place.add(count=5, sites=["alps"])
    running, pending, released, queued = ids[:1], ids[1:2], ids[2:4], ids[4:]
    await place.submit([*running, *pending])
    await place.world.store.write(lambda tx: attempts.started(tx, {running[0]: Seen("t")}))
    return running, pending, released, queued


async def states(place: Place, *groups: list[int]) -> list[tuple[str, str | None]]:
    found = {job.id: job for job in await place.load([each for group in groups for each in group])}
    return [(str(found[group[0]].state), found[group[0]].target) for group in groups]


async def test_jobs_that_have_not_begun_follow_the_new_sites(place: Place) -> None:
    async with place.life():
        parts = await in_every_hand(place)
        shown = await place.change(sites=["bern"], dry_run=True)
        assert (shown.version, shown.changes, shown.withdrawn) == (2, ["sites: alps -> bern"], 3)
        assert await states(place, parts[1]) == [("pending", "alps-batch")], "a look changes nothing"
        place.clock.now += 1
        assert (await place.change(sites=["bern"])).withdrawn == 3
        assert await states(place, *parts) == [
            ("running", "alps-batch"), ("released", "bern-batch"), ("released", "bern-batch"), ("released", "bern-batch"),
        ]  # fmt: skip
        assert await place.world.store.read(lambda c: attempts.tried(c, parts[1])) == {}, "no retry is burnt"
        left = await place.world.store.read(lambda c: attempts.left_behind(c, "alps-batch", 10))
        assert len(left.killed) == 1, "the tracker asks for its end until it has come"
        assert await place.world.store.read(revisions.unsettled) == []


async def test_what_asked_for_less_is_submitted_anew_and_what_runs_stays(place: Place) -> None:
    async with place.life():
        running, pending, released, _ = await in_every_hand(place)
        place.clock.now += 1
        answer = await place.change(memory_mb=3000, wall_s=8 * 3600, priority=200)
        assert answer.changes == ["priority: 100 -> 200", "memory_mb: 2000 -> 3000"]
        assert answer.withdrawn == 1, "one that is released asks for what it needs when it is submitted"
        known = await place.world.store.read(workflows.load)
        assert [flow.spec.resources.memory_mb for flow in known.values()] == [3000]
        assert (await states(place, running, pending, released))[0] == ("running", "alps-batch")
        await place.submit([*pending, *released])
        await place.look()
        assert await place.states([*pending, *released]) == {"pending": 3}, "they ask for it now"


async def test_a_submission_on_its_way_is_waited_for(place: Place) -> None:
    async with place.life():
        (identity,) = await place.add(count=1, sites=["alps"])
        await place.world.store.write(lambda tx: attempts.intend(tx, [identity], "alps", "alps-batch", {identity: "t"}))
        place.clock.now += 1
        assert (await place.change(sites=["bern"])).withdrawn == 0
        assert await place.states([identity]) == {"submitting": 1}
    async with place.life():
        await place.look()
        assert await place.world.store.read(revisions.unsettled) != [], "it holds over a restart"
        await place.world.store.write(lambda tx: attempts.submitted(tx, {identity: "late"}))
        await place.look()
        assert await states(place, [identity]) == [("released", "bern-batch")]
        await place.look()
        assert await place.world.store.read(revisions.unsettled) == []


@pytest.mark.feature("PA-210")
async def test_fewer_sites_take_back_where_least_waits(place: Place) -> None:
    async with place.life():
        ids = await place.add(count=6)
        at = {job.id: job.site for job in await place.load(ids)}
        assert set(at.values()) == {"alps", "bern"}
        for site in ("alps", "bern"):
            await place.submit([each for each in ids if at[each] == site], site)
        kept = [each for each in ids if at[each] == "bern"][:1]
        await place.world.store.write(lambda tx: attempts.started(tx, {kept[0]: Seen("t")}))
        place.clock.now += 1
        await place.change(max_sites=1)
        found = {job.id: (str(job.state), job.site) for job in await place.load(ids)}
        assert found[kept[0]] == ("running", "bern")
        assert {site for state, site in found.values() if state != J.QUEUED} == {"bern"}
        waits = next(identity for identity, (state, _) in found.items() if state == J.QUEUED)
        reason = await place.why(waits)
        assert (reason.code, "at 1 of at most 1 sites (bern); alps-batch beyond that has room" in reason.text) == (
            "spread", True,
        )  # fmt: skip
        await place.change(max_sites=0)
        assert await place.states(ids) == {"released": 3, "pending": 2, "running": 1}


async def test_versions_with_author_and_reason_are_kept(place: Place) -> None:
    async with place.life():
        await place.add(count=1)
        await place.change(priority=7)
        place.clock.now += 60
        await place.change(priority=8, group="higgs")
        (owner,) = await place.world.store.read(workflows.load)
        found = await place.world.store.read(lambda c: revisions.versions(c, owner))
        assert [(one.version, one.who, one.reason, one.spec.priority) for one in found] == [
            (1, "", "", 100), (2, "ann", "a look", 7), (3, "ann", "a look", 8),
        ]  # fmt: skip
        told = (await place.world.store.read(lambda c: history(c, "workflow", owner))).facts
        assert [(fact.type, fact.more.get("changes")) for fact in told] == [
            ("WorkflowsAdded", None),
            ("WorkflowRevised", ["priority: 100 -> 7"]),
            ("WorkflowRevised", ["group: any -> higgs", "priority: 7 -> 8"]),
        ]
        known = (await place.world.store.read(workflows.load))[owner]
        again = await place.world.store.write(
            lambda tx: workflows.add(tx, found[0].spec, name="w", sandbox="", events=10)
        )
        assert (again, known.spec.priority) == ((owner, False), 8), "the same file again is the same workflow"


async def test_what_makes_no_sense_is_refused(place: Place) -> None:
    async with place.life():
        await place.add(count=1, sites=["bern"])
        for workflow, changes, text in (
            ("v", {"priority": 1}, "no workflow 'v'"),
            ("w", {"priority": 100}, "nothing changes"),
            ("w", {"sites": ["alpes"]}, "no site 'alpes'; did you mean 'alps'"),
        ):
            with pytest.raises(Refused, match=text):
                await place.change(workflow, **changes)
        await place.world.store.write(lambda tx: workflows.abort(tx, "w", "enough"))
        with pytest.raises(Refused, match="workflow 'w' is aborted; expected one that is active or paused"):
            await place.change(priority=1)


@pytest.mark.feature("PA-210", "PA-218")
async def test_a_workflow_spreads_over_no_more_sites_than_it_may(place: Place) -> None:
    async with place.life():
        ids = await place.add(count=6, max_sites=1)
        (site,) = {job.site for job in await place.load(ids) if job.state is J.RELEASED}
        other = "bern" if site == "alps" else "alps"
        assert await place.states(ids) == {"released": 4, "queued": 2}
        groups = (await place.why("workflow:w")).groups
        assert groups["spread"] == 2
        first = [job.id for job in await place.load(ids) if job.state is J.RELEASED]
        last = [each for each in ids if each not in first]
        await place.submit(first, site)
        await place.say("site", site, kind="mode", value="drain")
        assert (await place.why(last[0])).code == "spread", "a site with jobs is not left for another one"
        await place.world.store.write(lambda tx: jobs.kill(tx, first, "not wanted"))
        await place.look()
        assert {(str(job.state), job.site) for job in await place.load(last)} == {("released", other)}, "it was freed"


@pytest.mark.feature("PA-210", "PA-218")
async def test_a_site_that_is_meant_for_a_group_takes_no_others(place: Place) -> None:
    async with place.life({name: {**site, "groups": ["higgs"]} for name, site in SITES.items()}):
        others, mine = await place.add("others", count=1), await place.add("mine", count=2, group="higgs")
        assert await place.states(others) == {"queued": 1}
        assert await place.states(mine) == {"released": 2}
        found = await place.why(others[0])
        assert (found.code, found.owner) == ("group", "operator")
        assert "only for higgs; its workflow is of no group" in found.text
        await place.change("others", group="higgs")
        assert await place.states(others) == {"released": 1}
