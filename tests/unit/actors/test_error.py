"""Error over a real store, with a queue beside it: what follows failures, and what operators say of nodes and needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from actors import curves
from actors.brakes import Work
from actors.error import Error
from actors.messages import AllowNode, Changed, ExcludeNode, KillJobs, Refused, RetryJobs, RevertNeeds, Wake
from actors.queue import Queue
from actors.world import World
from config.settings import Settings
from config.site_settings import Errors
from domain import exit_codes as x
from domain.spec import BackOff, Retry
from storage import adjustments, attempts, nodes, schema
from storage.attempts import Failure, Seen
from storage.sandboxes import Sandboxes
from storage.store import Store
from supervisors import ActorSystem, ChildSpec, SupervisorSpec
from tests.unit.actors.ruling import SITES, J, Place
from tests.unit.storage.conftest import make_spec

ROOMY = {
    name: {"storage": {"kind": "posix"}, "targets": {f"{name}-batch": {"kind": "local", "limits": {"processing": 99}}}}
    for name in SITES
}


class Ward(Place):
    """A place with error and queue, and one way to let attempts fail."""

    @asynccontextmanager
    async def life(self, sites: dict[str, Any] = SITES, **tables: Any) -> AsyncIterator["Ward"]:
        store = await Store.open(f"sqlite:///{self.directory}/agent.db", clock=self.clock)
        settings = msgspec.convert({"agent": {"name": "here"}, "sites": sites, **tables}, Settings)
        own = curves.known(settings.errors)
        self.world = World(settings, store, self.clock, Sandboxes(self.directory), {}, {}, {}, {}, curves=own)
        children = (ChildSpec("error", partial(Error, self.world)), ChildSpec("queue", partial(Queue, self.world)))
        self.system = ActorSystem(SupervisorSpec("root", children), clock=self.clock)
        await self.system.start()
        try:
            yield self
        finally:
            await self.system.stop(drain=0)
            await store.close()

    async def look(self) -> None:
        for name in ("error", "queue", "error", "queue"):
            await self.ref(name).ask(Wake())

    async def fail(
        self, ids: list[int], code: int, *, node: str = "n1", ran_s: float = 1000.0, text: str = "", settle: bool = True
    ) -> None:
        """Let the attempts of released jobs run and fail, each where the queue has put it."""
        for job in await self.load(ids):
            await self.submit([job.id], str(job.site))
        now = self.clock.now
        seen = {owner: Seen("", node=node, started_at=now, ended_at=now + ran_s) for owner in ids}
        await self.world.store.write(lambda tx: attempts.ended(tx, seen))
        failures = [Failure(owner, code, text or f"odd thing {code}") for owner in ids]
        await self.world.store.write(lambda tx: attempts.fail(tx, failures))
        self.clock.now += 10.0 if settle else 0.0
        await self.look()

    async def order(self, message: object) -> list[int]:
        answer: Changed = await self.ref("error").ask(message)
        await self.look()
        return answer.ids


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


@pytest.mark.feature("PA-405")
async def test_a_code_that_no_rule_knows_is_told_of(ward: Ward) -> None:
    async with ward.life():
        (job, *_) = await ward.add()
        await ward.fail([job], 77_777)
        assert "no rule matches exit code 77777: odd thing" in (await ward.alerts())["unknown-failure"]
        assert await ward.states([job]) == {"cooloff": 1}


@pytest.mark.feature("PA-404", "PA-409")
async def test_a_fault_of_the_site_goes_at_once_to_the_other_one(ward: Ward) -> None:
    async with ward.life():
        (job,) = await ward.add(count=1)
        (before,) = await ward.load([job])
        await ward.fail([job], x.STAGE_OUT)
        (after,) = await ward.load([job])
        assert after.state is J.RELEASED
        assert {before.site, after.site} == {"alps", "bern"}
        await ward.fail([job], x.STAGE_OUT)
        assert await ward.states([job]) == {"cooloff": 1}, "both have failed it"


@pytest.mark.feature("PA-409")
async def test_a_sole_holder_is_waited_for(ward: Ward) -> None:
    async with ward.life():
        (job,) = await ward.add(count=1, sites=["alps"])
        await ward.fail([job], x.STAGE_OUT)
        assert await ward.states([job]) == {"cooloff": 1}


BERN_FOR_HIGGS = {**SITES, "bern": {**SITES["bern"], "groups": ["higgs"]}}


@pytest.mark.feature("PA-409", "PA-210")
async def test_a_site_that_is_meant_for_others_is_no_other_site(ward: Ward) -> None:
    """By the queue's own judgement: else the job would be queued at once and wait for nothing."""
    async with ward.life(sites=BERN_FOR_HIGGS):
        (job,) = await ward.add(count=1)
        await ward.fail([job], x.STAGE_OUT)
        assert await ward.states([job]) == {"cooloff": 1}
        (meant,) = await ward.add("meant", count=1, group="higgs", sites=["alps", "bern"])
        first = (await ward.load([meant]))[0].site
        await ward.fail([meant], x.STAGE_OUT)
        (after,) = await ward.load([meant])
        assert (after.state, {first, after.site}) == (J.RELEASED, {"alps", "bern"})


