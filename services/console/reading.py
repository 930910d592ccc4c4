"""The verbs that look: they read the store itself, so they work when the agent is dead or hangs."""

import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from domain.file import FileState
from domain.job import JobState
from domain.obstacles import agent_away
from domain.spans import written
from services.console import limiting, tables
from services.console.agent import Agent, NoAgent, part
from services.console.exits import Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, Session, session
from storage import leaving, overrides, views
from storage import why as reasons
from storage.backup import newest_at
from storage.endings import Ending, endings
from storage.overrides import OverrideView
from storage.why import Explanation

WorkflowName = Annotated[str | None, typer.Option("--workflow", "-w", help="Only of this workflow.", metavar="NAME")]
SiteName = Annotated[str | None, typer.Option("--site", help="Only at this site.", metavar="NAME")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=views.MAX_ROWS, help="Most rows.")]


class StatusAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `status`; `agent`: where it serves, or why it does not answer; `ending`: attempts that were killed or given
    up and whose end their target has not confirmed yet (PA-316)."""

    agent: str
    running: bool
    totals: views.Totals
    workflows: list[views.WorkflowView]
    sites: list[views.SiteJobs]
    causes: list[views.Cause]
    alerts: list[views.AlertView]
    dead_letters: int
    snapshot_at: float | None
    ending: list[Ending]
    limits: list[OverrideView]


def status(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Show everything at a glance: workflows with their events, jobs by state at each site, what fails, alerts.

    Example: `run_agent.py status`
    """
    with session(config, json=json) as say:
        flows, sites, causes, alerts, dead, ending, limits = say.read(
            lambda c: (
                views.status(c, time.time()),
                views.jobs_by_site(c),
                views.causes(c, limit=5),
                views.open_alerts(c),
                len(views.dead_letters(c, dead_only=True)) + len(views.dead_mail(c)),
                endings(c),
                overrides.views(overrides.load(c), leaving.beside(c, say.loaded.settings)),
            )
        )
        running, told = _agent(say)
        answer = StatusAnswer(
            agent=told,
            running=running,
            totals=views.sum_up(flows),
            workflows=flows,
            sites=sites,
            causes=causes,
            alerts=alerts,
            dead_letters=dead,
            snapshot_at=newest_at(Path(say.loaded.settings.backup.directory)),
            ending=ending,
            limits=limits,
        )
        say.show(answer, lambda: _status(answer))


def _agent(say: Session) -> tuple[bool, str]:
    try:
        agent = Agent.of(say)
        agent.get("/actors", dict[str, Any])
    except Stop as stop:
        return False, str(stop)
    return (
        True,
        f"running: process {agent.file.pid}, {agent.file.url}, for {written(time.time() - agent.file.started)}",
    )


def _status(answer: StatusAnswer) -> RenderableType:
    parts: list[RenderableType] = [
        Text(answer.agent, style="green" if answer.running else "red"),
        Text(f"newest snapshot of the store: {tables.ago(answer.snapshot_at) if answer.snapshot_at else 'none'}"),
        Text(""),
        tables.workflows(answer.workflows),
        Text(""),
        tables.table(
            ("site", "target", "jobs"),
            [(row.site or "-", row.target or "not at a site", tables.counts(row.states)) for row in answer.sites],
        ),
    ]
    for one in answer.ending:
        text = f"{one.attempts} attempts of {one.workflow} were ended at {one.target}, which has not confirmed it"
        parts.append(Text(f"{text}; the oldest {tables.ago(one.since)}", style="yellow"))
    if answer.limits:
        parts += [Text(""), limiting.shown(answer.limits)]
    if answer.causes:
        parts += [Text(""), _causes(answer.causes)]
    if answer.alerts:
        parts += [Text(""), _alerts(answer.alerts)]
    if answer.dead_letters:
        parts += [Text(""), Text(f"{answer.dead_letters} dead letters: see `dlq list`", style="red")]
    return Group(*parts)


