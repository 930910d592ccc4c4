"""Pilots under fire: whatever dies, no token runs twice and every attempt ends."""

import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from backends.batch.base import BatchError, BatchState, BatchSystem, JobDescription, JobStatus
from backends.batch.local import LocalBatch, LocalSettings
from backends.batch.pilot import PilotBatch, PilotSettings
from backends.channel.hosts import Hosts
from domain.report import decode_report
from runtime import desk, process, recovery
from runtime.build import build
from runtime.shared import Shared
from supervisors import SystemClock
from tests.integration.local_machine import command_line, until
from tests.real.sshd import Sshd

pytestmark = pytest.mark.feature("PA-301", "PA-308")


class Field:
    """A shared directory with pilots in the slots of a local target."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.shared = directory / "shared"
        self.marks = directory / "marks"
        self.runtime = build(directory)
        self.hosts = Hosts({})
        self.opened: list[PilotBatch] = []

    async def agent(self, **settings: Any) -> PilotBatch:
        """Return a fresh agent's view of the same directory."""
        known = {"directory": str(self.shared), "over": {}, "max_pilots": 2, "idle_s": 1.0, **settings}
        batch = PilotBatch(
            PilotSettings(**known), runtime=self.runtime, hosts=self.hosts, clock=SystemClock(), inner=self.inner
        )
        self.opened.append(batch)
        await batch.open()
        return batch

    def inner(self, _: Mapping[str, Any]) -> BatchSystem:
        settings = LocalSettings(directory=str(self.directory / "node"), slots=4, idle_s=2.0)
        return LocalBatch(settings, runtime=self.runtime)

    def job(self, token: str, script: str = "", **needs: Any) -> JobDescription:
        """Return a job that leaves a mark each time it runs, and then does what `script` says."""
        command = ["sh", "-c", f"echo {token} >> {self.marks}; {script}"]
        spec = {"schema": 1, "token": token, "job": 1, "type": "processing", "workflow": "w", "output": None}
        spec |= {"steps": [{"name": "payload", "command": command}], "limits": {"wall_s": 600, "memory_mb": 500}}
        return JobDescription(token=token, spec=spec, **{"wall_s": 600, **needs})

    def ran(self) -> list[str]:
        return sorted(self.marks.read_text().split()) if self.marks.exists() else []

    def said(self) -> list[dict[str, Any]]:
        texts = b"".join(path.read_bytes() for path in sorted((self.shared / "journal").iterdir())).split(b"\n")
        return [json.loads(text) for text in texts if text]

    def pilots(self) -> list[int]:
        """Return the pids of the pilots that show a sign of life."""
        found = []
        for sign in (self.shared / "pilots").iterdir():
            if sign.suffix != ".told":
                with contextlib.suppress(OSError, ValueError):
                    found.append(json.loads(sign.read_text())["pid"])
        return [pid for pid in found if " pilot " in command_line(pid).replace("\0", " ")]

    def workers(self) -> list[int]:
        """Return the pids of the processes that run jobs in pilots."""
        ours = set(self.pilots())
        return [found.pid for found in process.everyone() if found.session == found.pid and _parent(found.pid) in ours]


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


@pytest.fixture
async def field(tmp_path: Path) -> AsyncIterator[Field]:
    made = Field(tmp_path)
    yield made
    last = await made.agent()
    live = [status.token for status in (await last.poll("")).statuses if status.state is not BatchState.ENDED]
    await last.cancel(live)
    await ended(last, *live)
    for pid in made.pilots():
        os.kill(pid, signal.SIGTERM)

    async def nobody_left() -> bool:
        return not any(str(tmp_path) in command_line(found.pid) for found in process.everyone())

    await until(nobody_left)
    for batch in made.opened:
        await batch.close()
    await made.hosts.close()


async def ended(batch: PilotBatch, *tokens: str) -> dict[str, JobStatus]:
    return await reached(batch, BatchState.ENDED, *tokens)


async def reached(batch: PilotBatch, state: BatchState, *tokens: str) -> dict[str, JobStatus]:
    found: dict[str, JobStatus] = {}

    async def all_there() -> bool:
        found.update({status.token: status for status in (await batch.poll("")).statuses})
        await asyncio.sleep(0.05)
        return all(token in found and found[token].state is state for token in tokens)

    await until(all_there)
    return {token: found[token] for token in tokens}


async def test_pilots_take_jobs_and_leave_when_there_are_none(field: Field) -> None:
    batch = await field.agent(idle_s=0.5)
    tokens = [f"t{number}" for number in range(30)]
    verdicts = await batch.submit([field.job(token) for token in tokens])
    assert all(verdict.accepted for verdict in verdicts)
    statuses = await ended(batch, *tokens)
    assert {status.exit_code for status in statuses.values()} == {0}
    reports = await batch.fetch(tokens)
    assert [decode_report(reports[token]).token for token in tokens] == tokens
    assert field.ran() == sorted(tokens)

    async def all_left() -> bool:
        await batch.poll("")
        return not field.pilots()

    await until(all_left)
    assert sum(line["event"] == "left" for line in field.said()) in (1, 2)
    await batch.clean(tokens)
    assert [list((field.shared / place).rglob("*")) for place in ("batches", "pilots")] == [[], []]
    assert not [path for path in (field.shared / "claims").rglob("*") if path.is_symlink()]


