"""The verbs that change workflows which run: `workflow change`, `workflow versions`."""

from typing import Annotated, Any

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from domain.spans import seconds
from services.console import tables
from services.console.acting import Name, Reason
from services.console.agent import Agent, part
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, session
from storage.views.versions import VersionView
from storage.views.versions import versions as versions_of

app = typer.Typer(name="workflow", help="Change workflows while they run.", no_args_is_help=True)

ANY = "any"
"""What is said for a list or a limit that is to be none."""
Listed = typer.Option(metavar="NAME,NAME", help="From now on these; `any`: all.")
NONE = "none"
Denied = typer.Option(metavar="NAME,NAME", help="From now on not these; `none`: all may be taken.")


class RevisionDone(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's answer."""

    version: int
    changes: list[str]
    withdrawn: int
    dry_run: bool


@app.command()
def change(
    name: Name,
    sites: Annotated[str | None, Listed] = None,
    deny_sites: Annotated[str | None, Denied] = None,
    merge_sites: Annotated[str | None, Listed] = None,
    merge_deny_sites: Annotated[str | None, Denied] = None,
    releases: Annotated[str | None, Listed] = None,
    max_sites: Annotated[str | None, typer.Option(metavar="N", help="At so many sites at once; `any`.")] = None,
    group: Annotated[str | None, typer.Option(metavar="NAME", help='Whose work it is; "": nobody\'s.')] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9999, help="Higher goes earlier.")] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Of one job.")] = None,
    memory: Annotated[int | None, typer.Option(min=1, metavar="MB", help="Of one job, in 10**6 bytes.")] = None,
    disk: Annotated[int | None, typer.Option(min=1, metavar="MB", help="Of one job, in 10**6 bytes.")] = None,
    wall: Annotated[str | None, typer.Option(metavar="TIME", help='Of one job, such as "8 h".')] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="Of one job; merges need none.")] = None,
    architecture: Annotated[str | None, typer.Option(metavar="NAME", help='As `uname -m` says it; "": any.')] = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Give a workflow a new version, which counts at once for all jobs that have not begun.

    What waits in a batch queue where it may not go any more, or with other resources, comes back and is queued anew; no retry is
    used up. What runs stays.

    Example: `run_agent.py workflow change zmumu --sites alps,bern --memory 3000 --wall "8 h" --max-sites 2 --dry-run`
    """
    with session(config, json=json) as say:
        where = {"sites": _list(sites), "releases": _list(releases), "max_sites": _number(max_sites), "group": group}
        where |= {"deny_sites": _list(deny_sites), "merge_sites": _list(merge_sites)}
        where |= {"merge_deny_sites": _list(merge_deny_sites)}
        needs: dict[str, Any] = {"cores": cores, "memory_mb": memory, "disk_mb": disk, "wall_s": _seconds(wall)}
        needs |= {"gpus": gpus, "architecture": architecture}
        changes = _given(where | needs | {"priority": priority})
        body = {"changes": changes, "reason": reason, "dry_run": dry_run}
        answer = Agent.of(say).post(f"/workflows/{part(name)}/change", body, RevisionDone)
        say.show(answer, lambda: _done(name, answer))


@app.command()
def versions(name: Name, config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """List the versions of a workflow: since when each counts, who gave it and why, and what it changed.

    Example: `run_agent.py workflow versions zmumu`
    """
    with session(config, json=json) as say:
        found = say.read(lambda c: versions_of(c, name))
        say.show(found, lambda: _shown(found))


def _done(name: str, answer: RevisionDone) -> RenderableType:
    would = "would be" if answer.dry_run else "is"
    back = f"{answer.withdrawn} jobs that wait at a target {'would come' if answer.dry_run else 'come'} back"
    lines = [f"{name} {would} version {answer.version}; {back}", *(f"  {line}" for line in answer.changes)]
    return Group(*map(Text, lines))


def _shown(found: list[VersionView]) -> RenderableType:
    rows = [
        (one.version, tables.clock(one.at), one.who, "; ".join(one.changes) or "as submitted", one.reason,
         "jobs come back" if one.open else "")
        for one in found
    ]  # fmt: skip
    return tables.table((">version", "since (UTC)", "by", "what", "why", ""), rows)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given; raise Stop if none was."""
    given = {key: value for key, value in options.items() if value is not None}
    if not given:
        raise Stop(Exit.USAGE, "got nothing to change, expected one of the options (--sites, --memory, ...)")
    return given


def _list(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [] if text in (ANY, NONE) else [name.strip() for name in text.split(",")]


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if text == ANY:
        return 0
    if not (text.isascii() and text.isdigit() and int(text)):
        raise Stop(Exit.USAGE, f"--max-sites: got {text!r}, expected a number from 1 on, or {ANY}")
    return int(text)


def _seconds(text: str | None) -> int | None:
    try:
        found = None if text is None else int(seconds(text))
    except ValueError as error:
        raise Stop(Exit.USAGE, f"--wall: {error}") from None
    if found is not None and found < 1:
        raise Stop(Exit.USAGE, f"--wall: got {text!r}, expected a second at least")
    return found
