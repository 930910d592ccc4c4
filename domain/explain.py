"""Say why an item does not move: one named blocker for every state (PA-218, OPS-09).

Each verdict names what it waits for, what would unblock it, which actor owns the next step ("operator": a person) and
when that is looked at again at the latest.
"""

from collections.abc import Mapping

import msgspec

from domain.batch_waits import waits
from domain.file import FileState
from domain.job import JobState, JobType
from domain.placing import BY_PERSON, UNBLOCKS
from domain.room import AWAY, FULL
from domain.transfer import TransferState
from domain.workflow import WorkflowState

OPERATOR = "operator"
NOBODY = "nobody"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The blocker; `wake_at` in UTC epoch seconds, `done`: there is nothing left to wait for."""

    code: str
    text: str
    unblocks: str
    owner: str
    wake_at: float | None = None
    done: bool = False


def person(code: str, text: str, unblocks: str) -> Verdict:
    """Return a verdict that waits for somebody to act."""
    return Verdict(code=code, text=text, unblocks=unblocks, owner=OPERATOR)


class JobSight(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a job. `queue`: the queue's word, for a queued one; `silent`: the alert that its target is away;
    `output`: what its accounted output waits for; `ending`: the targets that have not confirmed the end of its attempts;
    `next_s`: how often the owner looks, in seconds."""

    state: JobState
    type: JobType
    reason: str = ""
    since: float = 0.0
    wake_at: float | None = None
    target: str = ""
    batch_id: str = ""
    node: str = ""
    workflow: str = ""
    workflow_state: WorkflowState = WorkflowState.ACTIVE
    queue: str = ""
    silent: str = ""
    wall_s: float = 0.0
    output: Verdict | None = None
    ending: str = ""
    next_s: Mapping[str, float] = {}


J = JobState


def explain_job(job: JobSight, now: float) -> Verdict:
    """Return why a job is where it is."""
    if job.state in (J.NEW, J.QUEUED) and job.workflow_state is not WorkflowState.ACTIVE:
        return _held(job)
    if job.state in (J.RELEASED, J.SUBMITTING, J.PENDING, J.RUNNING) and job.silent:
        return _silent(job, now)
    if job.state is J.QUEUED:
        code, _, text = job.queue.partition(": ")
        code, text = code or "next-sweep", text or "the queue has not come to it yet"
        owner = OPERATOR if code in BY_PERSON else "queue"
        return _verdict(job, now, code, text, UNBLOCKS.get(code, "the queue's next look"), owner)
    if job.state is J.RUNNING:
        ends = job.since + job.wall_s
        limit = f"; its wall time is over in {ends - now:.0f} s" if ends > now else "; its wall time is over"
        where = f" on {job.node}" if job.node else ""
        text = f"it runs at {job.target}{where}{limit if job.wall_s else ''}"
        return _verdict(job, now, "running", text, "its end, which the tracker sees at its next look", "tracker")
    if job.state is J.ACCOUNTED and job.output is not None:
        return job.output
    if job.state is J.COOLOFF:
        text = f"a retry waits for its back-off: {job.reason}"
        return Verdict(
            code="back-off", text=text, unblocks="the wake time, or `retry` now", owner="queue", wake_at=job.wake_at
        )
    if job.state is J.KILLED and job.ending:
        text = f"it was ended for good: {job.reason or 'no reason given'}; {job.ending} has not confirmed the end"
        wake_at = now + job.next_s.get("tracker", 0.0)
        unblocks = "that confirmation: the tracker asks for it at each look"
        return Verdict(code="ending", text=text, unblocks=unblocks, owner="tracker", wake_at=wake_at)
    if job.state is J.PAUSED and job.reason.startswith("no-site: "):
        code, _, text = job.reason.partition(": ")
        return _verdict(job, now, code, f"it is parked: {text}", UNBLOCKS[code], OPERATOR)
    if job.state is J.PENDING:
        known = f" as {job.batch_id}" if job.batch_id else ""
        text = f"{job.target or 'its target'} has it{known}, not started yet: {job.reason or 'no reason given'}"
        wait = waits(job.reason)
        return _verdict(job, now, wait.code, text, wait.unblocks, wait.owner)
    code, text, unblocks, owner = _PLAIN[job.state]
    text = text.format(target=job.target or "its target", reason=job.reason or "no reason given")
    return _verdict(job, now, code, text, unblocks, owner)


