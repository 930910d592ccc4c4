"""Account for ended attempts: a job's files are registered in the transaction that accounts the job, or not at all."""

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from domain import events as e
from domain.exit_codes import EVENTS_DIFFER, INPUT_UNREADABLE
from domain.file import FILE_TABLE, FileKind, FileState
from domain.job import JOB_TABLE, JobType
from domain.report import JobReport, OutputReport
from storage import breakers, bulk, counters, schema
from storage.attempts import Failure, fail
from storage.counters import Place
from storage.datasets import dataset_id
from storage.engine import among, among_words
from storage.jobs import Job, exhaust, next_id, requeue
from storage.moves import move
from storage.transaction import Tx

attempt, file, job, merge_input = schema.attempt, schema.file, schema.job, schema.merge_input

BAD_INPUT_STRIKES = 3
"""A file that has taken part in this many failed merges without being named as bad is treated as bad."""
BAD_OUTPUT_STRIKES = 3
"""A job whose output was found damaged this many times is given up."""


class Good(NamedTuple):
    """A job whose attempt ended well; `merged`: the output has its final size and name already.

    `events`: how many the output must hold, None where a filter leaves it open (or for a merge: what its inputs hold).
    """

    job: Job
    dataset: str
    report: JobReport
    merged: bool
    events: int | None = None


class Bad(NamedTuple):
    """A job whose attempt failed; `bad_inputs` are LFNs that were found missing or damaged."""

    job: Job
    failure: Failure
    bad_inputs: tuple[str, ...] = ()


def account(tx: Tx, outcomes: Sequence[Good | Bad]) -> None:
    """Book all outcomes: files and jobs of the good, causes of the bad; a merge whose events do not add up is bad."""
    bad = [outcome for outcome in outcomes if isinstance(outcome, Bad)]
    good: list[Good] = []
    taken, expected = _known(tx.connection, outcomes), _expected(tx.connection, outcomes)
    for outcome in outcomes:
        if isinstance(outcome, Good):
            problem = _imbalance(outcome, expected) or _conflict(outcome, taken)
            if problem:
                bad.append(Bad(outcome.job, Failure(outcome.job.id, EVENTS_DIFFER, problem)))
            else:
                good.append(outcome)
    if good:
        _account_good(tx, good)
    if bad:
        _account_bad(tx, bad)


_EXPECTED = (
    sa.select(merge_input.c.job_id, sa.func.sum(file.c.events))
    .select_from(merge_input.join(file))
    .where(among(merge_input.c.job_id), merge_input.c.live == 1)
    .group_by(merge_input.c.job_id)
)
_REGISTERED = sa.select(file.c.lfn).where(among_words(file.c.lfn))
_MEMBERS = sa.select(merge_input.c.file_id).where(among(merge_input.c.job_id), merge_input.c.live == 1)


def _expected(connection: sa.Connection, outcomes: Sequence[Good | Bad]) -> dict[int, int]:
    """Return how many events the inputs of each merge hold, by merge job."""
    merges = [outcome.job.id for outcome in outcomes if isinstance(outcome, Good) and outcome.job.type is JobType.MERGE]
    if not merges:
        return {}
    return {owner: int(events) for owner, events in connection.execute(_EXPECTED, {"ids": merges})}


def _imbalance(outcome: Good, expected: dict[int, int]) -> str:
    """Return what is wrong with the event count of an output, or "" (PA-511)."""
    got = sum(output.events for output in outcome.report.outputs)
    if outcome.job.type is not JobType.MERGE:
        exact = outcome.events is None or got == outcome.events
        return "" if exact else f"output has {got} events, its range {outcome.events}"
    wanted = expected.get(outcome.job.id, 0)
    return "" if got == wanted else f"merge output has {got} events, its inputs {wanted}"


def _known(connection: sa.Connection, outcomes: Sequence[Good | Bad]) -> set[str]:
    """Return which LFNs of the outputs are registered already."""
    lfns = [output.lfn for outcome in outcomes if isinstance(outcome, Good) for output in outcome.report.outputs]
    return set(connection.execute(_REGISTERED, {"words": lfns}).scalars()) if lfns else set()


def _conflict(outcome: Good, taken: set[str]) -> str:
    """Return what is wrong with the names of the outputs, or "" (DBS-04); those that are right are taken from now on."""
    for output in outcome.report.outputs:
        if output.lfn in taken:
            return f"{output.lfn} is registered already"
        taken.add(output.lfn)
    return ""


def _account_good(tx: Tx, good: Sequence[Good]) -> None:
    by_job = {outcome.job.id: outcome for outcome in good}
    moved = move(tx, job, JOB_TABLE, e.JobsAccounted(ids=list(by_job)))
    accounted = [by_job[identity] for identity in moved]
    _register(tx, [outcome for outcome in accounted if outcome.merged], FileKind.MERGED)
    _register(tx, [outcome for outcome in accounted if not outcome.merged], FileKind.UNMERGED)
    merges = [outcome.job.id for outcome in accounted if outcome.job.type is JobType.MERGE]
    if merges:
        members = list(tx.connection.execute(_MEMBERS, {"ids": merges}).scalars())
        move(tx, file, FILE_TABLE, e.FilesMerged(ids=members))
    _close(tx, accounted)


