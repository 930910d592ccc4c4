"""Error: decides what follows a failed attempt, and carries out what operators say about jobs and nodes.

Takes: RetryJobs, KillJobs, ExcludeNode, AllowNode, RevertNeeds. Follows: JobsFailed. Writes: JobsRequeued, JobsCooledOff,
JobsPaused, JobsExhausted, JobsKilled, FilesReturned, WorkflowsPaused, JobsReturned, JobsWithdrawn. Persists: adjustments of
jobs, lessons, strikes against nodes, brakes of workflows. Settings: the [errors] table, the workflow's [retry] table.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from actors import choosing
from actors.brakes import Work
from actors.keeping import keeping
from actors.messages import AllowNode, Changed, ExcludeNode, KillJobs, Refused, RetryJobs, RevertNeeds, Wake
from actors.stage import NOTHING, Effect, Stage
from actors.world import World
from config.settings import Settings
from domain import events as e
from domain.aftermath import Decision, Sight, judge
from domain.braking import BrakeRules, Suspects, fault
from domain.escalation import MoreRules, need
from domain.events import JobsFailed
from domain.job import JobState
from domain.matching import Place, narrowed, suiting
from domain.nodes import NodeRules, strikes
from domain.retry import ELSEWHERE, Again, GiveUp, Pause, Tried, Verdict
from domain.rules import UNKNOWN, Action, Blame, Rule
from domain.siting import Lists
from storage import (
    accounting,
    adjustments,
    alerts,
    allocations,
    attempts,
    braking,
    job_lists,
    jobs,
    learning,
    nodes,
    rulebook,
    sites,
    workflows,
)
from storage.adjustments import Adjustment
from storage.engine import Connection
from storage.jobs import Job
from storage.log import Logged
from storage.nodes import Excluded
from storage.sites import Picture
from storage.store import Tx
from storage.workflows import Workflow

BAD_NODES = "bad-nodes"
"""Who stops submission to a target because too many of its nodes are excluded, and the code of the alert."""
EXCLUDED = "node-excluded"
"""Code of the alert about a node that gets no jobs."""
BATCH = 1000
"""Jobs that are taken back in one unit."""
FEW_NODES = 5
"""A target with fewer nodes than this is never stopped for the share of those that are excluded."""


class Look(NamedTuple):
    """What is known of jobs that failed; all by id. `own`: lists of sites of single jobs; `good`: jobs of each workflow that have
    succeeded; `picture`: every target as the queue sees it, None where no failure is one that another site may mend."""

    failed: list[Job]
    known: dict[int, Workflow]
    tried: dict[int, list[Tried]]
    adjusted: dict[int, Adjustment]
    own: dict[int, Lists]
    lessons: dict[tuple[int, str], dict[str, int]]
    good: dict[int, int]
    picture: Picture | None


class Error(Stage):
    emits = (
        e.JobsRequeued,
        e.JobsReturned,
        e.JobsWithdrawn,
        e.JobsCooledOff,
        e.JobsPaused,
        e.JobsExhausted,
        e.JobsKilled,
        e.JobsCreated,
        e.AllocationsCut,
        e.AllocationsDone,
        e.FilesReturned,
        e.WorkflowsPaused,
        e.WorkflowsResumed,
        e.WorkflowsAborted,
    )
    follows = (JobsFailed,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        given = self.settings = world.settings.errors
        self._more = MoreRules(1.0 + given.more_percent / 100.0, given.memory_cap_mb, given.wall_cap_s)
        self._nodes = NodeRules(given.fast_s, given.fast_failures, given.fast_within_s, given.exclude_s)
        self._excluded: list[Excluded] | None = None
        self._bad: dict[str, str] = {}
        self._keeping = keeping(world)
        self._brake = BrakeRules(given.brake_first, given.brake_after, given.brake_percent, given.probes)
        self._suspects = Suspects(given.brake_first)

    async def on_start(self) -> None:
        await self.write(lambda tx: rulebook.install(tx, self.settings.rules))
        await super().on_start()

    async def work(self) -> bool:
        await self._judge_workflows()
        await self._judge_targets()
        return await self._take_back()

    async def _judge_workflows(self) -> None:
        """Stop workflows whose payload is broken (PA-407); the queue lets one go on when its probes went well."""
        suspects, wait_s = self._suspects.due(self.clock.monotonic())
        if wait_s:
            self.after(wait_s, Wake(), key="judge")
        if not suspects:
            return
        broken = await self.store.read(lambda c: {one: self._fault(c, one) for one in suspects})

        def stop(tx: Tx) -> None:
            for workflow_id, why in broken.items():
                if why:
                    braking.stop(tx, workflow_id, why)

        if any(broken.values()):
            await self.write(stop)

    async def _take_back(self) -> bool:
        """Let no more jobs of broken workflows start, also at batch systems that have them; True = there may be more."""
        found = await self.store.read(lambda c: braking.idle(c, BATCH))
        if found:
            await self.write(lambda tx: jobs.withdraw(tx, found, "its workflow is broken"))
        return len(found) == BATCH

    def _fault(self, connection: Connection, workflow_id: int) -> str:
        braked = braking.load(connection).get(workflow_id)
        probing = braked is not None and braked.probes > 0
        return fault(braking.record(connection, workflow_id, braked), self._brake, probing=probing)

    async def _judge_targets(self) -> None:
        """Stop submission to targets of which too many nodes are excluded, and let it go on where that is over (PA-321)."""
        before, self._excluded = self._excluded, await self.store.read(lambda c: nodes.excluded(c, self.clock.time()))
        if not self._excluded and before == []:
            return
        bad = await self.store.read(lambda c: {name: self._bad_nodes(c, name) for name in self.world.targets()})
        for name, text in bad.items():
            if text:
                self.world.brakes.hold(BAD_NODES, text, Work.SUBMISSION, target=name)
            else:
                self.world.brakes.free(BAD_NODES, name)
        if self._excluded != before or bad != self._bad:
            await self.write(lambda tx: self._tell(tx, bad))
        self._bad = bad

    def _bad_nodes(self, connection: Connection, target: str) -> str:
        """Return why a target gets no jobs for its bad nodes, or ""."""
        site, _ = self.world.targets()[target]
        known = nodes.seen(connection, target)
        bad = known & {one.node for one in self._excluded or () if one.site == site}
        if len(known) < FEW_NODES or 100.0 * len(bad) <= self.settings.excluded_percent * len(known):
            return ""
        return f"{len(bad)} of {len(known)} nodes of {target} fail jobs fast and are excluded"

    def _tell(self, tx: Tx, bad: dict[str, str]) -> None:
        """Open and close the alerts about nodes and about targets with too many bad ones."""
        for name, text in bad.items():
            if text:
                alerts.raise_alert(tx, "error", BAD_NODES, name, text)
            else:
                alerts.close_alert(tx, BAD_NODES, name)
        away = {f"{one.site} {one.node}": one for one in self._excluded or ()}
        for alert in alerts.open_alerts(tx.connection):
            if alert.code == EXCLUDED and alert.subject not in away:
                alerts.close_alert(tx, EXCLUDED, alert.subject)

    async def on_facts(self, facts: Sequence[Logged]) -> Effect:
        ids = [identity for logged in facts for identity in logged.fact.ids]
        look = await self.store.read(lambda c: _look(c, ids, self.world.settings, self.clock.time()))
        if not look.failed:
            return NOTHING
        jitter = random.Random(facts[0].id).random()  # noqa: S311 - the same decision if the facts are handled again
        decisions = {job: judge(self._sight(job, look), jitter, self._more, self.world.curves) for job in look.failed}
        struck = self._struck(look)
        lasts = ((job, look.tried[job.id][-1]) for job in look.failed if look.tried.get(job.id))
        self._suspects.add(job.workflow_id for job, last in lasts if last.rule.blame is Blame.PAYLOAD)
        return lambda tx: self._settle(tx, look, decisions, struck)

    def _sight(self, job: Job, look: Look) -> Sight:
        spec = look.known[job.workflow_id].spec
        own = look.adjusted.get(job.id, Adjustment())
        learned = look.lessons.get((job.workflow_id, job.type), {})
        had = need(spec.resources, own.memory_mb or learned.get("memory_mb"), own.wall_s or learned.get("wall_s"))
        tried = look.tried.get(job.id, [])
        here = tried[-1].site if tried else ""
        places = self._places(job, look)
        others = {place.site for place in places if place.site != here and job.type not in place.closed}
        targets = [place.target for place in places]
        return Sight(job.type, tried, spec.retry, had, [] if job.pinned else sorted(others), targets)

    def _places(self, job: Job, look: Look) -> list[Place]:
        """Return the targets that are switched on and may be given the job, by the queue's own judgement."""
        if look.picture is None:
            return []
        known, held = look.picture.settings.sites, self.world.brakes.held
        candidate = sites.candidate(look.picture, job.id, job.type, look.known[job.workflow_id], job.pinned)
        candidate = narrowed(candidate, look.own.get(job.id, Lists()))
        return [
            place
            for place in suiting(candidate, look.picture.places)
            if known[place.site].enabled
            and known[place.site].targets[place.target].enabled
            and not held(Work.SUBMISSION, place.target)
        ]

    def _struck(self, look: Look) -> dict[tuple[str, str], list[float]]:
        """Return the times of fast failures by site and node."""
        found: dict[tuple[str, str], list[float]] = defaultdict(list)
        for job in look.failed:
            last = look.tried[job.id][-1] if look.tried.get(job.id) else Tried(0, UNKNOWN)
            works = look.good[job.workflow_id] > 0
            if last.node and strikes(last.rule.blame, last.ran_s, self._nodes, works_elsewhere=works):
                found[last.site, last.node].append(last.closed_at)
        return found

    def _settle(
        self, tx: Tx, look: Look, decisions: dict[Job, Decision], struck: dict[tuple[str, str], list[float]]
    ) -> None:
        by_verdict: dict[Verdict, list[int]] = defaultdict(list)
        for job, decision in decisions.items():
            by_verdict[decision.verdict].append(job.id)
        for verdict, ids in by_verdict.items():
            _carry_out(tx, verdict, ids)
        self._adjust(tx, look, decisions)
        for one in nodes.strike(tx, struck, self._nodes, f"failures within {self._nodes.fast_s:g} s of their start"):
            text = f"{one.reason}; it gets no jobs for {self._nodes.exclude_s / 3600:g} h"
            alerts.raise_alert(tx, "warning", EXCLUDED, f"{one.site} {one.node}", text)
        for job, last in ((job, look.tried[job.id][-1]) for job in look.failed if look.tried.get(job.id)):
            if last.rule is UNKNOWN:
                text = f"job {job.id}: no rule matches exit code {last.code}: {last.text}"
                alerts.raise_alert(tx, "warning", "unknown-failure", f"exit code {last.code}", text)

    def _adjust(self, tx: Tx, look: Look, decisions: dict[Job, Decision]) -> None:
        """Note what the next attempts are to have, and learn from what jobs needed more of."""
        changed = {}
        for job, decision in decisions.items():
            before = look.adjusted.get(job.id)
            if not isinstance(decision.verdict, Again) or (before is None and not any(decision[1:])):
                continue
            until = tx.now + self.settings.elsewhere_s if decision.site or decision.node else None
            after = (before or Adjustment())._replace(
                site=decision.site, node=decision.node, until=until, releases=0, reason=decision.verdict.reason
            )
            if decision.need is not None:
                after = after._replace(memory_mb=decision.need.memory_mb, wall_s=decision.need.wall_s)
                action = look.tried[job.id][-1].rule.action
                learning.note(tx, job.workflow_id, job.type, action, decision.need, self.settings.learn_percent)
            changed[job.id] = after
        adjustments.put(tx, changed)

    async def on_command(self, message: Any) -> Any:
        match message:
            case RetryJobs():
                return await self._retry(message)
            case KillJobs():
                return await self._kill(message)
            case ExcludeNode() | AllowNode():
                return await self._change_node(message)
            case RevertNeeds():
                return await self._revert(message)
        return await super().on_command(message)

    async def _retry(self, order: RetryJobs) -> Changed:
        if order.archived:
            kept = await self._archived(order)
            order = msgspec.structs.replace(order, jobs=kept, workflow="", request="")
        if order.dry_run:
            return Changed(ids=await self.store.read(lambda c: choosing.reopenable(c, order)))

        def reopen(tx: Tx) -> list[int]:
            moved = jobs.requeue(tx, choosing.reopenable(tx.connection, order), f"retried by {order.who}")
            workflows.reopen(tx, moved)
            alerts.record(tx, order.who, "retry", choosing.meant(order), f"{len(moved)} requeued")
            return moved

        return Changed(ids=await self.write(reopen))

    async def _archived(self, order: RetryJobs) -> list[int]:
        """Return the jobs with a failure archive that is the books' own: the same range, not another (PA-414).

        Raises Refused if there is none.
        """
        found, kept = await self.store.read(lambda c: choosing.with_archives(c, order))
        same = await self._keeping.same(found, kept) if self._keeping is not None else []
        if not same:
            raise Refused(f"no archive is left of any of {len(found)} jobs; expected --archived left out")
        return same

    async def _change_node(self, order: ExcludeNode | AllowNode) -> Changed:
        def change(tx: Tx) -> list[int]:
            if isinstance(order, AllowNode):
                done = nodes.allow(tx, order.site, order.node, order.who)
            else:
                until = None if order.hours is None else tx.now + 3600.0 * order.hours
                nodes.exclude(tx, Excluded(order.site, order.node, tx.now, until, order.reason, order.who))
                done = True
            alerts.record(tx, order.who, "node", f"{order.site} {order.node}", type(order).__name__)
            return [1] if done else []

        if order.dry_run and isinstance(order, ExcludeNode):
            return Changed(ids=[1])
        if order.dry_run:
            now = self.clock.time()
            return Changed(ids=await self.store.read(lambda c: _excluded_now(c, order.site, order.node, now)))
        return Changed(ids=await self.write(change))

    async def _revert(self, order: RevertNeeds) -> Changed:
        def revert(tx: Tx) -> list[int]:
            found = adjustments.with_needs(tx.connection, order.workflow)
            adjustments.drop(tx, found)
            learning.forget(tx, order.workflow)
            alerts.record(tx, order.who, "revert", order.workflow, f"{len(found)} jobs as their workflow says")
            return found

        if order.dry_run:
            return Changed(ids=await self.store.read(lambda c: adjustments.with_needs(c, order.workflow)))
        return Changed(ids=await self.write(revert))

    async def _kill(self, order: KillJobs) -> Changed:
        def chosen(connection: Connection) -> list[int]:
            return [job.id for job in choosing.matching(connection, order, jobs.KILLABLE)]

        if order.dry_run:
            return Changed(ids=await self.store.read(chosen))

        def end(tx: Tx) -> list[int]:
            moved = jobs.kill(tx, chosen(tx.connection), order.reason)
            for name in choosing.owners(tx.connection, order):
                for identity in workflows.abort(tx, name, order.reason):
                    spec = workflows.load(tx.connection)[identity].spec
                    moved += jobs.kill_workflow(
                        tx, identity, spec, allocations.uncut(tx.connection, identity), order.reason
                    )
            accounting.dissolve_merges(tx, moved, order.reason)
            alerts.record(tx, order.who, "kill", choosing.meant(order), f"{len(moved)} killed: {order.reason}")
            return moved

        return Changed(ids=await self.write(end))


