"""What HTCondor's commands are given, and what their answers mean; whole runs are in tests/conformance/test_batch.py."""

import json
from typing import Any

import pytest

from backends.batch.base import BatchError, BatchState, JobDescription
from backends.batch.htcondor import CLUSTER, Condor, CondorSettings
from backends.batch.scheduler import Limits, Parcel, Said, Sent
from domain.held import HeldAction, judge
from domain.job import JobType

JOB = JobDescription(token="ab12", spec={}, cores=8, memory_mb=16000, wall_s=100)
REJECTED = "Submitting job(s).\nERROR: Failed to commit job submission into the queue.\nERROR: at most 4 cores here\n"


def condor(**settings: object) -> Condor:
    return Condor(CondorSettings(directory="/shared/x", **settings))  # type: ignore[arg-type]


@pytest.mark.feature("PA-304", "PA-310")
def test_a_submission_names_the_remote_schedd_and_carries_label_needs_and_extra_lines() -> None:
    one = condor(schedd="s.example", pool="cm.example", submit_lines=("accounting_group = phys",))
    argv, text = one.submission(Parcel("ab12", (JOB,), "m.ab12", "/x/ab12.sh"), "")
    assert argv == ["condor_submit", "-pool", "cm.example", "-name", "s.example", "-terse"]
    lines = text.splitlines()
    for line in (
        "executable = /x/ab12.sh",
        "request_cpus = 8",
        "request_memory = 16000",
        '+ProdAgentLabel = "m.ab12"',
        "+ProdAgentPlace = $(place)",
        "accounting_group = phys",
    ):
        assert line in lines
    assert lines[-1] == "queue place in ({places})"


@pytest.mark.feature("PA-304", "PA-310")
def test_gpus_architecture_and_the_lines_of_its_type_are_asked_for() -> None:
    one = condor(submit_lines=("a = 1",), submit_lines_for={JobType.MERGE: ("b = 2",), JobType.PROCESSING: ("c = 3",)})

    def lines(kind: str, **needs: Any) -> list[str]:
        job = JobDescription(token="ab12", spec={"type": kind}, **needs)
        return one.submission(Parcel("ab12", (job,), "m.ab12", "/x.sh"), "")[1].splitlines()

    wide = lines("processing", gpus=2, architecture="aarch64", avoid_nodes=("n1",))
    assert "request_gpus = 2" in wide
    assert 'requirements = (Machine != "n1") && (TARGET.Arch == "aarch64")' in wide
    assert wide[-3:-1] == ["a = 1", "c = 3"], "the target's own lines come last: HTCondor goes by the last of a name"
    plain = lines("merge")
    assert plain[-3:-1] == ["a = 1", "b = 2"]
    assert not [line for line in plain if line.startswith(("request_gpus", "requirements"))]


@pytest.mark.feature("PA-304")
def test_every_command_asks_the_same_schedd_and_none_a_local_one() -> None:
    one = condor(schedd="s.example")
    history = one.history(["m.ab12"])
    assert history is not None
    for argv in (one.probe()[0], one.listing(), history, one.cancellation(["1.0"]), one.release(["1.0"])):
        assert argv[1:3] == ["-name", "s.example"]
    assert "-name" not in condor().listing(), "without a name it is the one of the host"


@pytest.mark.feature("PA-304", "PA-310")
def test_a_cluster_has_at_most_200_jobs_and_limits_come_from_the_configuration() -> None:
    settings = CondorSettings(directory="/shared/x", max_cores=4, max_wall_s=3600)
    found = condor().learn([Said(0, "")]).within(settings)
    assert CLUSTER == 200
    assert found == Limits(cores=4, wall_s=3600, array=CLUSTER)
    assert found.refusal(JOB) == "over the limit of the target: cores 8, at most 4"
    assert Limits(cores=2, wall_s=9000, memory_mb=5).within(settings) == Limits(cores=2, wall_s=3600, memory_mb=5)


@pytest.mark.feature("PA-304")
@pytest.mark.parametrize(("code", "transient"), [(1, True), (127, False)])
def test_a_pool_that_cannot_be_used_says_why(code: int, transient: bool) -> None:
    with pytest.raises(BatchError, match="cannot be used: no schedd") as caught:
        condor().learn([Said(code, "", "no schedd")])
    assert caught.value.transient is transient


