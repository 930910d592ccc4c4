"""An agent without handles, memory or a quick disk says what it lacks, loses nothing, and goes on by itself."""

import asyncio
import logging
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.messages import Wake
from actors.tracker import Tracker
from domain import events as e
from services.console.running import utc_lines
from services.prodmgr.server import Server
from storage import alerts, laws
from storage.store import Store, Tx
from storage.writer import Pending, Settled, Writer
from tests.integration.agent import Agent, running, workflow


@contextmanager
def no_more_handles() -> Iterator[None]:
    """This process may open nothing beside what it has open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)  # the lowest one
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def numbers(place: Path) -> list[int]:
    return sorted(int(line) for path in place.rglob("*.txt") for line in path.read_text().split())


async def in_order(agent: Agent) -> None:
    await agent.fact(e.WorkflowsCompleted).reached()
    assert await agent.world.store.read(lambda c: list(laws.check(c, now=agent.world.clock.time()))) == []
    assert numbers(agent.directory / "gamma/storage") == list(range(1, 41))


@pytest.mark.feature("REL-08")
async def test_without_handles_it_says_so_and_goes_on_when_there_are_some(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, more="\n[transfer]\nlook_s = 0.1\nretry_base_s = 0.1\n") as agent:
        await agent.submit(workflow())
        await agent.fact(e.JobsSubmitting).reached()
        tracker = agent.system.ref("tracker.alpha-local")
        async with asyncio.timeout(60):
            while "Too many open files" not in caplog.text:
                with no_more_handles():  # what is closed meanwhile is taken away the next time
                    for _ in range(5):
                        await tracker.ask(Wake())
        await in_order(agent)
        await tracker.ask(Wake())
        left = await agent.world.store.read(alerts.open_alerts)
        assert not [one.text for one in left if "open files" in one.text]


@pytest.mark.feature("REL-08")
async def test_a_prodmgr_without_handles_says_so_once_and_lets_its_caller_in_when_there_are_some(
    tmp_path: Path,
) -> None:
    server, loop, said = Server(f"sqlite:///{tmp_path}/prodmgr.db", "127.0.0.1", 0), asyncio.get_running_loop(), []
    await server.start()
    loop.set_exception_handler(lambda _, context: said.append(context["message"]))
    with socket.socket() as caller:
        caller.setblocking(False)
        with no_more_handles():
            await loop.sock_connect(caller, ("127.0.0.1", server.port))
            while not said:
                await asyncio.sleep(0)
        await loop.sock_sendall(caller, b"GET /nothing HTTP/1.0\r\n\r\n")
        assert (await loop.sock_recv(caller, 100)).startswith(b"HTTP/1.0 404")
    await server.stop()
    assert said == ["socket.accept() out of system resource"]


@pytest.mark.feature("REL-08")
async def test_a_stage_that_finds_no_memory_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of its work, and again while its unit is being written; what is half done is not there."""
    left = [3]
    work = Tracker.work

    async def starved(stage: Tracker) -> bool:
        if left[0]:
            left[0] -= 1
            await stage.write(lambda tx: [alerts.raise_alert(tx, "info", "half", "done", ""), bytes(1 << 60)])
        return await work(stage)

    monkeypatch.setattr(Tracker, "work", starved)
    async with running(tmp_path) as agent:
        await agent.submit(workflow())
        await in_order(agent)
        assert left == [0]
        assert "half" not in {one.code for one in await agent.world.store.read(alerts.open_alerts)}


@pytest.mark.feature("REL-08")
async def test_a_slow_disk_is_given_more_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes while a commit takes long goes into the next one together: as many commits as before, no write given up."""
    sizes: list[int] = []
    gate, began = threading.Event(), threading.Event()
    commit = Writer.commit

    def slow(writer: Writer, group: Sequence[Pending], now: float) -> Settled:
        sizes.append(len(group))
        began.set()
        assert gate.wait(60)
        return commit(writer, group, now)

    store = await Store.open(f"sqlite:///{tmp_path}/agent.db")
    monkeypatch.setattr(Writer, "commit", slow)

    def unit(number: int) -> Callable[[Tx], int]:
        def write(tx: Tx) -> int:
            alerts.raise_alert(tx, "info", "slow", str(number), "")
            return number

        return write

    first = asyncio.ensure_future(store.write(unit(0)))
    await asyncio.to_thread(began.wait)
    rest = [asyncio.ensure_future(store.write(unit(number))) for number in range(1, 100)]
    await asyncio.wait([*rest], timeout=0)
    gate.set()
    assert await asyncio.gather(first, *rest) == list(range(100))
    assert sizes == [1, 99]
    assert len(await store.read(alerts.open_alerts)) == 100
    await store.close()


@pytest.fixture(params=["Pacific/Kiritimati", "America/Adak"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A day apart from each other."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.feature("REL-08")
def test_times_in_the_log_are_utc_wherever_it_runs(zone: str) -> None:
    record = logging.LogRecord("prodagent", logging.INFO, "", 0, "a word", None, None)
    record.created, record.msecs = 1_000_000_000.5, 500.0
    assert utc_lines().format(record) == "2001-09-09 01:46:40.500Z INFO    prodagent: a word"
