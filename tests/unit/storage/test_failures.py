"""What is remembered of failures: rules in force, needs, bad nodes, brakes, lessons; and reports that come late or twice."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from domain.braking import BrakeRules
from domain.escalation import Need
from domain.job import JobState, JobType
from domain.nodes import NodeRules
from domain.rules import Action, Blame, Rule
from domain.spec import WorkflowSpec
from storage import (
    accounting,
    adjustments,
    alerts,
    attempts,
    braking,
    courses,
    learning,
    nodes,
    rulebook,
    schema,
    views,
    workflows,
)
from storage.accounting import Bad
from storage.adjustments import Adjustment
from storage.attempts import Failure, Seen
from storage.nodes import Excluded
from storage.store import Tx
from tests.unit.storage.conftest import Campaign

HOUR = 3600.0


@pytest.mark.feature("PA-405")
async def test_a_change_of_the_rules_is_a_new_version_and_the_same_ones_are_not(campaign: Campaign) -> None:
    own = [Rule(name="licence", codes="1", text="licence", blame=Blame.SITE, action=Action.WAIT)]
    assert (await campaign.read(rulebook.current)).version == 0
    for rules, version in ((own, 1), (own, 1), ([], 2), (own, 3)):
        book = await campaign.write(lambda tx, r=rules: rulebook.install(tx, r))
        assert book.version == version
        assert (await campaign.read(rulebook.current)).own == tuple(rules)


@pytest.mark.feature("PA-405")
async def test_rules_of_another_release_that_are_none_for_this_one_are_replaced(campaign: Campaign) -> None:
    ahead = '[{"name":"ahead","text":"a(?=b)"}]'
    await campaign.write(
        lambda tx: tx.connection.execute(schema.rulebook.insert().values(version=4, at=tx.now, rules=ahead))
    )
    own = Rule(name="licence", text="licence")
    assert (await campaign.write(lambda tx: rulebook.install(tx, [own]))).version == 5
    assert (await campaign.read(rulebook.current)).own == (own,)


@pytest.mark.feature("PA-405", "PA-416")
async def test_an_attempt_keeps_the_rule_that_it_came_under(campaign: Campaign) -> None:
    """By message, by the batch system's own word, by none: in the attempt, in the causes, in what is decided later."""
    own = Rule(name="licence server away", codes="1", text="(?i)licence", blame=Blame.SITE, action=Action.WAIT)
    await campaign.write(lambda tx: rulebook.install(tx, [own]))
    one, two, three = await campaign.at_target(3)
    seen = {two: Seen("", node="n2", started_at=1.0, ended_at=2.0, said="NODE_FAIL")}
    with_word = await campaign.read(lambda c: attempts.live(c, [two]))
    await campaign.write(
        lambda tx: tx.connection.execute(
            schema.attempt.update().where(schema.attempt.c.id == with_word[two].id).values(said=seen[two].said)
        )
    )
    failures = [Failure(one, 1, "no Licence"), Failure(two, 50700, "no report"), Failure(three, 77_777, "odd")]
    await campaign.write(lambda tx: attempts.fail(tx, failures))
    tried = await campaign.read(lambda c: attempts.tried(c, [one, two, three]))
    assert [tried[owner][-1].rule.name for owner in (one, two, three)] == [
        "licence server away", "the node failed", "unknown exit code",
    ]  # fmt: skip
    assert (tried[two][-1].site, tried[two][-1].node, tried[two][-1].ran_s) == ("A", "n1", 1.0)
    causes = await campaign.read(views.causes)
    assert {(cause.meaning, cause.blame) for cause in causes} == {
        ("licence server away", "site"), ("the node failed", "node"), ("unknown exit code", "payload"),
    }  # fmt: skip
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-408", "PA-409")
async def test_adjustments_are_replaced_and_forgotten(campaign: Campaign) -> None:
    ids = await campaign.at_target(3)
    now = campaign.clock.now
    first = Adjustment(site="A", node="n1", until=now + HOUR, reason="x" * 600)
    more = Adjustment(memory_mb=3000, releases=2, reason="memory")
    await campaign.write(lambda tx: adjustments.put(tx, {ids[0]: first, ids[1]: first}))
    await campaign.write(lambda tx: adjustments.put(tx, {ids[1]: more}))
    found = await campaign.read(lambda c: adjustments.load(c, ids))
    assert found == {ids[0]: first._replace(reason="x" * 500), ids[1]: more}
    assert await campaign.read(lambda c: adjustments.avoiding(c, ids, now)) == {ids[0]: "A"}
    assert await campaign.read(lambda c: adjustments.avoiding(c, ids, now + HOUR)) == {}
    await campaign.write(lambda tx: adjustments.drop(tx, ids))
    assert await campaign.read(lambda c: adjustments.load(c, ids)) == {}


