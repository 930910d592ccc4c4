"""The local batch system under fire: whatever dies, each job runs once and is accounted for."""

import asyncio
import contextlib
import json
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from backends.batch import local
from backends.batch.base import BatchError, BatchState, JobDescription, JobStatus
from backends.batch.local import LocalBatch, LocalSettings
from domain.report import decode_report
from runtime import process
from runtime.build import build

DEADLINE_S = 30.0


class Machine:
    """A spool directory, with whoever works on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.node = directory / "node"
        self.marks = directory / "marks"
        self.runtime = build(directory)
        self.opened: list[LocalBatch] = []

    async def agent(self, **settings: Any) -> LocalBatch:
        """Return a fresh agent's view of the same directory."""
        batch = LocalBatch(LocalSettings(directory=str(self.node), **{"idle_s": 5.0, **settings}), runtime=self.runtime)
        self.opened.append(batch)
        await batch.open()
        return batch

    def job(self, token: str, script: str = "") -> JobDescription:
        """Return a job that leaves a mark each time it runs, and then does what `script` says."""
        command = ["sh", "-c", f"echo {token} >> {self.marks}; {script}"]
        spec = {
            "schema": 1,
            "token": token,
            "job": 1,
            "type": "processing",
            "workflow": "w",
            "sandbox": None,
            "inputs": [],
            "environment": {},
            "steps": [{"name": "payload", "command": command, "environment": {}}],
            "output": None,
            "concatenate": False,
            "stage_out": [],
            "limits": {"wall_s": 600, "memory_mb": 500},
        }
        return JobDescription(token=token, spec=spec)

    def ran(self) -> list[str]:
        return sorted(self.marks.read_text().split()) if self.marks.exists() else []

    def daemon(self) -> int:
        return int((self.node / "node.lock").read_text())

    def kill_daemon(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.daemon(), signal.SIGKILL)

    def lines(self) -> list[dict[str, Any]]:
        texts = b"".join(path.read_bytes() for path in sorted((self.node / "journal").iterdir())).split(b"\n")
        return [json.loads(text) for text in texts if text]

    def who(self, token: str) -> int:
        """Return the pid of the runtime that started a job."""
        started = (line for line in self.lines() if line["event"] == "started" and line["token"] == token)
        return int(next(started)["who"].split(":")[1])


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    made = Machine(tmp_path)
    yield made
    last = await made.agent()
    live = [status.token for status in (await last.poll("")).statuses if status.state is not BatchState.ENDED]
    await last.cancel(live)
    await ended(last, *live)
    os.kill(made.daemon(), signal.SIGTERM)
    for batch in made.opened:
        await batch.close()

    async def nobody_left() -> bool:
        return not any(str(tmp_path) in command_line(found.pid) for found in process.everyone())

    await until(nobody_left)


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await happened():
            await asyncio.sleep(0.01)


async def reached(batch: LocalBatch, state: BatchState, *tokens: str) -> dict[str, JobStatus]:
    cursor = "-"

    async def all_there() -> bool:
        nonlocal cursor
        cursor = (await batch.poll(cursor)).cursor
        found = await batch.find(tokens)
        return all(token in found and found[token].state is state for token in tokens)

    await until(all_there)
    return await batch.find(tokens)


async def begun(machine: Machine, token: str) -> None:
    """Wait until the payload itself has begun, a moment after its attempt is running."""

    async def marked() -> bool:
        return token in machine.ran()

    await until(marked)


async def ended(batch: LocalBatch, *tokens: str) -> dict[str, JobStatus]:
    return await reached(batch, BatchState.ENDED, *tokens)