def _excluded_now(connection: Connection, site: str, node: str, now: float) -> list[int]:
    return [1 for one in nodes.excluded(connection, now, site) if one.node == node]


def _look(connection: Connection, ids: list[int], settings: Settings, now: float) -> Look:
    failed = [job for job in jobs.load(connection, ids) if job.state is JobState.FAILED]
    found = [job.id for job in failed]
    known = workflows.load(connection) if failed else {}
    tried = attempts.tried(connection, found)
    picture = None
    if any(_mended_elsewhere(one[-1].rule) for one in tried.values()):
        picture = sites.survey(connection, settings, known, now, sites.record(connection, settings, now), thrifty=True)
    return Look(
        failed,
        known,
        tried,
        adjustments.load(connection, found),
        job_lists.load(connection, found),
        learning.in_force(connection),
        {owner: braking.succeeded(connection, owner) for owner in {job.workflow_id for job in failed}},
        picture,
    )


def _mended_elsewhere(rule: Rule) -> bool:
    return rule.blame in ELSEWHERE or rule.action is Action.ELSEWHERE


def _carry_out(tx: Tx, verdict: Verdict, ids: list[int]) -> None:
    match verdict:
        case Again(delay_s=delay_s) if delay_s > 0:
            jobs.cool_off(tx, ids, tx.now + delay_s, verdict.reason)
        case Again():
            jobs.requeue(tx, ids, verdict.reason)
        case Pause():
            jobs.pause(tx, ids, verdict.reason)
        case GiveUp():
            jobs.exhaust(tx, ids, verdict.reason)  # a merge keeps its members: another one would end the same way
