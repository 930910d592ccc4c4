"""The verbs for the store itself: `db backup`, `snapshots`, `restore`, `report`, `check`, `copy`."""

import asyncio
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from config.secret import SecretError, resolve
from domain.spans import written
from services.console import tables
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, DryRun, Session, session
from storage import backup, compaction, copying, laws, messages, restoring, space
from storage.backup import Backups, Snapshot
from storage.errors import StoreAway, StoreError
from supervisors import SystemClock

app = typer.Typer(name="db", help="The store: snapshots, restore, copies, checks.", no_args_is_help=True)

Address = Annotated[str, typer.Argument(metavar="URL", help="sqlite:///PATH or mysql://USER:PASSWORD@HOST/DATABASE.")]


class SnapshotView(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot; `at` in UTC epoch seconds, `size` in bytes."""

    path: str
    at: float
    size: int


class RestoredView(msgspec.Struct, frozen=True, kw_only=True):
    """A restore, or what it would do; `event_id`: the last fact of the snapshot."""

    snapshot: str
    snapshot_at: float
    event_id: int
    remove_unknown: bool
    dry_run: bool


class ReportView(msgspec.Struct, frozen=True, kw_only=True):
    """What could not be proven after the last restore; `pending`: it is still being found out."""

    pending: bool
    settled_at: float | None
    unproven: restoring.Unproven


class CheckView(msgspec.Struct, frozen=True, kw_only=True):
    """How the store is: what is damaged, how large it is, what compaction would do, how old the newest snapshot is (seconds)."""

    damage: list[str]
    size: int
    free: int
    facts_to_compact: int
    held_by: str
    subscribers: list[messages.SubscriberView]
    snapshot_age: float | None


class CopyView(msgspec.Struct, frozen=True, kw_only=True):
    """A table that is in both stores, row for row."""

    table: str
    rows: int
    digest: str


def _backups(say: Session) -> Backups:
    settings = say.loaded.settings
    return Backups(say.loaded.store_url(), Path(settings.backup.directory), say.state / "sandboxes")


def _view(found: Snapshot) -> SnapshotView:
    return SnapshotView(path=str(found.path), at=found.at, size=found.size)


@app.command(name="backup")
def take_backup(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Take a snapshot now, check it, and say where it is. The agent may be at work.

    Example: `run_agent.py db backup --config agent.toml`
    """
    with session(config, json=json) as say:
        try:
            made = _view(_backups(say).take(time.time()))
        except (StoreAway, StoreError, OSError) as error:
            raise Stop(Exit.NO_STORE, str(error)) from None
        say.show(made, lambda: f"{made.path}: {tables.many(made.size)} bytes, read through and sound")


@app.command()
def snapshots(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """List the snapshots, newest first.

    Example: `run_agent.py db snapshots`
    """
    with session(config, json=json) as say:
        found = [_view(each) for each in backup.snapshots(_backups(say).directory)]
        rows = [(each.path, tables.clock(each.at), tables.ago(each.at), tables.many(each.size)) for each in found]
        say.show(found, lambda: tables.table(("snapshot", "of (UTC)", "age", ">bytes"), rows, nothing="no snapshot"))


@app.command()
def restore(
    snapshot: Annotated[str, typer.Argument(metavar="SNAPSHOT", help="A file of `db snapshots`, or: latest.")],
    remove_unknown: Annotated[
        bool, typer.Option("--remove-unknown", help="Remove files from the storages that the books do not know then.")
    ] = False,
    dry_run: DryRun = False,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Put a snapshot in the place of the lost store. Stop the agent first; a store that is there is put aside.

    The next start of the agent finds out what has happened since, before it submits anything: attempts that the books do not
    know are ended, files are compared; `db report` tells what could not be proven.

    Example: `run_agent.py db restore latest --config agent.toml`
    """
    with session(config, json=json) as say:
        place = _backups(say)
        path = _chosen(place, snapshot)
        try:
            done = _tried(path, remove_unknown) if dry_run else _restored(place, path, remove_unknown)
        except (StoreAway, StoreError, OSError) as error:
            raise Stop(Exit.NO_STORE, str(error)) from None
        view = RestoredView(
            snapshot=str(path),
            snapshot_at=done.snapshot_at,
            event_id=done.event_id,
            remove_unknown=remove_unknown,
            dry_run=dry_run,
        )
        text = f"{path} ({tables.ago(done.snapshot_at)}) " + (
            "would be restored" if dry_run else "is restored: run the agent"
        )
        say.show(view, lambda: text)


def _tried(path: Path, remove_unknown: bool) -> restoring.Restoration:
    """Check a snapshot without restoring it."""
    now = time.time()
    event_id = backup.check(path, now)
    return restoring.Restoration(0, now, str(path), path.stat().st_mtime, event_id, remove_unknown)


def _restored(place: Backups, path: Path, remove_unknown: bool) -> restoring.Restoration:
    done = asyncio.run(restoring.restore(path, place.url, clock=SystemClock(), remove_unknown=remove_unknown))
    backup.keep_sandboxes(place.directory / "sandboxes", place.sandboxes)
    return done


def _chosen(place: Backups, name: str) -> Path:
    if name != "latest":
        return Path(name)
    found = backup.snapshots(place.directory)
    if not found:
        raise Stop(Exit.FAILED, f"there is no snapshot in {place.directory}")
    return found[0].path


@app.command()
def report(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Say what could not be proven after the last restore: attempts, files and copies by name.

    Example: `run_agent.py db report`
    """
    with session(config, json=json) as say:
        pending, found = say.read(lambda c: (restoring.unsettled(c), restoring.last_report(c)))
        if pending is None and found is None:
            raise Stop(Exit.FAILED, "this store was never restored")
        settled_at, unproven = found if found is not None and pending is None else (None, restoring.Unproven())
        view = ReportView(pending=pending is not None, settled_at=settled_at, unproven=unproven)
        say.show(view, lambda: _report(view))


def _report(view: ReportView) -> RenderableType:
    if view.pending:
        return Text("it is being found out; submission waits for it (see alerts)")
    kinds = {
        "unknown attempt, ended": view.unproven.ended,
        "attempt gone, made again": view.unproven.gone,
        "unknown file": view.unproven.unknown,
        "copy on record, not there": view.unproven.missing,
        "could not be looked at": {site: [error] for site, error in view.unproven.unseen.items()},
    }
    rows = [(what, place, name) for what, found in kinds.items() for place, names in found.items() for name in names]
    return Group(Text(view.unproven.text), tables.table(("what", "where", "which"), rows, nothing="all is proven"))


@app.command()
def check(config: ConfigFile = DEFAULT, json: AsJson = False) -> None:
    """Read the whole store through for damage, and say how large it is and what keeps it large. Ends with 1 for damage.

    The agent may be at work. `verify` proves the laws; this looks at the file.

    Example: `run_agent.py db check`
    """
    with session(config, json=json) as say:
        before = time.time() - say.loaded.settings.events.keep_s
        damage, room, plan, readers = say.read(
            lambda c: (laws.damaged(c), space.space(c), compaction.plan(c, before), messages.subscribers(c))
        )
        newest = backup.snapshots(_backups(say).directory)[:1]
        view = CheckView(
            damage=[breach.text for breach in damage],
            size=room.size,
            free=room.free,
            facts_to_compact=plan.facts,
            held_by=plan.held_by,
            subscribers=readers,
            snapshot_age=time.time() - newest[0].at if newest else None,
        )
        say.show(view, lambda: _check(view))
    if view.damage:
        raise typer.Exit(int(Exit.FAILED))


def _check(view: CheckView) -> RenderableType:
    rows = [
        ("pages", "sound" if not view.damage else f"damaged: {view.damage[0]}; stop the agent and use db restore"),
        ("size", f"{tables.many(view.size)} bytes, {tables.many(view.free)} of them free"),
        ("compaction", f"{tables.many(view.facts_to_compact)} facts may go now; the next is kept by: {view.held_by}"),
        ("snapshot", "none" if view.snapshot_age is None else f"{written(view.snapshot_age)} old"),
        *(("subscriber", f"{each.name}: {tables.many(each.behind)} facts behind") for each in view.subscribers),
    ]
    return tables.table(("store", ""), rows)


@app.command()
def copy(source: Address, target: Address, json: AsJson = False) -> None:
    """Copy a whole store into an empty one, of the same kind or another, and compare every row.

    No agent may have either of them open. Until all is copied and compared no agent takes the target for a store; broken off,
    it is begun anew. Passwords may stand as `${NAME}` for the environment variable of that name.

    Example: `run_agent.py db copy sqlite:///state/agent.db 'mysql://agent:${DB_PASSWORD}@db/agent'`
    """
    with session(DEFAULT, json=json) as say:
        columns = (TextColumn("{task.description:14}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            seen: dict[str, TaskID] = {}

            def progress(table: str, done: int, total: int) -> None:
                if table not in seen:
                    seen[table] = bars.add_task(table, total=total)
                bars.update(seen[table], completed=done)

            try:
                done = asyncio.run(
                    copying.copy(resolve(source), resolve(target), clock=SystemClock(), progress=progress)
                )
            except SecretError as error:
                raise Stop(Exit.USAGE, str(error)) from None
            except (StoreAway, StoreError) as error:
                raise Stop(Exit.NO_STORE, str(error)) from None
        found = [CopyView(table=each.table, rows=each.rows, digest=each.digest) for each in done]
        rows = [(each.table, tables.many(each.rows), each.digest) for each in found]
        say.show(found, lambda: tables.table(("table", ">rows, all equal", "digest"), rows))
