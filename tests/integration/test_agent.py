"""A whole agent from a workflow to delivered files, and what it does when something is wrong."""

import stat
from pathlib import Path

import pytest
import sqlalchemy as sa

from actors.messages import HoldWorkflow, KillJobs, Refused, RetryJobs, ReviseWorkflow, SubmitWorkflow
from domain import events as e
from domain.job import JobState, JobType
from domain.revising import Revision
from domain.spec import Merge
from domain.workflow import WorkflowState
from storage import counters, heads, housing, jobs, laws, schema, workflows
from tests.integration.agent import Agent, running, workflow

pytestmark = pytest.mark.usefixtures("both_stores")


async def laws_hold(agent: Agent) -> None:
    broken = await agent.world.store.read(lambda c: laws.check(c, now=agent.world.clock.time(), limits=laws.Limits()))
    assert broken == []


def delivered(agent: Agent) -> list[int]:
    files = sorted((agent.directory / "gamma/storage").rglob("*.txt"))
    return sorted(int(line) for path in files for line in path.read_text().split())


def small_files(agent: Agent) -> list[Path]:
    return [path for path in (agent.directory / "alpha/storage/store/unmerged").rglob("*") if path.is_file()]


@pytest.mark.feature("PA-024", "PA-101", "PA-102", "PA-119", "PA-501", "PA-513", "PA-514", "DBS-06", "TX-09")
async def test_a_workflow_becomes_delivered_files(tmp_path: Path) -> None:
    async with running(tmp_path) as agent:
        await agent.submit(workflow(events=45))
        await agent.fact(e.WorkflowsCompleted).reached()
        assert delivered(agent) == list(range(1, 46))
        await agent.fact(e.JobsCleaned).reached()
        await laws_hold(agent)


@pytest.mark.feature("PA-513")
async def test_small_files_stay_until_the_merged_one_is_delivered(tmp_path: Path) -> None:
    (tmp_path / "gamma").mkdir()
    (tmp_path / "gamma/storage").write_text("a file where the storage should be")
    async with running(tmp_path) as agent:
        await agent.submit(workflow(events=20))
        await agent.fact(e.TransfersParked).reached()
        assert len(small_files(agent)) == 2
        await laws_hold(agent)


@pytest.mark.feature("PA-106", "PA-205")
async def test_submitting_twice_and_wrongly(tmp_path: Path) -> None:
    async with running(tmp_path) as agent:
        first = await agent.submit(workflow())
        again = await agent.submit(workflow())
        assert (first.new, again.new, first.workflow) == (True, False, again.workflow)
        with pytest.raises(Refused, match="exists with other content"):
            await agent.submit(workflow(events=50))
        with pytest.raises(Refused, match=r"sites: no site 'nowhere'; expected one of alpha, gamma"):
            await agent.submit(workflow("other", sites=["nowhere"]))
        with pytest.raises(Refused, match=r"deny_sites: no site 'nowhere'; expected one of alpha, gamma"):
            await agent.submit(workflow("other", deny_sites=["nowhere"]))
        with pytest.raises(Refused, match="none of gamma has a batch target"):
            await agent.submit(workflow("other", sites=["gamma"]))
        dry = await agent.system.ref("injector").ask(SubmitWorkflow(spec=workflow("dry"), dry_run=True))
        assert (dry.jobs, dry.events) == (4, 40)
        await agent.fact(e.WorkflowsCompleted).reached()
        assert len(await agent.world.store.read(workflows.load)) == 1


@pytest.mark.feature("PA-205", "PA-216")
async def test_merges_that_are_denied_where_their_inputs_lie_wait_for_another_list(tmp_path: Path) -> None:
    merge = Merge(max_events=20, min_fraction=1.0, deny_sites=["alpha"])
    async with running(tmp_path) as agent:
        await agent.submit(workflow(merge=merge))
        await agent.fact(e.JobsPaused).reached()
        parked = sa.select(schema.job.c.type).where(schema.job.c.reason.startswith(housing.NO_SITE))
        waiting = await agent.world.store.read(lambda c: c.execute(parked).scalars().all())
        assert set(waiting) == {JobType.MERGE}
        order = ReviseWorkflow(workflow="plain", revision=Revision(merge_deny_sites=[]), reason="a look", who="ann")
        await agent.system.ref("reviser").ask(order)
        await agent.fact(e.WorkflowsCompleted).reached()
        assert delivered(agent) == list(range(1, 41))
        await laws_hold(agent)


