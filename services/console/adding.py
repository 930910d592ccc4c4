"""The verbs that add sites to those of the configuration file, change them, drop them and show one."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from config.faults import nearest
from config.keys import flat, toml
from services.console import tables
from services.console.acting import Reason
from services.console.agent import part
from services.console.exits import Exit, Stop
from services.console.reloading import change
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, session
from storage.added_sites import SiteRecord, record

Name = Annotated[str, typer.Argument(metavar="SITE", help="Its name.")]


def site_add(
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML: the keys of one [sites.NAME] table.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="In place of the one of this name that was added.")
    ] = False,
    reason: Reason = "",
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Add a site to those of the configuration file while the agent runs, or change one that was added.

    It is checked as if it stood in the file, is used at once, and is kept in the store. `--dry-run` shows what would change.

    Examples: `run_agent.py site-add bern bern.toml --dry-run`, `run_agent.py site-add bern bern.toml --replace`
    """
    with session(config, json=json) as say:
        body = {"site": _table(file), "replace": replace, "reason": reason, "dry_run": dry_run}
        change(say, "PUT", f"/sites/{part(name)}", body)


def site_drop(
    name: Name, reason: Reason = "", dry_run: DryRun = False, config: ConfigFile = DEFAULT, json: AsJson = False
) -> None:
    """Take out a site that was added; refused while jobs, outputs or transfers of it are under way.

    Example: `run_agent.py site-drop bern --reason "its cluster is gone"`
    """
    with session(config, json=json) as say:
        change(say, "DELETE", f"/sites/{part(name)}", {"reason": reason, "dry_run": dry_run})


def site_show(name: Name, config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Show how a site is configured, and who added it if it stands not in the file.

    Example: `run_agent.py site-show bern`
    """
    with session(config, json=json) as say:
        settings = say.loaded.settings
        found = say.read(lambda c: record(c, settings, name))
        if found is None:
            near = nearest(name, settings.sites)
            raise Stop(Exit.FAILED, f"there is no site {name!r}" + (f"; did you mean {near!r}?" if near else ""))
        say.show(found, lambda: _shown(found))


def _table(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Stop(Exit.USAGE, f"{file}: {error}; expected TOML with the keys of one [sites.NAME] table") from None


def _shown(found: SiteRecord) -> RenderableType:
    if found.since is None:
        head = f"{found.name} stands in the configuration file"
    else:
        head = f"{found.name} was added by {found.who}, {tables.ago(found.since)}: {found.reason or 'no reason given'}"
    return Text("\n".join([head, *(f"{key} = {toml(value)}" for key, value in flat(found.site))]))
