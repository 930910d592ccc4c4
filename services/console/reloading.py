"""The verb that lets a running agent read its configuration anew."""

import sys
import time
from typing import Any

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from services.console import tables
from services.console.agent import Agent
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, Session, session


class SettingChange(msgspec.Struct, frozen=True, kw_only=True):
    """One key: `before` and `after` as TOML, None where it is not set; `restart`: it waits for one; `held`: whose number counts in
    its place."""

    key: str
    before: str | None
    after: str | None
    restart: bool
    held: str = ""


LOOK_S = 0.5
"""Time between two looks at a reload that takes long, in seconds."""


class ReloadDone(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's answer when it is over."""

    changes: list[SettingChange]
    leaving: list[str]
    failed: list[str]
    dry_run: bool


class ReloadState(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands: what it waits for ("" = it is over), what came of it, why it was refused."""

    under_way: str = ""
    done: ReloadDone | None = None
    refused: str = ""


def reload(dry_run: DryRun = False, config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Let the running agent read its configuration anew: what can change while it runs acts at once, the rest is named.

    A file that will not do changes nothing. A target that is taken out runs empty first. It waits until actors that are replaced
    have ended, and says which.

    Example: `run_agent.py reload --dry-run`
    """
    with session(config, json=json) as say:
        change(say, "POST", "/reload", {"dry_run": dry_run})


def change(say: Session, method: str, path: str, body: dict[str, Any]) -> None:
    """Have the agent change what it is configured to, show what came of it; raise Exit for what did not work."""
    answer = _done(Agent.of(say), method, path, body)
    say.show(answer, lambda: _shown(answer))
    if answer.failed:
        raise typer.Exit(int(Exit.FAILED))


def _done(agent: Agent, method: str, path: str, body: dict[str, Any]) -> ReloadDone:
    """Ask for it and wait until it is over, telling what it waits for."""
    first = agent.change(method, path, body, dict[str, Any])
    if "changes" in first:
        return msgspec.convert(first, ReloadDone)
    state, told = msgspec.convert(first, ReloadState), ""
    while state.under_way:
        if state.under_way != told:
            told = state.under_way
            print(f"under way: {told}", file=sys.stderr)
        time.sleep(LOOK_S)
        state = agent.get("/reload", ReloadState)
    if state.done is None:
        raise Stop(Exit.FAILED, state.refused or "the agent does not say any more what came of it; see its log")
    return state.done


def _shown(answer: ReloadDone) -> RenderableType:
    now = "would act now" if answer.dry_run else "acts now"
    rows = [(one.key, one.before or "not set", one.after or "not set",
             "needs a restart" if one.restart else f"{one.held}, see `limits`" if one.held else now)
            for one in answer.changes]  # fmt: skip
    lines = [Text(f"{name} leaves the configuration; it gets no new work and goes when nothing is left there")
             for name in answer.leaving]  # fmt: skip
    lines += [Text(f"not done: {text}") for text in answer.failed]
    return Group(tables.table(("key", "before", "after", ""), rows, nothing="no difference"), *lines)
