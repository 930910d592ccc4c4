"""The verbs that act: each asks the running agent."""

import base64
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from config.faults import Faults
from config.workflow_file import load_workflow
from services.console import tables
from services.console.agent import Agent
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, Session, session
from storage.endings import Ending, endings

JobNumbers = Annotated[list[str] | None, typer.Argument(metavar="JOB...", help="Their numbers, or ranges: 17 20-40.")]
OfWorkflow = Annotated[str | None, typer.Option("--workflow", "-w", help="All jobs of this workflow.", metavar="NAME")]
OfRequest = Annotated[str | None, typer.Option("--request", help="All jobs of this request.", metavar="NAME")]
Name = Annotated[str, typer.Argument(metavar="WORKFLOW", help="Its name.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with the items.")]


MAX_JOBS = 100_000
"""As the agent takes in one call (actors/admin_pages/bodies.py)."""


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


class Killed(Done, frozen=True, kw_only=True):
    """The jobs that were ended, or would be. `ending`: of which of them targets have still to confirm it."""

    ending: list[Ending] = []


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
        say.show(answer, lambda: f"workflow {answer.name} {word}: {answer.events:,} events in {answer.jobs:,} jobs")


def retry(
    jobs: JobNumbers = None,
    workflow: OfWorkflow = None,
    request: OfRequest = None,
    code: Annotated[int | None, typer.Option(min=0, help="Only those that ended last with this exit code.")] = None,
    site: Annotated[str, typer.Option(help="Only those that failed last at this site.", metavar="NAME")] = "",
    archived: Annotated[
        bool, typer.Option("--archived", help="Only those of which a failure archive is left that fits the books.")
    ] = False,
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Reopen jobs that were given up or are held, or end their back-off now.

    Examples: `run_agent.py retry 17 20-40`, `run_agent.py retry --workflow zmumu --code 8021 --archived`
    """
    with session(config, json=json) as say:
        which: dict[str, Any] = {"site": site, "archived": archived} | ({} if code is None else {"code": code})
        answer = _change(say, "/jobs/retry", _chosen(jobs, workflow, request) | which | {"dry_run": dry_run})
        told_of(say, answer, "queued again", "none of them is exhausted, paused or cooling off")


def kill(
    jobs: JobNumbers = None,
    workflow: OfWorkflow = None,
    request: OfRequest = None,
    reason: Reason = "killed by an operator",
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """End jobs for good; their events count as lost.

    What their targets have not confirmed yet is listed by `ending`.

    Examples: `run_agent.py kill 17 20-40 --reason "wrong release" --dry-run`, `run_agent.py kill --request winter`
    """
    with session(config, json=json) as say:
        body = _chosen(jobs, workflow, request) | {"reason": reason, "dry_run": dry_run}
        answer = Agent.of(say).post("/jobs/kill", body, Killed)
        left = sum(one.attempts for one in answer.ending)
        done = f"killed, {left} attempts are still to be ended by their targets (see `ending`)" if left else "killed"
        told_of(say, answer, done, "all of them have ended")


def ending(
    jobs: JobNumbers = None,
    workflow: OfWorkflow = None,
    request: OfRequest = None,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """List what was killed, withdrawn or given up and its target has not confirmed yet; the tracker asks until it has.

    Reads the store itself; the agent may run or be dead.

    Examples: `run_agent.py ending`, `run_agent.py ending 17 20-40`, `run_agent.py ending --workflow zmumu`
    """
    with session(config, json=json) as say:
        ids = numbers(jobs) if jobs else None
        found = say.read(lambda c: endings(c, jobs=ids, workflow_name=workflow or "", request=request or ""))
        rows = [
            (one.attempts, one.jobs, one.target, one.workflow, one.request, one.job, tables.ago(one.since))
            for one in found
        ]
        heads = (">attempts", ">jobs", "at", "workflow", "request", ">first job", "oldest")
        say.show(found, lambda: tables.table(heads, rows, nothing="every target has confirmed every end"))


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


def _chosen(jobs: list[str] | None, workflow: str | None, request: str | None) -> dict[str, Any]:
    if sum(map(bool, (jobs, workflow, request))) != 1:
        raise Stop(Exit.USAGE, "expected the numbers of jobs, or --workflow NAME, or --request NAME, and one of them")
    return {"jobs": numbers(jobs or []), "workflow": workflow or "", "request": request or ""}


def numbers(words: list[str]) -> list[int]:
    """Return the numbers of jobs that words such as 17 and 20-40 name; raise Stop for what is none, or for too many."""
    found: set[int] = set()
    for word in words:
        low, dash, high = word.partition("-")
        ends = (low, high or low) if not dash or high else ("", "")
        if not all(end.isascii() and end.isdigit() and 0 < int(end) < 2**63 for end in ends) or int(ends[0]) > int(
            ends[1]
        ):
            raise Stop(Exit.USAGE, f"JOB: got {word!r}, expected a number such as 17, or a range such as 20-40")
        if int(ends[1]) - int(ends[0]) >= MAX_JOBS - len(found):
            raise Stop(Exit.USAGE, f"JOB: got {word!r}, expected at most {MAX_JOBS} jobs; name a workflow instead")
        found.update(range(int(ends[0]), int(ends[1]) + 1))
    return sorted(found)


def _change(say: Session, path: str, body: dict[str, Any]) -> Done:
    return Agent.of(say).post(path, body, Done)


def told_of(say: Session, answer: Done, done: str, nothing: str, what: str = "job") -> None:
    """Print which items changed, or would; nothing at all is a failure."""
    if not answer.changed:
        raise Stop(Exit.FAILED, f"nothing to do: {nothing}")
    some = ", ".join(map(str, answer.changed[:20])) + (", ..." if len(answer.changed) > 20 else "")
    would = "would be " if answer.dry_run else ""
    many = f"{len(answer.changed)} {what}{'s' if len(answer.changed) > 1 else ''}"
    say.show(answer, lambda: f"{many} {would}{done}: {some}")
