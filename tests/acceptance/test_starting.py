"""Coming back after a kill is mostly importing: what an agent does not need for its work is imported when it is used."""

import asyncio
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PAGES = ("aiohttp", "jinja2", "prometheus_client")
COMMANDS = ("typer", "pydantic", "rich", "services.console.program", "services.console.session")
RARE = ("asyncssh", "alembic", "uvloop", "services.demo.run", "services.simulation.life", "services.verify")

LIFE = """
import asyncio, json, sys, urllib.request
from pathlib import Path
from domain import events as e
from tests.integration.agent import running, workflow

async def main():
    async with running(Path(sys.argv[1]), admin=True) as agent:
        await agent.submit(workflow(sys.argv[2]))
        await agent.fact(e.JobsAccounted).reached()
        seen = [name for name in sys.argv[3:] if name in sys.modules]
        url = json.loads((Path(sys.argv[1]) / "state/agent.json").read_bytes())["url"]
        answer = await asyncio.to_thread(lambda: urllib.request.urlopen(url + "/healthz").status)
        print(seen, answer, "jinja2" in sys.modules)

asyncio.run(main())
"""
PAGE = """
import runpy, sys
sys.argv = sys.argv[2:]
try:
    runpy.run_path("run_agent.py", run_name="__main__")
except SystemExit as end:
    print(end.code, *(name for name in ("actors.stage", "sqlalchemy", "aiohttp", "asyncio", "msgspec") if name in sys.modules))
"""


async def said(program: str, *words: str) -> str:
    """Return the last line of what a program of its own says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *words, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode().splitlines()[-1]


@pytest.mark.feature("PA-001", "REL-07", "REL-13")
async def test_jobs_are_run_before_pages_and_commands_are_imported(tmp_path: Path) -> None:
    assert (
        await said(LIFE, str(tmp_path), "first", *PAGES, *COMMANDS, *RARE) == "['alembic'] 200 True"
    )  # it makes the store
    assert await said(LIFE, str(tmp_path), "again", *PAGES, *COMMANDS, *RARE) == "[] 200 True"


@pytest.mark.feature("REL-13")
async def test_run_reads_its_words_alone(tmp_path: Path) -> None:
    """The agent begins: it refuses its configuration, by then it has imported all that it starts with."""
    program = PAGE.replace(
        '("actors.stage", "sqlalchemy", "aiohttp", "asyncio", "msgspec")', repr((*PAGES, *COMMANDS, *RARE))
    )
    (tmp_path / "agent.toml").write_text("[agent]\nname = 'no!'\n")
    assert await said(program, "-", "run_agent.py", "run", "--config", str(tmp_path / "agent.toml")) == "78"
    assert await said(program, "-", "run_agent.py", "run", "--config", str(tmp_path / "none.toml")) == "78"


@pytest.mark.parametrize(
    ("words", "needed"),
    [(["--help"], ""), (["nodes", "--help"], " sqlalchemy asyncio msgspec"), (["config", "new", "--help"], None)],
)
async def test_other_commands_need_no_actors(words: list[str], needed: str | None) -> None:
    told = await said(PAGE, "-", "run_agent.py", *words)
    assert "actors.stage" not in told
    assert "aiohttp" not in told
    assert needed is None or told == f"0{needed}"


async def test_an_installed_program_is_the_same() -> None:
    program = PAGE.replace(
        'runpy.run_path("run_agent.py", run_name="__main__")',
        "from services.console import installed; installed.main()",
    )
    assert "installed" in program
    assert await said(program, "-", "prodagent", "--help") == "0"
