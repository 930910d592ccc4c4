"""The command `simulate`: try a world before it happens."""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.markup import escape

from services.console.exits import Exit, Stop
from services.console.session import AsJson, Session, session

if TYPE_CHECKING:  # the rest is imported when somebody simulates: agents start faster
    from rich.progress import Progress

    from services.simulation.campaign import Trial
    from services.simulation.history import Kill
    from services.simulation.life import Build
    from services.simulation.scenario import Scenario

ScenarioFile = Annotated[
    Path, typer.Argument(help="The scenario (TOML); examples/scenarios has some.", metavar="SCENARIO")
]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What `--seeds` and `--each` found, events in sums over all histories.

    `failed` holds the options that replay each history in which a law was broken, `short` of each that came to no end.
    """

    histories: int
    done: int
    kills: int
    delivered: int
    lost: int
    failed: dict[str, list[str]]
    short: dict[str, str]


def simulate_command(build: "Build") -> Callable[..., None]:
    """Return the command; `build` makes the agent's tree."""

    def simulate(
        scenario: ScenarioFile,
        seed: Annotated[int | None, typer.Option(help="Of all chance; the same seed is the same history.")] = None,
        compare: Annotated[bool, typer.Option("--compare", help="Also without what happens, side by side.")] = False,
        plot: Annotated[
            Path | None, typer.Option(help="Draw the course into this PNG, SVG or PDF.", metavar="FILE")
        ] = None,
        seeds: Annotated[
            int, typer.Option(min=1, help="So many histories, each with the next seed; only what is wrong is told.")
        ] = 1,
        each: Annotated[
            int, typer.Option(min=0, help="One history per so many awaits of the agent, which is killed there.")
        ] = 0,
        kill: Annotated[
            list[str] | None, typer.Option(help="Kill the n-th life (from 0) after so many steps.", metavar="LIFE:STEP")
        ] = None,
        log: Annotated[bool, typer.Option("--log", help="Show what the simulated agent logs.")] = False,
        workers: Annotated[int, typer.Option(min=0, help="Processes for --seeds and --each; 0: one per core.")] = 0,
        json: AsJson = False,
    ) -> None:
        """Try the agent in a world that a file describes: what if this site goes down for a week?

        The whole agent runs, with all its actors and its real database, on simulated time, targets, storages and
        ProdMgr; only waiting costs nothing. After each restart and at the end all laws of the books are checked, and that
        every event is in exactly one place; ends with 1 if not, and says how to see it again. Ends with 5 if all that holds,
        but something is unfinished or waits for a person.

        Examples:

        `run_agent.py simulate examples/scenarios/site-down.toml --compare --plot site-down.png`

        `run_agent.py simulate examples/scenarios/rough.toml --seeds 100`
        """
        from services.simulation.campaign import Trial

        logging.basicConfig(level="INFO" if log else "CRITICAL", format="%(name)s: %(message)s", stream=sys.stderr)
        with session(Path(), json=json) as open_session:
            plan = _load(scenario)
            first = plan.seed if seed is None else seed
            if seeds > 1 or each:
                workers = workers or os.cpu_count() or 1
                code = _many(open_session, plan, build, _trials(plan, build, first, seeds, each), workers, scenario)
            else:
                code = _few(open_session, plan, build, Trial(first, _kills(kill or [])), compare=compare, plot=plot)
            raise typer.Exit(int(code))

    return simulate


def _load(path: Path) -> "Scenario":
    from config.faults import Faults
    from services.simulation.scenario import load
    from services.simulation.settings import agent_settings

    try:
        scenario = load(path)
        agent_settings(scenario, Path())
    except Faults as faults:
        raise Stop(Exit.BAD_CONFIG, str(faults)) from None
    return scenario


def _kills(words: Sequence[str]) -> "tuple[Kill, ...]":
    from services.simulation.history import Kill

    found = []
    for word in words:
        match = re.fullmatch(r"(\d+):([1-9]\d*)", word)
        if match is None:
            raise Stop(Exit.USAGE, f"--kill: got {word!r}, expected LIFE:STEP such as 0:137")
        found.append(Kill(int(match.group(1)), int(match.group(2))))
    return tuple(found)


