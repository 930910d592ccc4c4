"""Durable facts, in the order of a job's life. Past tense; ids travel, not objects.

Each fact is one row of the event log, written in the transaction that makes it true. A fact that moves items carries
their ids in `ids`; `entity` says of what kind they are, so that folding the log gives every item's present state.
"""

from typing import Any, ClassVar

import msgspec

MAX_BODY = 256 * 1024
"""Largest body in bytes; a larger fact is refused where it is written (PA-005)."""


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=True, forbid_unknown_fields=True):
    """A fact that moves the items `ids` of kind `entity`."""

    entity: ClassVar[str] = ""
    version: ClassVar[int] = 1
    ids: list[int]
    reason: str = ""


# ---------------------------------------------------------------- workflows
class WorkflowEvent(Event, frozen=True, kw_only=True):
    entity: ClassVar[str] = "workflow"


class WorkflowsAdded(WorkflowEvent, frozen=True, kw_only=True):
    """A request or a workflow file was accepted."""


class WorkflowsPaused(WorkflowEvent, frozen=True, kw_only=True):
    """No new work of it is released."""


class WorkflowsResumed(WorkflowEvent, frozen=True, kw_only=True):
    """Its work is released again."""


class WorkflowsCompleted(WorkflowEvent, frozen=True, kw_only=True):
    """Every event is delivered or named as lost."""


class WorkflowsAborted(WorkflowEvent, frozen=True, kw_only=True):
    """It was given up by an operator or by its manager."""


# ---------------------------------------------------------------- allocations
class AllocationEvent(Event, frozen=True, kw_only=True):
    entity: ClassVar[str] = "allocation"


class AllocationsAcquired(AllocationEvent, frozen=True, kw_only=True):
    """Event ranges are leased to this agent."""


class AllocationsCut(AllocationEvent, frozen=True, kw_only=True):
    """All of the range has become jobs."""


class AllocationsDone(AllocationEvent, frozen=True, kw_only=True):
    """Each event of the range is in a delivered file or named as lost."""


class AllocationsReported(AllocationEvent, frozen=True, kw_only=True):
    """The manager has acknowledged the result."""


class AllocationsRevoked(AllocationEvent, frozen=True, kw_only=True):
    """The manager has taken the lease back; what is left of the range is not ours."""


# ---------------------------------------------------------------- jobs
class JobEvent(Event, frozen=True, kw_only=True):
    entity: ClassVar[str] = "job"


class JobsCreated(JobEvent, frozen=True, kw_only=True):
    """Work units became jobs."""


class JobsQueued(JobEvent, frozen=True, kw_only=True):
    """Jobs were admitted: at least one site may run them."""


class JobsReleased(JobEvent, frozen=True, kw_only=True):
    """The queue gave jobs to a target with free capacity."""

    site: str
    target: str


class JobsReturned(JobEvent, frozen=True, kw_only=True):
    """Released jobs came back unsubmitted."""


class JobsWithdrawn(JobEvent, frozen=True, kw_only=True):
    """Jobs that waited in a batch system were taken back; their attempts are closed and count as none."""


class JobsSubmitting(JobEvent, frozen=True, kw_only=True):
    """Attempts with tokens are on record; the call to the batch system comes after this."""


class JobsSubmitted(JobEvent, frozen=True, kw_only=True):
    """The batch system has them."""


class JobsStarted(JobEvent, frozen=True, kw_only=True):
    """They run on a node."""


class JobsEnded(JobEvent, frozen=True, kw_only=True):
    """There is positive evidence that the attempts are over."""


class JobsLost(JobEvent, frozen=True, kw_only=True):
    """Absent from the batch system without proof of an end."""


class JobsAccounted(JobEvent, frozen=True, kw_only=True):
    """Reports were read and output files registered, in this transaction."""


class JobsFailed(JobEvent, frozen=True, kw_only=True):
    """The attempts did no good; what follows is for the error actor to say."""


class JobsCooledOff(JobEvent, frozen=True, kw_only=True):
    """A retry is due at `until` (UTC epoch seconds)."""

    until: float


