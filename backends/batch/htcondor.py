"""HTCondor, by its commands: condor_submit, condor_q, condor_history, condor_rm, on a host that can reach the schedd.

Written from the manual (https://htcondor.readthedocs.io/en/latest/man-pages/) and tested against commands that imitate
it (tests/real/condor.py): it has not met a live pool yet.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from backends.batch.base import BatchError, BatchState, JobDescription
from backends.batch.scheduled import ScheduledBatch
from backends.batch.scheduler import Limits, Listed, Parcel, Said, Sent, SiteSettings
from backends.channel.hosts import Hosts
from domain.job import JobType
from supervisors import Clock

CLUSTER = 200
"""Most jobs of one cluster."""

STATES = {
    0: BatchState.PENDING,
    1: BatchState.PENDING,
    2: BatchState.RUNNING,
    3: BatchState.ENDED,
    4: BatchState.ENDED,
    5: BatchState.HELD,
    6: BatchState.RUNNING,
    7: BatchState.RUNNING,
}
"""JobStatus: https://htcondor.readthedocs.io/en/latest/classad-attributes/job-classad-attributes.html"""

ATTRIBUTES = (
    "ClusterId,ProcId,JobStatus,ProdAgentLabel,ProdAgentPlace,HoldReason,HoldReasonCode,RemoveReason,RemoteHost,"
    "LastRemoteHost,ExitCode,ExitBySignal,ExitSignal,JobStartDate,CompletionDate"
)

LATER = ("would exceed", "Failed to connect", "find address of schedd", "MAX_JOBS", "not authorized at this time")
"""Refusals that pass; with the connection failures nothing was sent."""

SURE = (
    "ERROR: Failed to parse",
    "ERROR: on Line",
    "ERROR: Invalid",
    "ERROR: No such",
    "Submit failed",
    "Failed to commit job submission into the queue. ERROR: ",
    "ERROR: Executable",
)
"""Complaints that come before anything is sent to the schedd, and its answer that a SUBMIT_REQUIREMENT rejects the cluster, which
says why in a second line (https://htcondor.readthedocs.io/en/latest/admin-manual/ap-policy-configuration.html); any other
failure is a doubt."""

DESCRIPTION = """\
universe = vanilla
executable = {script}
arguments = "$(place) $(ClusterId).$(ProcId)"
transfer_executable = false
should_transfer_files = NO
output = /dev/null
error = /dev/null
notification = never
request_cpus = {cores}
request_memory = {memory_mb}
{gpus}batch_name = {label}
+ProdAgentLabel = "{label}"
+ProdAgentPlace = $(place)
periodic_remove = (JobStatus == 1 && NumJobStarts > 0) || (JobStatus == 2 && time() - EnteredCurrentStatus > {wall_s})
{requirements}
{extra}
queue place in ({places})
"""
"""A job that was evicted is removed instead of started again: what runs again is decided by the agent."""

WALL_MARGIN_S = 600
"""The runtime ends a job that takes too long itself; HTCondor does so this much later, in seconds."""

BY_POLICY = "evaluated to TRUE"
"""In the RemoveReason of a job that an expression removed, ours or the pool's; others were removed by somebody."""

Line = Annotated[str, Meta(pattern=r"^(?!queue\b)[^\n]*=")]


class CondorSettings(SiteSettings, frozen=True, kw_only=True):
    """An HTCondor pool: `schedd` is the name of a remote one (condor_submit -name), `pool` the central manager that knows
    it; empty: those of the host. `submit_lines` are further lines of the submit description, such as
    "accounting_group = group_cms", `submit_lines_for` those of one type of job (processing, merge). The directory must be shared
    with the nodes."""

    schedd: str = ""
    pool: str = ""
    submit_lines: tuple[Line, ...] = ()
    submit_lines_for: dict[JobType, tuple[Line, ...]] = msgspec.field(default_factory=dict)


class CondorBatch(ScheduledBatch):
    """A batch target on HTCondor."""

    def __init__(self, settings: CondorSettings, *, hosts: Hosts, runtime: Path, clock: Clock) -> None:
        super().__init__(settings, Condor(settings), hosts=hosts, runtime=runtime, clock=clock)


class _Ad(msgspec.Struct, frozen=True, rename="pascal"):
    """What is asked of a job's ClassAd."""

    cluster_id: int
    proc_id: int
    job_status: int
    prod_agent_label: str = ""
    prod_agent_place: int = 0
    hold_reason: str = ""
    hold_reason_code: int = 0
    remove_reason: str = ""
    remote_host: str = ""
    last_remote_host: str = ""
    exit_code: int | None = None
    exit_by_signal: bool = False
    exit_signal: int | None = None
    job_start_date: float | None = None
    completion_date: float | None = None


