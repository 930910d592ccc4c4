"""The verbs for configurations."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from backends.opening import settings_of
from config import verbs
from config.faults import Faults
from services.console import tables
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, session

app = typer.Typer(help="Check, explain, write and compare configurations.", no_args_is_help=True)


@app.command()
def check(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Name everything that is wrong with a configuration; exit code 78 if there is anything.

    Example: `run_agent.py config check --config agent.toml`
    """
    with session(config, json=json) as say:
        faults = verbs.check(config, settings_of)
        if faults and not json:
            raise Stop(Exit.BAD_CONFIG, str(Faults(faults)))
        say.show(faults, lambda: f"{config}: nothing is wrong")
    if faults:
        raise typer.Exit(int(Exit.BAD_CONFIG))


@app.command()
def explain(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A whole path, or the last part of one.")],
    json: AsJson = False,
) -> None:
    """Say what a key is for, what it takes and its default.

    Example: `run_agent.py config explain tracker.grace_s`
    """
    with session(DEFAULT, json=json) as say:
        try:
            text = verbs.explain(key)
        except LookupError as error:
            raise Stop(Exit.FAILED, str(error.args[0])) from None
        say.show({"key": key, "text": text}, lambda: Text(text))


@app.command()
def new(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to write it; never over one that is there.")
    ] = DEFAULT,
    minimal: Annotated[bool, typer.Option("--minimal", help="Only the least that runs.")] = False,
) -> None:
    """Write a commented configuration to start from.

    Example: `run_agent.py config new agent.toml --minimal`
    """
    with session(file) as say:
        try:
            verbs.new(file, minimal=minimal)
        except Faults as faults:
            raise Stop(Exit.FAILED, str(faults)) from None
        say.show({"file": str(file)}, lambda: f"{file} is written")


@app.command()
def diff(
    other: Annotated[Path | None, typer.Argument(metavar="OTHER", help="Another configuration.")] = None,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Show what a configuration sets apart from the defaults, or what another one changes against it.

    Example: `run_agent.py config diff new.toml --config agent.toml`
    """
    with session(config, json=json) as say:
        try:
            changes = verbs.diff(config, other)
        except Faults as faults:
            raise Stop(Exit.BAD_CONFIG, str(faults)) from None
        rows = [(one.key, one.before, one.after, "restart" if one.restart else "") for one in changes]
        say.show(changes, lambda: tables.table(("key", "before", "after", "needs"), rows, nothing="no difference"))