def _register(tx: Tx, outcomes: Sequence[Good], kind: FileKind) -> None:
    first = next_id(tx.connection, file)
    fact, state = (
        (e.MergedRegistered, FileState.REGISTERED)
        if kind is FileKind.MERGED
        else (e.UnmergedRegistered, FileState.UNMERGED)
    )
    datasets = {name: dataset_id(tx, name) for name in {outcome.dataset for outcome in outcomes}}
    rows = [
        _row(outcome, output, datasets, tx.now) | {"kind": kind, "state": state}
        for outcome in outcomes
        for output in outcome.report.outputs
    ]
    if not rows:
        return
    ids = [first + n for n in range(len(rows))]
    bulk.insert(tx.connection, file, [row | {"id": identity} for row, identity in zip(rows, ids, strict=True)])
    replicas = [
        {"file_id": identity, "site": row["site"], "method": "read back", "verified_at": tx.now}
        for row, identity in zip(rows, ids, strict=True)
    ]
    bulk.insert(tx.connection, schema.replica, replicas)
    changes: counters.Sums = {}
    for row in rows:
        place = Place(state, row["workflow_id"], kind, row["site"], "")
        counters.change(changes, counters.FILE, place, 1, row["events"], row["size"])
    counters.book(tx.connection, changes)
    tx.emit(fact(ids=ids))


def _row(outcome: Good, output: OutputReport, datasets: dict[str, int], now: float) -> bulk.Row:
    return {
        "lfn": output.lfn,
        "workflow_id": outcome.job.workflow_id,
        "job_id": outcome.job.id,
        "dataset_id": datasets[outcome.dataset],
        "site": output.site or outcome.job.site,
        "size": output.size,
        "events": output.events,
        "adler32": output.adler32,
        "sha256": output.sha256,
        "created_at": now,
        "since": now,
    }


def _close(tx: Tx, outcomes: Sequence[Good]) -> None:
    closing = {"live": None, "outcome": "success", "exit_code": 0, "closed_at": tx.now}
    rows = [
        {
            "owner": outcome.job.id,
            **closing,
            "wall_s": outcome.report.ended_at - outcome.report.started_at,
            "cpu_s": sum(step.cpu_s for step in outcome.report.steps),
            "max_rss_mb": max((step.max_rss_mb for step in outcome.report.steps), default=0.0),
        }
        for outcome in outcomes
    ]
    breakers.note(tx, {outcome.job.id: None for outcome in outcomes})
    counters.closed_at(tx, [(outcome.job.site, outcome.job.target) for outcome in outcomes], "success")
    bulk.update_live(tx.connection, (*closing, "wall_s", "cpu_s", "max_rss_mb"), rows)


def _account_bad(tx: Tx, bad: Sequence[Bad]) -> None:
    moved = set(fail(tx, [outcome.failure for outcome in bad]))
    for outcome in bad:
        if outcome.job.id in moved and outcome.job.type is JobType.MERGE:
            _undo_merge(tx, outcome)


def _undo_merge(tx: Tx, outcome: Bad) -> None:
    """Send the inputs of a merge with bad members back, the bad ones out; their jobs run again (PA-509).

    A merge that could read none of its inputs tells of a storage that is away, not of damaged files: it is tried again.
    """
    members = tx.connection.execute(
        sa.select(file.c.id, file.c.lfn, file.c.job_id, file.c.tries)
        .join(merge_input, merge_input.c.file_id == file.c.id)
        .where(merge_input.c.job_id == outcome.job.id, merge_input.c.live == 1)
    ).all()
    named = set(outcome.bad_inputs) if len(outcome.bad_inputs) < len(members) else set()
    away = outcome.failure.code == INPUT_UNREADABLE and len(outcome.bad_inputs) >= len(members) > 1
    worn = outcome.failure.code in (INPUT_UNREADABLE, EVENTS_DIFFER) and not away and not named
    tx.connection.execute(
        file.update().where(among(file.c.id, [row.id for row in members])).values(tries=file.c.tries + worn)
    )
    bad = [row for row in members if row.lfn in named or (worn and row.tries + 1 >= BAD_INPUT_STRIKES)]
    if not bad:
        return
    spoiled = {row.id for row in bad}
    tx.connection.execute(merge_input.update().where(merge_input.c.job_id == outcome.job.id).values(live=None))
    reason = f"merge job {outcome.job.id}: {outcome.failure.text}"
    move(tx, file, FILE_TABLE, e.FilesReturned(ids=[row.id for row in members if row.id not in spoiled], reason=reason))
    move(tx, file, FILE_TABLE, e.FilesInvalidated(ids=sorted(spoiled), reason=reason))
    move(
        tx,
        job,
        JOB_TABLE,
        e.JobsKilled(ids=[outcome.job.id], reason="its inputs went back: another merge job takes them"),
    )
    produce_again(tx, sorted({row.job_id for row in bad}))


def produce_again(tx: Tx, job_ids: list[int]) -> None:
    """Run jobs again whose output was damaged, unless that has happened too often."""
    outputs = sa.select(file.c.job_id, sa.func.count()).where(among(file.c.job_id, job_ids)).group_by(file.c.job_id)
    often = [owner for owner, count in tx.connection.execute(outputs) if count >= BAD_OUTPUT_STRIKES]
    requeue(tx, [owner for owner in job_ids if owner not in often], "its output was damaged before it was merged")
    if often:
        exhaust(tx, often, f"its output was found damaged {BAD_OUTPUT_STRIKES} times")


def dissolve_merges(tx: Tx, job_ids: list[int], reason: str) -> None:
    """Send the inputs of merge jobs that were killed or whose range was taken back to wait for another merge."""
    ids = list(tx.connection.execute(_MEMBERS, {"ids": job_ids}).scalars())
    tx.connection.execute(merge_input.update().where(among(merge_input.c.job_id, job_ids)).values(live=None))
    if ids:
        move(tx, file, FILE_TABLE, e.FilesReturned(ids=ids, reason=reason))
