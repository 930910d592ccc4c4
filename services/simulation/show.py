"""A history as people read it: a table, with and without what happens side by side, and its course in letters."""

from collections.abc import Sequence
from itertools import pairwise

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.simulation.history import Outcome

BLOCKS = " ▁▂▃▄▅▆▇█"
WIDTH = 60
"""Columns of a course in letters."""
LAWS_HELD = "every law held"
LAWS_BROKEN = "not every law held"


def shown(outcomes: Sequence[Outcome], names: Sequence[str]) -> RenderableType:
    """Return the figures of the histories side by side, their courses, and whatever is wrong."""
    parts: list[RenderableType] = [_figures(outcomes, names), Text()]
    for outcome, name in zip(outcomes, names, strict=True):
        parts += [*_courses(outcome, name), Text()]
    for outcome in outcomes:
        parts += [Text(f"WRONG: {wrong}", style="bold red") for wrong in outcome.wrong]
    parts += [_verdict(outcome, name) for outcome, name in zip(outcomes, names, strict=True)]
    return Group(*parts)


def _verdict(outcome: Outcome, name: str) -> Text:
    """Say how it ended: in green if everything was delivered."""
    verdict = outcome.verdict
    laws = LAWS_BROKEN if outcome.wrong else LAWS_HELD
    whole = verdict.ended and not verdict.lost
    colour = "red" if outcome.wrong else "green" if whole else "yellow"
    return Text(f"{name}: {verdict.words}; {laws}", style=f"bold {colour}")


def _figures(outcomes: Sequence[Outcome], names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title=outcomes[0].scenario, title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    rows = [list(_rows(outcome)) for outcome in outcomes]
    labels = list(dict.fromkeys(label for each in rows for label, _ in each))
    for label in labels:
        table.add_row(label, *(dict(each).get(label, "0") for each in rows))
    return table


def _rows(outcome: Outcome) -> list[tuple[str, str]]:
    measures = outcome.measures
    finished = "not in this time" if measures.finished_at is None else span(measures.finished_at)
    rows = [
        ("events requested", f"{measures.requested:,}"),
        ("events done", f"{measures.merged:,}"),
        ("events lost", f"{measures.lost:,}"),
        ("time to finish", finished),
        ("attempts", f"{measures.attempts:,}"),
        ("attempts failed", f"{measures.failed:,}"),
    ]
    rows += [(f"  {cause}", f"{count:,}") for cause, count in measures.causes.items()]
    rows += [("kills of the agent", f"{outcome.kills:,}")]
    rows += [(f"utilisation of {each.target}", f"{each.utilisation:.0%}") for each in measures.targets]
    return rows


def _courses(outcome: Outcome, name: str) -> list[Text]:
    course = outcome.measures.course
    events = [moment.events for moment in course]
    lines = [Text(f"{name}, {span(course[-1].at)} from left to right", style="bold")]
    lines.append(_line("events done", events, outcome.measures.requested))
    for target, slots in outcome.measures.slots.items():
        lines.append(_line(f"jobs at {target}", [moment.running.get(target, 0) for moment in course], slots))
    return lines


def _line(label: str, values: Sequence[float], most: float) -> Text:
    edges = [len(values) * place // WIDTH for place in range(WIDTH + 1)]
    means = [sum(part) / len(part) for low, high in pairwise(edges) if (part := values[low : max(high, low + 1)])]
    letters = "".join(BLOCKS[min(8, round(8 * mean / most))] if most else " " for mean in means)
    return Text(f"  {label:<24} {letters}")


def span(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
