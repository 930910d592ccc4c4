"""The verb that lets a running agent read its configuration anew."""

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from services.console import tables
from services.console.agent import Agent
from services.console.exits import Exit
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, session


class SettingChange(msgspec.Struct, frozen=True, kw_only=True):
    """One key: `before` and `after` as TOML, None where it is not set; `restart`: it waits for one."""

    key: str
    before: str | None
    after: str | None
    restart: bool


class ReloadDone(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's answer."""

    changes: list[SettingChange]
    leaving: list[str]
    failed: list[str]
    dry_run: bool


def reload(dry_run: DryRun = False, config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Let the running agent read its configuration anew: what can change while it runs acts at once, the rest is named.

    A file that will not do changes nothing. A target that is taken out runs empty first.

    Example: `run_agent.py reload --dry-run`
    """
    with session(config, json=json) as say:
        answer = Agent.of(say).post("/reload", {"dry_run": dry_run}, ReloadDone)
        say.show(answer, lambda: _shown(answer))
        if answer.failed:
            raise typer.Exit(int(Exit.FAILED))


def _shown(answer: ReloadDone) -> RenderableType:
    now = "would act now" if answer.dry_run else "acts now"
    rows = [(one.key, one.before or "not set", one.after or "not set", "needs a restart" if one.restart else now)
            for one in answer.changes]  # fmt: skip
    lines = [Text(f"{name} leaves the configuration; it gets no new work and goes when nothing is left there")
             for name in answer.leaving]  # fmt: skip
    lines += [Text(f"not done: {text}") for text in answer.failed]
    return Group(tables.table(("key", "before", "after", ""), rows, nothing="no difference"), *lines)
