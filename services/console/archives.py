"""The verb that shows what is kept of a job, and unpacks it."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import RenderableType

from domain.archive import Archived, specification
from services.console import tables
from services.console.exits import Exit, Stop
from services.console.session import DEFAULT, AsJson, ConfigFile, Session, session
from storage import archives
from storage.archives import OWN, Kept
from storage.views import one_job_row
from storage.volumes import VolumeGone, Volumes


class Unpacked(msgspec.Struct, frozen=True, kw_only=True):
    """Where an archive was unpacked, and the files there."""

    job: int
    attempt: int
    directory: str
    files: list[str]


def archive(
    job: Annotated[int, typer.Argument(metavar="JOB", min=1, help="Its number.")],
    unpack: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Unpack an attempt there; it must not be there yet.")
    ] = None,
    attempt: Annotated[int | None, typer.Option(min=1, help="Which attempt; else the last one kept.")] = None,
    config: ConfigFile = DEFAULT,
    json: AsJson = False,
) -> None:
    """Show what is kept of a job's attempts, or unpack one: specification and report, to be looked at or run again by hand.

    Reads only; the agent may run or be dead.

    Examples: `run_agent.py archive 17`, `run_agent.py archive 17 --unpack job-17`
    """
    with session(config, json=json) as say:
        kept = say.read(lambda c: (one_job_row(c, job), archives.of_jobs(c, [job]))[1])
        if unpack is None:
            say.show(kept, lambda: _shown(kept))
            return
        done = _unpack(say, kept, job, attempt, unpack)
        say.show(
            done, lambda: tables.table(("", ""), [("unpacked in", done.directory), ("files", " ".join(done.files))])
        )


def _shown(kept: list[Kept]) -> RenderableType:
    rows = [
        (one.attempt, one.outcome, one.code, one.site, tables.ago(one.closed_at) if one.closed_at else "",
         one.kind, one.place or "here", one.name)
        for one in kept
    ]  # fmt: skip
    heads = (">attempt", "ended", ">code", "at", "when", "kept as", "lies", "in")
    return tables.table(heads, rows, nothing="nothing is kept of it (any more)")


def _unpack(say: Session, kept: list[Kept], job: int, attempt: int | None, directory: Path) -> Unpacked:
    own = [one for one in kept if one.place == OWN and attempt in (None, one.attempt)]
    if not own:
        raise Stop(Exit.FAILED, f"nothing is kept of job {job}{'' if attempt is None else f', attempt {attempt}'}")
    if directory.exists():
        raise Stop(Exit.USAGE, f"--unpack: {directory} is there; expected a directory that is not")
    last = own[-1]
    try:
        models, found = Volumes(say.state / "archives").read(last.name)
    except VolumeGone as gone:
        raise Stop(Exit.FAILED, str(gone)) from None
    one = next((each for each in found if each.token == last.token), None)
    if one is None:
        raise Stop(Exit.FAILED, f"{last.name}: attempt {last.attempt} of job {job} is not in it")
    directory.mkdir(mode=0o700, parents=True)
    files = _files(one, specification(models, one))
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return Unpacked(job=job, attempt=last.attempt, directory=str(directory), files=sorted(files))


def _files(one: Archived, spec: dict[str, Any] | None) -> dict[str, bytes]:
    """Return the files of an unpacked archive by name; the same names as in a directory that a job is run in by hand."""
    known = {"attempt.json": _json(msgspec.structs.replace(one, report=msgspec.Raw(b"null"), inputs=(), log=""))}
    if spec is not None:
        known["spec.json"] = _json(spec)
    if bytes(one.report) != b"null":
        known["report.json"] = msgspec.json.format(bytes(one.report), indent=2)
    if one.unread:
        known["report.unread"] = one.unread.encode()
    if one.log:
        known["payload.log"] = one.log.encode()
    return known


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2)