def _few(
    open_session: Session, plan: "Scenario", build: "Build", trial: "Trial", *, compare: bool, plot: Path | None
) -> Exit:
    """One history, or two side by side."""
    from services.simulation.campaign import live
    from services.simulation.plot import NoPlot, draw, expect_room_for
    from services.simulation.show import shown

    if plot is not None:
        try:
            expect_room_for(plot)
        except NoPlot as error:
            raise Stop(Exit.USAGE, f"--plot: {error}") from None
    plans = {"as it happens" if compare else "": plan}
    if compare:
        plans["without it"] = msgspec.structs.replace(plan, happens=[])
    outcomes = []
    with _bar() as bar:
        for name, each in plans.items():
            outcomes.append(live(each, build, trial, _told(bar, name or plan.name, each)))
    names = [name or plan.name for name in plans]
    open_session.show(outcomes if compare else outcomes[0], lambda: shown(outcomes, names))
    if plot is not None:
        try:
            draw(plot, plan, outcomes, names)
        except NoPlot as error:
            print(f"no picture: {error}", file=sys.stderr)
    if any(outcome.wrong for outcome in outcomes):
        return Exit.FAILED
    return Exit.OK if all(outcome.verdict.ended for outcome in outcomes) else Exit.SHORT


def _trials(plan: "Scenario", build: "Build", first: int, seeds: int, each: int) -> "list[Trial]":
    """Return what is to be tried: seeds, or for each of them a kill at every so many-th await of its first life."""
    from services.simulation.campaign import Trial, each_await, live

    numbers = range(first, first + seeds)
    if not each:
        return [Trial(number) for number in numbers]
    return [
        trial for number in numbers for trial in each_await(live(plan, build, Trial(number)).first_steps, number, each)
    ]


def _many(
    open_session: Session, plan: "Scenario", build: "Build", trials: "Sequence[Trial]", workers: int, path: Path
) -> Exit:
    """Many histories; what is wrong with any is told with the options that replay it."""
    from services.simulation.campaign import live_all

    failed: dict[str, list[str]] = {}
    short: dict[str, str] = {}
    done = kills = delivered = lost = 0
    with _bar() as bar:
        task = bar.add_task(plan.name, total=len(trials), at="")
        for trial, outcome in live_all(plan, build, trials, workers):
            done += outcome.done
            kills += outcome.kills
            delivered += outcome.verdict.delivered
            lost += sum(outcome.verdict.lost.values())
            bar.update(task, advance=1, at=f"{len(failed)} wrong")
            if outcome.wrong:
                failed[f"simulate {path} {trial}"] = outcome.wrong
            elif not outcome.verdict.ended:
                short[f"simulate {path} {trial}"] = outcome.verdict.words
    found = Summary(
        histories=len(trials), done=done, kills=kills, delivered=delivered, lost=lost, failed=failed, short=short
    )
    open_session.show(found, lambda: _told_all(found))
    if failed:
        return Exit.FAILED
    return Exit.SHORT if short else Exit.OK


def _told_all(found: Summary) -> str:
    lines = [
        f"{found.histories:,} histories with {found.kills:,} kills: {found.done:,} came to their end in time",
        f"{found.delivered:,} events delivered, {found.lost:,} lost",
    ]
    for replay, wrong in found.failed.items():
        lines += [
            f"[bold red]wrong[/], see it again with: run_agent.py {replay}",
            *(f"    {escape(each)}" for each in wrong[:5]),
        ]
    for replay, words in found.short.items():
        lines.append(f"[bold yellow]no end[/], see it again with: run_agent.py {replay}\n    {escape(words)}")
    if not found.failed:
        lines.append("[bold green]every law held, every event is in exactly one place[/]")
    return "\n".join(lines)


@contextmanager
def _bar() -> "Iterator[Progress]":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[at]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar


def _told(bar: "Progress", name: str, plan: "Scenario") -> Callable[[float], None]:
    from services.simulation.show import span

    task = bar.add_task(name, total=plan.duration_s, at="")
    return lambda at: bar.update(task, completed=at, at=f"{span(at)} of {plan.duration}")
