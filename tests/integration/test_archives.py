"""What is kept of jobs: a real job is shown, unpacked, run by hand and tried again from its archive (PA-414, PA-517)."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from actors.messages import Refused, RetryJobs
from domain import events as e
from domain.job import JobState
from domain.spec import Merge, Retry
from services.verify import verify
from storage import archives, attempts, jobs, schema, views
from tests.integration import archivist
from tests.integration.agent import Agent, running, workflow

ROOT = Path(__file__).parents[2]
ONCE = Retry(processing=1, base_s=0.05, cap_s=0.1)
KEPT = """
[archives]
logs = true
"""


async def console(agent: Agent, *words: str) -> Any:
    """Return what a command of the console says, as JSON."""
    command = [sys.executable, str(ROOT / "run_agent.py"), *words, "-c", str(agent.directory / "agent.toml"), "--json"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return json.loads(out)


async def volumes(agent: Agent) -> list[tuple[str, str, str]]:
    query = sa.select(schema.volume.c.kind, schema.volume.c.site, schema.volume.c.name).order_by(schema.volume.c.id)
    return await agent.world.store.read(lambda c: [tuple(row) for row in c.execute(query)])


def files(directory: Path) -> set[str]:
    return {path.name.removesuffix(".jsonl.gz") for path in (directory / "state" / "archives").glob("??/*")}


async def cleaned(agent: Agent, job: int) -> None:
    """Wait until nothing is left of the attempts of a job."""
    left = sa.select(sa.func.count()).where(
        schema.attempt.c.job_id == job, sa.func.coalesce(schema.attempt.c.cleaned, 0) == 0
    )
    async with asyncio.timeout(60):
        while await agent.world.store.read(lambda c: c.execute(left).scalar_one()):
            await asyncio.sleep(0.05)


async def succeeded(agent: Agent, job: int) -> None:
    """Wait until the events of a job are in a merged file."""
    async with asyncio.timeout(60):
        while (await agent.world.store.read(lambda c: jobs.load(c, [job])))[0].state not in (
            JobState.SUCCESS,
            JobState.CLEANED,
        ):
            await agent.fact(e.JobsSucceeded).reached()


async def by_hand(directory: Path, unpacked: Path) -> int | None:
    """Run an unpacked job as an operator would."""
    (runtime,) = (directory / "state" / "runtime").glob("*.pyz")
    command = ["python3", str(runtime), "run", "--again", "--stage-out", str(directory / "here"), str(unpacked)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    return await process.wait()


@pytest.mark.feature("PA-324", "PA-414", "PA-517", "PA-016")
@pytest.mark.usefixtures("both_stores")
async def test_a_job_is_tried_again_from_its_archive(tmp_path: Path) -> None:
    """Four jobs, one of which fails for good; its directory goes, its archive stays; mended, it ends like the others."""
    mended = tmp_path / "mended"
    script = f"if [ {{first_event}} = 11 ] && [ ! -e {mended} ]; then echo no licence; exit 7; fi; seq {{first_event}} {{last_event}} > {{output}}"
    async with running(tmp_path, more=KEPT, admin=True) as agent:
        await agent.submit(workflow(command=script, retry=ONCE))
        await agent.fact(e.JobsExhausted).reached()
        (lost,) = await agent.world.store.read(
            lambda c: [job.id for job in jobs.matching(c, workflow_name="plain", states=(JobState.EXHAUSTED,))]
        )
        await cleaned(agent, lost)
        assert not list((tmp_path / "alpha" / "batch" / "jobs").glob("*/*/*/.payload.log"))
        shown = await console(agent, "archive", str(lost))
        assert [(one["outcome"], one["code"], one["kind"], one["place"]) for one in shown] == [
            ("failed", 7, "failure", ""),
            ("failed", 7, "failure", "alpha"),
        ]
        assert (tmp_path / "alpha" / "storage" / shown[1]["name"].lstrip("/")).exists()
        unpacked = tmp_path / "again"
        done = await console(agent, "archive", str(lost), "--unpack", str(unpacked))
        assert done["files"] == ["attempt.json", "payload.log", "report.json", "spec.json"]
        assert "no licence" in (unpacked / "payload.log").read_text()
        assert json.loads((unpacked / "report.json").read_text())["exit_code"] == 7
        assert await by_hand(tmp_path, unpacked) == 7
        error = agent.system.ref("error")
        with pytest.raises(Refused, match="no archive is left of any of 0 jobs"):
            await error.ask(RetryJobs(workflow="plain", archived=True, code=8))
        assert (await console(agent, "retry", "--workflow", "plain", "--archived", "--dry-run"))["changed"] == [lost]
        mended.touch()
        answer = await console(agent, "retry", "--workflow", "plain", "--code", "7", "--site", "alpha", "--archived")
        assert answer["changed"] == [lost]
        await succeeded(agent, lost)  # the workflow was complete without it, perhaps
        made = await volumes(agent)
        assert {name for _, site, name in made if not site} == files(tmp_path)
        assert {kind for kind, _, _ in made} == {"success", "failure"}
        proof = await verify(agent.world.store, agent.world.storages, deep=True)
        assert proof.holds, proof


@pytest.mark.feature("PA-414", "PA-324")
async def test_what_is_too_old_goes_and_a_site_that_is_away_keeps_its_own(tmp_path: Path) -> None:
    """Volumes of the agent, logs at the site, and a volume that a process left which died before it was booked."""
    stray = tmp_path / "state" / "archives" / "ab" / "abc-success.jsonl.gz"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"half")
    short = KEPT + "success_s = 0.001\nfailure_s = 0.001\n"
    async with running(tmp_path, more=short) as agent:
        await agent.submit(workflow(events=10, command="exit 3", retry=ONCE))
        await agent.fact(e.JobsExhausted).reached()
        async with asyncio.timeout(60):
            while await volumes(agent) or files(tmp_path):
                await asyncio.sleep(0.05)
        assert not list((tmp_path / "alpha" / "storage").rglob("*.tar.gz"))
        assert not await agent.world.store.read(lambda c: archives.of_jobs(c, [1, 2]))


@pytest.mark.feature("PA-414")
async def test_a_disk_that_takes_no_archive_fails_no_job(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "archives").write_text("a file where a directory should be")
    async with running(tmp_path) as agent:
        await agent.submit(workflow(events=20))
        await agent.fact(e.WorkflowsCompleted).reached()
        told = await agent.world.store.read(views.open_alerts)
        assert [alert.code for alert in told] == ["not-archived"]
        assert await volumes(agent) == []


HELD = """
[archives]
enabled = false
[actors.archivist]
type = "tests.integration.archivist:Archivist"
under = "outcome"
"""


@pytest.mark.feature("PA-414", "PA-016", "PA-517")
async def test_a_large_directory_that_has_to_stay_is_emptied_and_the_retry_runs(tmp_path: Path) -> None:
    """The first attempt leaves a log of 3 MB where an actor still wants to look; the second one waits for nothing of it."""
    archivist.ready.clear()
    first = tmp_path / "first"
    script = f"if mkdir {first}; then seq 1 500000; exit 9; fi; seq {{first_event}} {{last_event}} > {{output}}"
    async with running(tmp_path, more=HELD, cleanup="directory_mb = 1") as agent:
        await agent.submit(workflow(events=10, command=script, merge=Merge(max_events=10)))
        await agent.fact(e.WorkflowsCompleted).reached()
        (tried,) = await agent.world.store.read(lambda c: list(attempts.tried(c, [1]).values()))
        assert [one.code for one in tried] == [9]
        assert await agent.world.store.read(lambda c: attempts.held_back(c, "alpha-local", 10, ["archivist"]))
        logs = list((tmp_path / "alpha" / "batch" / "jobs").rglob(".payload.log"))
        assert sum(log.stat().st_size for log in logs) < 1000, "that of the second attempt says only what mkdir said"
        archivist.ready.set()
