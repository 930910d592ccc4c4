"""A verification as people read it."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.verify.verification import Verification
from storage.laws import LedgerRow

MOST = 20
"""Offenders that are named on the screen; JSON names all that were found."""


def sentence(row: LedgerRow) -> str:
    """Return what became of the events of one workflow."""
    parts = [f"{row.name}: {row.merged:,} of {row.requested:,} events are there exactly once"]
    told = {"in progress": row.in_progress, "lost": row.lost, "IN TWO PLACES": row.doubled, "IN NO PLACE": row.missing}
    parts += [f"{count:,} {word}" for word, count in told.items() if count]
    if row.surplus:
        parts.append(f"{row.surplus:,} catalogued of ranges that were taken back")
    return ", ".join(parts)


def shown(found: Verification) -> RenderableType:
    """Return the summary per workflow, the laws with their counts, and the offenders."""
    return Group(*_parts(found))


def _parts(found: Verification) -> Iterator[RenderableType]:
    for row in found.ledger:
        yield Text(sentence(row), style="red" if not row.balanced else "green" if row.complete else "")
    if not found.ledger:
        yield Text("no workflow yet: nothing was asked for")
    yield Text()
    yield _laws(found)
    yield Text()
    if found.sites:
        how = "read and compared" if found.deep else "looked at (size)"
        yield Text(f"{found.copies:,} copies with {found.bytes:,} bytes {how} at {', '.join(found.sites)}")
    if found.unseen:
        yield Text(f"not looked at, no storage is configured: {', '.join(found.unseen)}", style="yellow")
    if found.strays:
        size = sum(stray.size for stray in found.strays)
        yield Text(f"{len(found.strays)} files ({size:,} bytes) left by attempts that do not count:", style="yellow")
        yield from (Text(f"  {stray.lfn} at {stray.site}, attempt {stray.outcome}") for stray in found.strays[:MOST])
    for breach in found.breaches[:MOST]:
        yield Text(f"{breach.subject} breaks {breach.law}: {breach.text}", style="red")
    if len(found.breaches) > MOST:
        yield Text(f"and {len(found.breaches) - MOST:,} more; --json names them", style="red")
    verdict = "every law holds" if found.holds else f"{len(found.breaches):,} breaches"
    yield Text(f"{verdict} ({found.seconds:.1f} s)", style="bold green" if found.holds else "bold red")


def _laws(found: Verification) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("law")
    table.add_column("broken", justify="right")
    table.add_column("it says", overflow="fold")
    for line in found.laws:
        count = Text(str(line.breaches), style="red" if line.breaches else "green")
        table.add_row(line.name, count, line.text)
    return table
