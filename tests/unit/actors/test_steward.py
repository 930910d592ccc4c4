"""Steward and queue over a real store: what operators say takes effect at once, holds over restarts and ends by itself."""

from pathlib import Path

import pytest

from actors.brakes import Work
from actors.injector import Injector
from actors.messages import HoldWorkflow, Refused, Wake
from domain.exit_codes import STAGE_OUT
from storage import attempts, braking, breakers, controls, jobs, workflows
from storage.attempts import Failure, Seen
from tests.unit.actors.ruling import SITES, J, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.feature("PA-211", "PA-218")
@pytest.mark.parametrize("mode", ["drain", "drain-processing", "down"])
async def test_a_drained_site_gets_nothing_until_it_is_enabled(place: Place, mode: str) -> None:
    async with place.life():
        assert await place.mode(mode, dry_run=True) == ["alps"]
        assert (await place.why("site:alps")).code == "open"
        await place.mode(mode)
        ids = await place.add(sites=["alps"])
        assert await place.states(ids) == {"queued": 3}
        found = await place.why(ids[0])
        assert found.code == ("site-down" if mode == "down" else "site-drained")
        assert "ann: a look" in found.text
    async with place.life():
        await place.look()
        assert await place.states(ids) == {"queued": 3}, "it holds over a restart"
        await place.mode("enabled")
        assert await place.states(ids) == {"released": 3}


@pytest.mark.feature("PA-211")
async def test_down_takes_back_what_waits_and_burns_no_retry(place: Place) -> None:
    async with place.life():
        ids = await place.add(count=4, sites=["alps"])
        running, pending, submitting, released = ([each] for each in ids)
        await place.submit([*running, *pending])
        await place.world.store.write(lambda tx: attempts.started(tx, {running[0]: Seen("t")}))
        tokens = {submitting[0]: "open"}
        await place.world.store.write(lambda tx: attempts.intend(tx, submitting, "alps", "alps-batch", tokens))
        await place.mode("down", reason="flood")
        states = {job.id: job.state for job in await place.load(ids)}
        assert states == {
            running[0]: J.RUNNING, pending[0]: J.QUEUED, submitting[0]: J.SUBMITTING, released[0]: J.QUEUED,
        }  # fmt: skip
        assert place.world.brakes.held(Work.SUBMISSION, "alps-batch") == "alps is in down (ann: flood)"
        assert place.world.brakes.held(Work.SUBMISSION, "bern-batch") == ""
        left = await place.world.store.read(lambda c: attempts.left_behind(c, "alps-batch", 10))
        assert left.killed == [f"t{pending[0]}-{place.clock.now}"], "the tracker asks for its end until it has come"
        assert await place.world.store.read(lambda c: attempts.tried(c, pending)) == {}, "no retry is burnt"
        await place.world.store.write(lambda tx: attempts.submitted(tx, {submitting[0]: "late"}))
        await place.look()
        assert await place.states(submitting) == {"queued": 1}, "one that was on its way comes back too"
        await place.mode("enabled")
        assert await place.states([*pending, *submitting, *released]) == {"released": 3}
        assert place.world.brakes.held(Work.SUBMISSION, "alps-batch") == ""


@pytest.mark.feature("PA-203", "PA-407")
async def test_a_workflow_that_stood_still_goes_on_by_a_persons_word_only(place: Place) -> None:
    """The end of a hold restores what was; its release lets one that was braked run its probes."""
    async with place.life():
        (owner,) = {job.workflow_id for job in await place.load(await place.add(count=5))}
        await place.world.store.write(lambda tx: braking.stop(tx, owner, "broken"))
        for _ in range(2):
            await place.say("workflow", "w", until=place.clock.now + 60)
    async with place.life():
        place.clock.now += 61
        await place.look()
        assert (await place.world.store.read(workflows.load))[owner].state == "paused"
        assert (await place.world.store.read(braking.load))[owner].probes == 0
        await place.say("workflow", "w", until=place.clock.now + 60)
        await place.lift("workflow", "w")
        assert (await place.world.store.read(workflows.load))[owner].state == "active"
        assert (await place.world.store.read(braking.load))[owner].probes == 3


