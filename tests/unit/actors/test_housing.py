"""Jobs that no site may take are parked with the lists that say so, and go on when the lists or the sites change."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from actors.creator import Creator
from actors.messages import Refused
from domain.spec import Resources
from storage import workflows
from tests.unit.actors.ruling import SITES, Place


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