class JobsRequeued(JobEvent, frozen=True, kw_only=True):
    """Jobs are in the queue again."""


class JobsPaused(JobEvent, frozen=True, kw_only=True):
    """Held, with the reason."""


class JobsReadmitted(JobEvent, frozen=True, kw_only=True):
    """Jobs that were held are looked at as if they were new."""


class JobsExhausted(JobEvent, frozen=True, kw_only=True):
    """All allowances are used; their events count as lost unless an operator reopens them."""


class JobsKilled(JobEvent, frozen=True, kw_only=True):
    """Ended on command; never submitted again."""


class JobsRevoked(JobEvent, frozen=True, kw_only=True):
    """Their range was taken back; what they made and nobody merged is void."""


class JobsSucceeded(JobEvent, frozen=True, kw_only=True):
    """Their output is part of a catalogued file."""


class JobsCleaned(JobEvent, frozen=True, kw_only=True):
    """Nothing of them is left on the nodes."""


# ---------------------------------------------------------------- files
class FileEvent(Event, frozen=True, kw_only=True):
    entity: ClassVar[str] = "file"


class UnmergedRegistered(FileEvent, frozen=True, kw_only=True):
    """Small outputs of processing jobs are booked."""


class MergedRegistered(FileEvent, frozen=True, kw_only=True):
    """Files of the final size are booked: by a merge job, or directly when large enough."""


class FilesUnderMerge(FileEvent, frozen=True, kw_only=True):
    """Members of a merge job."""


class FilesReturned(FileEvent, frozen=True, kw_only=True):
    """Their merge came to nothing; they wait for another."""


class FilesMerged(FileEvent, frozen=True, kw_only=True):
    """Their content is in a merged file."""


class FilesInvalidated(FileEvent, frozen=True, kw_only=True):
    """Found damaged or missing; never used again."""


class FilesCatalogued(FileEvent, frozen=True, kw_only=True):
    """Merged files belong to a block of their dataset."""


class FilesRemoving(FileEvent, frozen=True, kw_only=True):
    """Deletion was granted: the successor is verified and catalogued."""


class FilesRemoved(FileEvent, frozen=True, kw_only=True):
    """They are gone from storage."""


class FileRemovalsFailed(FileEvent, frozen=True, kw_only=True):
    """Storage refused to delete them three times."""


# ---------------------------------------------------------------- blocks
class BlockEvent(Event, frozen=True, kw_only=True):
    entity: ClassVar[str] = "block"


class BlocksOpened(BlockEvent, frozen=True, kw_only=True):
    """A dataset has a new open block at a site."""


class BlocksClosed(BlockEvent, frozen=True, kw_only=True):
    """No file is added any more; a closed block never reopens."""


# ---------------------------------------------------------------- transfers
class TransferEvent(Event, frozen=True, kw_only=True):
    entity: ClassVar[str] = "transfer"


class TransfersWanted(TransferEvent, frozen=True, kw_only=True):
    """A subscription asks for files at a site."""


class TransfersPlanned(TransferEvent, frozen=True, kw_only=True):
    """Source and path are chosen."""


class TransfersOffered(TransferEvent, frozen=True, kw_only=True):
    """The source site has the request."""


class TransfersStaging(TransferEvent, frozen=True, kw_only=True):
    """The source brings the file to disk."""


class TransfersReady(TransferEvent, frozen=True, kw_only=True):
    """The source says: it lies on disk, take it."""


class TransfersMoving(TransferEvent, frozen=True, kw_only=True):
    """The destination copies, under a new fence."""


class TransfersLanded(TransferEvent, frozen=True, kw_only=True):
    """All bytes are at the destination under a temporary name."""


class TransfersVerified(TransferEvent, frozen=True, kw_only=True):
    """Checksums agree, the file is published and its replica booked."""


class TransfersMigrating(TransferEvent, frozen=True, kw_only=True):
    """On the way to tape."""


