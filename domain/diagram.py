"""Draw a state table as Markdown: what moves what, and a diagram."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from domain.allocation import ALLOCATION_TABLE
from domain.file import BLOCK_TABLE, FILE_TABLE
from domain.job import JOB_TABLE, ORIGINAL_NAMES
from domain.transfer import OWNER, TRANSFER_TABLE
from domain.transition import StateTable
from domain.workflow import WORKFLOW_TABLE

TABLES: tuple[StateTable[Any], ...] = (
    WORKFLOW_TABLE,
    ALLOCATION_TABLE,
    JOB_TABLE,
    FILE_TABLE,
    BLOCK_TABLE,
    TRANSFER_TABLE,
)
INTRODUCTION = """# State tables

Every kind of item has one table of legal moves. The code moves nothing that is not in it, the CHECK constraints of the
database are drawn from its states, and so is this page (`python -m domain.diagram`): a test compares the two.

A fact in the event log is what moves an item. A move is compare-and-set: an item that is no longer in one of the states
of the second column stays as it is and is not named in the fact. Final states cannot be left.
"""


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION, *(section(table) for table in TABLES), _original_names(), _owners()]
    return "\n".join(parts)


def section(table: StateTable[Any]) -> str:
    """Return heading, table and diagram of one kind of item."""
    lines = [f"## {table.entity.capitalize()}", "", "| fact | from | to | meaning |", "|---|---|---|---|"]
    for event, move in table.moves.items():
        sources = ", ".join(f"`{source}`" for source in move.sources) or "(new)"
        meaning = (event.__doc__ or "").strip().replace("|", "\\|")
        lines.append(f"| `{event.__name__}` | {sources} | `{move.target}` | {meaning} |")
    final = ", ".join(f"`{state}`" for state in table.states if state in table.final) or "none"
    return "\n".join([*lines, "", f"Final: {final}.", "", "```mermaid", *mermaid(table), "```", ""])


def mermaid(table: StateTable[Any]) -> Iterator[str]:
    """Yield the lines of a state diagram; facts that lead from one state to the same other share an arrow."""
    yield "stateDiagram-v2"
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for event, move in table.moves.items():
        for source in move.sources or ("[*]",):
            arrows[str(source), str(move.target)].append(event.__name__)
    for (source, target), names in arrows.items():
        yield f"    {source} --> {target}: {', '.join(names)}"
    for state in table.states:
        if state in table.final:
            yield f"    {state} --> [*]"


def _original_names() -> str:
    lines = ["## What the original system called the states of a job", "", "| here | there |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{state}` | `{name}` |" for state, name in ORIGINAL_NAMES.items()), ""])


def _owners() -> str:
    lines = [
        "## Who moves a transfer",
        "",
        "Each state has one owner; only the owner moves it on.",
        "",
        "| state | owner |",
    ]
    return "\n".join([*lines, "|---|---|", *(f"| `{state}` | {owner} |" for state, owner in OWNER.items()), ""])


if __name__ == "__main__":
    print(page(), end="")
