"""What actors and operators tell each other: commands and hints that never reach the disk (PA-007).

Durable facts are in domain/events.py. A hint says "look now" and nothing else; losing one costs a sweep interval. A
command is answered, so that whoever gave it knows whether it was carried out.
"""

import msgspec

from domain.spec import WorkflowSpec


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
    """To error: reopen jobs that were given up or paused, or end a back-off now. Answered by `Changed`."""

    jobs: list[int] = []
    workflow: str = ""
    who: str = "operator"
    dry_run: bool = False


class KillJobs(_Message, frozen=True, kw_only=True):
    """To error: end jobs for good. Answered by `Changed`."""

    jobs: list[int] = []
    workflow: str = ""
    reason: str = "killed by an operator"
    who: str = "operator"
    dry_run: bool = False


class HoldWorkflow(_Message, frozen=True, kw_only=True):
    """To the injector: release no more jobs of a workflow, or release them again (`hold` False). Answered by `Changed`."""

    workflow: str
    hold: bool
    reason: str = "held by an operator"
    who: str = "operator"
    dry_run: bool = False


class ReplayParked(_Message, frozen=True, kw_only=True):
    """To the monitor: hand parked facts to their subscribers again. Answered by `Changed`."""

    parked: list[int]
    who: str = "operator"


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


class Refused(Exception):
    """A command cannot be carried out; the text names the thing, what it got and what was expected."""
