"""The verbs that act: each asks the running agent."""

import base64
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from config.faults import Faults
from config.workflow_file import load_workflow
from services.console.agent import Agent
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, Session, session

JobNumbers = Annotated[list[int] | None, typer.Argument(metavar="JOB...", min=1, help="Their numbers.")]
OfWorkflow = Annotated[str | None, typer.Option("--workflow", "-w", help="All jobs of this workflow.", metavar="NAME")]
Name = Annotated[str, typer.Argument(metavar="WORKFLOW", help="Its name.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with the items.")]


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow was taken on, or was there already (`new` false)."""

    workflow: int
    name: str
    new: bool
    events: int
    jobs: int
    dry_run: bool


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The ids that changed, or would change."""

    changed: list[int]
    dry_run: bool


def submit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The workflow, TOML or JSON.")],
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Hand a workflow to the running agent. The same one again changes nothing.

    Example: `run_agent.py submit examples/zmumu/workflow.toml --dry-run`
    """
    with session(config, json=json) as say:
        try:
            loaded = load_workflow(file)
        except Faults as faults:
            raise Stop(Exit.USAGE, str(faults)) from None
        body = {
            "spec": msgspec.to_builtins(loaded.spec),
            "sandbox": base64.b64encode(loaded.sandbox).decode(),
            "dry_run": dry_run,
        }
        answer = Agent.of(say).post("/workflows", body, Submitted)
        word = "would be taken on" if dry_run else "is taken on" if answer.new else "was there already"
        say.show(answer, lambda: f"workflow {answer.name} {word}: {answer.events} events in {answer.jobs} jobs")


def retry(
    jobs: JobNumbers = None,
    workflow: OfWorkflow = None,
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Reopen jobs that were given up or are held, or end their back-off now.

    Examples: `run_agent.py retry 17 18`, `run_agent.py retry --workflow zmumu`
    """
    with session(config, json=json) as say:
        answer = _change(say, "/jobs/retry", _chosen(jobs, workflow) | {"dry_run": dry_run})
        _changed(say, answer, "queued again", "none of them is exhausted, paused or cooling off")


def kill(
    jobs: JobNumbers = None,
    workflow: OfWorkflow = None,
    reason: Reason = "killed by an operator",
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """End jobs for good; their events count as lost.

    Example: `run_agent.py kill 17 --reason "wrong release" --dry-run`
    """
    with session(config, json=json) as say:
        answer = _change(say, "/jobs/kill", _chosen(jobs, workflow) | {"reason": reason, "dry_run": dry_run})
        _changed(say, answer, "killed", "all of them have ended")


def page(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Print the address of the agent's page, with the token that lets its buttons act.

    Example: `xdg-open $(run_agent.py page)`
    """
    with session(config, json=json) as say:
        agent = Agent.of(say)
        agent.get("/actors", dict[str, Any])
        address = f"{agent.file.url}/login?token={agent.file.token}"
        if say.json:
            say.show({"url": address}, lambda: "")
        else:
            print(address)


def _chosen(jobs: list[int] | None, workflow: str | None) -> dict[str, Any]:
    if bool(jobs) == bool(workflow):
        raise Stop(Exit.USAGE, "got neither or both, expected the numbers of jobs or --workflow NAME")
    return {"jobs": jobs or [], "workflow": workflow or ""}


def _change(say: Session, path: str, body: dict[str, Any]) -> Done:
    return Agent.of(say).post(path, body, Done)


def _changed(say: Session, answer: Done, done: str, nothing: str, what: str = "job") -> None:
    if not answer.changed:
        raise Stop(Exit.FAILED, f"nothing to do: {nothing}")
    some = ", ".join(map(str, answer.changed[:20])) + (", ..." if len(answer.changed) > 20 else "")
    would = "would be " if answer.dry_run else ""
    many = f"{len(answer.changed)} {what}{'s' if len(answer.changed) > 1 else ''}"
    say.show(answer, lambda: f"{many} {would}{done}: {some}")
