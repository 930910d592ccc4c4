"""The store is lost and put back from a snapshot, while the world has gone on: no event is lost or doubled (REL-06)."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from actors.brakes import Work
from actors.messages import KillJobs, Wake
from backends.batch.base import BatchError
from backends.batch.local import LocalBatch
from domain import events as e
from domain.job import JobState, JobType
from services.verify import verify
from storage import alerts, attempts, laws, restoring, schema
from storage.backup import Snapshot, snapshots
from storage.restoring import restore
from supervisors import SystemClock
from tests.integration.agent import Agent, running, workflow

GATE = "while [ ! -e {gate} ]; do sleep 0.05; done; "


def delivered(directory: Path) -> list[int]:
    files = sorted((directory / "gamma/storage").rglob("*.txt"))
    return sorted(int(line) for path in files for line in path.read_text().split())


async def snapshot(agent: Agent) -> Snapshot:
    assert agent.world.backups is not None
    return await asyncio.to_thread(agent.world.backups.take, agent.world.clock.time())


def lose(directory: Path) -> None:
    for path in (directory / "state").glob("agent.db*"):
        path.unlink()


async def put_back(directory: Path, made: Snapshot, **options: Any) -> None:
    lose(directory)
    await restore(made.path, f"sqlite:///{directory}/state/agent.db", clock=SystemClock(), **options)


async def settled(agent: Agent) -> restoring.Unproven:
    """Return what could not be proven, once that is known."""
    while (found := await agent.world.store.read(restoring.last_report)) is None:
        await agent.system.ref("reconcile").ask(Wake())
    return found[1]


async def finished(agent: Agent) -> None:
    """Return when every workflow is complete, also one that was before the snapshot."""
    query = sa.select(schema.workflow.c.state)
    while True:
        states = set(await agent.world.store.read(lambda c: list(c.execute(query).scalars())))
        if states == {"completed"}:
            return
        await agent.fact(e.WorkflowsCompleted).reached()


@pytest.mark.feature("REL-06", "OPS-16")
@pytest.mark.parametrize(
    "moment", [e.JobsSubmitted, e.JobsAccounted, e.FilesUnderMerge, e.TransfersSafe, e.JobsCleaned]
)
async def test_a_lost_store_is_put_back(tmp_path: Path, moment: type[e.Event]) -> None:
    """Snapshot at some moment; everything is done and delivered after it; then the store is gone."""
    async with running(tmp_path) as agent:
        await agent.submit(workflow(events=60))
        await agent.fact(moment).reached()
        made = await snapshot(agent)
        await agent.fact(e.WorkflowsCompleted).reached()
        assert delivered(tmp_path) == list(range(1, 61))
    await put_back(tmp_path, made, remove_unknown=True)
    async with running(tmp_path) as agent:
        assert agent.world.restored is not None
        await settled(agent)
        await finished(agent)
        assert delivered(tmp_path) == list(range(1, 61))
        await agent.fact(e.JobsCleaned).reached() if moment is not e.JobsCleaned else None
        assert await agent.world.store.read(lambda c: laws.check(c, now=agent.world.clock.time())) == []
        proof = await verify(agent.world.store, agent.world.storages, deep=True)
        assert proof.breaches == []
    async with running(tmp_path) as agent:
        assert agent.world.restored is None


async def until_all_are(agent: Agent, state: JobState, moment: type[e.Event], *kinds: JobType) -> None:
    """Return when all jobs of these kinds are in a state; `moment`: the fact that tells of it."""
    query = sa.select(schema.job.c.state).where(schema.job.c.type.in_(kinds)).distinct()
    while await agent.world.store.read(lambda c: c.execute(query).scalars().all()) != [state]:
        await agent.fact(moment).reached()


async def tidied(agent: Agent) -> None:
    """Return when nothing is left of any attempt, neither at its target nor in a storage."""
    query = sa.select(sa.func.count()).where(schema.attempt.c.cleaned.is_distinct_from(1))
    while await agent.world.store.read(lambda c: c.execute(query).scalar_one()):
        await agent.system.ref("cleanup").ask(Wake())


async def all_over(agent: Agent) -> None:
    """Return when everything is delivered and cleaned up."""
    await finished(agent)
    await until_all_are(agent, JobState.CLEANED, e.JobsCleaned, *JobType)
    await tidied(agent)


async def goes_on_exactly_once(directory: Path, made: Snapshot, inputs: str) -> None:
    """The store of 20 delivered events is lost and put back; `inputs`: whether what was merged was deleted by then."""
    assert delivered(directory) == list(range(1, 21))
    if inputs == "still there":
        shutil.copytree(directory / "before", directory / "alpha/storage", dirs_exist_ok=True)
    await put_back(directory, made)
    async with running(directory) as agent:
        await settled(agent)
        await finished(agent)
        await tidied(agent)
        assert delivered(directory) == list(range(1, 21))
        proof = await verify(agent.world.store, agent.world.storages, deep=True)
        assert (proof.breaches, proof.strays) == ([], [])


@pytest.mark.feature("REL-06")
@pytest.mark.parametrize("inputs", ["deleted since", "still there"])
@pytest.mark.parametrize(
    ("held", "state", "moment"),
    [("tracker.alpha-local", JobState.PENDING, e.JobsSubmitted), ("report", JobState.ENDED, e.JobsEnded)],
)
async def test_what_a_merge_delivered_that_is_made_again_is_removed_at_the_destination(
    tmp_path: Path, inputs: str, held: str, state: JobState, moment: type[e.Event]
) -> None:
    """The snapshot has a merge under way; it ended well, was delivered and cleaned up before the store was lost."""
    async with running(tmp_path) as agent:
        await agent.submit(workflow(events=20))
        await agent.fact(e.FilesUnderMerge).reached()
        agent.system.pause(held)
        await until_all_are(agent, state, moment, JobType.MERGE)
        made = await snapshot(agent)
        shutil.copytree(tmp_path / "alpha/storage", tmp_path / "before")
        agent.system.resume(held)
        await all_over(agent)
    await goes_on_exactly_once(tmp_path, made, inputs)


@pytest.mark.feature("REL-06", "PA-308")
@pytest.mark.parametrize("inputs", ["deleted since", "still there"])
async def test_so_is_what_an_attempt_delivered_that_the_snapshot_only_meant_to_submit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: str
) -> None:
    submit, called, go_on = LocalBatch.submit, asyncio.Event(), asyncio.Event()

    async def slow(self: LocalBatch, specs: Any) -> Any:
        called.set()
        await go_on.wait()
        return await submit(self, specs)

    async with running(tmp_path) as agent:
        await agent.submit(workflow(events=20))
        await agent.fact(e.FilesUnderMerge).reached()
        monkeypatch.setattr(LocalBatch, "submit", slow)
        await called.wait()
        made = await snapshot(agent)
        shutil.copytree(tmp_path / "alpha/storage", tmp_path / "before")
        go_on.set()
        await all_over(agent)
    await goes_on_exactly_once(tmp_path, made, inputs)


@pytest.mark.feature("REL-06")
async def test_attempts_that_the_snapshot_does_not_know_are_ended_before_anything_is_submitted(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    command = (
        GATE.format(gate=gate) + "seq {first_event} {last_event} > '{output}'; echo {token} >> " + str(tmp_path / "ran")
    )
    async with running(tmp_path) as agent:
        made = await snapshot(agent)
        await agent.submit(workflow(events=20, command=command))
        await agent.fact(e.JobsStarted).reached()
        known = await agent.world.store.read(lambda c: attempts.live_at(c, "alpha-local"))
    await put_back(tmp_path, made)
    gate.touch()
    async with running(tmp_path) as agent:
        report = await settled(agent)
        assert set(report.ended["alpha-local"]) == set(known)
        assert report.gone == {}
        (alert,) = [found for found in await agent.world.store.read(alerts.open_alerts) if found.code == "restore"]
        assert "2 unknown attempts ended" in alert.text
        await agent.submit(workflow(events=20, command=command))
        await agent.fact(e.WorkflowsCompleted).reached()
        assert delivered(tmp_path) == list(range(1, 21))
        proof = await verify(agent.world.store, agent.world.storages, deep=True)
        published = [found for found in proof.breaches if found.law == "known"]
        assert {found.law for found in proof.breaches} <= {"known"}
        assert {path for paths in report.unknown.values() for path in paths} >= {
            found.text.split()[0] for found in published
        }


@pytest.mark.feature("REL-06")
async def test_files_that_nobody_knows_are_named_and_left(tmp_path: Path) -> None:
    async with running(tmp_path) as agent:
        made = await snapshot(agent)
        await agent.submit(workflow(events=20))
        await agent.fact(e.WorkflowsCompleted).reached()
    files = sorted(path for path in (tmp_path / "gamma/storage").rglob("*.txt"))
    await put_back(tmp_path, made)
    async with running(tmp_path) as agent:
        report = await settled(agent)
        assert [Path(lfn).name for lfn in report.unknown["gamma"]] == [path.name for path in files]
        assert report.removed == 0
        assert sorted((tmp_path / "gamma/storage").rglob("*.txt")) == files


@pytest.mark.feature("REL-06")
async def test_a_silent_target_holds_back_its_own_jobs_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as agent:
        await agent.submit(workflow(events=20, command="sleep 600"))
        await agent.fact(e.JobsStarted).reached()
        made = await snapshot(agent)
    await put_back(tmp_path, made)
    poll = LocalBatch.poll

    async def silent(self: LocalBatch, cursor: str) -> Any:
        raise BatchError("no route to host", transient=True)

    monkeypatch.setattr(LocalBatch, "poll", silent)
    async with running(tmp_path) as agent:
        await agent.system.ref("reconcile").ask(Wake())
        assert "restored from" in agent.world.brakes.held(Work.SUBMISSION, "alpha-local")
        assert agent.world.brakes.held(Work.SUBMISSION, "elsewhere") == ""
        assert agent.world.brakes.held(Work.INTAKE) != ""
        found = [a.text for a in await agent.world.store.read(alerts.open_alerts) if a.code == "restore"]
        assert found == [
            "after the restore nothing is submitted to alpha-local until it says what runs there: no route to host"
        ]
        monkeypatch.setattr(LocalBatch, "poll", poll)
        report = await settled(agent)
        assert (report.ended, report.gone) == ({}, {}), "attempts that the snapshot knows are adopted"
        assert agent.world.brakes.held(Work.SUBMISSION, "alpha-local") == ""
        live = await agent.world.store.read(lambda c: attempts.live_at(c, "alpha-local"))
        assert len(live) == 2
        await agent.system.ref("error").ask(KillJobs(workflow="plain"))
        await agent.fact(e.JobsKilled).reached()


@pytest.mark.feature("OPS-16")
async def test_snapshots_are_taken_by_themselves(tmp_path: Path) -> None:
    more = "\n[backup]\nevery_s = 0.1\nlate_s = 1.0\nkeep_last = 2\nkeep_days = 0\n"
    async with running(tmp_path, more=more) as agent:
        await agent.submit(workflow(events=20))
        await agent.fact(e.WorkflowsCompleted).reached()
        directory = tmp_path / "backups"
        while not snapshots(directory):
            await agent.system.ref("backup").ask(Wake())
        newest = snapshots(directory)[0]
        assert newest.at <= agent.world.clock.time()
        assert len(snapshots(directory)) <= 2
        assert len(list((directory / "sandboxes").iterdir())) == len(list((tmp_path / "state/sandboxes").iterdir()))


@pytest.mark.feature("OPS-16")
async def test_a_snapshot_that_fails_is_an_alert(tmp_path: Path) -> None:
    more = "\n[backup]\nevery_s = 0.1\nlate_s = 1.0\n"
    (tmp_path / "backups").write_text("a file where the snapshots should be")
    async with running(tmp_path, more=more) as agent:
        found: list[alerts.Alert] = []
        while not found:
            await agent.submit(workflow(events=20))
            await agent.system.ref("backup").ask(Wake())
            found = [a for a in await agent.world.store.read(alerts.open_alerts) if a.code == "backup"]
        assert found[0].level == "error"
        assert "there is none: no snapshot in" in found[0].text
        (tmp_path / "backups").unlink()
        await agent.fact(e.WorkflowsCompleted).reached()
