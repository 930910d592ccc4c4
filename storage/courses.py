"""What jobs that are to be submitted now get besides what their workflows say: needs, nodes to keep away from, accepted codes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from domain.escalation import Need, need
from domain.job import JobType
from domain.rules import RuleBook
from domain.spec import Resources
from storage import adjustments, learning, nodes, rulebook
from storage.adjustments import Adjustment
from storage.engine import Connection
from storage.jobs import Job

SPARE_NODES = 2
"""So many nodes at a target have to be left, or none is avoided there: a job that no node may run would wait forever."""


class Course(NamedTuple):
    """Of the jobs of one submission to one target; `seen`: nodes that ran some lately, `excluded`: nodes that get no jobs."""

    own: Mapping[int, Adjustment]
    lessons: Mapping[tuple[int, str], Mapping[str, int]]
    excluded: frozenset[str]
    seen: frozenset[str]
    rules: RuleBook
    now: float

    def need(self, job: Job, resources: Resources) -> Need:
        """Return the memory and time that a job gets."""
        own, learned = self.own.get(job.id, Adjustment()), self.lessons.get((job.workflow_id, job.type), {})
        return need(resources, own.memory_mb or learned.get("memory_mb"), own.wall_s or learned.get("wall_s"))

    def avoided(self, job: int) -> tuple[str, ...]:
        """Return the nodes that must not run a job: the excluded ones, and the last one that failed it."""
        own = self.own.get(job)
        last = {own.node} if own is not None and own.node and own.until and own.until > self.now else set()
        return tuple(sorted(self.excluded | last)) if len(self.seen - self.excluded - last) >= SPARE_NODES else ()

    def accepted(self, kind: JobType) -> Sequence[int]:
        """Return the exit codes of a step after which a job goes on (PA-406)."""
        return self.rules.accepted(kind)


def load(connection: Connection, site: str, target: str, job_ids: Sequence[int], now: float) -> Course:
    """Return what holds at a target at the time `now` (UTC epoch seconds).

    A node that an operator named counts only where jobs have run on it: Slurm refuses a job for a name that it does not know.
    """
    own = adjustments.load(connection, job_ids)
    named = nodes.excluded(connection, now, site)
    looked = named or any(one.node for one in own.values())
    seen = frozenset(nodes.seen(connection, target)) if looked else frozenset()
    excluded = frozenset(one.node for one in named if one.who == nodes.GUARD or one.node in seen)
    return Course(own, learning.in_force(connection), excluded, seen, rulebook.current(connection), now)
