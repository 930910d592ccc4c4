"""The verb for the log of a job."""

import sys
import time
from typing import Annotated

import msgspec
import typer
from rich.console import RenderableType
from rich.text import Text

from domain.job import JobState
from domain.report import Heartbeat
from services.console import tables
from services.console.agent import Agent
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, session

OVER = (JobState.ACCOUNTED, JobState.SUCCESS, JobState.CLEANED, JobState.EXHAUSTED, JobState.KILLED)
"""States in which nothing more is written."""
KNOWN = 400
"""Characters by which the place is found again at which a log was left."""


class JobLog(msgspec.Struct, frozen=True, kw_only=True):
    """As the agent says (actors/admin_pages/answers.py)."""

    job: int
    state: str
    attempt: int
    node: str
    running: bool
    text: str
    log_bytes: int
    heartbeat: Heartbeat | None = None


def logs(
    identity: Annotated[int, typer.Argument(metavar="JOB", min=1, help="Its number.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is over.")] = False,
    tail: Annotated[int, typer.Option("--bytes", min=1, max=1024 * 1024, help="So much of its end.")] = 64 * 1024,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks; each is a call to the site.")] = 5.0,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Show the end of a job's log: from its node while it runs, what was kept of it once it failed.

    Examples: `run_agent.py logs 17`, `run_agent.py logs 17 --follow`
    """
    with session(config, json=json) as say:
        if follow and json:
            raise Stop(Exit.USAGE, "expected one of --follow, --json")
        agent = Agent.of(say)

        def look(most: int) -> JobLog:
            return agent.get(f"/jobs/{identity}/log?bytes={most}", JobLog)

        found = look(tail)
        say.show(found, lambda: _head(found))
        if not json:
            _write(found.text)
        shown = found.text
        while follow and found.state not in OVER:
            time.sleep(every)
            before, found = found, look(1024 * 1024)
            if found.attempt != before.attempt:
                _write(f"--- attempt {found.attempt} ---\n")
                shown = ""
            fresh = _fresh(before, found, shown)
            shown = (shown + fresh)[-KNOWN:]
            _write(fresh)
        if follow:
            _write(f"--- job {identity} is {found.state} ---\n")


def _fresh(before: JobLog, now: JobLog, shown: str) -> str:
    """Return what a log has more than was shown of it."""
    if now.attempt != before.attempt:
        return now.text
    if now.running:
        more = now.log_bytes - before.log_bytes
        return now.text.encode()[-more:].decode(errors="replace") if more > 0 else ""
    if not shown:
        return now.text
    _, found, rest = now.text.rpartition(shown[-KNOWN:])  # what was kept is another piece of it
    return rest if found else ""


def _head(found: JobLog) -> RenderableType:
    heart = found.heartbeat
    head = f"job {found.job}, attempt {found.attempt}, {found.state}"
    if heart is not None:
        events = "" if heart.events is None else f", {heart.events} events done"
        used = f"{heart.cpu_s:.0f} s CPU, {heart.memory_mb:.0f} MB"
        head += f": step {heart.step}{events}, {used}, seen {tables.ago(heart.at)}"
    return Text(head if found.text else f"{head}; no log")


def _write(text: str) -> None:
    """Print a piece of a log as it is."""
    sys.stdout.write(text)
    sys.stdout.flush()
