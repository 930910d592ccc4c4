"""When a node is excluded, a workflow stopped, a job taken back: each a pure table."""

import msgspec
import pytest

from domain.braking import JUDGE_S, BrakeRules, Record, Suspects, fault, passed
from domain.held import HeldAction, HeldRule, judge
from domain.job import JobState, JobType
from domain.nodes import NodeRules, strikes, struck
from domain.rules import Blame
from domain.spec import Resources, Step, Stuck, WorkflowSpec
from domain.stuck import Patience, Standing, overdue, patience, shortest

HOUR, DAY = 3600.0, 86_400.0
NODES = NodeRules()


@pytest.mark.feature("PA-321")
@pytest.mark.parametrize(
    ("blame", "ran_s", "works", "counts"),
    [
        (Blame.SITE, 1.0, False, True),
        (Blame.NODE, 180.0, False, True),
        (Blame.NODE, 181.0, False, False),
        (Blame.INFRASTRUCTURE, 5.0, False, True),
        (Blame.PAYLOAD, 5.0, True, True),
        (Blame.PAYLOAD, 5.0, False, False),
        (Blame.AGENT, 1.0, True, False),
        (Blame.NOBODY, 1.0, True, False),
        (Blame.SITE, None, True, False),
    ],
)
def test_what_speaks_against_a_node(blame: Blame, ran_s: float | None, works: bool, counts: bool) -> None:
    """A payload that fails everywhere speaks against no node; one that works elsewhere does."""
    assert strikes(blame, ran_s, NODES, works_elsewhere=works) is counts


@pytest.mark.feature("PA-321")
def test_three_fast_failures_within_an_hour_exclude_a_node() -> None:
    now = 10 * HOUR
    assert struck([], [now - 2, now - 1], now, NODES) == ([now - 2, now - 1], False)
    assert struck([now - 2, now - 1], [now], now, NODES) == ([now - 2, now - 1, now], True)
    assert struck([now - HOUR - 1, now - 1], [now], now, NODES) == ([now - 1, now], False)
    assert struck([], [now] * 20, now, NODES) == ([now] * 3, True)


@pytest.mark.feature("PA-407")
def test_workflows_are_judged_once_in_a_while_and_at_once_when_the_first_failures_are_together():
    suspects = Suspects(3)
    assert suspects.due(100.0) == ([], 0.0)
    suspects.add([1])
    assert suspects.due(100.0) == ([1], 0.0)
    suspects.add([1, 2])
    assert suspects.due(101.0) == ([], JUDGE_S - 1)
    suspects.add([1])
    assert suspects.due(101.0) == ([1, 2], 0.0)
    suspects.add([1] * 9)
    assert suspects.due(102.0) == ([], JUDGE_S - 1), "what goes on failing costs no more than one look in that time"
    assert suspects.due(106.0) == ([1], 0.0)


@pytest.mark.feature("PA-407")
@pytest.mark.parametrize(
    ("record", "probing", "stops"),
    [
        (Record(9, 9, "boom", 0), False, False),
        (Record(10, 10, "boom", 0), False, True),
        (Record(10, 9, "boom", 0), False, False),
        (Record(10, 10, "boom", 1), False, False),
        (Record(25, 25, "boom", 25), False, False),
        (Record(26, 12, "boom", 24), False, True),
        (Record(20, 9, "boom", 19), False, False),
        (Record(2, 2, "boom", 0), True, False),
        (Record(3, 3, "boom", 0), True, True),
        (Record(3, 3, "boom", 1), True, False),
    ],
)
def test_when_a_workflow_is_broken(record: Record, probing: bool, stops: bool) -> None:
    why = fault(record, BrakeRules(), probing=probing)
    assert bool(why) is stops
    if stops:
        assert "boom" in why


@pytest.mark.feature("PA-407")
def test_three_good_probes_let_the_others_follow() -> None:
    assert not passed(Record(1, 1, "boom", 2), BrakeRules())
    assert passed(Record(1, 1, "boom", 3), BrakeRules())


@pytest.mark.feature("PA-315")
@pytest.mark.parametrize(
    ("said", "releases", "action"),
    [
        ("launch failed requeued held", 0, HeldAction.RELEASE),
        ("launch failed requeued held", 2, HeldAction.RELEASE),
        ("launch failed requeued held", 3, HeldAction.ELSEWHERE),
        ("Error from slot1@n1: Failed to start starter", 0, HeldAction.RELEASE),
        ("The job has exceeded memory 2000 MB", 0, HeldAction.MORE_MEMORY),
        ("Job exceeded allowed wall time", 0, HeldAction.MORE_TIME),
        ("BadConstraints", 0, HeldAction.ELSEWHERE),
        ("QOSMaxMemoryPerJob", 0, HeldAction.ELSEWHERE),
        ("PartitionTimeLimit", 0, HeldAction.ELSEWHERE),
        ("JobHeldUser", 0, HeldAction.LIST),
        ("something that nobody knows", 0, HeldAction.LIST),
        ("", 0, HeldAction.LIST),
    ],
)
def test_a_held_job_is_judged_by_its_reason(said: str, releases: int, action: HeldAction) -> None:
    assert judge(said, (), releases, 3) is action


@pytest.mark.feature("PA-315")
def test_own_rules_for_held_jobs_come_first() -> None:
    own = [HeldRule(said="memory", action=HeldAction.FAIL), HeldRule(said="odd", action=HeldAction.RELEASE)]
    assert judge("out of memory", own, 0, 3) is HeldAction.FAIL
    assert judge("odd", own, 0, 0) is HeldAction.ELSEWHERE
    with pytest.raises(msgspec.ValidationError, match="no regular expression"):
        msgspec.convert({"said": "(", "action": "fail"}, HeldRule)


@pytest.mark.feature("PA-314")
@pytest.mark.parametrize(
    ("state", "since", "over"),
    [
        (JobState.PENDING, 5 * DAY - 1, False),
        (JobState.PENDING, 5 * DAY, True),
        (JobState.RUNNING, 3 * HOUR - 1, False),
        (JobState.RUNNING, 3 * HOUR, True),
        (JobState.SUBMITTING, 99 * DAY, False),
        (JobState.LOST, 99 * DAY, False),
    ],
)
def test_how_long_a_job_may_wait_and_run(state: JobState, since: float, over: bool) -> None:
    assert overdue(Standing(state, 1000.0, 2 * HOUR), Patience(5 * DAY, HOUR), 1000.0 + since) is over


@pytest.mark.feature("PA-314")
def test_target_and_workflow_override_what_is_not_set_is_inherited() -> None:
    default = Patience(5 * DAY, HOUR)
    assert patience(default, None, Stuck(pending_s=DAY)) == (DAY, HOUR)
    assert patience(default, Stuck(pending_s=DAY, running_s=60.0), Stuck(running_s=30.0)) == (DAY, 30.0)
    spec = WorkflowSpec(
        name="w", events=1, steps=[Step(command=["x"])], resources=Resources(wall_s=100),
        stuck={JobType.MERGE: Stuck(pending_s=HOUR)},
    )  # fmt: skip
    assert shortest(spec, default, 600.0) == (HOUR, 700.0 + HOUR)
