"""What is said at the end: one table of the run, one of its files, one of what was broken and mended."""

from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from domain.file import FileKind, FileState
from domain.job import JobType
from services.demo.faults import Fault
from services.demo.scene import Scene
from storage import views
from storage.views import FileView, Totals

WIDE = 110
"""Columns from which a table of files shows all that is known of them."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is over, from the agent's records and the ProdMgr's."""

    totals: Totals
    processing: int
    merges: int
    attempts: int
    failed: int
    files: list[FileView]
    request: str
    merged_at_manager: int
    restarts: int
    seconds: float


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Something that has to hold at the end, and what was found."""

    name: str
    holds: bool
    text: str


async def outcome(scene: Scene, seconds: float) -> Outcome:
    """Ask agent and ProdMgr what came of the run."""
    totals = await scene.store.totals()
    jobs = await scene.store.read(lambda c: views.jobs(c, limit=10_000))
    failures = await scene.store.read(lambda c: views.failures(c, limit=10_000))
    rows = await scene.store.read(
        lambda c: views.files(c, kind=FileKind.MERGED, states=[FileState.CATALOGUED], limit=10_000)
    )
    files = [await scene.store.file(row.id) for row in reversed(rows)]
    request = await scene.desk.request(scene.request)
    return Outcome(
        totals=totals,
        processing=sum(job.type == JobType.PROCESSING for job in jobs),
        merges=sum(job.type == JobType.MERGE for job in jobs),
        attempts=sum(job.attempts for job in jobs),
        failed=len(failures),
        files=files,
        request=request.state.value,
        merged_at_manager=request.ledger.merged,
        restarts=scene.agent.starts - 1,
        seconds=seconds,
    )


def books(found: Outcome, events: int) -> list[Check]:
    """Judge what agent and ProdMgr have on record."""
    told = f"{found.merged_at_manager:,} of {events:,} events reported to it"
    delivered = found.totals.delivered
    return [
        Check(
            name="ProdMgr",
            holds=found.request == "complete" and found.merged_at_manager == events,
            text=f"the request is {found.request}, {told}",
        ),
        Check(name="agent", holds=delivered == events, text=f"{delivered:,} of {events:,} events delivered"),
    ]


def show_run(console: Console, scene: Scene, found: Outcome) -> None:
    """Print the table of the run."""
    totals = found.totals
    table = Table(title=f"request {scene.request}: {scene.spec.dataset_name}", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    for name in ("requested", "generated", "merged", "delivered", "lost"):
        table.add_row(f"events {name}", f"{getattr(totals, name):,}")
    table.add_row("jobs", f"{found.processing} processing, {found.merges} merge")
    table.add_row("attempts", f"{found.attempts}, {found.failed} of them failed")
    table.add_row("agent restarts", str(found.restarts))
    table.add_row("time", f"{found.seconds:.1f} s from request to last delivery, small files deleted")
    console.print(table)


def show_files(console: Console, found: Outcome) -> None:
    """Print the table of the delivered files."""
    wide = console.width >= WIDE
    table = Table(title="delivered files", title_justify="left")
    table.add_column("file", no_wrap=True)
    table.add_column("from → to", no_wrap=True)
    for heading in ("events", "bytes", *(("inputs",) if wide else ())):
        table.add_column(heading, justify="right")
    for heading in ("adler32", *(("sha256",) if wide else ())):
        table.add_column(heading, no_wrap=True)
    for file in found.files:
        sites = ", ".join(copy.site for copy in file.replicas if copy.site != file.site) or file.site
        cells = [Path(file.lfn).name, f"{file.site} → {sites}", f"{file.events:,}", f"{file.size:,}"]
        more = [str(len(file.parents)), file.adler32, file.sha256[:16] + "…"] if wide else [file.adler32]
        table.add_row(*cells, *more)
    console.print(table)


async def show_faults(console: Console, scene: Scene, faults: list[Fault]) -> list[Check]:
    """Print what was broken and what was done about it; each must have happened and been answered."""
    table = Table(title="broken on purpose", title_justify="left", show_lines=True)
    for heading in ("what", "what was done to the agent", "what was done about it, from its records"):
        table.add_column(heading, overflow="fold")
    checks = []
    for fault in sorted(faults, key=lambda fault: fault.at):
        answer = await fault.answer(scene) if fault.done else ""
        table.add_row(fault.what, fault.done or "nothing: there was no occasion", answer or "[red]nothing on record")
        if not answer:
            checks.append(Check(name=fault.what, holds=False, text="not brought about, or no answer on record"))
    console.print(table)
    text = f"{len(faults) - len(checks)} of {len(faults)} brought about and mended"
    return [Check(name="chaos", holds=not checks, text=text), *checks]


def show_checks(console: Console, checks: list[Check]) -> None:
    """Print what had to hold."""
    for check in checks:
        mark = "[bold green]✓[/]" if check.holds else "[bold red]✗[/]"
        console.print(f"{mark} [bold]{check.name}[/]: {check.text}", highlight=False, soft_wrap=True)
