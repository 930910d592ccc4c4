"""What jobs made is brought to a directory here, to a site's storage, or to both; a place that is full or away is waited for."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from actors import progress
from actors.messages import CancelTransfers, Wake
from backends.storage_element.base import Birth, StorageError
from domain import events as e
from domain.room import AWAY, FULL
from domain.transfer import TransferState
from storage import alerts, laws, transfers
from storage.transfers import Transfer
from storage.why import why
from tests.integration.agent import Agent, running, workflow
from tests.integration.test_remote_storage import HOST
from tests.real.sshd import USER, Sshd

QUICK = """
[transfer]
sweep_s = 0.1
look_s = 0.1
retry_base_s = 0.05
retry_cap_s = 0.2
max_tries = {tries}
"""
ALPS = """
[sites.alps.storage]
kind = "sftp"
host = "alps"
root = "{root}"
"""
LARGE = "head -c 300000 /dev/zero > '{output}'; seq {first_event} {last_event} >> '{output}'"


@asynccontextmanager
async def quick(directory: Path, more: str = "", tries: int = 1) -> AsyncIterator[Agent]:
    """Yield an agent that looks often, and parks a transfer after so many tries that count."""
    async with running(directory, more=more + QUICK.format(tries=tries)) as agent:
        yield agent


async def told(agent: Agent, code: str, subject: str) -> str:
    """Have the transfers looked at until there is an alert; return what it says."""
    await agent.fact(e.TransfersReady).reached()
    async with asyncio.timeout(60):
        while True:
            await agent.system.ref("transfer").ask(Wake())
            for one in await agent.world.store.read(alerts.open_alerts):
                if (one.code, one.subject) == (code, subject):
                    return one.text


async def rounds(agent: Agent, count: int = 10) -> None:
    for _ in range(count):
        await agent.system.ref("transfer").ask(Wake())


async def tasks(agent: Agent, destination: str) -> list[Transfer]:
    found = await agent.world.store.read(lambda c: transfers.load(c, list(TransferState)))
    return [task for task in found if task.destination == destination]


async def in_order(agent: Agent) -> None:
    """The books hold, nothing is told any more."""
    assert await agent.world.store.read(lambda c: list(laws.check(c, now=agent.world.clock.time()))) == []
    await rounds(agent, 3)
    found = await agent.world.store.read(alerts.open_alerts)
    assert [one for one in found if one.code in (FULL, AWAY, "transfers-parked")] == []


def events(place: Path) -> list[int]:
    files = [path for path in place.rglob("*") if path.is_file()]
    assert not [path for path in files if path.name.endswith(".part")]
    return sorted(int(line.strip("\0")) for path in files for line in path.read_text().split())


@pytest.mark.feature("PA-317")
async def test_files_come_home_and_to_a_site_that_is_away_for_long(tmp_path: Path) -> None:
    """Both: at once to the directory here; to the site when it answers again, in the first try that counts."""
    with Sshd(tmp_path / "sshd") as sshd:
        sshd.kill()
        host = HOST.format(port=sshd.port, user=USER, identity=sshd.identity, known_hosts=sshd.known_hosts)
        more = f"retry_base_s = 0.05\nretry_cap_s = 0.1\n{ALPS.format(root=tmp_path / 'alps/storage')}"
        async with quick(tmp_path, host + more) as agent:
            await agent.submit(workflow(deliver_to=["gamma", "alps"]))
            assert "alps does not answer" in await told(agent, AWAY, "alps")
            async with asyncio.timeout(60):
                while {task.state for task in await tasks(agent, "gamma")} != {TransferState.SAFE}:
                    await agent.fact(e.TransfersSafe).reached(agent.fact(e.TransfersSafe).count + 1)
            await rounds(agent)
            waiting = await tasks(agent, "alps")
            assert [(task.state, task.attempt) for task in waiting] == [(TransferState.READY, 0)] * 2
            answer = await agent.world.store.read(
                lambda c: why(c, f"transfer:{waiting[0].id}", agent.world.settings, agent.world.clock.time())
            )
            assert (answer.code, answer.owner) == (AWAY, "transfer")
            assert "alps does not answer" in answer.text
            sshd.start()
            await agent.fact(e.WorkflowsCompleted).reached()
            assert [task.attempt for task in await tasks(agent, "alps")] == [1, 1]
            await in_order(agent)
        assert events(tmp_path / "gamma/storage") == events(tmp_path / "alps/storage") == list(range(1, 41))


@pytest.mark.feature("PA-317", "TX-08", "TX-14")
async def test_nothing_is_begun_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one and a half files they go one after the other; with less than one, none is tried."""
    room = [0]

    async def free() -> int:
        return room[0]

    async with quick(tmp_path) as agent:
        monkeypatch.setattr(agent.world.storages["gamma"], "free", free)
        await agent.submit(workflow(command=LARGE))
        assert "600 kB, waits for room" in await told(agent, FULL, "gamma")
        await rounds(agent)
        waiting = await tasks(agent, "gamma")
        assert {(task.state, task.attempt) for task in waiting} == {(TransferState.READY, 0)}
        answer = await agent.world.store.read(
            lambda c: why(c, f"transfer:{waiting[0].id}", agent.world.settings, agent.world.clock.time())
        )
        assert (answer.code, answer.unblocks) == (FULL, "room there, seen by the next look")
        under_way: list[int] = []
        receive = agent.world.storages["gamma"].receive

        async def counted(*args: object) -> object:
            moving = await agent.world.store.read(lambda c: transfers.load(c, [TransferState.MOVING]))
            under_way.append(len(moving))
            return await receive(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(agent.world.storages["gamma"], "receive", counted)
        room[0] = 900_000
        await agent.fact(e.WorkflowsCompleted).reached()
        assert under_way == [1, 1]
        assert [task.attempt for task in await tasks(agent, "gamma")] == [1, 1]
        await in_order(agent)


@pytest.mark.feature("PA-317", "TX-14")
async def test_a_place_that_refuses_for_want_of_room_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not tell what is free: only the write itself finds out, and that is no try used up."""

    async def untold() -> None:
        return None

    full = True
    refused = asyncio.Event()

    async with quick(tmp_path) as agent:
        gamma = agent.world.storages["gamma"]
        receive = gamma.receive

        async def taken(*args: object) -> object:
            if full:
                refused.set()
                raise StorageError("No space left on device", kind="space")
            return await receive(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(gamma, "free", untold)
        monkeypatch.setattr(gamma, "receive", taken)
        await agent.submit(workflow())
        for _ in range(4):
            refused.clear()
            await refused.wait()
        assert "gamma has no room: No space left" in await told(agent, FULL, "gamma")
        full = False
        await agent.fact(e.WorkflowsCompleted).reached()
        assert [task.attempt for task in await tasks(agent, "gamma")] == [1, 1]
        await in_order(agent)


@pytest.mark.feature("PA-317")
async def test_a_try_counts_while_the_place_answers_and_the_last_one_parks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with quick(tmp_path, tries=3) as agent:
        tries: list[str] = []

        async def breaks(_source: object, lfn: str, fence: str, _birth: object) -> None:
            tries.append(f"{lfn} {fence}")
            raise StorageError("the connection was reset", kind="transient")

        monkeypatch.setattr(agent.world.storages["gamma"], "receive", breaks)
        await agent.submit(workflow(events=20))
        await agent.fact(e.TransfersParked).reached()
        (parked,) = await tasks(agent, "gamma")
        assert (parked.attempt, parked.reason, len(tries)) == (3, "the connection was reset (try 3)", 3)


@pytest.mark.feature("PA-317")
async def test_what_arrives_with_other_bytes_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The element itself vouches for a spoiled copy: the catalogue's checksums decide, and the next try is whole."""
    async with quick(tmp_path, tries=3) as agent:
        gamma = agent.world.storages["gamma"]
        receive = gamma.receive
        spoiled: list[Path] = []

        async def spoils(source: Path, lfn: str, fence: str, birth: Birth) -> object:
            if spoiled:
                return await receive(source, lfn, fence, birth)
            other = tmp_path / "other"
            await asyncio.to_thread(other.write_bytes, b"\0" * source.stat().st_size)
            spoiled.append(other)
            return await receive(other, lfn, fence)

        monkeypatch.setattr(gamma, "receive", spoils)
        await agent.submit(workflow(events=20))
        await agent.fact(e.WorkflowsCompleted).reached()
        (task,) = await tasks(agent, "gamma")
        assert (len(spoiled), task.attempt) == (1, 2)
        assert events(tmp_path / "gamma/storage") == list(range(1, 21))


@pytest.mark.feature("TX-07")
async def test_what_a_lost_try_left_is_removed_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the server goes away in the middle of a copy: then nobody can clear up behind it."""
    async with quick(tmp_path, tries=5) as agent:
        gamma = agent.world.storages["gamma"]
        receive, left = gamma.receive, []

        async def breaks(*given: Any) -> object:
            landed = await receive(*given)
            if len(left) < 3:
                left.append(landed.temporary)
                raise StorageError("the connection was lost", kind="transient")
            assert list((tmp_path / "gamma").rglob("*.part")) == [Path(landed.temporary)]
            return landed

        monkeypatch.setattr(gamma, "receive", breaks)
        await agent.submit(workflow(events=20))
        await agent.fact(e.WorkflowsCompleted).reached()
        assert len(set(left)) == 3
        assert events(tmp_path / "gamma/storage") == list(range(1, 21))


@pytest.mark.feature("TX-07")
async def test_a_cancelled_copy_leaves_nothing_at_the_destination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with quick(tmp_path) as agent:
        gamma = agent.world.storages["gamma"]
        receive, begun = gamma.receive, asyncio.Event()

        async def hangs(*given: Any) -> object:
            await receive(*given)
            begun.set()
            return await asyncio.Event().wait()

        monkeypatch.setattr(gamma, "receive", hangs)
        await agent.submit(workflow(events=20))
        await begun.wait()
        assert len(list((tmp_path / "gamma").rglob("*.part"))) == 1
        (task,) = await tasks(agent, "gamma")
        await agent.system.ref("transfer").ask(CancelTransfers(ids=[task.id], who="ann", reason="not wanted there"))
        async with asyncio.timeout(30):
            while list((tmp_path / "gamma").rglob("*.part")):
                await rounds(agent, 1)
        await agent.fact(e.WorkflowsCompleted).reached()
        assert [task.state for task in await tasks(agent, "gamma")] == [TransferState.CANCELLED]


@pytest.mark.feature("TX-10")
async def test_how_far_a_copy_has_come_is_told_while_it_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOOK_S", 0.05)
    async with quick(tmp_path) as agent:
        gamma = agent.world.storages["gamma"]
        receive, goes_on = gamma.receive, asyncio.Event()

        async def waits(*given: object) -> object:
            await goes_on.wait()
            return await receive(*given)  # type: ignore[arg-type]

        async def under_way(*_: str) -> int:
            return 7

        monkeypatch.setattr(gamma, "receive", waits)
        monkeypatch.setattr(gamma, "under_way", under_way)
        await agent.submit(workflow(events=20))
        await agent.fact(e.TransfersMoving).reached()
        async with asyncio.timeout(60):
            while not (moving := (await tasks(agent, "gamma"))[0]).reason:
                await rounds(agent, 1)
        assert moving.state is TransferState.MOVING
        assert moving.reason.startswith(f"7 bytes of {moving.size} bytes, ")
        answer = await agent.world.store.read(
            lambda c: why(c, f"transfer:{moving.id}", agent.world.settings, agent.world.clock.time())
        )
        assert f"to gamma: 7 bytes of {moving.size} bytes, " in answer.text
        assert agent.world.progress.sums()["gamma"][0] == 7
        goes_on.set()
        await agent.fact(e.WorkflowsCompleted).reached()
        (task,) = await tasks(agent, "gamma")
        assert (task.state, task.reason) == (TransferState.SAFE, "one verified disk copy")
        assert agent.world.progress.sums() == {}
        await in_order(agent)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A destination with 1 MB, 0.9 of which is somebody else's."""
    place = tmp_path / "gamma/storage"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], check=True)
    (place / "other").write_bytes(bytes(900_000))
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk that fills up")
@pytest.mark.feature("PA-317", "REL-08")
async def test_a_disk_that_is_really_full_is_seen_before_the_copy(small_disk: Path, tmp_path: Path) -> None:
    async with quick(tmp_path) as agent:
        await agent.submit(workflow(events=20, command=LARGE))
        await told(agent, FULL, "gamma")
        (waiting,) = await tasks(agent, "gamma")
        assert (waiting.state, waiting.attempt) == (TransferState.READY, 0)
        (small_disk / "other").unlink()
        await agent.fact(e.WorkflowsCompleted).reached()
        assert [task.attempt for task in await tasks(agent, "gamma")] == [1]
        await in_order(agent)
