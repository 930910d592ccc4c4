"""The verbs that hold something and let it go on: jobs, workflows, requests, sites, targets, the whole agent."""

from typing import Annotated, Any

import msgspec
import typer
from rich.console import RenderableType

from domain.controls import AGENT, Scope
from domain.spans import seconds
from services.console import tables
from services.console.acting import Done, Reason
from services.console.agent import Agent, part
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, Session, session
from storage.views.sites import ControlView

Subject = Annotated[
    str,
    typer.Argument(metavar="SUBJECT", help="A workflow, job:N,N..., request:NAME, site:NAME, target:NAME or agent."),
]
Lasting = Annotated[
    str, typer.Option("--for", metavar="TIME", help='How long, such as "2 h"; else until it is lifted.')
]


class ControlsDone(msgspec.Struct, frozen=True, kw_only=True):
    """The subjects that changed, or would change."""

    changed: list[str]
    dry_run: bool


def hold(
    subject: Subject,
    reason: Reason = "held by an operator",
    lasts: Lasting = "",
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Give no more jobs out of something, or to something; those at work go on.

    Examples: `run_agent.py hold zmumu --reason "site is being repaired"`, `run_agent.py hold job:17,18 --for "2 h"`,
    `run_agent.py hold target:alps-slurm`, `run_agent.py hold agent`
    """
    with session(config, json=json) as say:
        scope, subjects = chosen(subject)
        if scope is Scope.WORKFLOW and not lasts:
            path = f"/workflows/{part(subjects[0])}/hold"
            answer = Agent.of(say).post(path, {"reason": reason, "dry_run": dry_run}, Done)
            told(say, [subject] if answer.changed else [], answer.dry_run, "held", "it is not active")
        else:
            body = {"scope": scope, "subjects": subjects, "reason": reason, "dry_run": dry_run} | lasting(lasts)
            control(say, body, "held", "all of them are held already")


def release(
    subject: Subject,
    reason: Reason = "",
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Let something held go on: a job in the state that it had, all others with their jobs where they are.

    Examples: `run_agent.py release zmumu`, `run_agent.py release job:17,18`, `run_agent.py release site:alps`
    """
    with session(config, json=json) as say:
        scope, subjects = chosen(subject)
        if scope is Scope.WORKFLOW:
            answer = Agent.of(say).post(f"/workflows/{part(subjects[0])}/release", {"dry_run": dry_run}, Done)
            told(say, [subject] if answer.changed else [], answer.dry_run, "released", "it is not held")
        else:
            body = {"scope": scope, "subjects": subjects, "reason": reason, "dry_run": dry_run}
            control(say, body, "released", "none of them is held", lift=True)


def holds(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """List what is held, drained, down, in test or trusted: by whom, why and until when.

    Example: `run_agent.py holds`
    """
    with session(config, json=json) as say:
        found = Agent.of(say).get("/controls", list[ControlView])
        say.show(found, lambda: shown(found))


def shown(found: list[ControlView]) -> RenderableType:
    """Return what was said as a table."""
    rows = [
        (one.value or one.kind, f"{one.scope} {one.subject}", one.author, tables.ago(one.since),
         tables.until(one.until) if one.until else "it is lifted", one.reason)
        for one in found
    ]  # fmt: skip
    return tables.table(("what", "of", "by", "since", "until", "why"), rows, nothing="nothing is held")


def chosen(subject: str) -> tuple[Scope, list[str]]:
    """Read a subject as people write it; raise Stop for a kind that is none."""
    if subject == AGENT:
        return Scope.AGENT, [AGENT]
    kind, mark, name = subject.partition(":")
    if not mark:
        return Scope.WORKFLOW, [subject]
    if kind not in (str(scope) for scope in Scope) or not name:
        kinds = ", ".join(f"{scope}:NAME" for scope in Scope if scope is not Scope.AGENT)
        raise Stop(Exit.USAGE, f"got {subject!r}, expected a workflow, agent, or one of {kinds}")
    scope = Scope(kind)
    names = name.split(",") if scope is Scope.JOB else [name]
    if scope is Scope.JOB and not all(each.isascii() and each.isdigit() for each in names):
        raise Stop(Exit.USAGE, f"got {subject!r}, expected job:N or job:N,N: numbers of jobs")
    return scope, names


def lasting(text: str) -> dict[str, Any]:
    """Read a time as part of a body; raise Stop for what is none."""
    try:
        return {"lasts_s": seconds(text)} if text else {}
    except ValueError:
        raise Stop(Exit.USAGE, f'--for: got {text!r}, expected a time such as "90 s", "2 h" or "3 d"') from None


def control(say: Session, body: dict[str, Any], done: str, nothing: str, *, lift: bool = False) -> None:
    """Have the agent say it, or take it back."""
    answer = Agent.of(say).post("/controls/lift" if lift else "/controls", body, ControlsDone)
    told(say, answer.changed, answer.dry_run, done, nothing)


def told(say: Session, changed: list[str], dry_run: bool, done: str, nothing: str) -> None:
    """Print what changed, or would; nothing at all is a failure."""
    if not changed:
        raise Stop(Exit.FAILED, f"nothing to do: {nothing}")
    would = "would be " if dry_run else ""
    say.show(ControlsDone(changed=changed, dry_run=dry_run), lambda: f"{', '.join(changed)}: {would}{done}")
