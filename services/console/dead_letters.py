"""The verbs for what could not be handled: `dlq list`, `show`, `replay`, `drop`."""

from typing import Annotated

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from services.console import tables
from services.console.agent import Agent
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, Session, session
from storage import views
from storage.views import LetterView, ParkedView

app = typer.Typer(
    name="dlq",
    help="Dead letters: facts that an actor could not handle (`7`), and messages that killed or missed theirs (`m7`).",
    no_args_is_help=True,
)
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Of the list: 7 is a fact, m7 a message.")]
HEADS = (">id", "actor", "what", ">tries", "next try", "error")


class Letters(msgspec.Struct, frozen=True, kw_only=True):
    """What could not be handled."""

    parked: list[ParkedView]
    mail: list[LetterView]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The letters that were replayed or dropped, or would be."""

    changed: list[int]
    mail: list[int]
    dry_run: bool


@app.command(name="list")
def list_letters(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """List facts and messages that wait for a person, and facts that are tried again by themselves.

    Example: `run_agent.py dlq list`
    """
    with session(config, json=json) as say:
        found = _found(say)
        rows = [_fact(letter) for letter in found.parked] + [_message(letter) for letter in found.mail]
        say.show(found, lambda: tables.table(HEADS, rows, nothing="no dead letter"))


@app.command()
def show(ids: Ids, config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Show dead letters with their tracebacks.

    Example: `run_agent.py dlq show 7 m3`
    """
    with session(config, json=json) as say:
        facts, mail = _split(ids)
        found = _found(say)
        chosen = Letters(
            parked=[letter for letter in found.parked if letter.id in facts],
            mail=[letter for letter in found.mail if letter.id in mail],
        )
        missing = {*facts} - {letter.id for letter in chosen.parked}
        gone = [*map(str, sorted(missing)), *(f"m{one}" for one in sorted({*mail} - {one.id for one in chosen.mail}))]
        if gone:
            raise Stop(Exit.FAILED, f"there is no dead letter {', '.join(gone)}")
        say.show(chosen, lambda: _whole(chosen))


@app.command()
def replay(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="None: all dead letters.")] = None,
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Hand dead letters to their actors again, once the cause is repaired.

    Examples: `run_agent.py dlq replay`, `run_agent.py dlq replay 7 m3 --dry-run`
    """
    with session(config, json=json) as say:
        _change(say, "replay", ids or [], "handed out again", dry_run=dry_run)


@app.command()
def drop(ids: Ids, dry_run: DryRun = False, config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Forget dead letters for good. A fact stays in the log; only the actor that failed on it passes it over.

    Example: `run_agent.py dlq drop m3`
    """
    with session(config, json=json) as say:
        _change(say, "drop", ids, "dropped", dry_run=dry_run)


def _found(say: Session) -> Letters:
    parked, mail = say.read(lambda c: (views.dead_letters(c), views.dead_mail(c)))
    return Letters(parked=parked, mail=mail)


def _split(ids: list[str]) -> tuple[list[int], list[int]]:
    """Return the facts and the messages that are meant."""
    facts: list[int] = []
    mail: list[int] = []
    for word in ids:
        number = word.removeprefix("m")
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise Stop(Exit.USAGE, f"got {word!r}, expected an id of `dlq list`: 7 for a fact, m7 for a message")
        (facts if number == word else mail).append(int(number))
    return facts, mail


def _change(say: Session, verb: str, ids: list[str], done: str, *, dry_run: bool) -> None:
    facts, mail = _split(ids)
    answer = Agent.of(say).post(f"/dead-letters/{verb}", {"ids": facts, "mail": mail, "dry_run": dry_run}, Done)
    changed = [*map(str, answer.changed), *(f"m{one}" for one in answer.mail)]
    if not changed:
        raise Stop(Exit.FAILED, "nothing to do: there is no dead letter")
    would = "would be " if answer.dry_run else ""
    plural = "s" if len(changed) > 1 else ""
    say.show(answer, lambda: f"{len(changed)} dead letter{plural} {would}{done}: {', '.join(changed)}")


def _fact(letter: ParkedView) -> tuple[object, ...]:
    due = tables.until(letter.next_at) if letter.next_at else "waits for you"
    return (
        letter.id,
        letter.subscriber,
        f"{letter.type} {letter.event_id}",
        letter.tries,
        due,
        _last_line(letter.error),
    )


def _message(letter: LetterView) -> tuple[object, ...]:
    due = "waits for you" if letter.body else "cannot be replayed"
    error = _last_line(letter.error) if letter.error else letter.reason
    return f"m{letter.id}", letter.actor, letter.type, letter.tries, due, error


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["-"])[-1]


def _whole(found: Letters) -> RenderableType:
    shown: list[RenderableType] = []
    for fact in found.parked:
        head = f"{fact.id}: {fact.subscriber} failed on {fact.type} {fact.event_id}, {fact.tries} tries"
        shown += [Text(head, style="bold"), Text(fact.error)]
    for one in found.mail:
        head = f"m{one.id}: {one.actor}, {one.reason}, {one.times} times, last {tables.ago(one.last_at)}"
        shown += [Text(head, style="bold"), Text(one.text), Text(one.traceback)]
    return Group(*shown)
