"""What there is to know about one kind of batch system: which commands it takes, and what its answers mean.

A scheduler is made of pure functions. backends/batch/scheduled.py runs what they say; a new kind is one file that
implements the Protocol below (docs/how-to/add-a-batch-system.md).
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from backends.batch.base import BatchState, JobDescription
from domain.types import looked_at

Seconds = Annotated[float, Meta(gt=0)]
Positive = Annotated[int, Meta(ge=1)]


class SiteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every batch target that is reached by commands has.

    `host` is "local" or the name of a [hosts.NAME] table. `directory` lies on a file system that login and worker nodes share,
    absolute or below the home directory there; it is made where its parent is. `python` runs the clerk on the login node,
    `node_python` the worker runtime on the node (3.6 or newer both). `command_environment` is added to that of the batch
    system's commands; `prologue` are shell lines before the runtime starts, such as module loads. `scratch`, such as "$TMPDIR",
    is a directory on the node's own disk, in which jobs work instead of below `directory`. `array_max` is the most jobs handed
    over as one array (1: each alone). `evidence_s`: how long after the batch system says that a job ended its sentinel may take
    to become visible (NFS caches directories for 30 to 60 s); until then the end is not believed. `max_cores`, `max_memory_mb`
    (10**6 bytes) and `max_wall_s` (seconds) are the most that one job may ask for, where the batch system does not tell or
    tells more: what asks for more is refused before it is submitted.
    """

    host: str = "local"
    directory: str
    python: str = "python3"
    node_python: str = "python3"
    command_environment: dict[str, str] = {}
    prologue: tuple[str, ...] = ()
    scratch: Annotated[str, Meta(pattern=r'^[^"`\\\n]*$')] = ""
    array_max: Positive = 500
    evidence_s: Annotated[float, Meta(ge=0)] = 60.0
    max_cores: Positive | None = None
    max_memory_mb: Positive | None = None
    max_wall_s: Positive | None = None


class Said(msgspec.Struct, frozen=True):
    """What a command printed. `late`: it had no end in time and was killed; what it did nobody knows."""

    code: int
    out: str = ""
    err: str = ""
    late: bool = False

    @property
    def text(self) -> str:
        """What it complained of, for people."""
        return " ".join((self.err.strip() or self.out.strip()).split())[-500:]


class Sent(msgspec.Struct, frozen=True):
    """What became of a call that hands jobs over: the batch system's `id` for it, or why it took none.

    `doubt`: it may have taken them all the same. `transient`: it may take them later.
    """

    id: str = ""
    reason: str = ""
    transient: bool = False
    doubt: bool = False


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One job in a listing: the label that it was handed over with as `name`, and its `index` if it is part of an array.

    `ended`: this is a final state. `exit_code`, `signal`, `node`, `started_at`, `ended_at` as in JobStatus.
    """

    name: str
    index: int = 0
    id: str
    state: BatchState
    reason: str = ""
    node: str = ""
    exit_code: int | None = None
    signal: int | None = None
    started_at: float | None = None
    ended_at: float | None = None


class Parcel(msgspec.Struct, frozen=True):
    """Jobs of equal needs that are handed over in one call; `name` is the token if there is one job alone.

    `label` is what the batch system is to call it: the name with the mark of the target before it, so that others who
    use the same account are not confused with it. `script` is the file at the site with what each of its jobs runs.
    """

    name: str
    jobs: tuple[JobDescription, ...]
    label: str
    script: str

    @property
    def is_array(self) -> bool:
        return self.name != self.jobs[0].token


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The most that one job may ask for at a target, None where nobody says; `array` is the most jobs in one call."""

    cores: int | None = None
    memory_mb: int | None = None
    wall_s: int | None = None
    array: int | None = None

    def within(self, settings: SiteSettings) -> "Limits":
        """Return the tighter of these limits and of those that the settings of the target give."""
        given = {"cores": settings.max_cores, "memory_mb": settings.max_memory_mb, "wall_s": settings.max_wall_s}
        both = {name: [most for most in (getattr(self, name), own) if most is not None] for name, own in given.items()}
        return msgspec.structs.replace(self, **{name: min(limits, default=None) for name, limits in both.items()})

    def refusal(self, job: JobDescription) -> str:
        """Return why a job cannot run there, or nothing."""
        for word, asked, limit, unit in (
            ("cores", job.cores, self.cores, ""),
            ("memory", job.memory_mb, self.memory_mb, " MB"),
            ("wall time", job.wall_s, self.wall_s, " s"),
        ):
            if limit is not None and asked > limit:
                return f"over the limit of the target: {word} {asked}{unit}, at most {limit}{unit}"
        return ""


class Scheduler(Protocol):
    """One kind of batch system, as pure functions of text."""

    slot_index: str
    """Shell word that expands, in a job, to its index in the parcel (0 for a job alone)."""
    slot_id: str
    """Shell word that expands, in a job, to the batch system's id of it."""
    unset: tuple[str, ...]
    """What the names of variables begin with by which an account's start-up files would change what the commands do or say; the
    commands do not see them."""

    def probe(self) -> list[list[str]]:
        """Return the commands that tell whether the target can be used, and its limits."""

    def learn(self, answers: Sequence[Said]) -> Limits:
        """Return what the answers to `probe` say; raise BatchError if the target cannot be used."""

    def submission(self, parcel: Parcel, script: str) -> tuple[list[str], str]:
        """Return the command that hands over a parcel, and its standard input. `script` is what each job runs, and stands in
        the file parcel.script too.

        In both, {indices} stands for the places of the array that are wanted, as in 0-3,5, and {places} for 0,1,2,3,5.
        """

    def sent(self, said: Said) -> Sent:
        """Return what the answer to `submission` means; an answer that is not understood is a doubt."""

    def task_id(self, sent_id: str, index: int, *, array: bool) -> str:
        """Return the batch system's id of one job of a parcel."""

    def listing(self) -> list[str]:
        """Return the command that lists all live jobs of this account, and those that ended lately if it knows them."""

    def records(self, said: Said) -> Iterable[str]:
        """Split a listing into the texts of its jobs; raise BatchError if it is none. Nothing else is parsed twice."""

    def listed(self, record: str) -> Listed | None:
        """Return what one such text says, None for a job that is not ours. A word it does not know is UNKNOWN."""

    def history(self, names: Sequence[str]) -> list[str] | None:
        """Return the command that asks the accounting for jobs by label, None if there is no accounting."""

    def recorded(self, said: Said) -> list[Listed]:
        """Return the ended jobs that the accounting knows; raise BatchError if it does not answer."""

    def cancellation(self, ids: Sequence[str]) -> list[str]:
        """Return the command that ends jobs by their ids, which were listed a moment ago."""

    def release(self, ids: Sequence[str]) -> list[str]:
        """Return the command that releases held jobs by their ids, which were listed a moment ago."""


looked_at(Said)
