"""Slurm, by its commands: sbatch, squeue, sacct, scancel. Written for 20.11 and newer, tested with 22.05."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from backends.batch.base import BatchError, BatchState
from backends.batch.scheduled import ScheduledBatch
from backends.batch.scheduler import Limits, Listed, Parcel, Said, Sent, SiteSettings
from backends.channel.hosts import Hosts
from domain.exit_codes import MEMORY, WALL_TIME
from domain.held import NEVER
from domain.job import JobType
from supervisors import Clock

Word = Annotated[str, Meta(pattern=r"^[^\s|]*$", description="one word")]
Option = Annotated[str, Meta(pattern="^-")]

S = BatchState
STATES: dict[str, BatchState] = {
    "PENDING": S.PENDING,
    "CONFIGURING": S.PENDING,
    "REQUEUED": S.PENDING,
    "REQUEUE_FED": S.PENDING,
    "SPECIAL_EXIT": S.HELD,
    "REQUEUE_HOLD": S.HELD,
    "RESV_DEL_HOLD": S.HELD,
    "RUNNING": S.RUNNING,
    "COMPLETING": S.RUNNING,
    "STAGE_OUT": S.RUNNING,
    "SIGNALING": S.RUNNING,
    "SUSPENDED": S.RUNNING,
    "STOPPED": S.RUNNING,
    "RESIZING": S.RUNNING,
    "COMPLETED": S.ENDED,
    "FAILED": S.ENDED,
    "CANCELLED": S.ENDED,
    "TIMEOUT": S.ENDED,
    "DEADLINE": S.ENDED,
    "NODE_FAIL": S.ENDED,
    "BOOT_FAIL": S.ENDED,
    "LAUNCH_FAILED": S.ENDED,
    "RECONFIG_FAIL": S.ENDED,
    "OUT_OF_MEMORY": S.ENDED,
    "PREEMPTED": S.ENDED,
    "REVOKED": S.ENDED,
    "POWER_UP_NODE": S.PENDING,
    "UPDATE_DB": S.PENDING,
}
"""Every word of https://slurm.schedmd.com/job_state_codes.html; any other is UNKNOWN."""

HELD = re.compile(f"JobH(eld|old)|launch failed requeued held|{NEVER}")
"""Reasons with which a pending job never starts by itself (https://slurm.schedmd.com/job_reason_codes.html)."""

SAYS = {"TIMEOUT": WALL_TIME, "DEADLINE": WALL_TIME, "OUT_OF_MEMORY": MEMORY}
"""Ends that the batch system made, in the codes of the job report."""

LATER = (
    "job submit limit",
    "Slurm temporarily unable to accept job",
    "Resource temporarily unavailable",
    "Job limit reached",
    "Required partition not available",
    "Slurm backup controller",
    "Unable to contact slurm controller (connect failure)",
)
"""Refusals that pass; with the last one sbatch found nobody to hand the job to."""

LIMIT = re.compile(r"\b(?:QOS|Assoc)\w+")
"""What sbatch names before "job submit limit": with Submit in it the number of jobs, which passes, else what one job asks for."""

REFUSED = "Batch job submission failed:"
UNSURE = (
    "timed out",
    "Zero Bytes",
    "communication",
    "Communication",
    "connection",
    "Message receive",
    "Unexpected message",
)
"""Words with which sbatch says that it does not know what became of its request (slurm/slurm_errno.h, 1001 to 1013)."""

UNSET = ("SBATCH_", "SQUEUE_", "SCANCEL_", "SACCT_", "SINFO_", "SCONTROL_", "SLURM_EXIT_", "SLURM_HINT")
"""Input variables of the commands (https://slurm.schedmd.com/squeue.html#SECTION_ENVIRONMENT and the like): with SQUEUE_PARTITION
set in ~/.bashrc, squeue hides all jobs elsewhere."""

FORMAT = "%F|%K|%T|%N|%j|%r"
FIELDS = 6


class SlurmSettings(SiteSettings, frozen=True, kw_only=True):
    """A Slurm cluster. What stays empty is left to its defaults; `extra` are further options of sbatch, such as
    "--licenses=frontier:1", `extra_for` those of one type of job (processing, merge). `architecture_constraint`: the constraint
    that stands in place of `constraint` for jobs that name an architecture, where the cluster has several."""

    partition: Word = ""
    account: Word = ""
    qos: Word = ""
    constraint: str = ""
    extra: tuple[Option, ...] = ()
    extra_for: dict[JobType, tuple[Option, ...]] = msgspec.field(default_factory=dict)
    architecture_constraint: dict[str, str] = msgspec.field(default_factory=dict)


