"""The verbs about sites: what is known of them, and how they are used."""

import time
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from domain.controls import Kind, Mode, Scope
from services.console import limiting, tables
from services.console.acting import Reason
from services.console.agent import Agent
from services.console.holding import ControlsDone, Lasting, control, lasting, told
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, session
from storage.views.sites import BreakerView, SiteView, TargetView, all_sites

Names = Annotated[list[str], typer.Argument(metavar="SITE...", help="Their names.")]


class Word(StrEnum):
    """A mode of a site, or trust in it."""

    ENABLED = Mode.ENABLED
    DRAIN = Mode.DRAIN
    DRAIN_PROCESSING = Mode.DRAIN_PROCESSING
    DRAIN_MERGE = Mode.DRAIN_MERGE
    DOWN = Mode.DOWN
    TEST = Mode.TEST
    TRUST = Kind.TRUST


Use = Annotated[Word, typer.Argument(metavar="MODE", help="How they are used from now on.", case_sensitive=False)]


def sites(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Show who may run where: modes, breakers with their evidence, records, limits and loads of all targets.

    Example: `run_agent.py sites`
    """
    with session(config, json=json) as say:
        found = say.read(lambda c: all_sites(c, say.loaded.settings, time.time()))
        say.show(found, lambda: _shown(found))


def confirm_feed(dry_run: DryRun = False, config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Believe the feed that takes more than half of the sites down at once; until then what it said before holds.

    Example: `run_agent.py confirm-feed --dry-run`
    """
    with session(config, json=json) as say:
        answer = Agent.of(say).post("/feed/confirm", {"dry_run": dry_run}, ControlsDone)
        told(say, answer.changed, answer.dry_run, "down", "no site goes down")


def _shown(found: list[SiteView]) -> RenderableType:
    rows = [
        (site.name, one.name, _mode(site), _takes(one), f"{one.held['processing']}/{one.limits['processing']}",
         f"{one.held['merge']}/{one.limits['merge']}", str(one.cores), f"{one.score:.3f}", _breaker(one.breaker))
        for site in found
        for one in site.targets
    ]  # fmt: skip
    headings = ("site", "target", "mode", "takes jobs", ">processing", ">merge", ">cores", ">score", "breaker")
    lines = [Text(f"{site.name}: {site.words}, {tables.until(site.until)}") for site in found if site.words]
    lines += [Text(f"{site.name}: {_offer(site)}") for site in found if _offer(site)]
    said = [one for site in found for target in site.targets for one in target.said]
    set_by_hand = [Text(""), limiting.shown(said)] if said else []
    return Group(tables.table(headings, rows, nothing="no site has a target"), *lines, *set_by_hand)


def _takes(one: TargetView) -> str:
    """Whether a target takes jobs; why not, or why none of a type."""
    partly = "; ".join(f"no {kind}: {text}" for kind, text in one.closed.items())
    return one.shut or partly or "yes"


def _offer(site: SiteView) -> str:
    """What the feed says that is there."""
    slots = [] if site.slots is None else [f"{site.slots} slots"]
    releases = [] if site.releases is None else [f"software {', '.join(site.releases) or 'none'}"]
    return ", ".join(slots + releases)


def _mode(site: SiteView) -> str:
    return site.mode if site.enabled else "disabled"


def _breaker(one: BreakerView) -> str:
    return f"{one.state} {one.recent}".strip() + (f": {one.evidence}" if one.state != "closed" else "")


def site(
    use: Use,
    names: Names,
    reason: Reason = "",
    lasts: Lasting = "",
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Change how sites are used; what runs there goes on in any case.

    `drain`: no new jobs (`drain-merge`, `drain-processing`: none of that type). `down`: what waits in its batch queues comes back
    too, and no retry is used up. `test`: only workflows that name the site. `trust`: jobs in spite of its record and an open
    breaker, for 6 h if --for says nothing. `enabled`: as usual again.

    Examples: `run_agent.py site drain alps --reason "downtime on Friday"`, `run_agent.py site down alps --for "2 d"`,
    `run_agent.py site trust alps --for "6 h"`, `run_agent.py site enabled alps`
    """
    with session(config, json=json) as say:
        body: dict[str, Any] = {"scope": Scope.SITE, "subjects": names, "reason": reason, "dry_run": dry_run}
        if use is Word.TRUST:
            control(say, {**body, "kind": Kind.TRUST, **lasting(lasts or "6 h")}, "trusted", "no site was named")
        else:
            body |= {"kind": Kind.MODE, "value": use, **lasting(lasts)}
            control(say, body, f"in mode {use}", "no site was named")