@pytest.mark.feature("PA-409", "PA-210")
async def test_a_workflow_that_may_be_at_one_site_goes_to_no_other(ward: Ward) -> None:
    async with ward.life():
        one, other = await ward.add(count=2, max_sites=1)
        here = {job.site for job in await ward.load([one, other])}
        assert len(here) == 1
        await ward.fail([one], x.STAGE_OUT)
        assert await ward.states([one, other]) == {"cooloff": 1, "released": 1}
        await ward.fail([other], x.STAGE_OUT)
        assert {job.site for job in await ward.load([other])} == set(SITES) - here, "nothing is left there: it may move"


@pytest.mark.feature("PA-321")
async def test_fast_failures_exclude_a_node_and_many_such_nodes_stop_the_target(ward: Ward) -> None:
    async with ward.life(sites=ROOMY):
        for number in range(5):
            ids = await ward.add(f"w{number}", sites=["alps"])
            await ward.fail(ids, x.ABSENT, node=f"n{number}", ran_s=5.0 if number < 2 else 9000.0)
            await ward.world.store.write(lambda tx: tx.connection.execute(schema.breaker.delete()))
        now = ward.clock.now
        assert [one.node for one in await ward.world.store.read(lambda c: nodes.excluded(c, now))] == ["n0", "n1"]
        found = await ward.alerts()
        assert "3 failures within 180 s" in found["node-excluded"]
        assert "2 of 5 nodes of alps-batch" in found["bad-nodes"]
        assert "2 of 5 nodes" in ward.world.brakes.held(Work.SUBMISSION, "alps-batch")
        assert ward.world.brakes.held(Work.SUBMISSION, "bern-batch") == ""
        (waiting,) = await ward.add("waits", count=1, sites=["alps"])
        assert (await ward.why(waiting)).code == "bad-nodes"
        assert await ward.order(AllowNode(site="alps", node="n0", dry_run=True)) == [1]
        assert "bad-nodes" in await ward.alerts()
        assert await ward.order(AllowNode(site="alps", node="n0")) == [1]
        assert ward.world.brakes.held(Work.SUBMISSION, "alps-batch") == ""
        assert "bad-nodes" not in await ward.alerts()
    async with ward.life(sites=ROOMY):
        ward.clock.now += 6 * 3600.0
        await ward.look()
        assert "node-excluded" not in await ward.alerts(), "its time is over, also after a restart"


@pytest.mark.feature("PA-407")
async def test_a_broken_workflow_stops_with_its_first_failures_and_nothing_more_of_it_starts(ward: Ward) -> None:
    """No second passes here: what is judged is judged at once. Jobs in the queue of a batch system come back too."""
    async with ward.life(sites=ROOMY, errors={"brake_first": 4}):
        ids = await ward.add(count=12, retry={"processing": 9, "base_s": 60.0})
        sound = await ward.add("sound", count=2)
        for job in await ward.load(ids[8:10]):
            await ward.submit([job.id], str(job.site))
        await ward.fail(ids[:1], x.OUTPUT_MISSING, settle=False)
        await ward.fail(ids[1:3], x.OUTPUT_MISSING, settle=False)
        assert await ward.states(ids) == {"cooloff": 3, "pending": 2, "released": 7}
        await ward.fail(ids[3:4], x.OUTPUT_MISSING, settle=False)
        assert "its first 4 attempts all failed" in (await ward.alerts())["workflow-broken"]
        assert await ward.states(ids) == {"cooloff": 4, "queued": 8}
        assert await ward.states(sound) == {"released": 2}


