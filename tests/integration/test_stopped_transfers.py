"""Transfers that only a person can mend: named in alerts, tried once more or given up on command."""

from pathlib import Path

import msgspec
import pytest

from actors.messages import CancelTransfers, RetryTransfers
from domain import events as e
from domain.transfer import TransferState
from storage import alerts, laws, transfers
from storage.transfers import Transfer
from tests.integration.agent import Agent, running, workflow

ONCE = "\n[transfer]\nmax_tries = 1\n"
BOTH = workflow(events=40, deliver_to=["gamma"])


async def stopped(agent: Agent, state: TransferState) -> list[Transfer]:
    return await agent.world.store.read(lambda c: transfers.load(c, [state]))


async def until(agent: Agent, state: TransferState, fact: type[e.Event], count: int = 2) -> None:
    """Wait until so many are in a state; the facts of several may come with one commit, which is heard once."""
    heard = 0
    while len(await stopped(agent, state)) < count:
        heard += 1
        await agent.fact(fact).reached(heard)


async def open_alerts(agent: Agent) -> dict[str, str]:
    found = await agent.world.store.read(alerts.open_alerts)
    return {f"{one.code} {one.subject}": one.text for one in found if one.code.startswith("transfers-")}


def in_the_way(directory: Path, lfn: str) -> Path:
    """Put another file where a transfer will bring its own."""
    place = directory / "gamma/storage" / lfn.lstrip("/")
    place.parent.mkdir(parents=True)
    place.write_text("somebody else's")
    return place


class Gated:
    """Lets nothing arrive at a site until it may."""

    def __init__(self, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shut = True
        storage = agent.world.storages["gamma"]
        receive = storage.receive

        async def gated(*args: object) -> object:
            if self.shut:
                raise PermissionError("nobody may write at gamma")
            return await receive(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(storage, "receive", gated)


@pytest.mark.feature("TX-05", "TX-08")
async def test_parked_ones_go_on_when_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, more=ONCE) as agent:
        gate = Gated(agent, monkeypatch)
        mover = agent.system.ref("transfer")
        await agent.submit(BOTH)
        await until(agent, TransferState.PARKED, e.TransfersParked)
        assert [task.reason for task in await stopped(agent, TransferState.PARKED)] == [
            "nobody may write at gamma (try 1)"
        ] * 2
        await mover.ask(RetryTransfers(ids=[999]))  # the look behind the last fact is over
        assert (await open_alerts(agent))["transfers-parked gamma"].startswith("2 to gamma wait for you")
        assert (await mover.ask(RetryTransfers(destination="alpha"))).ids == []
        assert (await mover.ask(RetryTransfers(destination="gamma", dry_run=True))).ids == [1, 2]
        assert len(await stopped(agent, TransferState.PARKED)) == 2
        gate.shut = False
        assert (await mover.ask(RetryTransfers(destination="gamma", reason="rights are back", who="ana"))).ids == [1, 2]
        await agent.fact(e.WorkflowsCompleted).reached()
        await mover.ask(RetryTransfers(ids=[999]))
        assert await open_alerts(agent) == {}
        assert await agent.world.store.read(lambda c: list(laws.check(c, now=agent.world.clock.time()))) == []


@pytest.mark.feature("TX-08")
async def test_a_name_that_another_file_has_is_the_operators_to_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The foreign file is never touched: tried again when it was taken away, or given up."""
    async with running(tmp_path, more=ONCE) as agent:
        gate = Gated(agent, monkeypatch)
        mover = agent.system.ref("transfer")
        await agent.submit(BOTH)
        await until(agent, TransferState.PARKED, e.TransfersParked)
        gate.shut = False
        first, second = await stopped(agent, TransferState.PARKED)
        ours, theirs = in_the_way(tmp_path, first.lfn), (tmp_path / "gamma/storage" / second.lfn.lstrip("/"))
        theirs.write_text("somebody else's, too")
        await mover.ask(RetryTransfers(ids=[1, 2]))
        await until(agent, TransferState.QUARANTINED, e.TransfersQuarantined)
        ours.unlink()
        assert (await mover.ask(RetryTransfers(ids=[1]))).ids == [1]
        assert (await mover.ask(CancelTransfers(ids=[2, 999], reason="theirs is right", who="ana"))).ids == [2]
        await agent.fact(e.WorkflowsCompleted).reached()
        assert theirs.read_text() == "somebody else's, too"
        (given_up,) = await stopped(agent, TransferState.CANCELLED)
        assert (given_up.id, given_up.reason) == (2, "ana: theirs is right")
        assert (await mover.ask(RetryTransfers(ids=[1, 2]))).ids == [], "one has arrived, the other is given up"
        assert await open_alerts(agent) == {}
        assert await agent.world.store.read(lambda c: list(laws.check(c, now=agent.world.clock.time()))) == []


@pytest.mark.feature("TX-06")
async def test_one_under_way_is_cut_short_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as agent:
        storage = agent.world.storages["gamma"]

        async def hangs(*_: object) -> None:
            await agent.fact(e.TransfersCancelled).reached(100)

        monkeypatch.setattr(storage, "receive", hangs)
        await agent.submit(BOTH)
        await until(agent, TransferState.MOVING, e.TransfersMoving)
        cancelled = await agent.system.ref("transfer").ask(CancelTransfers(ids=[1, 2]))
        assert cancelled.ids == [1, 2]
        await agent.fact(e.WorkflowsCompleted).reached()
        assert not [path for path in (tmp_path / "gamma/storage").rglob("*") if path.is_file()]
        assert msgspec.json.encode(await open_alerts(agent)) == b"{}"