class SlurmBatch(ScheduledBatch):
    """A batch target on Slurm."""

    def __init__(self, settings: SlurmSettings, *, hosts: Hosts, runtime: Path, clock: Clock) -> None:
        super().__init__(settings, Slurm(settings), hosts=hosts, runtime=runtime, clock=clock)


class Slurm:
    """What Slurm's commands are, and what they say."""

    slot_index = '"${SLURM_ARRAY_TASK_ID:-0}"'
    slot_id = '"${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"'
    unset: tuple[str, ...] = UNSET

    def __init__(self, settings: SlurmSettings) -> None:
        self._settings = settings
        self._accounting = False
        self._partitions = [name for name in settings.partition.split(",") if name]
        self._options = [
            f"--{name}={value}" for name in ("partition", "account", "qos") if (value := getattr(settings, name))
        ]
        self._extra = {str(kind): options for kind, options in settings.extra_for.items()}

    def probe(self) -> list[list[str]]:
        one = self._partitions if len(self._partitions) == 1 else []  # scontrol knows no lists, as sbatch and sinfo do
        return [["scontrol", "show", "config"], ["scontrol", "-o", "show", "partition", *one], _nodes(self._partitions)]

    def learn(self, answers: Sequence[Said]) -> Limits:
        for said in answers:
            if said.code:
                raise BatchError(f"Slurm cannot be used: {said.text}", transient="Invalid partition" not in said.text)
        config, partitions, nodes = answers
        self._accounting = "accounting_storage/slurmdbd" in config.out
        highest = re.search(r"^MaxArraySize\s*=\s*(\d+)", config.out, re.MULTILINE)
        tasks = re.search(r"\bmax_array_tasks=(\d+)", config.out)
        arrays = [int(found.group(1)) - less for found, less in ((highest, 1), (tasks, 0)) if found]
        longest = [_duration(most) for most in self._chosen(partitions.out)]
        sizes = re.findall(r"^(\d+)\+?\|(\d+)\+?$", nodes.out, re.MULTILINE)
        return Limits(
            cores=max((int(cores) for cores, _ in sizes), default=None),
            memory_mb=max((int(memory) for _, memory in sizes), default=None),
            wall_s=max((most for most in longest if most is not None), default=None) if None not in longest else None,
            array=max(1, min(arrays, default=1)),
        )

    def _chosen(self, partitions: str) -> list[str]:
        """Return MaxTime of those partitions that jobs may go to."""
        found = re.findall(r"^PartitionName=(\S+) (.*)$", partitions, re.MULTILINE)
        names = self._partitions or [name for name, line in found if "Default=YES" in line.split()]
        if not names or (missing := set(names) - {name for name, _ in found}):
            text = f"no partition {', '.join(sorted(missing))}" if names else "no default partition: name one"
            raise BatchError(f"this Slurm has {text}", transient=False)
        return [_value(line, "MaxTime") for name, line in found if name in names]

    def submission(self, parcel: Parcel, script: str) -> tuple[list[str], str]:
        job = parcel.jobs[0]
        argv = [
            *("sbatch", "--parsable", f"--job-name={parcel.label}", f"--comment={parcel.label}", "--no-requeue"),
            *("--ntasks=1", f"--cpus-per-task={job.cores}", f"--mem={job.memory_mb}M"),
            *(f"--time={-(-job.wall_s // 60)}", "--output=/dev/null", "--chdir=/"),
            *self._options,
        ]
        if constraint := self._settings.architecture_constraint.get(job.architecture, self._settings.constraint):
            argv.append(f"--constraint={constraint}")
        if job.gpus:
            argv.append(f"--gpus={job.gpus}")
        argv += [*self._settings.extra, *self._extra.get(job.kind, ())]
        if job.avoid_nodes:
            argv.append(f"--exclude={','.join(job.avoid_nodes)}")
        if parcel.is_array:
            argv.append("--array={indices}")
        return argv, script

    def sent(self, said: Said) -> Sent:
        number = said.out.strip().rpartition("\n")[2].partition(";")[0]  # a site's wrapper may greet first
        if said.code == 0 and number.isdigit():
            return Sent(id=number)
        text = said.text or f"sbatch ended with {said.code} and said nothing"
        limits = LIMIT.findall(said.text)
        if limits and "job submit limit" in said.text:
            return Sent(reason=text, transient=any("Submit" in limit for limit in limits))
        if said.code == 127 or any(word in said.text for word in LATER):
            return Sent(reason=text, transient=True)
        if REFUSED in said.text and not any(word in said.text for word in UNSURE):
            return Sent(reason=said.text.partition(REFUSED)[2].strip())
        if said.code == 1 and re.search(r"sbatch: (error: )?(Invalid|unrecognized|invalid)", said.text):
            return Sent(reason=text)
        return Sent(reason=text, doubt=True)

    def task_id(self, sent_id: str, index: int, *, array: bool) -> str:
        return f"{sent_id}_{index}" if array else sent_id

    def listing(self) -> list[str]:
        # own jobs by the name of the account, not --me: that option is younger than 20.11
        return ["sh", "-c", f'exec squeue -h -r -t all -u "$(id -un)" -o "{FORMAT}"']

    def records(self, said: Said) -> Iterable[str]:
        if said.code or said.late:
            raise BatchError(f"squeue does not list: {said.text}", transient=True)
        lines = said.out.splitlines()
        if lines and not any(line.count("|") >= FIELDS - 1 for line in lines):
            raise BatchError(f"squeue's answer is unreadable: {said.text}", transient=True)
        return lines

    def listed(self, record: str) -> Listed | None:
        fields = record.split("|", FIELDS - 1)
        if len(fields) != FIELDS:
            return None
        number, index, word, node, name, reason = fields
        state = STATES.get(word, BatchState.UNKNOWN)
        if state is BatchState.PENDING and HELD.search(reason):
            state = BatchState.HELD
        array = index.isdigit()
        return Listed(
            name=name,
            index=int(index) if array else 0,
            id=f"{number}_{index}" if array else number,
            state=state,
            reason=_reason(word, state, reason),
            node=node,
            exit_code=SAYS.get(word),
        )

    def history(self, names: Sequence[str]) -> list[str] | None:
        if not self._accounting:
            return None
        fields = "JobName,JobID,State,ExitCode,NodeList,Start,End"
        words = ["env", "SLURM_TIME_FORMAT=%s", "sacct", "-n", "-P", "-X", "-S", "now-30days"]
        return [*words, f"--name={','.join(names)}", f"--format={fields}%64"]

    def recorded(self, said: Said) -> list[Listed]:
        if said.code or said.late:
            raise BatchError(f"sacct does not answer: {said.text}", transient=True)
        return [found for line in said.out.splitlines() if (found := self._recorded(line.split("|"))) is not None]

    def _recorded(self, fields: Sequence[str]) -> Listed | None:
        if len(fields) != 7:
            return None
        name, number, words, code, node, began, ended = fields
        word = words.partition(" ")[0].rstrip("+")
        status, _, signal = code.partition(":")
        index = number.partition("_")[2]
        return Listed(
            name=name,
            index=int(index) if index.isdigit() else 0,
            id=number,
            state=STATES.get(word, BatchState.UNKNOWN),
            reason=_reason(word, STATES.get(word, BatchState.UNKNOWN), ""),
            node=node if node != "None assigned" else "",
            exit_code=SAYS.get(word) or (int(status) if status.isdigit() and not int(signal or 0) else None),
            signal=int(signal) if signal.isdigit() and int(signal) else None,
            started_at=float(began) if began.isdigit() else None,
            ended_at=float(ended) if ended.isdigit() else None,
        )

    def cancellation(self, ids: Sequence[str]) -> list[str]:
        return ["scancel", "--quiet", *ids]

    def release(self, ids: Sequence[str]) -> list[str]:
        return ["scontrol", "release", ",".join(ids)]


def _nodes(partitions: Sequence[str]) -> list[str]:
    return ["sinfo", "-h", "-o", "%c|%m", *([f"--partition={','.join(partitions)}"] if partitions else [])]


def _value(line: str, name: str) -> str:
    """Return the value of NAME=VALUE in a line of scontrol, or nothing."""
    return next((word.partition("=")[2] for word in line.split() if word.startswith(f"{name}=")), "")


def _reason(word: str, state: BatchState, reason: str) -> str:
    if word == "CANCELLED":
        return "cancelled"
    if state is BatchState.ENDED:
        return word
    return "" if reason == "None" else f"{word}: {reason}" if state is BatchState.UNKNOWN else reason


def _duration(text: str) -> int | None:
    """Return the seconds of [days-]hours:minutes:seconds, None without a limit."""
    if not re.fullmatch(r"(\d+-)?\d+:\d\d:\d\d", text):
        return None
    days, _, clock = text.rpartition("-")
    hours, minutes, seconds = map(int, clock.split(":"))
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