@pytest.mark.feature("PA-321")
async def test_operators_exclude_nodes_and_every_change_is_audited(ward: Ward) -> None:
    async with ward.life():
        order = ExcludeNode(site="alps", node="n9", hours=2.0, reason="loud", who="ann")
        assert await ward.order(msgspec.structs.replace(order, dry_run=True)) == [1]
        assert await ward.world.store.read(lambda c: nodes.excluded(c, ward.clock.now)) == []
        assert await ward.order(order) == [1]
        (bad,) = await ward.world.store.read(lambda c: nodes.excluded(c, ward.clock.now))
        assert (bad.node, bad.until, bad.who) == ("n9", ward.clock.now + 7200, "ann")
        assert await ward.order(AllowNode(site="alps", node="n8", who="ann")) == []

        def audit(connection: sa.Connection) -> list[str]:
            return list(connection.execute(sa.select(schema.audit.c.arguments)).scalars())

        assert "alps n9" in await ward.world.store.read(audit)


@pytest.mark.feature("PA-408")
async def test_a_job_out_of_memory_gets_more_until_a_person_has_to_decide(ward: Ward) -> None:
    async with ward.life(errors={"memory_cap_mb": 4000}):
        (job, other, *_) = await ward.add(retry={"processing": 9, "base_s": 0.0})
        given = []
        for _ in range(2):
            await ward.fail([job], x.MEMORY)
            (own,) = (await ward.world.store.read(lambda c: adjustments.load(c, [job]))).values()
            given.append(own.memory_mb)
        assert given == [3000, 4000]
        assert await ward.order(RevertNeeds(workflow="w", dry_run=True)) == [job]
        await ward.fail([job], x.MEMORY)
        (held,) = await ward.load([job])
        assert held.state is J.PAUSED
        assert "the most there is" in (await ward.why(job)).text
        assert await ward.order(RevertNeeds(workflow="w")) == [job]
        assert await ward.world.store.read(lambda c: adjustments.load(c, [job, other])) == {}


TWO_QUEUES = {
    "alps": {
        "storage": {"kind": "posix"},
        "targets": {name: {"kind": "local", "limits": {"processing": 4}} for name in ("alps-batch", "alps-long")},
    }
}


async def refuse(ward: Ward, job: int) -> str:
    """Let the target that a released job was given to refuse it; return that target."""
    (now,) = await ward.load([job])
    target = str(now.target)
    token = {job: f"t{job}-{ward.clock.now}"}
    await ward.world.store.write(lambda tx: attempts.intend(tx, [job], str(now.site), target, token))
    text = "over the limit of the target: memory 9000 MB, at most 8000 MB"
    await ward.world.store.write(lambda tx: attempts.fail(tx, [Failure(job, x.SUBMIT_REFUSED, text)]))
    ward.clock.now += 10.0
    await ward.look()
    return target


@pytest.mark.feature("PA-310")
async def test_a_job_over_every_limit_is_parked_with_the_reason_and_goes_on_after_a_retry(ward: Ward) -> None:
    async with ward.life(sites=TWO_QUEUES):
        job, *rest = await ward.add()
        seen = [await refuse(ward, job) for _ in range(2)]
        assert sorted(seen) == ["alps-batch", "alps-long"], "the other queue of the same site was asked at once"
        assert await ward.states([job]) == {"paused": 1}
        verdict = await ward.why(job)
        assert verdict.code == "paused"
        assert f"{seen[-1]} says: over the limit of the target: memory 9000 MB" in verdict.text
        assert "retry" in verdict.unblocks
        assert await ward.states(rest) == {"released": 2}, "the rest goes on"
        assert await ward.alerts() == {}
        assert await ward.order(RetryJobs(jobs=[job])) == [job]
        assert await ward.states([job]) == {"released": 1}


@pytest.mark.feature("PA-218", "PA-409")
async def test_a_queued_job_says_which_site_it_keeps_away_from(ward: Ward) -> None:
    async with ward.life():
        (job,) = await ward.add(count=1)
        here = str((await ward.load([job]))[0].site)
        (other,) = set(SITES) - {here}
        await ward.add("filler", count=4, sites=[other])
        await ward.fail([job], x.STAGE_OUT)
        assert await ward.states([job]) == {"queued": 1}
        verdict = await ward.why(job)
        assert verdict.code == "no-slot"
        assert f"{other}-batch full" in verdict.text
        assert f"keeps away from {here} after a failure there" in verdict.text


