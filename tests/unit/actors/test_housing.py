"""Jobs that no site may take are parked with the lists that say so, and go on when the lists or the sites change."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from actors import steward
from actors.creator import Creator
from actors.messages import ListSites, Refused
from domain.spec import Resources
from storage import adjustments, braking, job_lists, workflows
from storage.adjustments import Adjustment
from tests.unit.actors.ruling import SITES, J, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def sites(**of_alps: Any) -> dict[str, Any]:
    """Return the usual sites, with these keys at the target of alps."""
    made = deepcopy(SITES)
    made["alps"]["targets"]["alps-batch"] |= of_alps
    return made


@pytest.mark.feature("PA-205", "PA-216")
async def test_denied_sites_get_nothing_and_take_back_what_waits(place: Place) -> None:
    async with place.life():
        ids = await place.add(count=3, deny_sites=["bern"])
        assert {job.target for job in await place.load(ids)} == {"alps-batch"}
        place.clock.now += 1
        assert (await place.change(deny_sites=["alps"])).withdrawn == 3
        assert {job.target for job in await place.load(ids)} == {"bern-batch"}
        for change, key in (
            ({"deny_sites": ["berne"]}, "deny_sites"),
            ({"merge_sites": ["berne"]}, "merge.sites"),
            ({"merge_deny_sites": ["berne"]}, "merge.deny_sites"),
        ):
            with pytest.raises(Refused, match=f"^{key}: no site 'berne'; did you mean 'bern'"):
                await place.change(**change)


@pytest.mark.feature("PA-205", "PA-218")
async def test_jobs_that_are_denied_everywhere_are_parked_until_a_list_changes(place: Place) -> None:
    async with place.life():
        ids = await place.add(deny_sites=["alps", "bern"])
        assert await place.states(ids) == {"paused": 3}
        found = await place.why(ids[0])
        assert (found.code, found.text) == (
            "no-site", "it is parked: no site with a batch target is left: allowed any, denied alps, bern",
        )  # fmt: skip
        assert "`workflow change`" in found.unblocks
        other = await place.add("other", sites=["alps"], deny_sites=["alps"])
        assert "allowed alps, denied alps" in (await place.why(other[0])).text
        await place.change(deny_sites=["alps"])
        assert await place.states(ids) == {"released": 3}
        assert {job.site for job in await place.load(ids)} == {"bern"}
        assert await place.states(other) == {"paused": 3}


@pytest.mark.feature("PA-310", "PA-218")
async def test_jobs_that_need_other_nodes_are_parked_until_a_target_has_them(place: Place) -> None:
    async with place.life(sites(gpus=1)):
        ids = await place.add(resources=Resources(gpus=2, architecture="aarch64"))
        assert await place.states(ids) == {"paused": 3}
        found = await place.why(ids[0])
        assert "none of alps-batch, bern-batch has 2 GPUs for a job and nodes of aarch64" in found.text
        assert (await place.alerts())["no-site"] == "3 jobs of w wait for a site with a batch target"
    async with place.life(sites(gpus=2, architectures=["aarch64"])):
        await place.look()
        assert {job.target for job in await place.load(ids)} == {"alps-batch"}
        assert "no-site" not in await place.alerts()


@pytest.mark.feature("PA-119", "PA-205")
async def test_no_more_jobs_are_cut_than_the_window_while_all_would_be_parked(place: Place) -> None:
    async with place.life():
        ids = await place.add(count=100, deny_sites=["alps", "bern"])
        creator = Creator(place.world)
        (flow,) = (await place.world.store.read(workflows.load)).values()
        assert await place.states(ids) == {"paused": 100}
        assert await place.world.store.read(lambda c: creator._ahead(c, flow)) == 100
        await place.change(deny_sites=["alps"])
        (flow,) = (await place.world.store.read(workflows.load)).values()
        assert await place.states(ids) == {"released": 4, "queued": 96}
        assert await place.world.store.read(lambda c: creator._ahead(c, flow)) == 96
        await place.say("job", *map(str, ids[:50]))
        assert await place.world.store.read(lambda c: creator._ahead(c, flow)) < 96, "held ones do not stop the intake"


async def restrict(place: Place, ids: list[int], **lists: Any) -> list[int]:
    """Give jobs lists of their own."""
    answer = await place.ref("steward").ask(ListSites(jobs=ids, reason="a look", who="ann", **lists))
    await place.look()
    found: list[int] = answer.ids
    return found


@pytest.mark.feature("PA-205", "PA-216")
async def test_single_jobs_go_where_their_own_lists_allow_it(place: Place) -> None:
    async with place.life():
        await place.mode("drain")
        await place.mode("drain", subject="bern")
        ids = await place.add(count=6)
        here, elsewhere, free = ids[:2], ids[2:4], ids[4:]
        assert await restrict(place, here, sites=["bern"], dry_run=True) == here
        assert await place.world.store.read(job_lists.queued) == []
        assert await restrict(place, here, sites=["bern"]) == here
        await restrict(place, elsewhere, deny_sites=["bern"])
        await place.mode("enabled", subject="bern")
        found = {job.id: job.site for job in await place.load(ids)}
        assert found == dict.fromkeys([*here, *free], "bern") | dict.fromkeys(elsewhere)
        why = await place.why(elsewhere[0])
        assert (why.code, "alps is in drain" in why.text) == ("site-drained", True)
        assert (await place.why("w")).groups["site-drained"] == 2
        await place.submit(here, "bern")
        assert await restrict(place, here, deny_sites=["bern"]) == here
        assert {job.state for job in await place.load(here)} == {J.QUEUED}, "what waits comes back, no retry is burnt"
    async with place.life():
        await place.mode("enabled")
        assert {job.site for job in await place.load([*here, *elsewhere])} == {"alps"}, "lists hold over a restart"


@pytest.mark.feature("PA-205", "PA-218")
async def test_jobs_that_may_not_run_stop_none_behind_them(place: Place) -> None:
    async with place.life():
        await place.mode("drain")
        await place.mode("drain", subject="bern")
        ids = await place.add(count=20)
        await restrict(place, ids[:10], sites=["bern"])
        await place.mode("enabled")
        assert {job.id for job in await place.load(ids) if job.site == "alps"} == set(ids[10:14])


@pytest.mark.feature("PA-204", "PA-409")
async def test_jobs_that_keep_away_from_a_site_stop_none_behind_them(place: Place) -> None:
    """The other site is open to them, and full: they wait for it, and what comes after them takes the room that they leave."""
    async with place.life():
        await place.add("full", count=4, sites=["bern"])
        await place.mode("drain")
        ids = await place.add(count=30)
        shy = Adjustment(site="alps", until=place.clock.now + 3600)
        await place.world.store.write(lambda tx: adjustments.put(tx, dict.fromkeys(ids[:20], shy)))
        await place.mode("enabled")
        assert {job.id for job in await place.load(ids) if job.site == "alps"} == set(ids[20:24])


@pytest.mark.feature("PA-205", "PA-407")
async def test_lists_of_single_jobs_let_no_more_probes_go(place: Place) -> None:
    async with place.life():
        await place.mode("drain")
        await place.mode("drain", subject="bern")
        ids = await place.add(count=8)
        (owner,) = {job.workflow_id for job in await place.load(ids)}
        await place.world.store.write(lambda tx: braking.stop(tx, owner, "broken"))
        await restrict(place, ids[:6], deny_sites=["bern"])
        await place.lift("workflow", "w")
        await place.mode("enabled")
        assert await place.states(ids) == {"released": 3, "queued": 5}, "three probes"


@pytest.mark.feature("PA-205", "PA-218")
async def test_a_job_that_its_own_lists_leave_no_site_is_parked(place: Place) -> None:
    async with place.life():
        await place.mode("drain")
        first, second, third = await place.add(sites=["alps"])
        await restrict(place, [first], deny_sites=["alps"])
        await restrict(place, [second], sites=["bern"])
        assert {job.id: job.state for job in await place.load([first, second, third])} == {
            first: J.PAUSED, second: J.PAUSED, third: J.QUEUED,
        }  # fmt: skip
        text = (await place.why(second)).text
        assert text.endswith("of its own it is allowed bern, denied none")
        assert (await place.alerts())["no-site"] == "2 jobs of w wait for a site with a batch target"
        await restrict(place, [first, second])
        await place.mode("enabled")
        assert await place.states([first, second, third]) == {"released": 3}
        assert "no-site" not in await place.alerts()
        for wrong, words in (
            ({"ids": [first], "sites": ["alpes"]}, "no site 'alpes'; did you mean 'alps'"),
            ({"ids": [first], "deny_sites": ["rome"]}, "no site 'rome'"),
            ({"ids": [first, 999]}, "no job '999'"),
        ):
            with pytest.raises(Refused, match=words):
                await restrict(place, **wrong)


@pytest.mark.feature("PA-205", "PA-218")
async def test_queued_jobs_are_parked_when_nothing_is_left_for_them(place: Place) -> None:
    async with place.life():
        await place.mode("drain")
        ids = await place.add(sites=["alps"])
        assert await place.states(ids) == {"queued": 3}
        await place.change(deny_sites=["alps"])
        assert await place.states(ids) == {"paused": 3}
        await place.change(deny_sites=[])
        assert await place.states(ids) == {"queued": 3}
    async with place.life({"bern": SITES["bern"]}):
        await place.look()
        assert await place.states(ids) == {"paused": 3}
        assert (await place.why(ids[0])).text == "it is parked: none of alps has a batch target"
    async with place.life():
        await place.look()
        assert await place.states(ids) == {"queued": 3}


@pytest.mark.feature("PA-205")
async def test_jobs_without_a_site_are_taken_up_whatever_else_is_paused(place: Place, monkeypatch: Any) -> None:
    """Many that are paused for another reason, or that go on waiting, stand before them."""
    monkeypatch.setattr(steward, "BATCH", 2)
    async with place.life({"bern": SITES["bern"]}):
        await place.mode("drain", subject="bern")
        held = await place.add("held", count=5)
        await place.say("job", *map(str, held))
        lasting = await place.add("lasting", count=5, sites=["rome"])
        ids = await place.add("w", sites=["alps"])
    async with place.life():
        for _ in range(3):
            await place.look()
        assert await place.states(ids) == {"released": 3}
        assert await place.states([*held, *lasting]) == {"paused": 10}
