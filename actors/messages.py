"""What actors and operators tell each other: commands and hints that never reach the disk (PA-007).

Durable facts are in domain/events.py. A hint says "look now" and nothing else; losing one costs a sweep interval. A
command is answered, so that whoever gave it knows whether it was carried out.
"""

from typing import Any, Union

import msgspec

from domain.revising import Revision
from domain.spec import WorkflowSpec
from domain.types import looked_at
from supervisors import Answer


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


class Wake(_Message, frozen=True, kw_only=True):
    """There may be work."""


class SubmitWorkflow(_Message, frozen=True, kw_only=True):
    """To the injector: take on a workflow. Answered by `Submitted`; raises `Refused`."""

    spec: WorkflowSpec
    sandbox: bytes = b""
    name: str = ""
    manager: str = ""
    request: str = ""
    dry_run: bool = False


class Submitted(_Message, frozen=True, kw_only=True):
    """`new` False: the same workflow was there already. `jobs` is how many processing jobs it will be cut into."""

    workflow: int
    name: str
    new: bool
    events: int
    jobs: int


class RetryJobs(_Message, frozen=True, kw_only=True):
    """To error: reopen jobs that were given up or paused, or end a back-off now. Answered by `Changed`.

    Of those named, `code` and `site` choose the ones whose last attempt ended so, there; `archived` those of which a failure
    archive is left, after a comparison of it with the books (PA-414).
    """

    jobs: list[int] = []
    workflow: str = ""
    request: str = ""
    code: int | None = None
    site: str = ""
    archived: bool = False
    who: str = "operator"
    dry_run: bool = False


class KillJobs(_Message, frozen=True, kw_only=True):
    """To error: end jobs for good. Answered by `Changed`."""

    jobs: list[int] = []
    workflow: str = ""
    request: str = ""
    reason: str = "killed by an operator"
    who: str = "operator"
    dry_run: bool = False


class ExcludeNode(_Message, frozen=True, kw_only=True):
    """To error: give a node no jobs, for `hours` or until it is allowed again. Answered by `Changed`, with an id if so."""

    site: str
    node: str
    hours: float | None = None
    reason: str = "excluded by an operator"
    who: str = "operator"
    dry_run: bool = False


class AllowNode(_Message, frozen=True, kw_only=True):
    """To error: give an excluded node jobs again. Answered by `Changed`, with an id if it was excluded."""

    site: str
    node: str
    who: str = "operator"
    dry_run: bool = False


class RevertNeeds(_Message, frozen=True, kw_only=True):
    """To error: give the jobs of a workflow what it says again. Answered by `Changed` with the jobs that had more."""

    workflow: str
    who: str = "operator"
    dry_run: bool = False


class RetryTransfers(_Message, frozen=True, kw_only=True):
    """To transfer: try once more what is parked or quarantined, these or all to a destination. Answered by `Changed`."""

    ids: list[int] = []
    destination: str = ""
    reason: str = ""
    who: str = "operator"
    dry_run: bool = False


class CancelTransfers(_Message, frozen=True, kw_only=True):
    """To transfer: give up bringing files to a destination for good. Answered by `Changed`."""

    ids: list[int] = []
    destination: str = ""
    reason: str = ""
    who: str = "operator"
    dry_run: bool = False


class HoldWorkflow(_Message, frozen=True, kw_only=True):
    """To the injector: release no more jobs of a workflow, or release them again (`hold` False). Answered by `Changed`."""

    workflow: str
    hold: bool
    reason: str = "held by an operator"
    who: str = "operator"
    dry_run: bool = False


class ReviseWorkflow(_Message, frozen=True, kw_only=True):
    """To the reviser: give a workflow a new version of its specification. Answered by `Revised`; raises `Refused`."""

    workflow: str
    revision: Revision
    reason: str = ""
    who: str = "operator"
    dry_run: bool = False


class Revised(_Message, frozen=True, kw_only=True):
    """The number of the new version, what changes against the one before, and how many jobs come back from batch queues."""

    version: int
    changes: list[str]
    withdrawn: int


class Reload(_Message, frozen=True, kw_only=True):
    """To the reloader: read the configuration anew and let what can change live act. Answered by `Reloaded`; raises `Refused`
    with all that is wrong with the file, and changes nothing then."""

    who: str = "operator"
    dry_run: bool = False


class PutSite(_Message, frozen=True, kw_only=True):
    """To the reloader: add a site to those of the file, or, with `replace`, give one that was added other keys; `table`: as it
    would stand in the file. Answered by `Reloaded`; raises `Refused`."""

    name: str
    table: dict[str, Any]
    replace: bool = False
    reason: str = ""
    who: str = "operator"
    dry_run: bool = False


class DropSite(_Message, frozen=True, kw_only=True):
    """To the reloader: take out a site that was added, at which nothing is left. Answered by `Reloaded`; raises `Refused`."""

    name: str
    reason: str = ""
    who: str = "operator"
    dry_run: bool = False


class SettingChange(msgspec.Struct, frozen=True, kw_only=True):
    """One key that differs: `before` and `after` as TOML, None where it is not set; `restart`: it waits for one; `held`: whose
    number counts in its place."""

    key: str
    before: str | None
    after: str | None
    restart: bool
    held: str = ""


