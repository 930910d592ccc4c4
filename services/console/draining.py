"""The verb that lets the agent run empty."""

from typing import Annotated, Any

import msgspec
import typer
from rich.console import Group, RenderableType

from domain.spans import written
from services.console import tables
from services.console.agent import Agent
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, session


class Blocker(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs that have to end first."""

    target: str
    state: str
    jobs: int


class Draining(msgspec.Struct, frozen=True, kw_only=True):
    """How far it is; `since` 0: the agent does not drain."""

    since: float
    reason: str
    left: int
    eta_s: float | None
    blockers: list[Blocker]


def drain(
    resume: Annotated[bool, typer.Option("--resume", help="Begin new work again.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Only say how far it is.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept and shown.")] = "",
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Begin no new work and submit no more jobs; what runs goes on to its end. Holds over restarts, until --resume.

    Not needed to stop or upgrade the agent: killed at any point, it goes on where it was.

    Examples: `run_agent.py drain --reason "downtime of the cluster"`, `run_agent.py drain --show`, `run_agent.py drain --resume`
    """
    with session(config, json=json) as say:
        if resume and show:
            raise Stop(Exit.USAGE, "got --resume and --show, expected one of them")
        agent = Agent.of(say)
        if show:
            answer = agent.get("/drain", Draining)
        else:
            body: dict[str, Any] = {"on": not resume, "reason": reason, "dry_run": dry_run}
            answer = agent.post("/drain", body, Draining)
        say.show(answer, lambda: _shown(answer, dry_run=dry_run))


def _shown(answer: Draining, *, dry_run: bool) -> RenderableType:
    if not answer.since:
        head = "the agent does not drain" + (" (nothing was changed)" if dry_run else "")
    else:
        eta = "no estimate yet" if answer.eta_s is None else f"done in about {written(answer.eta_s)}"
        empty = "it is empty" if not answer.left else f"{answer.left} jobs are under way, {eta}"
        head = f"draining since {tables.ago(answer.since)} ({answer.reason}): {empty}"
    rows = [(one.target, one.state, one.jobs) for one in answer.blockers]
    return Group(head, tables.table(("target", "state", ">jobs"), rows)) if rows else head
