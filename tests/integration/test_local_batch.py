"""The local batch system: how jobs are handed over, what they see, what is said when something is wrong."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from backends.batch import local
from backends.batch.base import BatchError
from backends.batch.local import LocalBatch, LocalSettings
from domain.report import decode_report
from runtime import process
from runtime.build import build
from tests.integration.local_machine import Machine, ended, machine, until

__all__ = ["machine"]


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


@pytest.mark.feature("PA-324", "PA-325")
async def test_a_running_job_shows_its_heart_and_the_end_of_its_log(machine: Machine) -> None:
    gate = machine.directory / "gate"
    batch = await machine.agent()
    await batch.submit([machine.job("t1", f"echo hello; until [ -e {gate} ]; do sleep 0.05; done")])

    async def beats() -> bool:
        shown = await batch.watch(["t1", "t2"], tail=4)
        return set(shown) == {"t1"} and shown["t1"].heartbeat is not None

    await until(beats)
    glimpse = (await batch.watch(["t1"], tail=4))["t1"]
    assert glimpse.heartbeat is not None
    assert (glimpse.heartbeat.step, glimpse.log) == ("payload", b"llo\n")
    gate.touch()
    await ended(batch, "t1")
    assert await batch.watch(["t1"]) == {}