@pytest.mark.feature("PA-203", "PA-218")
@pytest.mark.parametrize(
    ("scope", "subject", "text"),
    [
        ("site", "alps", "site alps is held"),
        ("target", "alps-batch", "target alps-batch is held"),
        ("agent", "agent", "agent agent is held"),
        ("request", "r7", "request r7 is held"),
    ],
)
async def test_a_hold_keeps_jobs_in_the_queue_until_its_time_is_over(
    place: Place, scope: str, subject: str, text: str
) -> None:
    async with place.life():
        await place.add("known", request="r7", count=1, sites=["bern"])
        await place.say(scope, subject, until=place.clock.now + 3600, reason="night")
        ids = await place.add(sites=["alps"], request="r7")
        assert await place.states(ids) == {"queued": 3}
        found = await place.why(ids[0])
        assert found.code == "held"
        assert f"{text} (ann: night)" in found.text
    async with place.life():
        await place.look()
        assert await place.states(ids) == {"queued": 3}
        place.clock.now += 3601
        await place.look()
        assert await place.states(ids) == {"released": 3}
        lines = await place.world.store.read(lambda c: list(c.exec_driver_sql("SELECT who, verb, result FROM audit")))
        assert ("steward", f"lift hold {scope}", "its time is over") in [tuple(line) for line in lines]


@pytest.mark.feature("PA-203")
async def test_a_workflow_is_held_for_a_time(place: Place) -> None:
    async with place.life():
        await place.add("early", count=1, sites=["bern"])
        await place.say("workflow", "early", until=place.clock.now + 60)
        known = await place.world.store.read(workflows.load)
        assert [flow.state for flow in known.values()] == ["paused"]
        place.clock.now += 61
        await place.look()
        known = await place.world.store.read(workflows.load)
        assert [flow.state for flow in known.values()] == ["active"]


@pytest.mark.feature("PA-203")
async def test_the_last_word_of_a_workflow_counts(place: Place) -> None:
    """Held for a time and then without end, or released: the end of that time changes nothing any more."""
    async with place.life():
        await place.add("early", count=1, sites=["bern"])
        injector = Injector(place.world)
        for hold, state in ((True, "paused"), (False, "active")):
            await place.say("workflow", "early", until=place.clock.now + 60)
            order = HoldWorkflow(workflow="early", hold=hold, reason="a look", who="ann")
            assert (await injector._hold(order)).ids == [1]
            assert await place.world.store.read(controls.load) == [], "`holds` says so"
            place.clock.now += 61
            await place.look()
            (flow,) = (await place.world.store.read(workflows.load)).values()
            assert flow.state == state


@pytest.mark.feature("PA-203")
async def test_two_holds_of_one_job_end_one_by_one(place: Place) -> None:
    """Of itself, of its workflow and of its site; with another end for the first, and a death of the agent in between."""
    async with place.life():
        ids = await place.add(count=2, sites=["alps"])
        await place.world.store.write(lambda tx: jobs.take_back(tx, -1.0))
        await place.world.store.write(lambda tx: controls.hold_jobs(tx, ids, "a look", "ann", place.clock.now + 60))
        until = place.clock.now + 600
        assert await place.say("job", str(ids[0]), until=until, reason="longer") == [str(ids[0])]
        assert await place.say("job", str(ids[0]), until=until, reason="longer") == [], "nothing new"
        await place.say("site", "alps", until=place.clock.now + 300)
        await place.say("workflow", "w", until=place.clock.now + 900)
    place.clock.now += 61
    async with place.life():
        await place.look()
        assert {job.id: job.state for job in await place.load(ids)} == {ids[0]: J.PAUSED, ids[1]: J.QUEUED}
    place.clock.now += 600
    async with place.life():
        await place.look()
        assert await place.states(ids) == {"queued": 2}
        assert "workflow w is" in (await place.why(ids[0])).text
        place.clock.now += 300
        await place.look()
        assert await place.states(ids) == {"released": 2}


@pytest.mark.feature("PA-203")
async def test_a_hold_of_a_job_that_has_ended_is_forgotten(place: Place) -> None:
    async with place.life():
        ids = await place.add(count=2, sites=["alps"])
        await place.say("job", *map(str, ids))
        await place.world.store.write(lambda tx: jobs.kill(tx, ids[:1], "not wanted"))
        place.clock.now += 3601
        await place.look()
        assert list(await place.world.store.read(controls.held_jobs)) == ids[1:]
        assert await place.states(ids) == {"killed": 1, "paused": 1}


