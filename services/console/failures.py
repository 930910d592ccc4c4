"""The verbs about failures: what failed most, what the rules are, and what they would say of a failure."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import RenderableType

from domain.job import JobType
from domain.retry import ALLOWANCE
from domain.rules import UNKNOWN, Evidence, Rule, RuleBook
from services.console import tables
from services.console.acting import Done
from services.console.agent import Agent, part
from services.console.exits import Exit, Stop
from services.console.reading import Limit, WorkflowName
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, session
from storage import views

app = typer.Typer(help="Failed attempts: what fails most, and what follows from it.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="WORKFLOW", help="Its name.")]
BY = ("exit_code", "blame", "site", "node", "workflow_id", "fingerprint")


class Classified(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules say of a failure: the rule (`place` from 1 on, 0 = none matches), and what it decides."""

    rule: str
    place: int
    own: bool
    blame: str
    action: str
    allowance: str


@app.command()
def classify(
    code: Annotated[int, typer.Option(min=0, help="The exit code, as in the job's report.")],
    text: Annotated[str, typer.Option(help="The message of the failure.")] = "",
    log: Annotated[
        Path | None, typer.Option(help="A file with the end of its log.", exists=True, dir_okay=False)
    ] = None,
    said: Annotated[str, typer.Option(help="The batch system's own word for the end, such as NODE_FAIL.")] = "",
    kind: Annotated[JobType, typer.Option("--type", help="The type of the job.")] = JobType.PROCESSING,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Say which rule a failure would come under, by the rules in the configuration file. Ends with 1 if none matches.

    Example: `run_agent.py errors classify --code 1 --text "licence server not found"`
    """
    with session(config, json=json) as say:
        book = RuleBook(say.loaded.settings.errors.rules)
        end = log.read_text(encoding="utf-8", errors="replace") if log is not None else ""
        rule = book.classify(Evidence(code, text, end, said, kind))
        place = 0 if rule is UNKNOWN else book.rules.index(rule) + 1
        answer = Classified(
            rule=rule.name,
            place=place,
            own=0 < place <= len(book.own),
            blame=rule.blame,
            action=rule.action,
            allowance=ALLOWANCE.get(rule.blame, "none"),
        )
        say.show(answer, lambda: _classified(answer))
        if rule is UNKNOWN:
            raise typer.Exit(int(Exit.FAILED))


def _classified(answer: Classified) -> RenderableType:
    origin = "of the configuration" if answer.own else "built in"
    rows = [
        ("rule", answer.rule),
        ("found at", f"place {answer.place}, {origin}" if answer.place else "no rule matches"),
        ("blame", answer.blame),
        ("follows", answer.action),
        ("uses the allowance", answer.allowance),
    ]
    return tables.table(("", ""), rows)


@app.command()
def rules(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """List the rules in the order in which they are tried, those of the configuration first.

    Example: `run_agent.py errors rules`
    """
    with session(config, json=json) as say:
        book = RuleBook(say.loaded.settings.errors.rules)
        rows = [
            (
                place,
                "own" if place <= len(book.own) else "built in",
                rule.name,
                _condition(rule),
                rule.blame,
                rule.action,
            )
            for place, rule in enumerate(book.rules, start=1)
        ]
        say.show(list(book.rules), lambda: tables.table((">place", "from", "rule", "when", "blame", "follows"), rows))


def _condition(rule: Rule) -> str:
    parts = (
        ("code", rule.codes),
        ("signal", ", ".join(map(str, rule.signals))),
        ("batch system says", rule.said),
        ("message", rule.text),
        ("type", ", ".join(rule.types)),
    )
    return "; ".join(f"{word} {value}" for word, value in parts if value)


@app.command()
def top(
    workflow: WorkflowName = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help=f"What makes two failures one kind; may be repeated: {', '.join(BY)}."),
    ] = None,
    limit: Limit = 20,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """List what made attempts fail, most frequent first, with the pattern of the message and the last job it happened to.

    Example: `run_agent.py errors top --by node --by exit_code`
    """
    with session(config, json=json) as say:
        chosen = tuple(by or ("exit_code", "blame", "site", "fingerprint"))
        if strange := [name for name in chosen if name not in BY]:
            raise Stop(Exit.USAGE, f"--by: got {strange[0]!r}, expected one of {', '.join(BY)}")
        found = say.read(lambda c: views.causes(c, workflow_name=workflow, limit=limit, by=chosen))
        rows = [
            (one.count, one.exit_code, one.meaning, one.blame, one.site, one.node, one.workflow,
             one.pattern or one.example or "", one.job, tables.ago(one.first_at), tables.ago(one.last_at))
            for one in found
        ]  # fmt: skip
        heads = (">attempts", ">code", "failed with", "blame", "site", "node", "workflow", "message", ">last job",
                 "first", "last")  # fmt: skip
        say.show(found, lambda: tables.table(heads, rows, nothing="no attempt has failed"))


@app.command()
def revert(workflow: Name, dry_run: DryRun = False, config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Give the jobs of a workflow the memory and time that it says again, whatever was learned from failures.

    Example: `run_agent.py errors revert zmumu`
    """
    with session(config, json=json) as say:
        answer = Agent.of(say).post(f"/workflows/{part(workflow)}/revert", {"dry_run": dry_run}, Done)
        would = "would have" if dry_run else "have"
        say.show(answer, lambda: f"{len(answer.changed)} jobs {would} the needs of their workflow again")
