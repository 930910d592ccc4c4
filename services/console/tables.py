"""Answers as tables for people."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from domain.job import JobState
from domain.spans import written
from storage.views import Totals, WorkflowView

BAD = frozenset(
    {"failed", "exhausted", "lost", "paused", "parked", "quarantined", "invalid", "removefailed", "error", "critical"}
)
GOOD = frozenset({"success", "cleaned", "completed", "catalogued", "safe", "idle", "busy", "running", "done"})
ORDER = [str(state) for state in JobState]


def table(
    headings: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "", nothing: str = "none"
) -> RenderableType:
    """Return a plain table; headings that begin with ">" are numbers."""
    made = Table(
        title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold", title_style="bold"
    )
    for heading in headings:
        made.add_column(
            heading.removeprefix(">"), justify="right" if heading.startswith(">") else "left", overflow="fold"
        )
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(shown(cell)) for cell in row))
    return made if made.row_count else Text(f"{title}: {nothing}" if title else nothing)


def shown(value: Any) -> str:
    """Return a value as people write it."""
    return "-" if value is None else str(value)


def many(value: int) -> str:
    """Return a large number in groups of three."""
    return f"{value:,}"


def state(word: str) -> Text:
    """Return a state in its colour."""
    return Text(word, style="red" if word in BAD else "green" if word in GOOD else "")


def ago(moment: float | None) -> str:
    """Return how long ago something was."""
    return "-" if moment is None else f"{written(time.time() - moment)} ago"


def until(moment: float | None) -> str:
    """Return how far off something is."""
    if moment is None:
        return "-"
    left = moment - time.time()
    return f"in {written(left)}" if left >= 1 else "now"


def clock(moment: float | None) -> str:
    """Return a moment in UTC."""
    return "-" if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")


def counts(found: Mapping[str, int]) -> Text:
    """Return counts by state, jobs in the order of their life."""
    known = sorted(found, key=lambda word: (ORDER.index(word) if word in ORDER else len(ORDER), word))
    return Text("  ").join(Text.assemble(state(word), f" {many(found[word])}") for word in known)


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


LEDGER = (">requested", ">allocated", ">in progress", ">generated", ">merged", ">delivered", ">lost")


def ledger(view: Totals) -> tuple[str, ...]:
    """Return the events of a workflow, in the order of LEDGER."""
    return tuple(many(getattr(view, name.removeprefix(">").replace(" ", "_"))) for name in LEDGER)


def workflows(views: Sequence[WorkflowView]) -> RenderableType:
    """Return one line per workflow, its jobs below."""
    rows = [
        (view.name, state(view.state), f"{view.manager}:{view.request}" if view.manager else "file", *ledger(view),
         percent(view.delivered, view.requested), until(view.eta) if view.eta else "-")
        for view in views
    ]  # fmt: skip
    overview = table(("workflow", "state", "from", *LEDGER, ">done", "ready"), rows, nothing="no workflow yet")
    lines = [
        Text.assemble((f"{view.name}: ", "bold"), counts(view.jobs), Text(f"   {view.reason}" if view.reason else ""))
        for view in views
        if view.jobs or view.reason
    ]
    return Group(overview, Text(""), *lines) if lines else overview
