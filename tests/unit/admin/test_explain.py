"""Every state of every item has a named blocker with an owner; nothing is ever unknown."""

import re
from pathlib import Path

import pytest

from domain import placing
from domain.explain import (
    NOBODY,
    OPERATOR,
    FileSight,
    JobSight,
    TransferSight,
    Verdict,
    WorkflowSight,
    explain_file,
    explain_job,
    explain_transfer,
    explain_workflow,
)
from domain.explain_site import SiteSight, explain_site
from domain.file import FILE_TABLE, FileState
from domain.job import JOB_TABLE, JobState, JobType
from domain.obstacles import agent_away, fact_parked, owner_away
from domain.placing import UNBLOCKS
from domain.transfer import TRANSFER_TABLE, TransferState
from domain.workflow import WORKFLOW_TABLE, WorkflowState

NOW = 1000.0
NEXT = dict.fromkeys(
    ("queue", "submitter", "tracker", "report", "error", "merge", "catalogue", "transfer", "cleanup", "injector"), 5.0
)
ACTORS = {*NEXT, "allocation", "creator", OPERATOR, NOBODY}
WAITS = Verdict(code="no-slot", text="full", unblocks="an end", owner="queue", wake_at=NOW + 5)


def check(verdict: Verdict) -> None:
    for text in (verdict.code, verdict.text, verdict.unblocks):
        assert text
        assert "unknown" not in text
        assert "{" not in text
        assert "None" not in text
    assert verdict.owner in ACTORS
    if verdict.done:
        assert verdict.owner == NOBODY
    if verdict.owner in (OPERATOR, NOBODY):
        assert verdict.wake_at is None
    else:
        assert verdict.wake_at is not None, verdict


@pytest.mark.feature("OPS-09", "PA-218")
@pytest.mark.parametrize("kind", JobType)
@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("flow", WorkflowState)
@pytest.mark.parametrize("silent", ["", "target a does not answer"])
def test_every_job_state(kind: JobType, state: JobState, flow: WorkflowState, silent: str) -> None:
    sight = JobSight(
        state=state,
        type=kind,
        workflow="w",
        workflow_state=flow,
        silent=silent,
        wake_at=NOW + 9,
        target="a",
        next_s=NEXT,
    )
    verdict = explain_job(sight, NOW)
    check(verdict)
    assert verdict.done == (state in JOB_TABLE.final)
    if silent and state in (JobState.PENDING, JobState.RUNNING):
        assert (verdict.code, verdict.owner) == ("target-silent", "tracker")


@pytest.mark.feature("OPS-09")
@pytest.mark.parametrize("state", FileState)
@pytest.mark.parametrize("inner", [None, WAITS])
def test_every_file_state(state: FileState, inner: Verdict | None) -> None:
    sight = FileSight(state=state, site="s", merge_job=4, merge=inner, transfer=inner, deadline=NOW + 60, next_s=NEXT)
    verdict = explain_file(sight, NOW)
    check(verdict)
    rests = state is FileState.CATALOGUED and inner is None
    assert verdict.done == (state in FILE_TABLE.final or rests)


@pytest.mark.feature("OPS-09")
@pytest.mark.parametrize("state", TransferState)
@pytest.mark.parametrize("active", [0, 4])
def test_every_transfer_state(state: TransferState, active: int) -> None:
    sight = TransferSight(
        state=state, source="a", destination="b", active=active, most=4, wake_at=NOW + 9, deadline_s=60, next_s=NEXT
    )
    verdict = explain_transfer(sight, NOW)
    check(verdict)
    assert verdict.done == (state in (*TRANSFER_TABLE.final, TransferState.SAFE))
    if state is TransferState.WANTED:
        assert verdict.code == ("transfer-slots" if active else "transfer-next")


@pytest.mark.feature("OPS-09")
@pytest.mark.parametrize("state", WorkflowState)
def test_every_workflow_state(state: WorkflowState) -> None:
    verdict = explain_workflow(WorkflowSight(state=state, name="w", next_s=NEXT), NOW)
    check(verdict)
    ended = (*WORKFLOW_TABLE.final, WorkflowState.COMPLETED)
    assert verdict.done == (state in ended)


@pytest.mark.parametrize(
    ("known", "code", "owner"),
    [
        ({"uncut": 10}, "to-cut", "creator"),
        ({"unreported": 1}, "report-wait", "injector"),
        ({"unreported": 1, "manager": "m"}, "report-wait", "allocation"),
        ({"intake_open": True, "manager": "m"}, "no-allocation", "allocation"),
        ({}, "completion", "injector"),
    ],
)
def test_an_idle_workflow_names_the_stage_that_is_next(known: dict, code: str, owner: str) -> None:
    verdict = explain_workflow(WorkflowSight(state=WorkflowState.ACTIVE, **known), NOW)
    assert (verdict.code, verdict.owner) == (code, owner)


