"""The local batch system under fire: whatever dies, each job runs once and is accounted for."""

import asyncio
import os
import random
import signal

import pytest

from backends.batch.base import BatchState
from domain.report import decode_report
from runtime import process
from tests.integration.local_machine import Machine, begun, command_line, ended, machine, reached, until

__all__ = ["machine"]


@pytest.mark.feature("PA-302")
async def test_jobs_go_on_without_agent_and_daemon_and_are_adopted(machine: Machine) -> None:
    gate = machine.directory / "gate"
    first = await machine.agent()
    waits = f"until [ -e {gate} ]; do sleep 0.05; done"
    await first.submit([machine.job("t1", waits), machine.job("t2"), machine.job("t3")])
    await reached(first, BatchState.RUNNING, "t1")
    await ended(first, "t2", "t3")
    cursor = (await first.poll("")).cursor
    machine.kill_daemon()
    await first.close()
    second = await machine.agent()
    assert (await second.poll(cursor)).statuses == []
    await reached(second, BatchState.RUNNING, "t1")
    gate.touch()
    status = (await ended(second, "t1"))["t1"]
    assert (status.exit_code, status.signal) == (0, None)
    assert decode_report((await second.fetch(["t1"]))["t1"]).exit_code == 0
    assert machine.ran() == ["t1", "t2", "t3"]


@pytest.mark.feature("PA-302")
async def test_a_job_that_ended_while_nobody_looked_is_not_run_again(machine: Machine) -> None:
    gate = machine.directory / "gate"
    first = await machine.agent()
    await first.submit([machine.job("t1", f"until [ -e {gate} ]; do sleep 0.05; done")])
    await reached(first, BatchState.RUNNING, "t1")
    machine.kill_daemon()
    await first.close()
    gate.touch()

    async def said() -> bool:
        return any(line["event"] == "ended" for line in machine.lines())

    await until(said)
    second = await machine.agent()
    assert (await ended(second, "t1"))["t1"].exit_code == 0
    assert machine.ran() == ["t1"]


@pytest.mark.feature("PA-302", "PA-312")
async def test_a_killed_runtime_shows_as_ended_by_signal_9_without_report(machine: Machine) -> None:
    batch = await machine.agent()
    await batch.submit([machine.job("t1", "sleep 600")])
    await reached(batch, BatchState.RUNNING, "t1")
    runtime = machine.who("t1")
    os.kill(runtime, signal.SIGKILL)
    status = (await ended(batch, "t1"))["t1"]
    assert (status.exit_code, status.signal) == (None, 9)
    assert await batch.fetch(["t1"]) == {}
    assert not [found for found in process.everyone() if found.session == runtime and found.state not in "ZX"]
    await batch.submit([machine.job("t2")])
    assert (await ended(batch, "t2"))["t2"].exit_code == 0


@pytest.mark.feature("PA-302", "PA-312")
async def test_a_runtime_killed_together_with_its_daemon_is_noticed(machine: Machine) -> None:
    first = await machine.agent()
    await first.submit([machine.job("t1", "sleep 600")])
    await begun(machine, "t1")
    runtime = machine.who("t1")
    machine.kill_daemon()
    os.kill(runtime, signal.SIGKILL)
    status = (await ended(first, "t1"))["t1"]
    assert (status.exit_code, status.signal) == (None, 9)
    assert machine.ran() == ["t1"]


@pytest.mark.feature("PA-302", "PA-308")
async def test_every_job_runs_once_while_the_daemon_is_killed_again_and_again(machine: Machine) -> None:
    dice = random.Random(7)
    batch = await machine.agent(slots=4)
    tokens = [f"t{number:03d}" for number in range(120)]
    for start in range(0, len(tokens), 30):
        await batch.submit([machine.job(token, "sleep 0.02") for token in tokens[start : start + 30]])
        for _ in range(3):
            await asyncio.sleep(dice.random() * 0.1)
            machine.kill_daemon()
            await batch.poll("")
    statuses = await ended(batch, *tokens)
    assert machine.ran() == tokens
    assert {status.exit_code for status in statuses.values()} == {0}
    assert sorted(line["token"] for line in machine.lines() if line["event"] == "ended") == tokens


@pytest.mark.feature("PA-302")
async def test_a_torn_line_spoils_only_itself(machine: Machine) -> None:
    batch = await machine.agent()
    await batch.submit([machine.job("t1")])
    await ended(batch, "t1")
    with (machine.node / "journal" / "000001.jsonl").open("ab") as sink:
        sink.write(b'\n{"event":"ended","token":"t2","co')
    await batch.submit([machine.job("t2")])
    assert (await ended(batch, "t2"))["t2"].exit_code == 0


@pytest.mark.feature("PA-302")
async def test_what_was_not_run_before_a_reboot_is_not_run_after_it(machine: Machine) -> None:
    batch = await machine.agent(slots=1)
    await batch.submit([machine.job("t1", "sleep 600"), machine.job("t2")])
    await begun(machine, "t1")
    runtime = machine.who("t1")
    machine.kill_daemon()
    process.kill_session(runtime)
    journal = machine.node / "journal" / "000001.jsonl"
    journal.write_bytes(journal.read_bytes().replace(process.boot_id().encode(), b"another-boot"))
    fresh = await machine.agent(slots=1)
    statuses = await ended(fresh, "t1", "t2")
    assert statuses["t2"].reason == "the node was restarted"
    assert statuses["t2"].exit_code is None
    assert machine.ran() == ["t1"]


@pytest.mark.feature("PA-302", "PA-308")
async def test_a_daemon_that_dies_before_it_looks_is_replaced_by_the_next_poll(machine: Machine) -> None:
    batch = await machine.agent()
    os.kill(machine.daemon(), signal.SIGSTOP)
    await batch.submit([machine.job("t1")])
    machine.kill_daemon()
    await ended(batch, "t1")
    assert machine.ran() == ["t1"]


@pytest.mark.feature("PA-302", "PA-308", "PA-312")
async def test_whatever_is_killed_no_job_runs_twice_and_each_one_ends(machine: Machine) -> None:
    dice = random.Random(11)
    batch = await machine.agent(slots=3)
    tokens = [f"t{number:03d}" for number in range(90)]
    await batch.submit([machine.job(token, "sleep 0.03") for token in tokens])
    cursor, over, kills = "-", set[str](), 0
    while len(over) < len(tokens):
        await asyncio.sleep(dice.random() * 0.1)
        workers = {line["token"]: line for line in machine.lines() if line["event"] == "started"}
        live = [int(line["who"].split(":")[1]) for token, line in workers.items() if token not in over]
        victims = dice.choice([[machine.daemon()], live[-1:], [machine.daemon(), *live[-2:]], []])
        for victim in victims:
            if "runtime-" in command_line(victim):
                os.kill(victim, signal.SIGKILL)
                kills += 1
        answer = await batch.poll(cursor)
        cursor = answer.cursor
        over |= {status.token for status in answer.statuses if status.state is BatchState.ENDED}
    statuses = await batch.find(tokens)
    ran = machine.ran()
    assert len(ran) == len(set(ran))
    assert {token for token in tokens if statuses[token].exit_code == 0} <= set(ran)
    assert all(status.exit_code == 0 or status.signal == 9 for status in statuses.values())
    assert kills > 5