class TransfersSafe(TransferEvent, frozen=True, kw_only=True):
    """The site's policy for safe copies is met."""


class TransfersReleasable(TransferEvent, frozen=True, kw_only=True):
    """The copy may go."""


class TransfersReleased(TransferEvent, frozen=True, kw_only=True):
    """The copy is gone."""


class TransfersWaiting(TransferEvent, frozen=True, kw_only=True):
    """Tried again at `until` (UTC epoch seconds)."""

    until: float


class TransfersParked(TransferEvent, frozen=True, kw_only=True):
    """Waits for a person."""


class TransfersQuarantined(TransferEvent, frozen=True, kw_only=True):
    """What lies at the destination contradicts the catalogue."""


class TransfersCancelled(TransferEvent, frozen=True, kw_only=True):
    """Nobody wants it any more."""


# ---------------------------------------------------------------- from outside
class WorkflowRevised(Event, frozen=True, kw_only=True):
    """A workflow has a new version of its specification, the one of this number; `who` gave it. It moves nothing."""

    entity: ClassVar[str] = "revision"
    who: str
    number: int
    changes: list[str]


class SettingsChanged(Event, frozen=True, kw_only=True):
    """The configuration was read anew: what changed while the agent ran, and what waits for a restart. It moves nothing, and `ids`
    is always [1]."""

    entity: ClassVar[str] = "settings"
    who: str
    changes: list[str]
    later: list[str] = []


class Published(Event, frozen=True, kw_only=True):
    """An operator or another program tells something to whoever follows it; it moves nothing, and `ids` is always [1]."""

    entity: ClassVar[str] = "message"
    topic: str
    body: dict[str, Any] = {}


def all_events() -> dict[str, type[Event]]:
    """Return every concrete fact by its name."""

    def leaves(kind: type[Event]) -> list[type[Event]]:
        below = kind.__subclasses__()
        return [leaf for child in below for leaf in leaves(child)] if below else [kind]

    return {leaf.__name__: leaf for leaf in leaves(Event)}


_encoder = msgspec.json.Encoder()


def encode(event: Event) -> bytes:
    """Return the JSON body; raise ValueError above MAX_BODY."""
    body = _encoder.encode(event)
    if len(body) > MAX_BODY:
        raise ValueError(f"{type(event).__name__}: {len(body)} bytes, at most {MAX_BODY} are allowed in one fact")
    return body


_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(kind) for name, kind in all_events().items()
}
"""Made at import, while one thread runs (domain/types.py says why)."""


def decode(name: str, body: bytes | str) -> Event:
    """Return the fact; raise LookupError for an unknown type, msgspec.ValidationError for a malformed body."""
    decoder = _decoders.get(name)
    if decoder is None:
        raise LookupError(f"unknown event type {name!r}")
    event: Event = decoder.decode(body)
    return event


STILL: frozenset[type[Event]] = frozenset({WorkflowRevised, SettingsChanged, Published})
"""Facts that move nothing."""

BESIDE: dict[str, str] = {"workflow": WorkflowRevised.entity}
"""Facts that move nothing and belong to the history of another kind of item, which has the same ids."""

OPTIONAL: frozenset[type[Event]] = frozenset(
    {
        WorkflowRevised,
        SettingsChanged,
        Published,
        WorkflowsAdded,
        WorkflowsPaused,
        WorkflowsAborted,
        JobsQueued,
        JobsSubmitting,
        JobsSubmitted,
        JobsStarted,
        JobsAccounted,
        JobsPaused,
        JobsSucceeded,
        JobsCleaned,
        FilesUnderMerge,
        FilesMerged,
        FilesRemoving,
        FilesRemoved,
        BlocksOpened,
        BlocksClosed,
        TransfersPlanned,
        TransfersOffered,
        TransfersStaging,
        TransfersMoving,
        TransfersLanded,
        TransfersVerified,
        TransfersMigrating,
        TransfersReleasable,
        TransfersReleased,
    }
)
"""Facts that nobody need take: the history, and whoever adds an actor for them (PA-006)."""