def _causes(causes: list[views.Cause]) -> RenderableType:
    rows = [
        (cause.count, cause.exit_code, cause.meaning, cause.blame, cause.site, cause.job, tables.ago(cause.last_at))
        for cause in causes
    ]
    return tables.table((">attempts", ">code", "failed with", "blame", "site", ">last job", "last"), rows)


def jobs(
    workflow: WorkflowName = None,
    state: Annotated[
        list[JobState] | None, typer.Option("--state", "-s", help="Only in this state; may be repeated.")
    ] = None,
    site: SiteName = None,
    limit: Limit = 50,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """List jobs, newest first.

    Example: `run_agent.py jobs --state failed --state exhausted --workflow zmumu`
    """
    with session(config, json=json) as say:
        found = say.read(lambda c: views.jobs(c, workflow_name=workflow, states=state or (), site=site, limit=limit))
        heads = (
            ">job",
            "workflow",
            "type",
            "state",
            "since",
            "site",
            "target",
            ">first event",
            ">events",
            ">tries",
            "reason",
        )
        rows = [
            (row.id, row.workflow, row.type, tables.state(row.state), tables.ago(row.since), row.site or row.pinned,
             row.target, row.first_event, row.events, row.attempts, row.reason)
            for row in found
        ]  # fmt: skip
        say.show(found, lambda: tables.table(heads, rows, nothing="no such job"))


def job(
    identity: Annotated[int, typer.Argument(metavar="JOB", min=1, help="Its number.")],
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Show one job: its attempts with causes and logs, files and history.

    Example: `run_agent.py job 17`
    """
    with session(config, json=json) as say:
        found = say.read(lambda c: views.one_job(c, identity))
        say.show(found, lambda: _job(found))


def _job(found: views.JobView) -> RenderableType:
    last = found.first_event + found.events - 1
    head = Text.assemble((f"job {found.id} ", "bold"), tables.state(found.state), f" {found.reason}")
    head.append(f"\n{found.lists}" if found.lists else "")
    attempts = [
        (tried.number, tried.site, tried.target, tried.batch_id, tried.node, tables.state(tried.outcome or "live"),
         tried.exit_code, tried.blame, tables.clock(tried.created_at), tried.cause)
        for tried in found.attempts_made
    ]  # fmt: skip
    logs = [Text(f"log of attempt {tried.number}:\n{tried.log}") for tried in found.attempts_made[-1:] if tried.log]
    files = [
        (row.id, row.lfn, tables.state(row.state), row.site, row.events, row.size)
        for row in (*found.inputs, *found.files)
    ]
    facts = [
        (tables.clock(fact.at), fact.type, fact.reason or " ".join(map(str, fact.more.values())))
        for fact in found.history
    ]
    heads = (">try", "site", "target", "batch id", "node", "outcome", ">code", "blame", "made (UTC)", "cause")
    return Group(
        head,
        Text(f"{found.type} of {found.workflow}, events {found.first_event} to {last}"),
        Text(""),
        tables.table(heads, attempts, nothing="never submitted"),
        *logs,
        Text(""),
        tables.table((">file", "name", "state", "site", ">events", ">bytes"), files, nothing="no files"),
        Text(""),
        tables.table(("when (UTC)", "what", "why"), facts),
    )


def why(
    subject: Annotated[
        str, typer.Argument(metavar="SUBJECT", help="A job's number, a workflow, an LFN, transfer:N, site:NAME.")
    ],
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Say what something waits for: the blocker, since when, what would unblock it, who owns it, and the next look.

    Examples: `run_agent.py why 17`, `run_agent.py why zmumu`, `run_agent.py why file:/store/mc/f.root`
    """
    with session(config, json=json) as say:
        found = _explained(say, subject)
        say.show(found, lambda: _why(found))


def _explained(say: Session, subject: str) -> Explanation:
    """Ask the agent, which knows its actors; without an answer the store, and name that as the blocker."""
    try:
        return Agent.of(say).get(f"/why/{part(subject)}", Explanation)
    except NoAgent as away:
        found = say.read(lambda c: reasons.why(c, subject, say.loaded.settings, time.time()))
        verdict = agent_away(found, str(away))
        if verdict is found or not say.loaded.settings.admin.enabled:
            return found
        fields = {name: getattr(verdict, name) for name in ("code", "text", "unblocks", "owner", "wake_at")}
        return msgspec.structs.replace(found, **fields)


def _why(found: Explanation) -> RenderableType:
    rows = [
        ("state", tables.state(found.state)),
        ("since", f"{tables.clock(found.since)} UTC, {tables.ago(found.since)}"),
        ("blocker", Text(found.code, style="bold")),
        ("", found.text),
        ("unblocked by", found.unblocks),
        ("owner", found.owner),
        (
            "looked at",
            tables.until(found.wake_at) if found.wake_at else "when somebody acts" if not found.done else "-",
        ),
        *(("holds", f"{count} {code}") for code, count in sorted(found.groups.items(), key=lambda item: -item[1])),
    ]
    return tables.table((found.subject, ""), rows)


def alerts(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """List what a person should know, newest first.

    Example: `run_agent.py alerts`
    """
    with session(config, json=json) as say:
        found = say.read(views.open_alerts)
        say.show(found, lambda: _alerts(found))


def _alerts(found: list[views.AlertView]) -> RenderableType:
    rows = [
        (tables.state(alert.level), alert.code, alert.subject, alert.text, alert.times, tables.ago(alert.last_at))
        for alert in found
    ]
    return tables.table(("level", "alert", "subject", "text", ">times", "last"), rows, nothing="no open alert")


def files(
    workflow: WorkflowName = None,
    state: Annotated[
        list[FileState] | None, typer.Option("--state", "-s", help="Only in this state; may be repeated.")
    ] = None,
    site: SiteName = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Only this one, by LFN or number, with all that is known.")
    ] = None,
    limit: Limit = 50,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """List files, newest first, or show one: where it is, what it was merged into, its transfers.

    Example: `run_agent.py files --state catalogued --workflow zmumu`
    """
    with session(config, json=json) as say:
        if name is not None:
            key = int(name) if name.isdigit() and len(name) < 19 else name
            one = say.read(lambda c: views.one_file(c, key))
            say.show(one, lambda: _file(one))
            return
        found = say.read(lambda c: views.files(c, workflow_name=workflow, states=state or (), site=site, limit=limit))
        rows = [
            (row.id, row.lfn, row.kind, tables.state(row.state), row.workflow, row.job, row.site, row.events, row.size)
            for row in found
        ]
        heads = (">file", "name", "kind", "state", "workflow", ">job", "site", ">events", ">bytes")
        say.show(found, lambda: tables.table(heads, rows, nothing="no such file"))


def _file(found: views.FileView) -> RenderableType:
    rows = [
        ("state", tables.state(found.state)),
        ("why", found.reason or "-"),
        ("dataset", found.dataset),
        ("block", found.block),
        ("made by", f"job {found.job} of {found.workflow} at {found.site}"),
        ("holds", f"{found.events} events, {found.size} bytes, adler32 {found.adler32}"),
        ("merged into", found.merged_into),
        *(("merged from", parent) for parent in found.parents),
        *(
            ("copy", f"{copy.site}, verified {tables.clock(copy.verified_at)} UTC ({copy.method})")
            for copy in found.replicas
        ),
        *(("transfer", f"{one.id} to {one.destination}: {one.state} {one.reason}") for one in found.transfers),
        *((tables.clock(fact.at), f"{fact.type} {fact.reason}") for fact in found.history),
    ]
    return tables.table((f"file {found.id}", found.lfn), rows)
