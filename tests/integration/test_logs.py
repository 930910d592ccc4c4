"""`logs -f`: the tail of a job that runs on its node, through all of its attempts."""

import asyncio
import sys
from pathlib import Path

import pytest

from domain import events as e
from tests.integration.agent import running, workflow

ROOT = Path(__file__).parents[2]
PAYLOAD = """
wait_for() {{ until [ -e {gate}.$1 ] || [ $((n += 1)) -gt 1200 ]; do sleep 0.05; done; }}
if [ -e {gate}.1 ]; then echo "second try"; wait_for 2; seq 1 5 > {{output}}; exit; fi
echo "first try"; wait_for 0; echo "half done"; wait_for 1; exit 5
"""


@pytest.mark.feature("PA-324", "PA-325")
async def test_a_log_is_followed_from_the_node_to_the_end(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running(tmp_path, admin=True) as agent:
        await agent.submit(workflow(events=5, command=PAYLOAD.format(gate=gate)))
        await agent.fact(e.JobsStarted).reached()
        command = [sys.executable, str(ROOT / "run_agent.py"), "logs", "1", "-f", "--every", "0.2"]
        tail = await asyncio.create_subprocess_exec(
            *command, "-c", str(tmp_path / "agent.toml"), stdout=asyncio.subprocess.PIPE
        )
        said = ""

        async def until(text: str) -> None:
            nonlocal said
            assert tail.stdout is not None
            async with asyncio.timeout(60):
                while text not in said:
                    line = await tail.stdout.readline()
                    assert line, said
                    said += line.decode()

        for gate_of, shown in enumerate(("first try\n", "half done\n", "--- attempt 2 ---\nsecond try\n")):
            await until(shown)
            Path(f"{gate}.{gate_of}").touch()
        await until("--- job 1 is ")
        assert await tail.wait() == 0
        assert [said.count(text) for text in ("first try", "half done", "second try")] == [1, 1, 1]
        await agent.fact(e.WorkflowsCompleted).reached()
