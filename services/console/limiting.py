"""The verbs about limits of targets: set one while the agent runs, list those that were set."""

from typing import Annotated

import msgspec
import typer
from rich.console import RenderableType

from services.console import tables
from services.console.acting import Reason
from services.console.agent import Agent
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, session
from storage import leaving, overrides
from storage.overrides import LIMITS, OverrideView

ANY, AS_CONFIGURED = "any", "default"
Target = Annotated[str, typer.Argument(metavar="TARGET", help="The name of a target.")]
Which = Annotated[str, typer.Argument(metavar="LIMIT", help=f"{', '.join(LIMITS)}.")]
Number = Annotated[
    str,
    typer.Argument(metavar="N", help=f"The number; `{ANY}`: no limit; `{AS_CONFIGURED}`: as the configuration says."),
]


class LimitDone(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's answer."""

    before: int | None
    after: int | None
    configured: int | None
    dry_run: bool


def limit(
    target: Target,
    which: Which,
    number: Number,
    reason: Reason = "",
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Set a limit of a target at once, in place of the one in the configuration.

    It holds over restarts and reloads, until it is set to `default`; a threshold that was set does not grow by itself. What the
    target has beyond a lower limit goes on.

    Examples: `run_agent.py limit alps-slurm processing 40 --reason "their downtime"`, `run_agent.py limit alps-slurm cores any`,
    `run_agent.py limit alps-slurm processing default`
    """
    with session(config, json=json) as say:
        key = which.replace("-", "_")
        body = {"target": target, "limit": key, "reason": reason, "dry_run": dry_run, **_value(number)}
        answer = Agent.of(say).post("/limits", body, LimitDone)
        say.show(answer, lambda: _done(f"{target} {key}", answer))


def limits(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """List the limits that were set in place of those of the configuration: by whom, when and why.

    Example: `run_agent.py limits`
    """
    with session(config, json=json) as say:
        found = say.read(lambda c: overrides.views(overrides.load(c), leaving.beside(c, say.loaded.settings)))
        say.show(found, lambda: shown(found))


def shown(found: list[OverrideView]) -> RenderableType:
    """Return limits that were set as a table."""
    rows = [
        (one.target, one.limit, _word(one.value), _word(one.configured) if one.known else "no such target",
         one.who, tables.ago(one.since), one.reason)
        for one in found
    ]  # fmt: skip
    heads = ("target", "limit", ">in force", ">configured", "by", "since", "why")
    return tables.table(heads, rows, nothing="all limits are those of the configuration")


def _value(number: str) -> dict[str, int | bool | None]:
    if number == AS_CONFIGURED:
        return {"default": True}
    if number == ANY:
        return {"value": None}
    if not (number.isascii() and number.isdigit() and len(number) <= 12):
        raise Stop(Exit.USAGE, f"N: got {number!r}, expected a whole number, {ANY} or {AS_CONFIGURED}")
    return {"value": int(number)}


def _done(what: str, answer: LimitDone) -> str:
    would = "would be" if answer.dry_run else "is"
    return f"{what} {would} {_word(answer.after)}, was {_word(answer.before)}; the configuration says {_word(answer.configured)}"


def _word(limit: int | None) -> str:
    return ANY if limit is None else str(limit)
