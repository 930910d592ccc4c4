"""The verb that gives single jobs lists of sites."""

from typing import Annotated

import typer

from services.console.acting import Done, Reason, numbers, told_of
from services.console.agent import Agent
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, session


def restrict(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...", help="Their numbers, or ranges such as 20-40.")],
    sites: Annotated[str, typer.Option(metavar="NAMES", help="Only at these sites, comma-separated.")] = "",
    deny_sites: Annotated[str, typer.Option(metavar="NAMES", help="At none of these sites.")] = "",
    free: Annotated[bool, typer.Option("--free", help="Wherever their workflow may run, as before.")] = False,
    reason: Reason = "",
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Say where single jobs may run, beside the lists of their workflow.

    What waits in a batch queue elsewhere comes back, and no retry is used up; what runs goes on. The lists take the place of those
    that a job had.

    Examples: `run_agent.py restrict 17 20-40 --sites alps --reason "needs its software"`,
    `run_agent.py restrict 17 --deny-sites bern`, `run_agent.py restrict 17 --free`
    """
    with session(config, json=json) as say:
        if free == bool(sites or deny_sites):
            raise Stop(Exit.USAGE, "expected --sites or --deny-sites, or --free")
        lists = {"sites": _names(sites), "deny_sites": _names(deny_sites)}
        body = {"jobs": numbers(jobs), **lists, "reason": reason, "dry_run": dry_run}
        answer = Agent.of(say).post("/jobs/sites", body, Done)
        told_of(say, answer, "free of lists of its own" if free else "restricted", "all of them have ended")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []
