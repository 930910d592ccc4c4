"""The verb for the supervision tree."""

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from domain.spans import written
from services.console import tables
from services.console.agent import Agent, part
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, session
from supervisors.snapshot import ActorSnapshot


def actors(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One actor or group.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Replace it by a fresh one.")] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Let it take no further message.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Let it go on.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Log every message it handles; ends by itself.")] = False,
    seconds: Annotated[float, typer.Option(min=0, max=86_400, help="How long to debug; 0 ends it now.")] = 3600.0,
    replace: Annotated[str, typer.Option(metavar="MODULE:CLASS", help="Let this class take over, if it is fit.")] = "",
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Show the supervision tree, show one actor with its last failure, or act on it.

    Examples: `run_agent.py actors`, `run_agent.py actors merge --restart`, `run_agent.py actors merge --debug --seconds 600`
    """
    with session(config, json=json) as say:
        wanted = {"restart": restart, "pause": pause, "resume": resume, "debug": debug, "replace": bool(replace)}
        verbs = [verb for verb, given in wanted.items() if given]
        if len(verbs) > 1 or (verbs and name is None):
            options = ", ".join(f"--{verb}" for verb in wanted)
            raise Stop(Exit.USAGE, f"expected the name of an actor and one of {options}")
        more: dict[str, Any] = {"seconds": seconds} if debug else {"type": replace} if replace else {}
        agent = Agent.of(say)
        if verbs and name is not None:
            done = agent.post(f"/actors/{part(name)}/{verbs[0]}", {"dry_run": dry_run, **more}, dict[str, Any])
            say.show(done, lambda: f"{name} {'would be' if dry_run else 'is'} {done['done']}")
        elif name is not None:
            one = agent.get(f"/actors/{part(name)}", ActorSnapshot)
            say.show(one, lambda: _one(one))
        else:
            found = agent.get("/actors", dict[str, list[ActorSnapshot]])["actors"]
            say.show(found, lambda: _tree(found))


HEADS = ("actor", "state", ">waiting", ">handled", ">per s", "now", ">for", ">restarts", "last failure")


def _tree(found: list[ActorSnapshot]) -> RenderableType:
    parents = {actor.name: actor.parent for actor in found}
    rows = []
    for actor in found:
        failure = f"{actor.last_failure.type}: {actor.last_failure.text}" if actor.last_failure else ""
        label = "  " * _depth(actor.name, parents) + actor.name
        work = (actor.depth, actor.handled, f"{actor.rate:.1f}") if actor.kind == "actor" else ("", "", "")
        age = written(actor.current_age) if actor.current else ""
        rows.append((label, tables.state(actor.state), *work, actor.current or "", age, actor.restarts, failure[:60]))
    return tables.table(HEADS, rows)


def _depth(name: str, parents: dict[str, str | None]) -> int:
    parent = parents.get(name)
    return 0 if parent is None else 1 + _depth(parent, parents)


def _one(actor: ActorSnapshot) -> RenderableType:
    rows = [
        ("state", tables.state(actor.state)),
        ("under", actor.parent),
        ("essential", "yes" if actor.essential else "no, it is parked when it cannot be kept alive"),
        ("restarts", actor.restarts),
        ("mailbox", f"{actor.depth} of {actor.capacity}, at most {actor.high_water} so far"),
        ("handled", f"{actor.handled}, {actor.rate:.1f} per second, p50 {actor.p50:.4f} s, p99 {actor.p99:.4f} s"),
        ("now", f"{actor.current} for {written(actor.current_age)}" if actor.current else "-"),
        *(("tick", f"{tick.name} every {tick.every:g} s, next in {tick.due_in:.1f} s") for tick in actor.ticks),
        *(("child", child) for child in actor.children),
    ]
    shown: list[RenderableType] = [tables.table((actor.name, ""), rows)]
    if actor.last_failure is not None:
        shown += [
            Text(""),
            Text(f"last failure, {tables.ago(actor.last_failure.when)}:\n{actor.last_failure.traceback}"),
        ]
    return Group(*shown)