@pytest.mark.feature("PA-321")
async def test_a_node_where_most_ends_well_is_no_black_hole(campaign: Campaign) -> None:
    """Where a few percent of many short jobs fail, every node has its strikes within the hour."""
    ids = await campaign.at_target(7)
    strikes = {("A", "n1"): [campaign.clock.now] * 3}

    def ended(outcomes: dict[int, str]) -> Callable[[Tx], list[Excluded]]:
        def unit(tx: Tx) -> list[Excluded]:
            for job, outcome in outcomes.items():
                change = schema.attempt.update().where(schema.attempt.c.job_id == job)
                tx.connection.execute(change.values(site="A", node="n1", outcome=outcome, live=None))
            return nodes.strike(tx, strikes, NodeRules(), "fast failures")

        return unit

    assert await campaign.write(ended(dict.fromkeys(ids[:3], "failed") | dict.fromkeys(ids[3:], "success"))) == []
    (bad,) = await campaign.write(ended({ids[6]: "lost"}))
    assert bad.node == "n1"


@pytest.mark.feature("PA-321")
async def test_a_node_is_excluded_for_a_while_and_by_hand(campaign: Campaign) -> None:
    rules = NodeRules()
    start = campaign.clock.now

    async def strike(*times: float) -> list[Excluded]:
        return await campaign.write(lambda tx: nodes.strike(tx, {("A", "n1"): times}, rules, "fast failures"))

    assert await strike(start) == []
    assert await strike(start) == []
    assert [one.node for one in await strike(start)] == ["n1"]
    now = campaign.clock.now
    (bad,) = await campaign.read(lambda c: nodes.excluded(c, now, "A"))
    assert (bad.reason, bad.who, bad.until) == ("3 fast failures", "error", now + rules.exclude_s)
    assert await strike(now, now, now) == [], "one that is excluded already is not excluded again"
    assert await campaign.read(lambda c: nodes.excluded(c, now + rules.exclude_s, "A")) == []
    assert await campaign.write(lambda tx: nodes.allow(tx, "A", "n1", "ann"))
    assert not await campaign.write(lambda tx: nodes.allow(tx, "A", "n1", "ann"))
    by_hand = Excluded("B", "n2", now, None, "burns", "ann")
    await campaign.write(lambda tx: nodes.exclude(tx, by_hand))
    assert await campaign.read(lambda c: nodes.excluded(c, now + 10**8)) == [by_hand]


@pytest.mark.feature("PA-407")
async def test_a_broken_workflow_stops_and_probes_before_it_goes_on(campaign: Campaign) -> None:
    rules = BrakeRules(first=3, probes=2)
    ids = await campaign.at_target(10)
    bad = [Bad(job, Failure(job.id, 1, "boom", "the log")) for job in await campaign.load(ids[:3])]
    await campaign.write(lambda tx: accounting.account(tx, bad))
    broken = await campaign.read(lambda c: braking.record(c, campaign.workflow_id, None))
    assert broken[:2] == (3, 3)
    assert await campaign.write(lambda tx: braking.stop(tx, campaign.workflow_id, "why"))
    assert not await campaign.write(lambda tx: braking.stop(tx, campaign.workflow_id, "why"))
    (alert,) = await campaign.read(alerts.open_alerts)
    assert alert.code == "workflow-broken"
    assert "the log" in alert.text
    assert alert.times == 1
    assert await campaign.write(lambda tx: braking.probing(tx, rules)) == {}

    def release(tx: object) -> None:
        moved = workflows.hold(tx, campaign.spec.name, hold=False, reason="mended", dry_run=False)  # type: ignore[arg-type]
        braking.released(tx, moved, rules.probes)  # type: ignore[arg-type]

    await campaign.account(ids[3:5])
    await campaign.write(release)
    assert await campaign.write(lambda tx: braking.probing(tx, rules)) == {campaign.workflow_id: 0}, "5 are under way"
    await campaign.account(ids[5:7])
    assert await campaign.write(lambda tx: braking.probing(tx, rules)) == {}
    assert await campaign.read(alerts.open_alerts) == []
    braked = (await campaign.read(braking.load))[campaign.workflow_id]
    assert braked.probes == braking.FREE
    assert (await campaign.read(lambda c: braking.record(c, campaign.workflow_id, braked)))[0] == 0, "counted anew"