@pytest.mark.feature("PA-203")
async def test_a_held_job_gets_back_the_state_it_had(place: Place) -> None:
    async with place.life():
        await place.mode("drain")
        queued, cooling, running = ([each] for each in await place.add(sites=["alps"]))
        await place.mode("enabled")
        await place.submit([*cooling, *running])
        await place.world.store.write(lambda tx: jobs.take_back(tx, -1.0))
        await place.mode("drain")
        await place.world.store.write(lambda tx: attempts.fail(tx, [Failure(cooling[0], STAGE_OUT, "full")]))
        ended = {cooling[0]: Seen("t", exit_code=1)}
        await place.world.store.write(lambda tx: attempts.ended(tx, ended))
        await place.world.store.write(lambda tx: attempts.fail(tx, [Failure(cooling[0], STAGE_OUT, "full")]))
        wake_at = place.clock.now + 500
        await place.world.store.write(lambda tx: jobs.cool_off(tx, cooling, wake_at, "again later"))
        assert await place.states([*queued, *cooling, *running]) == {"queued": 1, "cooloff": 1, "pending": 1}
        names = [str(each) for each in (*queued, *cooling, *running)]
        assert await place.say("job", *names) == names
        assert await place.states([*queued, *cooling, *running]) == {"paused": 2, "pending": 1}
        assert (await place.why(cooling[0])).text == "it is held: held: ann: a look"
        place.clock.now += 100
        assert await place.say("job", *names) == [], "held already"
        await place.lift("job", *names)
        assert await place.states([*queued, *cooling, *running]) == {"queued": 1, "cooloff": 1, "pending": 1}
        assert await place.world.store.read(jobs.next_wake) == wake_at


@pytest.mark.feature("PA-203")
async def test_a_job_that_runs_is_held_when_it_comes_back(place: Place) -> None:
    async with place.life():
        ids = await place.add(count=1, sites=["alps"])
        await place.submit(ids)
        await place.say("job", str(ids[0]))
        assert await place.states(ids) == {"pending": 1}
        await place.world.store.write(lambda tx: attempts.ended(tx, {ids[0]: Seen("t", exit_code=1)}))
        await place.world.store.write(lambda tx: attempts.fail(tx, [Failure(ids[0], STAGE_OUT, "full")]))
        await place.world.store.write(lambda tx: jobs.requeue(tx, ids, "again"))
        await place.ref("queue").ask(Wake())
        assert await place.states(ids) == {"paused": 1}, "the queue does not release it, whoever looks first"


@pytest.mark.feature("PA-203", "PA-211")
async def test_what_is_not_there_is_refused(place: Place) -> None:
    async with place.life():
        await place.add(count=1, sites=["bern"])
        for scope, subject, kind, text in (
            ("site", "alpes", "mode", "no site 'alpes'; did you mean 'alps'"),
            ("target", "alps", "hold", "did you mean 'alps-batch'"),
            ("job", "999", "hold", "no job '999'"),
            ("workflow", "v", "hold", "no workflow 'v'"),
            ("target", "alps-batch", "mode", "mode of target: expected one of site"),
        ):
            with pytest.raises(Refused, match=text):
                await place.say(scope, subject, kind=kind, value="drain" if kind == "mode" else "")
        with pytest.raises(Refused, match="expected a time to come"):
            await place.mode("drain", until=place.clock.now)


@pytest.mark.feature("PA-211")
async def test_a_site_in_test_gets_only_workflows_that_name_it(place: Place) -> None:
    async with place.life():
        await place.mode("test")
        named, free = await place.add("named", sites=["alps"]), await place.add("free", count=2)
        assert {job.target for job in await place.load(named)} == {"alps-batch"}
        assert {job.target for job in await place.load(free)} == {"bern-batch"}


@pytest.mark.feature("PA-205", "PA-218")
async def test_jobs_without_a_site_are_taken_up_when_it_is_there(place: Place) -> None:
    async with place.life({"bern": SITES["bern"]}):
        ids = await place.add(sites=["alps"])
        assert await place.states(ids) == {"paused": 3}
        assert (await place.alerts())["no-site"] == "3 jobs of w wait for a site with a batch target"
    async with place.life():
        await place.look()
        assert await place.states(ids) == {"released": 3}
        assert "no-site" not in await place.alerts()