@pytest.mark.feature("PA-401", "PA-402", "PA-404", "PM-03", "REL-11")
async def test_a_bad_payload_is_given_up_and_named_as_lost(tmp_path: Path) -> None:
    command = "test {first_event} -ne 11 || exit 7; seq {first_event} {last_event} > '{output}'"
    async with running(tmp_path) as agent:
        await agent.submit(workflow(events=40, command=command))
        await agent.fact(e.WorkflowsCompleted).reached()
        assert delivered(agent) == [number for number in range(1, 41) if not 11 <= number <= 20]
        (row,) = await agent.world.store.read(laws.ledger)
        assert (row.merged, row.lost, row.in_progress) == (30, 10, 0)
        await laws_hold(agent)
        (lost,) = await agent.world.store.read(
            lambda c: jobs.load(c, heads.oldest(c, counters.JOB, [JobState.EXHAUSTED], 10))
        )
        (agent.directory / "alpha").joinpath("mended").touch()
        assert (await agent.system.ref("error").ask(RetryJobs(jobs=[lost.id], dry_run=True))).ids == [lost.id]
        exhausted = agent.fact(e.JobsExhausted)
        await agent.system.ref("error").ask(RetryJobs(jobs=[lost.id]))
        await exhausted.reached(2)
        await laws_hold(agent)


@pytest.mark.feature("PA-511", "PA-322")
async def test_a_truncated_output_is_made_again(tmp_path: Path) -> None:
    hook = tmp_path / "truncate"
    hook.touch()
    command = f"seq {{first_event}} {{last_event}} > '{{output}}'; while [ -e {hook} ] && [ {{first_event}} -eq 31 ]; do sleep 0.02; done"
    async with running(tmp_path) as agent:
        await agent.submit(
            workflow(events=40, command=command, merge=workflow().merge.__class__(max_events=40, min_fraction=1.0))
        )
        await agent.fact(e.UnmergedRegistered).reached()
        victim = small_files(agent)[0]
        victim.chmod(victim.stat().st_mode | stat.S_IWUSR)
        victim.write_text(victim.read_text()[:3])
        hook.unlink()
        await agent.fact(e.WorkflowsCompleted).reached()
        assert agent.fact(e.FilesInvalidated).count == 1
        assert delivered(agent) == list(range(1, 41))
        await laws_hold(agent)


@pytest.mark.feature("REL-11", "OPS-09")
async def test_hold_release_and_kill(tmp_path: Path) -> None:
    async with running(tmp_path) as agent:
        await agent.submit(workflow("long", events=100, command="sleep 600"))
        await agent.fact(e.JobsStarted).reached()
        injector, error = agent.system.ref("injector"), agent.system.ref("error")
        await injector.ask(HoldWorkflow(workflow="long", hold=True))
        (held,) = (await agent.world.store.read(workflows.load)).values()
        assert held.state is WorkflowState.PAUSED
        with pytest.raises(Refused, match="no workflow 'absent'"):
            await error.ask(KillJobs(workflow="absent"))
        await error.ask(KillJobs(workflow="long"))
        (row,) = await agent.world.store.read(laws.ledger)
        assert (row.merged, row.lost, row.in_progress) == (0, 100, 0)
        await laws_hold(agent)


@pytest.mark.feature("PA-002", "PA-006")
async def test_an_actor_that_crashes_is_back_and_nothing_is_lost(tmp_path: Path) -> None:
    from actors.messages import Crash

    async with running(tmp_path) as agent:
        await agent.submit(workflow(events=100))
        for name in (
            "queue",
            "report",
            "merge",
            "catalogue",
            "transfer",
            "submitter.alpha-local",
            "tracker.alpha-local",
        ):
            agent.system.ref(name).tell(Crash())
        await agent.fact(e.WorkflowsCompleted).reached()
        assert delivered(agent) == list(range(1, 101))
        assert sum(actor.restarts for actor in agent.system.snapshot().actors) >= 7
        await laws_hold(agent)


@pytest.mark.feature("PA-102", "PA-401", "PA-511")
async def test_a_payload_that_makes_too_few_events_is_not_credited(tmp_path: Path) -> None:
    async with running(tmp_path) as agent:
        await agent.submit(workflow(events=20, command="echo 1 > '{output}'"))
        await agent.fact(e.WorkflowsCompleted).reached()
        (row,) = await agent.world.store.read(laws.ledger)
        assert (row.merged, row.lost) == (0, 20)
        assert delivered(agent) == []
        await laws_hold(agent)


AWAY = """
[sites.beta.storage]
kind = "posix"
root = "beta/storage"

[sites.beta.targets.beta-local]
kind = "local"
directory = "taken"
"""


@pytest.mark.feature("PA-002", "PA-218")
async def test_a_target_that_cannot_be_used_stops_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the batch system should be")
    async with running(tmp_path, more=AWAY) as agent:
        await agent.submit(workflow(events=40, sites=["alpha"]))
        await agent.fact(e.WorkflowsCompleted).reached()
        assert delivered(agent) == list(range(1, 41))
        await laws_hold(agent)