class Condor:
    """What HTCondor's commands are, and what they say."""

    slot_index = '"$1"'
    slot_id = '"$2"'
    unset: tuple[str, ...] = ()

    def __init__(self, settings: CondorSettings) -> None:
        self._settings = settings
        self._lines = {str(kind): lines for kind, lines in settings.submit_lines_for.items()}
        self._where = [*_option("-pool", settings.pool), *_option("-name", settings.schedd)]

    def probe(self) -> list[list[str]]:
        return [["condor_q", *self._where, "-limit", "1", "-json", "-attributes", "ClusterId"]]

    def learn(self, answers: Sequence[Said]) -> Limits:
        for said in answers:
            if said.code:
                raise BatchError(f"HTCondor cannot be used: {said.text}", transient=said.code != 127)
        return Limits(array=CLUSTER)

    def submission(self, parcel: Parcel, script: str) -> tuple[list[str], str]:  # noqa: ARG002 -- the file is named
        job = parcel.jobs[0]
        description = DESCRIPTION.format(
            script=parcel.script,
            label=parcel.label,
            cores=job.cores,
            memory_mb=job.memory_mb,
            wall_s=job.wall_s + WALL_MARGIN_S,
            gpus=f"request_gpus = {job.gpus}\n" if job.gpus else "",
            requirements=_requirements(job),
            extra="\n".join((*self._settings.submit_lines, *self._lines.get(job.kind, ()))),
            places="{places}",
        )
        return ["condor_submit", *self._where, "-terse"], description

    def sent(self, said: Said) -> Sent:
        cluster = said.out.strip().rpartition("\n")[2].partition(".")[0]  # a site's wrapper may greet first
        if said.code == 0 and cluster.isdigit():
            return Sent(id=cluster)
        text = said.text or f"condor_submit ended with {said.code} and said nothing"
        if said.code == 127 or any(word in said.text for word in LATER):
            return Sent(reason=text, transient=True)
        if any(word in said.text for word in SURE):
            return Sent(reason=text)
        return Sent(reason=text, doubt=True)

    def task_id(self, sent_id: str, index: int, *, array: bool) -> str:  # noqa: ARG002 -- each has a cluster
        return f"{sent_id}.{index}"

    def listing(self) -> list[str]:
        return [
            "condor_q",
            *self._where,
            "-constraint",
            "ProdAgentLabel isnt undefined",
            "-json",
            "-attributes",
            ATTRIBUTES,
        ]

    def records(self, said: Said) -> Iterable[str]:
        if said.code or said.late:
            raise BatchError(f"condor_q does not list: {said.text}", transient=True)
        return [bytes(raw).decode() for raw in _array(said.out, list[msgspec.Raw])]

    def listed(self, record: str) -> Listed | None:
        return _listed(msgspec.json.decode(record, type=_Ad))

    def history(self, names: Sequence[str]) -> list[str] | None:
        wanted = f'stringListMember(ProdAgentLabel, "{",".join(names)}")'
        limit = str(CLUSTER * len(names))
        words = ["condor_history", *self._where, "-constraint", wanted, "-limit", limit]
        return [*words, "-json", "-attributes", ATTRIBUTES]

    def recorded(self, said: Said) -> list[Listed]:
        if said.code or said.late:
            raise BatchError(f"condor_history does not answer: {said.text}", transient=True)
        return [_listed(ad) for ad in _array(said.out, list[_Ad])]

    def cancellation(self, ids: Sequence[str]) -> list[str]:
        return ["condor_rm", *self._where, *ids]

    def release(self, ids: Sequence[str]) -> list[str]:
        return ["condor_release", *self._where, *ids]


def _requirements(job: JobDescription) -> str:
    """Return the line that keeps a job from nodes, and to those of its architecture; one of the target's own lines replaces it.

    ClassAds compare words without regard to case: x86_64 is HTCondor's X86_64
    (https://htcondor.readthedocs.io/en/latest/classads/classad-mechanism.html).
    """
    wanted = [f'(Machine != "{name}")' for name in job.avoid_nodes]
    wanted += [f'(TARGET.Arch == "{job.architecture}")'] if job.architecture else []
    return f"requirements = {' && '.join(wanted)}" if wanted else ""


def _option(name: str, value: str) -> list[str]:
    return [name, value] if value else []


def _array(text: str, kind: Any) -> Any:
    """Return a JSON list; the commands print nothing at all when it is empty."""
    try:
        return msgspec.json.decode(text, type=kind) if text.strip() else []
    except msgspec.DecodeError as fault:
        raise BatchError(f"HTCondor's answer is unreadable: {fault}: {text[:200]!r}", transient=True) from fault


def _listed(ad: _Ad) -> Listed:
    state = STATES.get(ad.job_status, BatchState.UNKNOWN)
    ended = state is BatchState.ENDED
    reason = ""
    if state is BatchState.HELD:
        reason = f"held ({ad.hold_reason_code}): {ad.hold_reason}"
    elif ad.job_status == 3:
        reason = ad.remove_reason if BY_POLICY in ad.remove_reason else "cancelled"
    return Listed(
        name=ad.prod_agent_label,
        index=ad.prod_agent_place,
        id=f"{ad.cluster_id}.{ad.proc_id}",
        state=state,
        reason=reason,
        node=(ad.remote_host or ad.last_remote_host).rpartition("@")[2],
        exit_code=ad.exit_code if ended and not ad.exit_by_signal else None,
        signal=ad.exit_signal if ended and ad.exit_by_signal else None,
        started_at=ad.job_start_date,
        ended_at=ad.completion_date if ended and ad.completion_date else None,
    )