@pytest.mark.feature("PA-304", "PA-308", "PA-310")
@pytest.mark.parametrize(
    ("said", "sent"),
    [
        (Said(0, "17.0 - 17.4\n"), Sent(id="17")),
        (Said(0, "Welcome to the pool\n17.0 - 17.4\n"), Sent(id="17")),
        (Said(1, "", REJECTED), Sent(reason=" ".join(REJECTED.split()))),
        (Said(1, "", "ERROR: Invalid request_cpus"), Sent(reason="ERROR: Invalid request_cpus")),
        (
            Said(1, "", "ERROR: Failed to commit job submission into the queue."),
            Sent(reason="ERROR: Failed to commit job submission into the queue.", doubt=True),
        ),
        (
            Said(1, "", "ERROR: Can't find address of schedd s.example"),
            Sent(reason="ERROR: Can't find address of schedd s.example", transient=True),
        ),
        (Said(0, ""), Sent(reason="condor_submit ended with 0 and said nothing", doubt=True)),
        (Said(-9, "", "no end in time", late=True), Sent(reason="no end in time", doubt=True)),
    ],
    ids=["taken", "greeted", "requirement", "before", "commit lost", "no schedd", "silent", "killed"],
)
def test_what_an_answer_to_condor_submit_means(said: Said, sent: Sent) -> None:
    assert condor().sent(said) == sent


@pytest.mark.feature("PA-304", "PA-315")
@pytest.mark.parametrize(
    ("reason", "action"),
    [
        ("Error from slot1@n1: Job has gone over memory limit of 2048 megabytes", HeldAction.MORE_MEMORY),
        ("Error from slot1@n1: STARTER failed to receive file(s)", HeldAction.RELEASE),
        ("via condor_hold (by user someone)", HeldAction.LIST),
    ],
)
def test_a_held_job_says_why_and_something_follows(reason: str, action: HeldAction) -> None:
    ad = {"ClusterId": 7, "ProcId": 2, "JobStatus": 5, "ProdAgentLabel": "m.p", "ProdAgentPlace": 2}
    listing = json.dumps([{**ad, "HoldReason": reason, "HoldReasonCode": 13}])
    (record,) = condor().records(Said(0, listing))
    listed = condor().listed(record)
    assert listed is not None
    assert (listed.name, listed.index, listed.id, listed.state) == ("m.p", 2, "7.2", BatchState.HELD)
    assert listed.reason == f"held (13): {reason}"
    assert judge(listed.reason, (), releases=0, most=3) is action


@pytest.mark.feature("PA-304", "PA-312")
def test_an_end_is_read_from_the_history() -> None:
    ad = {"ClusterId": 7, "ProcId": 0, "ProdAgentLabel": "m.p", "JobStartDate": 100, "LastRemoteHost": "slot1@n7"}
    ended = {"JobStatus": 4, "CompletionDate": 160}
    killed = {**ad, **ended, "ExitBySignal": True, "ExitSignal": 9}
    removed = {**ad, "JobStatus": 3, "CompletionDate": 0, "RemoveReason": "via condor_rm (by user prod)"}
    policy = "The job attribute PeriodicRemove expression '(JobStatus == 1 && NumJobStarts > 0)' evaluated to TRUE"
    answer = json.dumps([{**ad, **ended, "ExitCode": 3}, killed, removed, {**removed, "RemoveReason": policy}])
    first, second, third, fourth = condor().recorded(Said(0, answer))
    assert (first.exit_code, first.signal, first.node, first.started_at, first.ended_at) == (3, None, "n7", 100, 160)
    assert (second.exit_code, second.signal) == (None, 9)
    assert (third.state, third.reason, third.ended_at) == (BatchState.ENDED, "cancelled", None)
    assert fourth.reason == policy, "nobody cancelled it"
    assert condor().recorded(Said(0, "[\n]\n")) == []
    assert condor().recorded(Said(0, "")) == [], "an empty history prints nothing at all"
    for bad in (Said(1, "", "no schedd"), Said(0, "[{]")):
        with pytest.raises(BatchError) as caught:
            condor().recorded(bad)
        assert caught.value.transient