@pytest.mark.feature("PA-308")
async def test_an_agent_that_dies_before_handing_over_never_submitted(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await machine.agent()

    def dies(*_: object) -> None:
        raise MemoryError("died")

    with monkeypatch.context() as patch:
        patch.setattr(local.os, "rename", dies)
        with pytest.raises(MemoryError):
            await first.submit([machine.job("t1")])
    second = await machine.agent()
    assert await second.find(["t1"]) == {}
    await second.submit([machine.job("t2")])
    await ended(second, "t2")
    assert machine.ran() == ["t2"]


@pytest.mark.feature("PA-302", "PA-308")
async def test_an_agent_that_dies_after_handing_over_did_submit(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await machine.agent()
    machine.kill_daemon()

    def dies(*_: object) -> bool:
        raise MemoryError("died")

    with monkeypatch.context() as patch:
        patch.setattr(LocalBatch, "_nudge", dies)
        with pytest.raises(MemoryError):
            await first.submit([machine.job("t1"), machine.job("t2")])
    second = await machine.agent()
    assert set(await second.find(["t1", "t2"])) == {"t1", "t2"}
    await ended(second, "t1", "t2")
    assert machine.ran() == ["t1", "t2"]


@pytest.mark.feature("PA-308")
async def test_a_submission_that_nobody_waited_for_is_found(machine: Machine) -> None:
    batch = await machine.agent()
    task = asyncio.ensure_future(batch.submit([machine.job("t1")]))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    if found := await batch.find(["t1"]):
        await ended(batch, *found)
    assert machine.ran() == list(found)


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


@pytest.mark.feature("PA-302")
async def test_the_daemon_ends_when_idle_and_comes_back_when_needed(machine: Machine) -> None:
    batch = await machine.agent(idle_s=0.1)
    await batch.submit([machine.job("t1")])
    await ended(batch, "t1")
    daemon = machine.daemon()

    async def gone() -> bool:
        return process.stat(daemon) is None

    await until(gone)
    await batch.submit([machine.job("t2")])
    await ended(batch, "t2")
    assert machine.daemon() != daemon


@pytest.mark.feature("PA-302")
async def test_jobs_see_their_environment_and_not_the_secrets_of_the_agent(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRODAGENT_SECRET", "hidden")
    batch = await machine.agent(environment={"COLOUR": "blue"})
    await batch.submit([machine.job("t1", f"env > {machine.directory}/env")])
    await ended(batch, "t1")
    seen = (machine.directory / "env").read_text()
    assert "COLOUR=blue\n" in seen
    assert "hidden" not in seen


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


@pytest.mark.feature("PA-302")
async def test_sixty_jobs_use_the_slots_and_no_more(machine: Machine) -> None:
    batch = await machine.agent(slots=3)
    count = machine.directory / "count"
    count.mkdir()
    script = f"touch {count}/$$; ls {count} | wc -l >> {count}.log; sleep 0.01; rm {count}/$$"
    tokens = [f"t{number}" for number in range(60)]
    await batch.submit([machine.job(token, script) for token in tokens])
    await ended(batch, *tokens)
    seen = [int(text) for text in count.with_suffix(".log").read_text().split()]
    assert max(seen) <= 3


@pytest.mark.feature("PA-302")
async def test_a_python_that_is_not_there_is_said(tmp_path: Path) -> None:
    settings = LocalSettings(directory=str(tmp_path / "node"), python="no-such-python")
    batch = LocalBatch(settings, runtime=build(tmp_path))
    with pytest.raises(BatchError, match="no-such-python") as caught:
        await batch.open()
    assert not caught.value.transient
    await batch.close()


@pytest.mark.feature("PA-302")
async def test_a_directory_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "node").write_text("a file in its place")
    batch = LocalBatch(LocalSettings(directory=str(tmp_path / "node")), runtime=build(tmp_path))
    with pytest.raises(BatchError, match="cannot be used"):
        await batch.open()
    await batch.close()


@pytest.mark.feature("PA-318")
async def test_the_report_of_a_failure_carries_the_end_of_the_log(machine: Machine) -> None:
    batch = await machine.agent()
    await batch.submit([machine.job("t1", "yes 0123456789 | head -c 300000; echo the end; exit 3")])
    status = (await ended(batch, "t1"))["t1"]
    assert status.exit_code == 3
    error = decode_report((await batch.fetch(["t1"]))["t1"]).errors[0]
    assert error.log.endswith("the end\n")
    assert len(error.log) == 65536
    await batch.clean(["t1"])
    assert not list((machine.node / "jobs").glob("*/*"))
