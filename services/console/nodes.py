"""The verbs about nodes that get no jobs."""

import time
from typing import Annotated

import msgspec
import typer

from services.console import tables
from services.console.agent import Agent
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, session
from storage.nodes import excluded

app = typer.Typer(
    help="Nodes that get no jobs, because they fail them fast or because you say so.", no_args_is_help=True
)

Site = Annotated[str, typer.Argument(metavar="SITE", help="The site's name.")]
Node = Annotated[str, typer.Argument(metavar="NODE", help="The node, as its batch system calls it.")]


class NodeChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Whether something changed, or would."""

    changed: bool
    dry_run: bool


@app.command(name="list")
def listed(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """List the nodes that get no jobs now.

    Example: `run_agent.py nodes list`
    """
    with session(config, json=json) as say:
        found = [one.view for one in say.read(lambda c: excluded(c, time.time()))]
        rows = [
            (one.site, one.node, tables.ago(one.since), tables.until(one.until) if one.until else "allowed by hand",
             one.reason, one.who)
            for one in found
        ]  # fmt: skip
        heads = ("site", "node", "since", "until", "why", "by")
        say.show(found, lambda: tables.table(heads, rows, nothing="every node gets jobs"))


@app.command()
def exclude(
    site: Site,
    node: Node,
    hours: Annotated[float | None, typer.Option(min=0.01, help="For so long; else until it is allowed again.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept and shown.")] = "excluded by an operator",
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Give a node no jobs, where its batch system can be told so; those that run there go on.

    Example: `run_agent.py nodes exclude alpha wn042 --hours 24 --reason "disk is being replaced"`
    """
    with session(config, json=json) as say:
        body = {"site": site, "node": node, "hours": hours, "reason": reason, "dry_run": dry_run}
        answer = Agent.of(say).post("/nodes/exclude", body, NodeChanged)
        say.show(answer, lambda: f"{node} at {site} {'would get' if dry_run else 'gets'} no jobs")


@app.command()
def allow(site: Site, node: Node, dry_run: DryRun = False, config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Give a node jobs again.

    Example: `run_agent.py nodes allow alpha wn042`
    """
    with session(config, json=json) as say:
        answer = Agent.of(say).post("/nodes/allow", {"site": site, "node": node, "dry_run": dry_run}, NodeChanged)
        if not answer.changed:
            raise Stop(Exit.FAILED, f"nothing to do: {node} at {site} is not excluded")
        say.show(answer, lambda: f"{node} at {site} {'would get' if dry_run else 'gets'} jobs again")