async def test_another_agent_goes_on_and_nothing_runs_again(field: Field) -> None:
    gate = field.directory / "gate"
    first = await field.agent()
    waits = f"until [ -e {gate} ]; do sleep 0.05; done"
    await first.submit([field.job("t1", waits), field.job("t2"), field.job("t3")])
    await reached(first, BatchState.RUNNING, "t1")
    await ended(first, "t2", "t3")
    await first.close()
    second = await field.agent()
    assert {status.state for status in (await second.find(["t1"])).values()} == {BatchState.RUNNING}
    gate.touch()
    statuses = await ended(second, "t1", "t2", "t3")
    assert {status.exit_code for status in statuses.values()} == {0}
    assert field.ran() == ["t1", "t2", "t3"]


async def test_a_submission_that_comes_after_the_question_never_runs(field: Field) -> None:
    batch = await field.agent()
    assert await batch.find(["late"]) == {}
    where = Shared(str(field.shared), "another")
    spec = json.dumps(field.job("late").spec)
    text = json.dumps({"jobs": [["late", 1, len(spec), 0, 600]]}) + "\n" + spec
    desk.answer(where, {"ask": "drop", "batch": secrets.token_hex(8), "text": text})
    assert await batch.find(["late"]) == {}
    await batch.submit([field.job("t1")])
    await ended(batch, "t1")
    (verdict,) = await batch.submit([field.job("late")])
    assert not verdict.accepted
    assert field.ran() == ["t1"]


@pytest.mark.feature("PA-312")
async def test_a_job_whose_pilot_is_killed_ends_and_the_others_run_elsewhere(field: Field) -> None:
    batch = await field.agent(max_pilots=1)
    await batch.submit([field.job("t1", "sleep 600"), field.job("t2"), field.job("t3")])
    await reached(batch, BatchState.RUNNING, "t1")

    async def begun() -> bool:
        return field.ran() == ["t1"]

    await until(begun)
    for pid in [*field.workers(), *field.pilots()]:
        os.kill(pid, signal.SIGKILL)
    statuses = await ended(batch, "t1", "t2", "t3")
    assert (statuses["t1"].exit_code, statuses["t1"].signal) == (None, 9)
    assert (statuses["t2"].exit_code, statuses["t3"].exit_code) == (0, 0)
    assert field.ran() == ["t1", "t2", "t3"]


async def test_jobs_of_a_killed_pilot_end_with_it_and_say_so(field: Field) -> None:
    batch = await field.agent(max_pilots=1)
    await batch.submit([field.job("t1", "exec sleep 98765")])
    await reached(batch, BatchState.RUNNING, "t1")
    (pilot,) = field.pilots()
    os.kill(pilot, signal.SIGKILL)
    statuses = await ended(batch, "t1")
    if statuses["t1"].exit_code is not None:
        report = decode_report((await batch.fetch(["t1"]))["t1"])
        assert "told to stop by signal 15" in report.errors[0].text

    async def no_payload() -> bool:
        return not [found for found in process.everyone() if command_line(found.pid) == "sleep\x0098765\x00"]

    await until(no_payload)


@pytest.mark.feature("PA-312", "PA-313")
@pytest.mark.parametrize("seed", [3, 7])
async def test_whatever_is_killed_no_job_runs_twice_and_each_one_ends(field: Field, seed: int) -> None:
    dice = random.Random(seed)
    batch = await field.agent(max_pilots=3)
    tokens = [f"t{number:03d}" for number in range(90)]
    for start in range(0, len(tokens), 30):
        await batch.submit([field.job(token, "sleep 0.1") for token in tokens[start : start + 30]])
    over: dict[str, JobStatus] = {}
    cursor, kills = "", 0
    while len(over) < len(tokens):
        await asyncio.sleep(dice.random() * 0.2)
        pilots, workers = field.pilots(), field.workers()
        victims = dice.choice([pilots[:1], workers[:1], [*pilots[-1:], *workers], []])
        for victim in victims if kills < 40 else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                kills += 1
        if dice.random() < 0.1:
            batch, cursor = await field.agent(max_pilots=3), ""
        answer = await batch.poll(cursor)
        cursor = answer.cursor
        over |= {status.token: status for status in answer.statuses if status.state is BatchState.ENDED}
    ran = field.ran()
    assert len(ran) == len(set(ran))
    assert {token for token in tokens if over[token].exit_code == 0} <= set(ran)
    assert kills > 5
    assert sum(status.exit_code == 0 for status in over.values()) > 30


@pytest.mark.timeout(30)
@pytest.mark.feature("PA-313")
async def test_the_one_job_among_many_that_others_took_is_found(field: Field) -> None:
    """However short a pilot may be idle; each would go past the same jobs else, and the next one after it."""
    batch = await field.agent(max_pilots=1, idle_s=0.2)
    tokens = [f"t{number:03d}" for number in range(90)]
    where = Shared(str(field.shared), "elsewhere")
    for token in tokens:
        if token != "t050":
            assert recovery.claim(where.claim_of(token), f"elsewhere/{token}")
    await batch.submit([field.job(token) for token in tokens])
    await ended(batch, "t050")
    assert field.ran() == ["t050"]
    desk.answer(where, {"ask": "judge", "dead": ["elsewhere"], "tokens": tokens})


async def test_cancel_reaches_waiting_and_running_jobs(field: Field) -> None:
    batch = await field.agent(max_pilots=1)
    await batch.submit([field.job("t1", "sleep 600"), field.job("t2", "sleep 600")])
    await reached(batch, BatchState.RUNNING, "t1")
    await batch.cancel(["t1", "t2"])
    statuses = await ended(batch, "t1", "t2")
    assert {status.reason for status in statuses.values()} == {"cancelled"}
    assert field.ran() == ["t1"]


@pytest.mark.feature("PA-310")
async def test_a_job_that_no_pilot_could_run_is_refused_alone(field: Field) -> None:
    batch = await field.agent(wall_s=3600.0, memory_mb=1000)
    wishes = {"cores": {"cores": 2}, "memory": {"memory_mb": 2000}, "wall": {"wall_s": 3600}, "fit": {"memory_mb": 500}}
    verdicts = await batch.submit([field.job(token, **{"memory_mb": 500, **wish}) for token, wish in wishes.items()])
    assert [verdict.accepted for verdict in verdicts] == [False, False, False, True]
    assert [verdict.reason.split(",")[0] for verdict in verdicts[:2]] == [
        "the job asks for 2 cores",
        "the job asks for 2000 MB",
    ]
    await ended(batch, "fit")


async def test_a_pilot_takes_nothing_that_it_could_not_end_in_its_time(field: Field) -> None:
    batch = await field.agent(wall_s=120.0, max_pilots=1, idle_s=0.3)
    await batch.submit([field.job("t1", wall_s=50), field.job("t2", "sleep 2", wall_s=59)])
    statuses = await ended(batch, "t1", "t2")
    assert {status.exit_code for status in statuses.values()} == {0}
    names = {line["who"].partition("/")[0] for line in field.said() if line["event"] == "started"}
    assert names


async def test_a_pilot_that_cannot_be_started_is_said_and_not_asked_for_again_at_once(field: Field) -> None:
    batch = await field.agent(node_python="no-such-python", max_pilots=1)
    await batch.submit([field.job("t1")])

    async def said() -> bool:
        status = (await batch.poll("")).statuses[0]
        return "the last pilot ended at once" in status.reason

    await until(said)
    journal = b"".join(path.read_bytes() for path in (field.directory / "node" / "journal").iterdir())
    asked = journal.count(b'"event":"accepted"')
    for _ in range(20):
        await batch.poll("")
    journal = b"".join(path.read_bytes() for path in (field.directory / "node" / "journal").iterdir())
    assert journal.count(b'"event":"accepted"') == asked
    assert field.ran() == []


async def test_a_directory_that_cannot_be_used_is_said(field: Field, tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("a file in its place")
    with pytest.raises(BatchError, match="cannot be used") as caught:
        await field.agent()
    assert not caught.value.transient
    (tmp_path / "shared").unlink()


@pytest.mark.feature("PA-305")
async def test_pilots_are_reached_over_ssh_by_one_connection(field: Field, tmp_path: Path) -> None:
    with Sshd(tmp_path / "sshd") as server:
        field.hosts = Hosts({"farm": server.host()})
        batch = await field.agent(host="farm")
        tokens = [f"t{number}" for number in range(20)]
        await batch.submit([field.job(token) for token in tokens])
        statuses = await ended(batch, *tokens)
        assert {status.exit_code for status in statuses.values()} == {0}
        assert set(await batch.fetch(tokens)) == set(tokens)
        await batch.clean(tokens)
        (state,) = field.hosts.states()
        assert state.connections == 1
        for opened in field.opened:
            await opened.close()
        await field.hosts.close()
        field.hosts = Hosts({})


@pytest.mark.feature("PA-324", "PA-325")
async def test_a_running_job_shows_its_heart_and_the_end_of_its_log(field: Field) -> None:
    gate = field.directory / "gate"
    batch = await field.agent(max_pilots=1)
    await batch.submit([field.job("t1", f"echo hello; until [ -e {gate} ]; do sleep 0.05; done")])
    await reached(batch, BatchState.RUNNING, "t1")

    async def beats() -> bool:
        shown = await batch.watch(["t1", "t2"], tail=4)
        await asyncio.sleep(0.05)
        return set(shown) == {"t1"} and shown["t1"].heartbeat is not None

    await until(beats)
    glimpse = (await batch.watch(["t1"], tail=4))["t1"]
    assert glimpse.heartbeat is not None
    assert glimpse.heartbeat.step == "payload"
    assert glimpse.log == b"llo\n"
    gate.touch()
    await ended(batch, "t1")
    assert await batch.watch(["t1"]) == {}