def _verdict(job: JobSight, now: float, code: str, text: str, unblocks: str, owner: str) -> Verdict:
    done = job.state in (J.CLEANED, J.KILLED)
    wake_at = None if done or owner == OPERATOR else now + job.next_s.get(owner, 0.0)
    return Verdict(code=code, text=text, unblocks=unblocks, owner=owner, wake_at=wake_at, done=done)


def _held(job: JobSight) -> Verdict:
    text = f"its workflow {job.workflow} is {job.workflow_state}"
    unblocks = (
        f"`release {job.workflow}`" if job.workflow_state is WorkflowState.PAUSED else "nothing: the workflow has ended"
    )
    return person("held", text, unblocks)


def _silent(job: JobSight, now: float) -> Verdict:
    owner = "submitter" if job.state in (J.RELEASED, J.SUBMITTING) else "tracker"
    return _verdict(job, now, "target-silent", job.silent, f"an answer of target {job.target}", owner)


_PLAIN: dict[JobState, tuple[str, str, str, str]] = {
    J.NEW: ("not-admitted", "it was cut just now", "the queue's next look", "queue"),
    J.RELEASED: ("to-submit", "it goes to {target} with the next submission call", "that call", "submitter"),
    J.SUBMITTING: (
        "submission-open",
        "{target} was asked, its answer is not known",
        "the answer, or its token",
        "submitter",
    ),
    J.ENDED: ("report-unread", "it has ended, its report is to be read", "the report, read and booked", "report"),
    J.ACCOUNTED: ("catalogue-wait", "its output is to be catalogued", "the catalogue's next look", "catalogue"),
    J.SUCCESS: (
        "cleanup-wait",
        "its events are catalogued; small files or directories of it are left",
        "the delivery of the merged file, then the cleanup",
        "cleanup",
    ),
    J.PAUSED: ("paused", "it is held: {reason}", "what the reason names, then `retry`", OPERATOR),
    J.LOST: ("lost", "it vanished from {target} without proof of an end", "the tracker's verdict", "tracker"),
    J.FAILED: ("retry-decision", "its attempt failed: {reason}", "the decision whether to try again", "error"),
    J.EXHAUSTED: (
        "exhausted",
        "all allowances are used: {reason}; its events count as lost",
        "`retry`, once the cause is removed",
        OPERATOR,
    ),
    J.KILLED: ("killed", "it was ended for good: {reason}", "nothing: it is never submitted again", NOBODY),
    J.CLEANED: ("done", "it succeeded and nothing of it is left to do", "nothing", NOBODY),
}