@pytest.mark.feature("PA-214", "PA-218")
async def test_an_open_breaker_sends_jobs_elsewhere_and_probes_close_it(place: Place) -> None:
    wide = {
        name: {**site, "targets": {f"{name}-batch": {"kind": "local", "limits": {"processing": 12}}}}
        for name, site in SITES.items()
    }
    async with place.life(wide):
        bad = await place.add(count=10, sites=["alps"])
        await place.submit(bad)
        await place.world.store.write(lambda tx: attempts.ended(tx, {each: Seen("t", exit_code=1) for each in bad}))
        failures = [Failure(each, STAGE_OUT, "no room") for each in bad]
        await place.world.store.write(lambda tx: attempts.fail(tx, failures))
        assert "10 of the last 10 attempts failed" in (await place.alerts())["breaker-open"]
        ids = await place.add("next", count=4)
        assert {job.target for job in await place.load(ids)} == {"bern-batch"}
        only = await place.add("only", count=5, sites=["alps"])
        assert (await place.why(only[0])).code == "breaker-open"
    async with place.life(wide):
        await place.look()
        assert await place.states(only) == {"queued": 5}
        place.clock.now += 601
        await place.look()
        assert await place.states(only) == {"released": 2, "queued": 3}, "two probes"
        assert (await place.why(only[4])).code == "breaker-open"
        probes = [job.id for job in await place.load(only) if job.state is J.RELEASED]
        await place.submit(probes)
        await place.world.store.write(lambda tx: attempts.ended(tx, {each: Seen("t", exit_code=1) for each in probes}))
        payload = [Failure(each, 1, "segfault") for each in probes]
        await place.world.store.write(lambda tx: attempts.fail(tx, payload))
        assert "breaker-open" not in await place.alerts()
        await place.look()
        assert (await place.states(only))["released"] == 3


@pytest.mark.feature("PA-214")
async def test_trust_gives_a_broken_site_jobs_again(place: Place) -> None:
    async with place.life():
        ids = await place.add(count=4, sites=["alps"])
        for _ in range(5):
            await place.world.store.write(lambda tx: breakers.no_answer(tx, "alps-batch", "no route"))
        assert "5 submissions in a row" in (await place.alerts())["breaker-open"]
        more = await place.add("more", count=4, sites=["bern"])
        assert await place.states(more) == {"released": 4}
        await place.world.store.write(lambda tx: jobs.take_back(tx, -1.0))
        await place.look()
        assert (await place.states(ids))["queued"] == 4
        await place.say("site", "alps", kind="trust", until=place.clock.now + 3600)
        assert (await place.states(ids))["released"] == 4


@pytest.mark.feature("PA-213", "PA-218")
async def test_a_poor_record_cuts_a_site_off_until_it_is_trusted_or_forgotten(place: Place) -> None:
    limits = {"limits": {"processing": 60}}
    wide = {"alps": {"storage": {"kind": "posix"}, "targets": {"alps-batch": {"kind": "local", **limits}}}}

    async def fail(ids: list[int], code: int) -> None:
        await place.submit(ids)
        await place.world.store.write(lambda tx: attempts.ended(tx, {each: Seen("t", exit_code=1) for each in ids}))
        await place.world.store.write(lambda tx: attempts.fail(tx, [Failure(each, code, "no") for each in ids]))

    async with place.life(wide):
        await fail(await place.add("payload", count=30), 1)
        for outage in ("first", "second"):
            last = await place.add(outage, count=12)
            assert await place.states(last) == {"released": 12}, f"{outage}: 30 faults of a payload do not count"
            await fail(last[:10], STAGE_OUT)
            assert "breaker-open" in await place.alerts()
            place.clock.now += 1300
            await fail(last[10:], 1)
            assert "breaker-open" not in await place.alerts()
        place.clock.now += 11  # RECORD_S: the queue looks at the record anew
        ids = await place.add("after", count=2)
        assert await place.states(ids) == {"queued": 2}
        found = await place.why(ids[0])
        assert (found.code, "0 of 20 attempts at alps ended well in 3 d" in found.text) == ("poor-record", True)
        await place.say("site", "alps", kind="trust", until=place.clock.now + 3600)
        assert await place.states(ids) == {"released": 2}
        place.clock.now += 3601
        more = await place.add("more", count=2)
        assert (await place.why(more[0])).code == "poor-record", "trust has ended by itself"
    async with place.life(wide):
        place.clock.now += 3 * 86_400 + 3600
        await place.look()
        assert await place.states(more) == {"released": 2}, "what is older than the window does not count"