class Reloaded(_Message, frozen=True, kw_only=True):
    """What differs; targets that leave when they are empty; what did not work and is tried again."""

    changes: list[SettingChange]
    leaving: list[str]
    failed: list[str]


class SetControl(_Message, frozen=True, kw_only=True):
    """To the steward: hold, set the mode of, or trust these subjects of one scope (domain/controls.py), `until` a time (UTC
    epoch seconds; None: until it is lifted). Answered by `ControlsChanged`; raises `Refused`."""

    scope: str
    subjects: list[str]
    kind: str
    value: str = ""
    reason: str = ""
    until: float | None = None
    who: str = "operator"
    dry_run: bool = False


class LiftControl(_Message, frozen=True, kw_only=True):
    """To the steward: take that back. Answered by `ControlsChanged`; raises `Refused`."""

    scope: str
    subjects: list[str]
    kind: str
    reason: str = ""
    who: str = "operator"
    dry_run: bool = False


class ControlsChanged(_Message, frozen=True, kw_only=True):
    """The subjects of which something new is said, or no longer, or would be."""

    subjects: list[str]


class SetLimit(_Message, frozen=True, kw_only=True):
    """To the steward: from now on this number (None: none at all) is a limit of a target (storage/overrides.py), or what the
    configuration says (`default`). Answered by `LimitSet`; raises `Refused`."""

    target: str
    limit: str
    value: int | None = None
    default: bool = False
    reason: str = ""
    who: str = "operator"
    dry_run: bool = False


class LimitSet(_Message, frozen=True, kw_only=True):
    """What the limit was and is, or would be (None: there is none); `configured`: what the configuration says."""

    before: int | None
    after: int | None
    configured: int | None


class ListSites(_Message, frozen=True, kw_only=True):
    """To the steward: these jobs may run only at `sites` (none named: wherever their workflow may) and not at `deny_sites`, beside
    what their workflow says. Answered by `Changed`; raises `Refused`."""

    jobs: list[int]
    sites: list[str] = []
    deny_sites: list[str] = []
    reason: str = ""
    who: str = "operator"
    dry_run: bool = False


class ConfirmFeed(_Message, frozen=True, kw_only=True):
    """To the feed: the answer that takes more than half of the sites down at once is true. Answered by `ControlsChanged`, the
    sites that it takes down; raises `Refused` if no answer waits."""

    who: str = "operator"
    dry_run: bool = False


class ReplayLetters(_Message, frozen=True, kw_only=True):
    """To the postmaster: hand dead letters out again, parked facts and messages by id. Answered by `LettersChanged`."""

    facts: list[int] = []
    mail: list[int] = []
    who: str = "operator"


class DropLetters(_Message, frozen=True, kw_only=True):
    """To the postmaster: forget dead letters for good. Answered by `LettersChanged`."""

    facts: list[int] = []
    mail: list[int] = []
    who: str = "operator"


class LettersChanged(_Message, frozen=True, kw_only=True):
    """The dead letters that were replayed or dropped: ids of parked facts and of messages."""

    facts: list[int]
    mail: list[int]


class Drain(_Message, frozen=True, kw_only=True):
    """To the drainer: begin no new work, or begin it again (`on` False). Answered by `Draining`."""

    on: bool
    reason: str = "an operator drains the agent"
    who: str = "operator"
    dry_run: bool = False


class AskDrain(_Message, frozen=True, kw_only=True):
    """To the drainer: how far is it? Answered by `Draining`."""


class Blocker(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs in one state at one target that have to end first."""

    target: str
    state: str
    jobs: int


class Draining(_Message, frozen=True, kw_only=True):
    """`since` in UTC epoch seconds, 0 = it does not drain; `eta_s` None while nothing has ended yet; `left`: jobs under way."""

    since: float
    reason: str
    left: int
    eta_s: float | None
    blockers: list[Blocker]


class CompactLog(_Message, frozen=True, kw_only=True):
    """To the keeper: compact now what is older than events.keep_s and read by all. Answered by `Compacted`; raises `Refused`."""

    dry_run: bool = False
    who: str = "operator"


class Compacted(_Message, frozen=True, kw_only=True):
    """Facts that were compacted, or would be: how many items they moved, bytes of their bodies, pages given back.

    `held_by`: what keeps the next one in the log.
    """

    facts: int = 0
    moves: int = 0
    bytes: int = 0
    pages: int = 0
    held_by: str = ""


class Changed(_Message, frozen=True, kw_only=True):
    """The items that were changed, or would be."""

    ids: list[int]


class RaiseAlert(_Message, frozen=True, kw_only=True):
    """To the monitor: something an operator should know."""

    level: str
    code: str
    subject: str
    text: str


class Crash(_Message, frozen=True, kw_only=True):
    """To any stage, where admin.faults is on: raise inside the handler, as a bug would."""


class Refused(Answer):
    """A command cannot be carried out; the text names the thing, what it got and what was expected."""


ORDERS: Any = Union[tuple(_Message.__subclasses__())]  # noqa: UP007 - made of a list
"""All of them, told apart by their tag: what a dead letter is read as."""
looked_at(ORDERS)