@pytest.mark.feature("PA-408")
@pytest.mark.parametrize(("percent", "jobs"), [(5.0, 3), (50.0, 5)], ids=["at least three", "half of ten"])
async def test_what_many_jobs_needed_is_given_to_all_and_taken_back(
    campaign: Campaign, percent: float, jobs: int
) -> None:
    await campaign.at_target(10)
    owner = campaign.workflow_id
    for amount in (3000, 4500, 3000, 9000, 4500)[:jobs]:
        assert await campaign.read(learning.in_force) == {}
        need = Need(amount, 100)
        await campaign.write(
            lambda tx, n=need: learning.note(tx, owner, JobType.PROCESSING, Action.MORE_MEMORY, n, percent)
        )
    assert await campaign.read(learning.in_force) == {(owner, "processing"): {"memory_mb": 3000}}
    assert await campaign.write(lambda tx: learning.forget(tx, campaign.spec.name)) == 1
    assert await campaign.read(learning.in_force) == {}


@pytest.mark.feature("PA-314")
async def test_who_has_waited_for_long_at_a_target(campaign: Campaign) -> None:
    await campaign.request()
    await campaign.cut(limit=3)
    await campaign.release()
    ids = await campaign.submit()
    since = campaign.clock.now
    await campaign.run(ids[:1])
    found = await campaign.read(lambda c: attempts.long_at(c, "A.batch", JobState.PENDING, since))
    assert [one.job for one in found] == ids[1:]
    assert found[0].token
    for state, before in ((JobState.PENDING, since - 1), (JobState.RUNNING, since + HOUR)):
        assert await campaign.read(lambda c, s=state, b=before: attempts.long_at(c, "A.batch", s, b)) == []


@pytest.mark.feature("PA-313", "PA-415", "REL-03")
@pytest.mark.parametrize("first", ["success", "failure", "fenced"])
async def test_a_report_that_comes_late_or_twice_changes_nothing(
    campaign: Campaign, first: str, new_campaign: Callable[[WorkflowSpec], Campaign]
) -> None:
    """A second success, a success after a failure, one of a fenced attempt: no counter moves, no file is registered."""
    (job,) = await campaign.load((await campaign.at_target(1))[:1])
    late = campaign.good(job)
    if first == "success":
        await campaign.account([job.id])
    elif first == "failure":
        await campaign.fail([job.id])
    else:
        lost = [Failure(job.id, 90008, "absent")]
        await campaign.write(lambda tx: attempts.fail(tx, lost, outcome="lost"))

    def everything(connection: sa.Connection) -> list[list[tuple[object, ...]]]:
        tables = (schema.job, schema.attempt, schema.file, schema.tally, schema.allocation, schema.cause, schema.event)
        return [[tuple(row) for row in connection.execute(sa.select(table))] for table in tables]

    before = await campaign.read(everything)
    await campaign.write(lambda tx: accounting.account(tx, [late]))
    await campaign.write(lambda tx: attempts.ended(tx, {job.id: Seen("", exit_code=0)}))
    assert await campaign.read(everything) == before
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-321", "PA-406", "PA-408", "PA-409")
async def test_what_a_submission_takes_along(campaign: Campaign) -> None:
    """More memory, the last node and excluded ones if others are left, codes that are accepted; nothing of unknown nodes."""
    ids = await campaign.at_target(4)
    for owner, node in zip(ids, ("n1", "n2", "n3", "n4"), strict=True):
        set_node = schema.attempt.update().where(schema.attempt.c.job_id == owner).values(node=node)
        await campaign.write(lambda tx, s=set_node: tx.connection.execute(s))
    now = campaign.clock.now
    warned = Rule(name="warnings only", codes="3", action=Action.ACCEPT)
    await campaign.write(lambda tx: rulebook.install(tx, [warned]))
    more = Adjustment(node="n2", until=now + HOUR, memory_mb=3000)
    await campaign.write(lambda tx: adjustments.put(tx, {ids[0]: more, ids[1]: more._replace(until=now)}))
    for name in ("n1", "misspelt"):
        bad = Excluded("A", name, now, None, "burns", "ann")
        await campaign.write(lambda tx, b=bad: nodes.exclude(tx, b))
    course = await campaign.read(lambda c: courses.load(c, "A", "A.batch", ids, now + 60))
    one, two, *_ = await campaign.load(ids)
    asked = campaign.spec.resources
    assert course.need(one, asked) == (3000, asked.wall_s)
    assert course.avoided(one.id) == ("n1", "n2")
    assert course.avoided(two.id) == ("n1",), "its time is over"
    assert list(course.accepted(one.type)) == [3]
    third = Excluded("A", "n3", now, now + HOUR, "3 failures", nodes.GUARD)
    await campaign.write(lambda tx: nodes.exclude(tx, third))
    tight = await campaign.read(lambda c: courses.load(c, "A", "A.batch", ids, now + 60))
    assert tight.avoided(two.id) == ("n1", "n3")
    assert tight.avoided(one.id) == (), "only one node would be left"
    elsewhere = await campaign.read(lambda c: courses.load(c, "B", "B.batch", ids, now + 60))
    assert elsewhere.avoided(two.id) == ()
