"""What follows failures in a whole agent with real jobs: rules of the configuration, and the brake of a broken workflow."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from actors.messages import HoldWorkflow
from domain import events as e
from domain.job import JobType
from domain.spec import Retry
from storage import schema, workflows
from storage.views import open_alerts
from tests.integration.agent import running, workflow
from tests.integration.test_agent import delivered, laws_hold

attempt, event = schema.attempt, schema.event

RULES = """
[[errors.rules]]
name = "out of luck"
codes = "8"
text = "no luck (today|at all)"
action = "fail"
[[errors.rules]]
name = "warnings only"
codes = "3-4"
action = "accept"
"""


@pytest.mark.feature("PA-405", "PA-406", "REL-13")
async def test_rules_of_the_configuration_accept_and_end_at_once(tmp_path: Path) -> None:
    """Exit code 3 is accepted, with its output checked as any other; code 8 with these words in the log is never repeated."""
    command = (
        "seq {first_event} {last_event} > '{output}'; case {first_event} in 1) exit 3;; "
        "11) echo 'no luck at all' >&2; exit 8;; 21) echo 21 > '{output}'; exit 4;; esac"
    )
    async with running(tmp_path, more=RULES) as agent:
        await agent.submit(workflow(events=40, command=command))
        await agent.fact(e.WorkflowsCompleted).reached()
        assert delivered(agent) == [*range(1, 11), *range(31, 41)]
        await laws_hold(agent)

        def tries(connection: sa.Connection) -> dict[int, list[tuple[str, int, str]]]:
            found: dict[int, list[tuple[str, int, str]]] = {}
            query = sa.select(schema.job.c.first_event, attempt.c.outcome, attempt.c.exit_code, attempt.c.rule)
            joined = query.join(attempt, attempt.c.job_id == schema.job.c.id).where(schema.job.c.type == "processing")
            for first, *rest in connection.execute(joined.order_by(attempt.c.id)):
                found.setdefault(first, []).append(tuple(rest))
            return found

        found = await agent.world.store.read(tries)
        assert found[1] == [("success", 0, None)]
        assert found[11] == [("failed", 8, "out of luck")]
        assert {(outcome, code) for outcome, code, _ in found[21]} == {("failed", 90005)}, (
            "accepted, and then found short"
        )
        assert len(found[21]) == 3

        def waits(connection: sa.Connection) -> list[float]:
            """Seconds from each failure to what was decided."""
            failed, ended = ({row.low: row.at for row in connection.execute(sa.select(event).where(event.c.type == kind))}
                             for kind in ("JobsFailed", "JobsExhausted"))  # fmt: skip
            return [ended[job] - failed[job] for job in ended]

        assert all(0 <= wait < 5 for wait in await agent.world.store.read(waits))


BRAKE = """
[errors]
brake_first = 4
[queue]
sweep_s = 0.2
"""


@pytest.mark.feature("PA-407", "PA-401")
async def test_a_broken_workflow_is_paused_and_runs_three_probes_when_it_is_released(tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    command = f"echo 'the library is gone' >&2; test -e {mended} && seq {{first_event}} {{last_event}} > '{{output}}'"
    async with running(tmp_path, more=BRAKE) as agent:
        retry = Retry(processing=50, base_s=0.05, cap_s=0.1)
        await agent.submit(workflow(events=80, command=command, retry=retry))
        await agent.fact(e.WorkflowsPaused).reached()
        (held,) = (await agent.world.store.read(workflows.load)).values()
        assert "attempts all failed" in held.reason
        (alert,) = [one for one in await agent.world.store.read(open_alerts) if one.code == "workflow-broken"]
        assert "the library is gone" in alert.text
        mended.touch()
        released_at = agent.world.clock.time()
        await agent.system.ref("injector").ask(HoldWorkflow(workflow="plain", hold=False))
        await agent.fact(e.WorkflowsCompleted).reached()
        assert delivered(agent) == list(range(1, 81))
        await laws_hold(agent)
        processing = attempt.join(schema.job, attempt.c.job_id == schema.job.c.id)
        after = sa.select(attempt.c.created_at, attempt.c.closed_at).select_from(processing)
        after = after.where(attempt.c.closed_at > released_at, schema.job.c.type == JobType.PROCESSING)
        ended = await agent.world.store.read(lambda c: [tuple(row) for row in c.execute(after)])
        made = [created for created, _ in ended if created > released_at]
        third_end = sorted(closed for _, closed in ended)[
            2
        ]  # one that was under way when the workflow was paused counts too
        assert sum(created < third_end for created in made) <= 3 < len(made), "three probes, then the others"
        assert not [one for one in await agent.world.store.read(open_alerts) if one.code == "workflow-broken"]