def test_a_workflow_names_first_what_needs_a_person_then_what_holds_most() -> None:
    held = Verdict(code="paused", text="held", unblocks="you", owner=OPERATOR)
    runs = Verdict(code="running", text="runs", unblocks="its end", owner="tracker", wake_at=NOW)
    many = WorkflowSight(
        state=WorkflowState.ACTIVE, groups={"no-slot": 9, "running": 3}, verdicts={"no-slot": WAITS, "running": runs}
    )
    assert explain_workflow(many, NOW).text == "9 items: full"
    person = WorkflowSight(
        state=WorkflowState.ACTIVE, groups={"no-slot": 9, "paused": 1}, verdicts={"no-slot": WAITS, "paused": held}
    )
    assert explain_workflow(person, NOW).code == "paused"


@pytest.mark.parametrize(
    ("known", "code"),
    [
        ({"targets": []}, "no-target"),
        ({"targets": ["a"], "free": {"a": 2}, "closed": {"a": "site-off: a is disabled"}}, "site-off"),
        ({"targets": ["a"], "free": {"a": 2}, "closed": {"a": "breaker-open: 12 of 20"}}, "breaker-open"),
        ({"targets": ["a", "b"], "free": {"a": 2, "b": 2}, "closed": {"a": "breaker-open: 12 of 20"}}, "open"),
        ({"targets": ["a"], "free": {"a": 2}, "silent": {"a": "no answer"}}, "target-silent"),
        ({"targets": ["a"], "free": {"a": 0}}, "no-slot"),
        ({"targets": ["a"], "free": {"a": 2}}, "open"),
    ],
)
def test_a_site_says_why_it_gets_no_work(known: dict, code: str) -> None:
    assert explain_site(SiteSight(name="s", next_s=NEXT, **known), NOW).code == code


@pytest.mark.feature("OPS-09")
def test_what_stands_before_the_reason_is_named_first() -> None:
    away = owner_away(WAITS, "queue", "parked", "ValueError: odd")
    assert (away.code, away.owner) == ("actor-parked", OPERATOR)
    assert "ValueError: odd" in away.text
    assert "actors queue --restart" in away.unblocks
    assert "--resume" in owner_away(WAITS, "queue", "paused").unblocks
    assert agent_away(WAITS, "it does not run").code == "no-agent"
    done = Verdict(code="done", text="over", unblocks="nothing", owner=NOBODY, done=True)
    assert agent_away(done, "it does not run") is done
    assert fact_parked(WAITS, "error", "JobsFailed", "odd", None).code == "dead-letter"
    later = fact_parked(WAITS, "error", "JobsFailed", "odd", NOW + 5)
    assert (later.code, later.owner, later.wake_at) == ("fact-parked", "error", NOW + 5)


@pytest.mark.feature("PA-218")
@pytest.mark.parametrize("code", UNBLOCKS)
def test_every_code_of_the_queue_says_what_ends_it(code: str) -> None:
    sight = JobSight(state=JobState.QUEUED, type=JobType.MERGE, queue=f"{code}: so it is", next_s=NEXT)
    verdict = explain_job(sight, NOW)
    check(verdict)
    assert (verdict.code, verdict.text) == (code, "so it is")


@pytest.mark.feature("PA-218")
def test_every_code_that_is_given_is_known() -> None:
    source = Path(placing.__file__).parent
    given = set()
    for name in ("placing", "matching"):
        given |= set(re.findall(r'f?"([a-z]+-[a-z]+|held|quota): ', (source / f"{name}.py").read_text()))
    assert {"no-slot", "quota", "held", "breaker-open", "poor-record"} <= given <= set(UNBLOCKS)


@pytest.mark.feature("OPS-09", "PA-303", "PA-315")
@pytest.mark.parametrize(
    ("said", "code", "owner", "unblocks"),
    [
        ("Priority", "batch-queue", "tracker", "free slot"),
        ("Resources", "batch-queue", "tracker", "free slot"),
        ("", "batch-queue", "tracker", "free slot"),
        ("PartitionDown", "batch-down", "tracker", "the site"),
        ("ReqNodeNotAvail, UnavailableNodes:n1", "batch-down", "tracker", "the site"),
        ("PartitionConfig", "batch-down", "tracker", "ask for less"),
        ("QOSMaxJobsPerUserLimit", "batch-quota", "tracker", "higher limit"),
        ("AssocGrpCpuLimit", "batch-quota", "tracker", "higher limit"),
        ("InvalidAccount", "batch-quota", "tracker", "a valid account"),
        ("QOSMaxWallDurationPerJobLimit", "batch-held", "tracker", "rule"),
        ("BadConstraints", "batch-held", "tracker", "rule"),
        ("launch failed requeued held", "batch-held", "tracker", "rule"),
        ("JobHeldUser", "batch-held", OPERATOR, "release"),
        ("held (1): via condor_hold (by user prod)", "batch-held", OPERATOR, "release"),
        ("held (34): memory usage exceeded request_memory", "batch-held", "tracker", "rule"),
    ],
)
def test_a_waiting_job_tells_who_has_to_move(said: str, code: str, owner: str, unblocks: str) -> None:
    sight = JobSight(
        state=JobState.PENDING, type=JobType.PROCESSING, reason=said, target="a", batch_id="7", next_s=NEXT
    )
    found = explain_job(sight, NOW)
    check(found)
    assert (found.code, found.owner) == (code, owner)
    assert unblocks in found.unblocks
    assert found.text == f"a has it as 7, not started yet: {said or 'no reason given'}"
