"""The course of a history as a picture (matplotlib, which comes with the extra `physics`)."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from services.simulation.history import Outcome
from services.simulation.scenario import Scenario

DAY = 86400.0


class NoPlot(Exception):
    """There is no picture: the library is missing, or the file cannot be written."""


def expect_room_for(path: Path) -> None:
    """Raise NoPlot if no picture could be written there; told before a history that may take minutes."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        raise NoPlot("matplotlib is not installed; expected the extra prodagent[physics]") from None
    if path.suffix[1:] not in FigureCanvasBase.get_supported_filetypes():
        raise NoPlot(f"got {path}, expected a file such as {path.stem}.png, .svg or .pdf")
    if not path.absolute().parent.is_dir():
        raise NoPlot(f"got {path}, expected a directory that is there")


def draw(path: Path, scenario: Scenario, outcomes: Sequence[Outcome], names: Sequence[str]) -> None:
    """Write a PNG, SVG or PDF, as the suffix of the file says. Raises NoPlot."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise NoPlot("matplotlib is not installed; expected the extra prodagent[physics]") from None
    mpl.rcParams["svg.hashsalt"] = scenario.name  # the same picture from the same history
    figure = Figure(figsize=(8, 2.4 + 2.2 * len(outcomes)), layout="constrained")
    axes = figure.subplots(1 + len(outcomes), 1, sharex=True)
    _events(axes[0], outcomes, names)
    for axis, outcome, name in zip(axes[1:], outcomes, names, strict=True):
        _running(axis, outcome, name)
    for axis in axes[:2]:  # the second history is the one without what happens
        for happening in scenario.happens:
            if happening.ends < float("inf"):
                axis.axvspan(happening.begins / DAY, happening.ends / DAY, color="0.9", zorder=0)
    axes[0].set_title(scenario.about or scenario.name)
    axes[-1].set_xlabel("days")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise NoPlot(f"{path} cannot be written: {error}") from None


def _events(axis: Any, outcomes: Sequence[Outcome], names: Sequence[str]) -> None:
    for outcome, name, style in zip(outcomes, names, cycle(("-", "--")), strict=False):
        course = outcome.measures.course
        axis.plot([moment.at / DAY for moment in course], [moment.events for moment in course], style, label=name)
    axis.set_ylabel("events done")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False)


def _running(axis: Any, outcome: Outcome, name: str) -> None:
    course = outcome.measures.course
    days = [moment.at / DAY for moment in course]
    rows = [[moment.running.get(target, 0) for moment in course] for target in outcome.measures.slots]
    axis.stackplot(days, rows, labels=list(outcome.measures.slots), step="post")
    axis.set_ylabel(f"jobs running\n{name}")
    axis.set_ylim(0, sum(outcome.measures.slots.values()))
    axis.legend(frameon=False, loc="upper right", ncols=3)