@pytest.mark.feature("PA-316", "PA-412")
async def test_commands_are_about_jobs_workflows_or_requests_and_how_they_failed(ward: Ward) -> None:
    async with ward.life(ROOMY):
        ids = await ward.add(count=4)
        await ward.fail(ids[:2], x.HOOK_UNUSABLE)
        await ward.fail(ids[2:3], x.HELD_FOR_GOOD)
        await ward.look()
        assert [job.state for job in await ward.load(ids[:3])] == [J.EXHAUSTED] * 3
        error = ward.ref("error")
        owner = schema.workflow.update().values(request="winter")
        await ward.world.store.write(lambda tx: tx.connection.execute(owner))
        for order, chosen in (
            (RetryJobs(request="winter", dry_run=True), ids[:3]),
            (RetryJobs(request="winter", code=x.HELD_FOR_GOOD, dry_run=True), ids[2:3]),
            (RetryJobs(jobs=ids, code=x.HOOK_UNUSABLE, site="nowhere", dry_run=True), []),
            (KillJobs(request="winter", dry_run=True), ids[3:]),
        ):
            assert sorted((await error.ask(order)).ids) == chosen, order
        with pytest.raises(Refused, match="no request 'summer'"):
            await error.ask(KillJobs(request="summer"))
        with pytest.raises(Refused, match="no archive is left of any of 3 jobs"):
            await error.ask(RetryJobs(request="winter", archived=True))
        assert (await error.ask(KillJobs(jobs=ids[3:]))).ids == ids[3:]
        assert (await error.ask(KillJobs(jobs=ids[3:]))).ids == []


LICENCE = "examples.back_off.licence:licence"


@pytest.mark.feature("PA-404")
async def test_a_back_off_of_ones_own_decides_how_long_a_job_waits(ward: Ward) -> None:
    """The worked example: an hour at most where the rule says licence, minutes elsewhere; drawn below, as with all curves."""
    rule = {"name": "licence server away", "text": "licence", "blame": "payload"}
    retry = Retry(processing=9, back_off={"payload": BackOff(curve="licence", base_s=60, cap_s=7200)})
    async with ward.life(ROOMY, errors={"curves": {"licence": LICENCE}, "rules": [rule]}) as here:
        waits: dict[str, float] = {}
        for name, text in (("a", "no licence left"), ("b", "odd")):
            ids = await here.add(name, count=9, retry=retry, sites=["alps"])
            for job in ids:
                before = here.clock.now
                await here.fail([job], 1, text=text, settle=False)
                (after,) = await here.world.store.read(
                    lambda c, j=job: list(
                        c.execute(sa.select(schema.job.c.wake_at).where(schema.job.c.id == j)).scalars()
                    )
                )
                waits[name] = max(waits.get(name, 0.0), after - before)
        assert 60 < waits["a"] <= 3600 + 20
        assert waits["b"] <= 60 + 20


@pytest.mark.feature("PA-404")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"night": "no.such:thing"}, r"errors.curves.night: got 'no.such:thing', expected module:function"),
        ({"night": "domain.backoff:DOUBLINGS"}, "a int, expected a function"),
        ({"linear": LICENCE}, "expected a name that is not built in"),
        ({"pause": LICENCE}, "expected a name that is not built in"),
    ],
)
def test_what_is_no_back_off_is_refused_before_anything_starts(given: dict[str, str], said: str) -> None:
    with pytest.raises(curves.WrongCurve, match=said):
        curves.known(Errors(curves=given))


@pytest.mark.feature("PA-404")
def test_a_workflow_may_name_the_back_offs_of_its_agent_only() -> None:
    spec = make_spec(retry=Retry(back_off={"site": BackOff(curve="license")}))
    with pytest.raises(Refused, match="no back-off 'license'; did you mean 'licence'"):
        curves.check(spec, curves.known(Errors(curves={"licence": LICENCE})))
    spec = make_spec(retry=Retry(back_off={"site": BackOff(curve="moonphase")}))
    with pytest.raises(Refused, match="expected one of fixed, linear, squared, exponential, pause"):
        curves.check(spec, curves.known(Errors()))
    curves.check(make_spec(retry=Retry(back_off={"site": BackOff(curve="pause")})), curves.known(Errors()))
