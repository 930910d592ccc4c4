"""The verbs for the event log: `msg list`, `count`, `history`, `subscribers`, `publish`, `remove`, `forget`, `compact`."""

from typing import Annotated, Any

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from services.console import tables
from services.console.agent import Agent
from services.console.exits import Exit, Stop
from services.console.reading import Limit
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, Session, session
from storage import messages
from storage.messages import HistoryView, MessageView

app = typer.Typer(name="msg", help="The event log: everything that happened, and who reads it.", no_args_is_help=True)

Yes = Annotated[bool, typer.Option("--yes", help="It is meant: what goes is gone for good.")]
HEADS = (">fact", "when (UTC)", "what", ">items", "ids", "by", ">because of", "why")


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's answer: ids of facts, or a number of facts that were never read."""

    ids: list[int] = []
    waits: int = 0
    unread: int = 0
    dry_run: bool = False


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's answer to `msg compact`."""

    facts: int
    moves: int
    bytes: int
    held_by: str
    dry_run: bool


@app.command(name="list")
def list_messages(
    kind: Annotated[list[str] | None, typer.Option("--type", "-t", help="Only these; may be repeated.")] = None,
    sender: Annotated[str | None, typer.Option("--by", help="Only what this actor wrote.", metavar="ACTOR")] = None,
    before: Annotated[int | None, typer.Option("--before", min=1, help="Older than this fact.", metavar="ID")] = None,
    limit: Limit = 50,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """List facts, newest first.

    Example: `run_agent.py msg list --type JobsFailed --limit 20`
    """
    with session(config, json=json) as say:
        found = say.read(lambda c: messages.listed(c, types=kind or (), sender=sender, before=before, limit=limit))
        say.show(found, lambda: tables.table(HEADS, map(_row, found), nothing="no such fact"))


def _row(fact: MessageView) -> tuple[Any, ...]:
    span = str(fact.low) if fact.low == fact.high else f"{fact.low} to {fact.high}"
    more = " ".join(f"{name}={value}" for name, value in fact.more.items())
    return (
        fact.id, tables.clock(fact.at), fact.type, fact.items, span, fact.sender, fact.cause, f"{fact.reason} {more}".strip(),
    )  # fmt: skip


@app.command()
def count(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Count the facts by type: those in the log, and those that were compacted.

    Example: `run_agent.py msg count`
    """
    with session(config, json=json) as say:
        found = say.read(messages.counts)
        rows = [(row.type, tables.many(row.kept), tables.many(row.compacted)) for row in found]
        say.show(
            found, lambda: tables.table(("type", ">in the log", ">compacted"), rows, nothing="nothing has happened yet")
        )


@app.command()
def history(
    subject: Annotated[
        str, typer.Argument(metavar="SUBJECT", help="A job's number, or workflow:N, file:N, transfer:N …")
    ],
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Show everything that moved one item, oldest first: when, by whom, because of which other fact.

    Examples: `run_agent.py msg history 17`, `run_agent.py msg history file:230`
    """
    with session(config, json=json) as say:
        entity, colon, number = subject.rpartition(":")
        if not (number.isascii() and number.isdigit() and 0 < len(number) < 19) or (colon and not entity):
            raise Stop(Exit.USAGE, f"got {subject!r}, expected a job's number, or KIND:NUMBER such as file:230")
        found = say.read(lambda c: messages.history(c, entity or "job", int(number)))
        say.show(found, lambda: _history(found))


def _history(found: HistoryView) -> RenderableType:
    parts: list[RenderableType] = []
    if (past := found.before) is not None:
        parts.append(Text(f"before {tables.clock(past.until)} UTC: {past.moves} moves (compacted), then {past.state}"))
    if found.facts:
        parts.append(tables.table(HEADS, map(_row, found.facts)))
    return Group(*parts)


@app.command()
def subscribers(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """List who reads the log with a cursor, the furthest behind first: it holds back compaction.

    Example: `run_agent.py msg subscribers`
    """
    with session(config, json=json) as say:
        found = say.read(messages.subscribers)
        rows = [(row.name, row.position, tables.many(row.behind), row.parked, row.dead) for row in found]
        heads = ("subscriber", ">has read", ">behind", ">put aside", ">dead letters")
        say.show(found, lambda: tables.table(heads, rows, nothing="nobody"))


@app.command()
def publish(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="What it is about, in your own word.")],
    body: Annotated[str, typer.Option("--body", help="What it says besides, a JSON object.", metavar="JSON")] = "{}",
    delay: Annotated[float, typer.Option("--delay", help="Only after so long.", metavar="SECONDS", min=0)] = 0.0,
    unique: Annotated[
        str, typer.Option("--unique", help="Nothing, while one with this key waits.", metavar="KEY")
    ] = "",
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Tell something to the actors that follow `Published`: each gets it at least once, also if it is away now.

    A delay survives a restart of the agent.

    Examples: `run_agent.py msg publish calibration-ready --body '{"run": 17}'`, `run_agent.py msg publish tidy --delay 3600
    --unique tidy`
    """
    with session(config, json=json) as say:
        try:
            content = msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise Stop(Exit.USAGE, f"--body: got {body[:60]!r}, expected a JSON object ({error})") from None
        order = {"topic": topic, "body": content, "dry_run": dry_run, "delay_s": delay, "unique_key": unique}
        answer = Agent.of(say).post("/messages", order, Told)
        waits = f"{topic} waits as number {answer.waits}"
        done = waits if answer.waits else f"{topic} is fact {answer.ids[-1] if answer.ids else 0}"
        say.show(answer, lambda: f"{topic} would be published" if dry_run else done)


@app.command()
def remove(
    ids: Annotated[list[int], typer.Argument(metavar="ID...", min=1, help="Published facts, by number.")],
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Remove published facts for good. A fact that moved an item cannot be removed: its state is proved from it.

    Example: `run_agent.py msg remove 4711 --yes`
    """
    with session(config, json=json) as say:
        answer = _gone(say, "/messages/remove", {"ids": ids}, yes=yes, dry_run=dry_run)
        would = "would be " if dry_run else ""
        say.show(answer, lambda: f"{would}removed: {', '.join(map(str, answer.ids))}")


@app.command()
def forget(
    subscriber: Annotated[str, typer.Argument(metavar="SUBSCRIBER", help="Its name, as `msg subscribers` shows it.")],
    yes: Yes = False,
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Drop the cursor of a subscriber that will never come back, so that it no longer holds back compaction.

    Example: `run_agent.py msg forget old-notifier --yes`
    """
    with session(config, json=json) as say:
        answer = _gone(say, "/subscribers/forget", {"subscriber": subscriber}, yes=yes, dry_run=dry_run)
        would = "would be " if dry_run else ""
        say.show(answer, lambda: f"{subscriber} {would}forgotten; it had not read {answer.unread} facts")


def _gone(say: Session, path: str, body: dict[str, Any], *, yes: bool, dry_run: bool) -> Told:
    if not (yes or dry_run):
        raise Stop(Exit.USAGE, "this cannot be undone: say --yes, or look first with --dry-run")
    return Agent.of(say).post(path, {**body, "confirm": yes, "dry_run": dry_run}, Told)


@app.command()
def compact(dry_run: DryRun = False, config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Compact facts that are older than events.keep_s and read by everybody, now instead of within the hour.

    What they add up to is kept: law 8 (`verify`) is proved from it. Example: `run_agent.py msg compact --dry-run`
    """
    with session(config, json=json) as say:
        answer = Agent.of(say).post("/compaction", {"dry_run": dry_run}, Compaction)
        would = "would be " if dry_run else ""
        text = f"{tables.many(answer.facts)} facts ({tables.many(answer.bytes)} bytes) {would}compacted"
        say.show(answer, lambda: f"{text}; the next one is kept by: {answer.held_by}")