class FileSight(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a file. `merge`: what its merge job waits for; `successor`: state of the file that holds its
    events; `transfer`: what the first unfinished transfer (of it, or of its successor) waits for; `waiting_bytes` and
    `wanted_bytes`: gathered for a merge at its site, and enough for one; `deadline`: merged at any size then."""

    state: FileState
    reason: str = ""
    site: str = ""
    job: int = 0
    merge_job: int | None = None
    merge: Verdict | None = None
    successor: str = ""
    transfer: Verdict | None = None
    waiting_bytes: int = 0
    wanted_bytes: int = 0
    deadline: float | None = None
    next_s: Mapping[str, float] = {}


F = FileState


def explain_file(file: FileSight, now: float) -> Verdict:
    """Return why a file is where it is."""
    if file.state is F.UNMERGED:
        text = f"{file.waiting_bytes} of {file.wanted_bytes} bytes wait at {file.site} for a merge job"
        unblocks = "more output, or the end of all processing jobs of the workflow, or the wake time"
        return Verdict(code="merge-wait", text=text, unblocks=unblocks, owner="merge", wake_at=file.deadline)
    if file.state is F.UNDERMERGE:
        return _through(file, "merging", f"merge job {file.merge_job} has it", file.merge, "merge", now)
    if file.state is F.CATALOGUED and file.transfer is None:
        text = "it is catalogued, and every site that wanted it has it"
        return Verdict(code="delivered", text=text, unblocks="nothing", owner=NOBODY, done=True)
    if file.state is F.CATALOGUED:
        return _through(file, "in-transfer", "it is on its way", file.transfer, "transfer", now)
    if file.state is F.MERGED and file.transfer is not None:
        return _through(
            file, "successor-in-transfer", "its events are in a merged file", file.transfer, "transfer", now
        )
    code, text, unblocks, owner = _FILES[file.state]
    text = text.format(
        reason=file.reason or "no reason given", job=file.job, successor=file.successor or "not there yet"
    )
    wake_at = None if owner in (OPERATOR, NOBODY) else now + file.next_s.get(owner, 0.0)
    return Verdict(code=code, text=text, unblocks=unblocks, owner=owner, wake_at=wake_at, done=file.state is F.REMOVED)


def _through(file: FileSight, code: str, text: str, inner: Verdict | None, owner: str, now: float) -> Verdict:
    """Pass on what something else waits for."""
    if inner is None:
        return Verdict(code=code, text=text, unblocks="its end", owner=owner, wake_at=now + file.next_s.get(owner, 0.0))
    said = f"{text}: {inner.text}"
    return Verdict(code=inner.code, text=said, unblocks=inner.unblocks, owner=inner.owner, wake_at=inner.wake_at)


_FILES: dict[FileState, tuple[str, str, str, str]] = {
    F.MERGED: (
        "cleanup-wait",
        "its events are in a merged file, which is {successor}",
        "that file catalogued and delivered, then the cleanup",
        "cleanup",
    ),
    F.REGISTERED: ("catalogue-wait", "it has no block of its dataset yet", "the catalogue's next look", "catalogue"),
    F.INVALID: ("damaged", "not used any more: {reason}; job {job} makes its events again", "its deletion", "cleanup"),
    F.REMOVING: ("removal", "its deletion is granted", "the storage's word that it is gone", "cleanup"),
    F.REMOVEFAILED: (
        "removal-refused",
        "the storage would not delete it: {reason}",
        "a person who deletes it or repairs the storage",
        OPERATOR,
    ),
    F.REMOVED: ("removed", "it was deleted after its successor was safe, or because it was damaged", "nothing", NOBODY),
}


class TransferSight(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a transfer; `active` of `most` movers to its destination are at work; `shut`: the code and the text of
    what keeps all from going there."""

    state: TransferState
    reason: str = ""
    since: float = 0.0
    wake_at: float | None = None
    source: str = ""
    destination: str = ""
    attempt: int = 0
    active: int = 0
    most: int = 0
    shut: tuple[str, str] | None = None
    deadline_s: float = 0.0
    next_s: Mapping[str, float] = {}


T = TransferState
ARRIVED = (T.SAFE, T.RELEASED, T.CANCELLED)


def explain_transfer(task: TransferSight, now: float) -> Verdict:
    """Return why a transfer is where it is."""
    if task.state is T.WAITING:
        text = f"after {task.attempt} tries that count: {task.reason}"
        return Verdict(
            code="transfer-back-off", text=text, unblocks="the wake time", owner="transfer", wake_at=task.wake_at
        )
    code, text, unblocks, owner = _TRANSFERS[task.state]
    if task.state in (T.WANTED, T.READY) and task.most and task.active >= task.most:
        code, text, unblocks = (
            "transfer-slots",
            "{active} of {most} transfers to {destination} are under way",
            "one of them that ends",
        )
    if task.shut is not None and task.state in (T.WANTED, T.PLANNED, T.OFFERED, T.READY):
        code, unblocks = task.shut[0], _SHUT[task.shut[0]]
        text = task.shut[1].replace("{", "{{").replace("}", "}}")
    text = text.format(**{name: getattr(task, name) for name in task.__struct_fields__})
    wake_at = None if owner in (OPERATOR, NOBODY) else now + task.next_s.get(owner, 0.0)
    if task.state is T.MOVING:
        text = f"{text}: {task.reason}" if task.reason else text
        wake_at = task.since + task.deadline_s
    return Verdict(code=code, text=text, unblocks=unblocks, owner=owner, wake_at=wake_at, done=task.state in ARRIVED)


_SHUT = {
    FULL: "room there, seen by the next look",
    AWAY: "its answer to the next look",
}
_TRANSFERS: dict[TransferState, tuple[str, str, str, str]] = {
    T.WANTED: ("transfer-next", "{destination} wants it from {source}", "the next look of the transfers", "transfer"),
    T.PLANNED: ("source-asked", "the way from {source} to {destination} is chosen", "the source's word", "transfer"),
    T.OFFERED: ("source-asked", "{source} was asked for it", "the source's word", "transfer"),
    T.STAGING: ("staging", "{source} brings it to disk", "the file on disk there", "transfer"),
    T.READY: ("transfer-next", "it lies ready at {source}", "the next look of the transfers", "transfer"),
    T.MOVING: (
        "copying",
        "try {attempt} copies it from {source} to {destination}",
        "its end or the wake time",
        "transfer",
    ),
    T.LANDED: ("verifying", "all bytes are at {destination}", "equal checksums", "transfer"),
    T.VERIFIED: ("safe-policy", "a verified copy is at {destination}", "the site's policy for safe copies", "transfer"),
    T.MIGRATING: ("to-tape", "{destination} writes it to tape", "the tape system's word", "transfer"),
    T.SAFE: ("arrived", "it is at {destination}, verified and safe", "nothing", NOBODY),
    T.RELEASABLE: ("release", "the copy at {destination} may go", "the cleanup's next look", "cleanup"),
    T.RELEASED: ("released", "the copy at {destination} was given up on purpose", "nothing", NOBODY),
    T.PARKED: ("transfer-parked", "given up after try {attempt}: {reason}", "a person who removes the cause", OPERATOR),
    T.QUARANTINED: (
        "transfer-contradiction",
        "what lies at {destination} contradicts the catalogue: {reason}",
        "a person who looks at both copies",
        OPERATOR,
    ),
    T.CANCELLED: ("cancelled", "nobody wants it any more", "nothing", NOBODY),
}


class WorkflowSight(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a workflow: blockers of its jobs, files and transfers with how many items each holds."""

    state: WorkflowState
    name: str = ""
    reason: str = ""
    manager: str = ""
    intake_open: bool = False
    requested: int = 0
    allocated: int = 0
    uncut: int = 0
    unreported: int = 0
    groups: Mapping[str, int] = {}
    verdicts: Mapping[str, Verdict] = {}
    next_s: Mapping[str, float] = {}


def explain_workflow(flow: WorkflowSight, now: float) -> Verdict:
    """Return what keeps a workflow from its end: first what needs a person, then what holds most items."""
    if flow.state is WorkflowState.PAUSED:
        text = f"it is held: {flow.reason or 'no reason given'}"
        return person("held", text, f"`release {flow.name}`")
    if flow.state is not WorkflowState.ACTIVE:
        text = (
            "every event is delivered or named as lost"
            if flow.state is WorkflowState.COMPLETED
            else f"given up: {flow.reason}"
        )
        return Verdict(code=str(flow.state), text=text, unblocks="nothing", owner=NOBODY, done=True)
    waiting = {code: count for code, count in flow.groups.items() if not flow.verdicts[code].done and count}
    if waiting:
        code = max(waiting, key=lambda code: (flow.verdicts[code].owner == OPERATOR, waiting[code], code))
        verdict = flow.verdicts[code]
        return msgspec.structs.replace(verdict, text=f"{waiting[code]} items: {verdict.text}")
    code, text, unblocks, owner = _idle(flow)
    return Verdict(code=code, text=text, unblocks=unblocks, owner=owner, wake_at=now + flow.next_s.get(owner, 0.0))


def _idle(flow: WorkflowSight) -> tuple[str, str, str, str]:
    if flow.uncut:
        text = f"{flow.uncut} of {flow.allocated} events are to be cut into jobs"
        return "to-cut", text, "places in the window ahead of the sites", "creator"
    if flow.unreported:
        text = f"{flow.unreported} ranges are done, {flow.manager or 'nobody'} has not acknowledged them"
        return "report-wait", text, "the manager's answer", "allocation" if flow.manager else "injector"
    if flow.intake_open or (flow.allocated < flow.requested and flow.manager):
        text = f"{flow.allocated} of {flow.requested} events were given to this agent"
        return "no-allocation", text, f"a range from {flow.manager}, or its word that none is left", "allocation"
    return "completion", "all of its work is done", "the injector's next look", "injector"
