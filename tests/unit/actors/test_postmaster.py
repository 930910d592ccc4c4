"""Dead letters of mailboxes: written down, counted, replayed, dropped, and told of for as long as they are there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from actors.messages import DropLetters, HoldWorkflow, RaiseAlert, Refused, ReplayLetters, Wake
from actors.postmaster import Postmaster, body_of, keep_fresh, order_of
from actors.world import World
from config.settings import Agent, Events, Settings
from domain.events import Published
from run_agent import connected
from storage import alerts, dead_letters, later
from storage.dead_letters import Letter
from storage.sandboxes import Sandboxes
from storage.store import Store
from supervisors import ActorSystem, AsyncioActor, ChildSpec, MailboxOptions, Overflow, SupervisorSpec, SystemClock
from supervisors.testing import Signal

ORDER = HoldWorkflow(workflow="zmumu", hold=True)


class Clerk(AsyncioActor):
    """Dies of orders while `sick`; keeps the others."""

    sick = True

    def __init__(self, got: list[Any], handled: Signal) -> None:
        super().__init__()
        self.got, self.handled = got, handled

    async def on_receive(self, message: Any) -> None:
        if type(self).sick and isinstance(message, HoldWorkflow):
            raise ValueError("odd order")
        self.got.append(message)
        self.handled.fire()


class Office:
    def __init__(self, system: ActorSystem, store: Store, got: list[Any], handled: Signal) -> None:
        self.system, self.store, self.got, self.handled = system, store, got, handled

    async def letters(self) -> list[Letter]:
        """What is in the store once the postmaster has looked."""
        await self.system.ref("postmaster").ask(Wake())
        return await self.store.read(dead_letters.waiting)

    async def alerts(self) -> list[str]:
        return [alert.text for alert in await self.store.read(alerts.open_alerts) if alert.code == "dead-letters"]


@asynccontextmanager
async def office(directory: Path, monkeypatch: pytest.MonkeyPatch, *, sick: bool = True) -> AsyncIterator[Office]:
    monkeypatch.setattr(Clerk, "sick", sick)
    store = await Store.open(f"sqlite:///{directory}/agent.db")
    clock = SystemClock()
    world = World(
        settings=Settings(agent=Agent(name="test"), events=Events(sweep_s=3600.0)),
        store=store,
        clock=clock,
        sandboxes=Sandboxes(directory),
        batches={},
        storages={},
        stage_out={},
        managers={},
    )
    got: list[Any] = []
    handled = Signal()
    small = MailboxOptions(capacity=1, overflow=Overflow.DEAD_LETTER)
    children = (
        ChildSpec("postmaster", partial(Postmaster, world)),
        ChildSpec("clerk", partial(Clerk, got, handled)),
        ChildSpec("small", partial(Clerk, got, handled), mailbox=small),
    )
    system = connected(world, ActorSystem(SupervisorSpec("root", children, intensity=100), clock=clock))
    await system.start()
    try:
        yield Office(system, store, got, handled)
    finally:
        await system.stop()
        await store.close()


@pytest.mark.feature("PA-012")
async def test_a_killing_message_is_kept_with_its_traceback_and_blocks_nobody(tmp_path, monkeypatch) -> None:
    async with office(tmp_path, monkeypatch) as here:
        clerk = here.system.ref("clerk")
        clerk.tell(ORDER)
        clerk.tell("next")
        await here.handled.reached()
        (letter,) = await here.letters()
        assert (letter.actor, letter.type, letter.reason, letter.tries) == (
            "clerk",
            "HoldWorkflow",
            "killed-its-actor",
            2,
        )
        assert "odd order" in letter.error
        assert "in on_receive" in letter.traceback
        assert order_of(letter.body) == ORDER
        assert here.got == ["next"]
        assert await here.alerts() == ["0 facts and 1 messages could not be handled; look at them with `dlq list`"]


@pytest.mark.feature("PA-012")
async def test_it_outlives_the_process_is_replayed_and_its_alert_closed(tmp_path, monkeypatch) -> None:
    async with office(tmp_path, monkeypatch) as here:
        here.system.ref("clerk").tell(ORDER)
        here.system.ref("clerk").tell("next")
        await here.handled.reached()
        (letter,) = await here.letters()
    async with office(tmp_path, monkeypatch, sick=False) as here:
        assert [one.id for one in await here.letters()] == [letter.id]
        answer = await here.system.ref("postmaster").ask(ReplayLetters(mail=[letter.id], who="anna"))
        assert answer.mail == [letter.id]
        await here.handled.reached()
        assert here.got == [ORDER]
        assert await here.letters() == []
        assert await here.alerts() == []


@pytest.mark.feature("PA-012")
async def test_one_that_kills_again_is_back_with_both_counted(tmp_path, monkeypatch) -> None:
    async with office(tmp_path, monkeypatch) as here:
        clerk = here.system.ref("clerk")
        clerk.tell(ORDER)
        clerk.tell("next")
        await here.handled.reached()
        (letter,) = await here.letters()
        await here.system.ref("postmaster").ask(ReplayLetters(mail=[letter.id]))
        clerk.tell("another")
        await here.handled.reached(2)
        (again,) = await here.letters()
        assert (again.id, again.times) == (letter.id, 2)
        dropped = await here.system.ref("postmaster").ask(DropLetters(mail=[letter.id, 99]))
        assert dropped.mail == [letter.id]
        assert await here.letters() == await here.alerts() == []


@pytest.mark.feature("PA-011", "PA-012")
async def test_hints_are_not_written_down_but_orders_that_find_no_room_are(tmp_path, monkeypatch) -> None:
    async with office(tmp_path, monkeypatch) as here:
        small = here.system.ref("small")
        here.system.pause("small")
        for message in ("first", Wake(), ORDER, object()):
            small.tell(message)
        found = await here.letters()
        assert [(one.type, one.reason, bool(one.body)) for one in found] == [
            ("HoldWorkflow", "refused", True), ("object", "refused", False),
        ]  # fmt: skip
        with pytest.raises(Refused, match="cannot be sent again"):
            await here.system.ref("postmaster").ask(ReplayLetters(mail=[found[1].id]))


@pytest.mark.feature("PA-012")
async def test_a_letter_whose_actor_is_gone_is_kept(tmp_path, monkeypatch) -> None:
    async with office(tmp_path, monkeypatch) as here:
        here.system.ref("clerk").tell(ORDER)
        here.system.ref("clerk").tell("next")
        await here.handled.reached()
        (letter,) = await here.letters()
        await here.system.remove_child("clerk")
        with pytest.raises(Refused, match=r"clerk does not take it .*; it is kept"):
            await here.system.ref("postmaster").ask(ReplayLetters(mail=[letter.id]))
        assert [one.id for one in await here.letters()] == [letter.id]


@pytest.mark.feature("PA-012")
async def test_what_dies_while_all_stop_is_written_at_the_end_of_the_stop(tmp_path, monkeypatch) -> None:
    async with office(tmp_path, monkeypatch) as here:
        here.system.pause("clerk")
        here.system.ref("clerk").tell(ORDER)
        store, system = here.store, here.system
        await system.stop(drain=0.0)
        assert [(one.actor, one.reason) for one in await store.read(dead_letters.waiting)] == [("clerk", "stopped")]
        assert not system.dead_letters.fresh


async def test_a_store_that_refuses_loses_no_letter(tmp_path, monkeypatch) -> None:
    async with office(tmp_path, monkeypatch) as here:
        here.system.pause("small")
        for message in ("first", ORDER):
            here.system.ref("small").tell(message)

        class Away:
            async def write(self, *_: Any, **__: Any) -> None:
                raise OSError("away")

        with pytest.raises(OSError, match="away"):
            await keep_fresh(Away(), here.system)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert [one.type for one in await here.letters()] == ["HoldWorkflow"]


def test_only_whole_orders_can_be_sent_again() -> None:
    alert = RaiseAlert(level="info", code="c", subject="s", text="t")
    assert order_of(body_of(alert)) == alert
    assert body_of(RaiseAlert(level="info", code="c", subject="s", text="x" * 300_000)) == ""
    assert body_of({"type": "Wake"}) == ""
    with pytest.raises(Refused, match="cannot be sent again"):
        order_of("")


@pytest.mark.feature("PA-010")
async def test_what_was_put_off_is_published_when_its_time_has_come(tmp_path, monkeypatch) -> None:
    async with office(tmp_path, monkeypatch) as it:
        told = Signal()
        it.store.listen(lambda kinds: told.fire() if Published in kinds else None)
        await it.store.write(lambda tx: later.publish(tx, "tidy", {}, delay_s=0.05))
        await it.system.ref("postmaster").ask(Wake())
        await told.reached()
        assert await it.store.read(later.next_at) is None
