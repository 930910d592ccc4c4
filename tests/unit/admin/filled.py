"""A store in which everything is somewhere: made through the storage functions, for the tests of what operators see."""

import msgspec

from config.settings import Settings
from domain.exit_codes import STAGE_OUT
from domain.ranges import Range
from domain.report import JobReport, OutputReport
from domain.spec import Dataset, Step, WorkflowSpec
from storage import accounting, alerts, allocations, attempts, datasets, jobs, log, merges, transfers, workflows
from storage.attempts import Failure, Seen
from storage.datasets import BlockLimits
from storage.store import Store, Tx

SPEC = WorkflowSpec(
    name="zmumu", events=20_000, steps=[Step(command=["true"])], deliver_to=["gamma"], dataset=Dataset(tier="GEN")
)
SETTINGS = {
    "agent": {"name": "here"},
    "sites": {
        "alpha": {
            "storage": {"kind": "posix"},
            "targets": {"alpha-batch": {"kind": "local", "limits": {"processing": 5}}},
        },
        "beta": {"storage": {"kind": "posix"}, "enabled": False, "targets": {"beta-batch": {"kind": "local"}}},
        "gamma": {"storage": {"kind": "posix"}},
    },
}
UNMERGED, MERGED_JOBS, MERGE_JOB = 4, (1, 2, 3), 21


def settings(state="", **admin):
    data = {**SETTINGS, "agent": {**SETTINGS["agent"], "state": str(state), "store": f"sqlite:///{state}/agent.db"}}
    return msgspec.convert({**data, "admin": {"port": 0, **admin}}, Settings)


def url(state):
    return f"sqlite:///{state}/agent.db"


def report(job, lfn, events):
    output = OutputReport(lfn=lfn, pfn=lfn, size=events * 10, events=events, adler32="0" * 8, sha256="0" * 64)
    return JobReport(schema=1, token="t", job=job, exit_code=0, started_at=1.0, ended_at=2.0, outputs=[output])


def at_target(tx: Tx, ids, upto):
    """Take queued jobs to `upto`: released, submitting, pending, running or ended."""
    jobs.release(tx, ids, "alpha", "alpha-batch")
    if upto == "released":
        return
    attempts.intend(tx, ids, "alpha", "alpha-batch", {job: f"token-{job}-{tx.now}-{upto}" for job in ids})
    if upto == "submitting":
        return
    attempts.submitted(tx, {job: f"batch-{job}" for job in ids})
    if upto == "pending":
        return
    attempts.started(tx, {job: Seen("t", f"batch-{job}", "node7", started_at=tx.now) for job in ids})
    if upto == "ended":
        attempts.ended(tx, {job: Seen("t", f"batch-{job}", "node7", 0, tx.now, tx.now) for job in ids})


def account(tx: Tx, ids, lfn, *, merged=False, events=1000):
    found = jobs.load(tx.connection, ids)
    good = [
        accounting.Good(job, SPEC.dataset_name, report(job.id, lfn.format(job.id), events), merged) for job in found
    ]
    accounting.account(tx, good)


def fill(tx: Tx):
    owner, _ = workflows.add(tx, SPEC, name="zmumu", sandbox="", events=20_000)
    allocations.acquire(tx, owner, "local:zmumu", Range(1, 20_000))
    held, _ = workflows.add(tx, SPEC, name="held", sandbox="", events=20_000, manager="cern", request="req-7")
    allocations.acquire(tx, held, "cern:1", Range(1, 2000))
    (first, second) = allocations.by_id(tx.connection, [1, 2])
    jobs.create(tx, first, SPEC, [Range(1 + 1000 * n, 1000) for n in range(20)])
    jobs.admit(tx, list(range(1, 20)))
    at_target(tx, [1, 2, 3, 4, 5, 6, 14, 15], "ended")
    account(tx, [1, 2, 3, UNMERGED], "/store/unmerged/mc/{}.txt")
    merges.create_all(tx, [merges.Planned(owner, "alpha", 100, list(MERGED_JOBS))])
    jobs.admit(tx, [MERGE_JOB])
    at_target(tx, [MERGE_JOB], "ended")
    account(tx, [MERGE_JOB], "/store/mc/merged.txt", merged=True, events=3000)
    merged = len(MERGED_JOBS) + 2
    datasets.book(tx, [merged], BlockLimits(100, 10**9, 10**9, 10**9))
    transfers.want(tx, [(merged, "alpha", "gamma")])
    attempts.fail(tx, [Failure(job, STAGE_OUT, "no space left <b>here</b>", "last lines") for job in (5, 6, 14)])
    jobs.exhaust(tx, [5], "stage-out failed, attempt 5 of 5 blamed on the site")
    jobs.cool_off(tx, [6], tx.now + 60, "stage-out failed (exit code 60311)")
    at_target(tx, [7], "running")
    at_target(tx, [8], "pending")
    at_target(tx, [9], "submitting")
    at_target(tx, [10], "released")
    jobs.pause(tx, [11], "no-site: none of its sites has a batch target")
    jobs.kill(tx, [12], "killed by an operator")
    jobs.create(tx, second, SPEC, [Range(1, 1000)])
    workflows.hold(tx, "held", hold=True, reason="waits for a new release", dry_run=False)
    alerts.raise_alert(tx, "error", "jobs-exhausted", "job 5", "job 5: stage-out failed")


def park(tx: Tx):
    """A subscriber failed on the fact that made job 14 fail."""
    fact = [logged for logged in log.history(tx.connection, "job", 14) if type(logged.fact).__name__ == "JobsFailed"][
        -1
    ]
    log.park(tx, "error", fact.id, "Traceback\n  somewhere\nValueError: odd", [])


async def opened(state) -> Store:
    """Return a filled store at `state`; the caller closes it."""
    store = await Store.open(url(state))
    await store.write(fill)
    await store.write(park)
    return store
