"""The verbs for what is on its way between storage elements: `transfers list`, `retry`, `cancel`."""

from typing import Annotated, Any

import msgspec
import typer

from domain.transfer import TransferState
from services.console import tables
from services.console.acting import Done, Reason
from services.console.agent import Agent
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, Session, session
from storage import views
from storage.transfers import STOPPED
from storage.views import TransferView

app = typer.Typer(
    help="Transfers of merged files: parked ones failed too often, quarantined ones found another file under their name.",
    no_args_is_help=True,
)
Ids = Annotated[list[int] | None, typer.Argument(metavar="ID...", min=1, help="Of the list.")]
To = Annotated[str, typer.Option("--to", metavar="SITE", help="All that wait for a person on their way to this site.")]
HEADS = (">id", "file", "from", "to", "state", "since", ">try", "next try", "why")


class Transfers(msgspec.Struct, frozen=True, kw_only=True):
    """Transfers, newest first."""

    transfers: list[TransferView]


@app.command(name="list")
def listed(
    state: Annotated[
        list[TransferState] | None, typer.Option("--state", help="Those in this state; may be given again.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Most rows.")] = 100,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """List transfers that wait for a person, or those in the states that you name.

    Examples: `run_agent.py transfers list`, `run_agent.py transfers list --state moving --state waiting`
    """
    with session(config, json=json) as say:
        found = say.read(lambda c: views.transfers(c, states=state or STOPPED, limit=limit))
        nothing = "none in that state" if state else "no transfer waits for you"
        say.show(Transfers(transfers=found), lambda: tables.table(HEADS, [_row(one) for one in found], nothing=nothing))


@app.command()
def retry(
    ids: Ids = None,
    to: To = "",
    reason: Reason = "",
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Try stopped transfers once more, now, when the cause is mended. Before a quarantined one: look what stands under its
    name at the destination, and take that away if it is wrong; nothing is ever written over it.

    Examples: `run_agent.py transfers retry 17 18`, `run_agent.py transfers retry --to alps --dry-run`
    """
    with session(config, json=json) as say:
        _change(say, "retry", _body(ids, to, reason, dry_run=dry_run), "tried once more")


@app.command()
def cancel(
    ids: Ids = None,
    to: To = "",
    reason: Reason = "",
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Give transfers up for good: the files stay where they are, and their workflows do not wait for them any more.

    Example: `run_agent.py transfers cancel 17 --reason "alps keeps its own copy"`
    """
    with session(config, json=json) as say:
        _change(say, "cancel", _body(ids, to, reason, dry_run=dry_run), "cancelled")


def _body(ids: list[int] | None, to: str, reason: str, *, dry_run: bool) -> dict[str, Any]:
    if bool(ids) == bool(to):
        raise Stop(
            Exit.USAGE, "got both, expected either ids or --to" if ids else "expected ids of `transfers list`, or --to"
        )
    return {"ids": ids or [], "destination": to, "reason": reason, "dry_run": dry_run}


def _change(say: Session, verb: str, body: dict[str, Any], done: str) -> None:
    answer = Agent.of(say).post(f"/transfers/{verb}", body, Done)
    if not answer.changed:
        raise Stop(Exit.FAILED, "nothing to do: no such transfer is in a state for that")
    would = "would be " if answer.dry_run else ""
    plural = "s" if len(answer.changed) > 1 else ""
    say.show(
        answer,
        lambda: f"{len(answer.changed)} transfer{plural} {would}{done}: {', '.join(map(str, answer.changed))}",
    )


def _row(one: TransferView) -> tuple[object, ...]:
    due = tables.until(one.wake_at) if one.wake_at else ""
    return (
        one.id, one.lfn, one.source, one.destination, one.state, tables.ago(one.since), one.attempt, due, one.reason
    )  # fmt: skip
