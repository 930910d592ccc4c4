"""What the programming interface answers beyond the views of the store."""

import msgspec

from domain.report import Heartbeat
from storage.endings import Ending
from storage.views import AlertView, AttemptView, Cause, LetterView, ParkedView, SiteJobs, Totals, WorkflowView
from supervisors import ActorSnapshot
from supervisors.snapshot import DeadLetterCount


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    pass


class AgentView(_Answer, frozen=True, kw_only=True):
    """The process; `started` and `snapshot_at` (of the newest snapshot of the store) in UTC epoch seconds, `uptime` and
    `loop_lag` in seconds."""

    name: str
    pid: int
    started: float
    uptime: float
    stopping: bool
    loop_lag: float
    store_commits: int
    store_units: int
    snapshot_at: float | None


class Status(_Answer, frozen=True, kw_only=True):
    """Everything at a glance. `ending`: what was killed or given up and its target has not confirmed yet."""

    agent: AgentView
    totals: Totals
    workflows: list[WorkflowView]
    sites: list[SiteJobs]
    alerts: list[AlertView]
    dead_letters: int
    ending: list[Ending]
    troubled: list[str]


class Failures(_Answer, frozen=True, kw_only=True):
    """What fails: causes most frequent first, attempts newest first."""

    causes: list[Cause]
    attempts: list[AttemptView]


class Actors(_Answer, frozen=True, kw_only=True):
    """The supervision tree in start order, groups before their children."""

    actors: list[ActorSnapshot]


class DeadLetters(_Answer, frozen=True, kw_only=True):
    """Facts that a subscriber could not handle, and messages that no actor did: both kept until replayed or dropped.

    `counts`: what this process has lost, hints too.
    """

    parked: list[ParkedView]
    mail: list[LetterView]
    counts: list[DeadLetterCount]


class LettersDone(_Answer, frozen=True, kw_only=True):
    """The dead letters that were replayed or dropped, or would be: `changed` parked facts, `mail` messages."""

    changed: list[int]
    mail: list[int]
    dry_run: bool


class Submitted(_Answer, frozen=True, kw_only=True):
    """A workflow was taken on, or was there already (`new` false); `jobs` it will be cut into."""

    workflow: int
    name: str
    new: bool
    events: int
    jobs: int
    dry_run: bool


class Done(_Answer, frozen=True, kw_only=True):
    """The ids that changed, or would change."""

    changed: list[int]
    dry_run: bool


class Killed(Done, frozen=True, kw_only=True):
    """The jobs that were ended, or would be. `ending`: of which of them targets have still to confirm it."""

    ending: list[Ending] = []


class ActorChanged(_Answer, frozen=True, kw_only=True):
    """What was done with an actor."""

    actor: str
    done: str
    dry_run: bool


class Health(_Answer, frozen=True, kw_only=True):
    """Whether it is well, and what is not."""

    ok: bool
    problems: list[str]


class Told(_Answer, frozen=True, kw_only=True):
    """What was published, removed or forgotten: ids of facts, or a number of facts never read. `waits`: the number under
    which something waits to be published."""

    ids: list[int] = []
    waits: int = 0
    unread: int = 0
    dry_run: bool = False


class Compaction(_Answer, frozen=True, kw_only=True):
    """Facts that were compacted, or would be, the moves in them, the bytes of their bodies, and what keeps the next one."""

    facts: int
    moves: int
    bytes: int
    held_by: str
    dry_run: bool


class JobLog(_Answer, frozen=True, kw_only=True):
    """The end of the log of a job's last attempt; `log_bytes` is how long all of it is. `heartbeat`: of one that runs."""

    job: int
    state: str
    attempt: int
    node: str
    running: bool
    text: str
    log_bytes: int
    heartbeat: Heartbeat | None
