"""Flags for which a job directory is kept: set once or often, released by the last, or by taking a participant out."""

import pytest

from storage import attempts, barriers

BOTH = ("archivist", "grader")


async def removable(store, participants):
    left = await store.read(lambda c: attempts.left_behind(c, "A.batch", 100, participants))
    return len(left.ended)


@pytest.mark.feature("PA-016", "PA-517")
async def test_the_last_flag_releases_each_directory_once(campaign, clock):
    store = campaign.store
    ids = await campaign.process()
    await store.write(lambda tx: barriers.set_flag(tx, "archivist", ids))
    await store.write(lambda tx: barriers.set_flag(tx, "archivist", ids))  # again: no change, no fault
    assert await removable(store, BOTH) == 0
    await store.write(lambda tx: barriers.set_flag(tx, "grader", ids[:1]))
    assert await removable(store, BOTH) == 1
    left = await store.read(lambda c: attempts.left_behind(c, "A.batch", 100, BOTH))
    await store.write(lambda tx: attempts.cleaned(tx, left.ended))
    assert await removable(store, BOTH) == 0


@pytest.mark.feature("PA-016")
async def test_who_is_taken_out_holds_nothing(campaign):
    ids = await campaign.process()
    assert await removable(campaign.store, ("archivist",)) == 0
    assert await removable(campaign.store, ()) == len(ids)


@pytest.mark.feature("PA-016", "REL-11")
async def test_an_open_flag_names_its_participant(campaign, clock):
    ids = await campaign.process()
    await campaign.store.write(lambda tx: barriers.set_flag(tx, "grader", ids))
    clock.wind(90_000.0)
    (late,) = await campaign.store.read(lambda c: barriers.missing(c, BOTH, clock.time() - 86_400.0))
    assert (late.participant, late.attempts) == ("archivist", len(ids))
