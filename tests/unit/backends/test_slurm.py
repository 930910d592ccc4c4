"""What Slurm's commands say, in the texts of 22.05, and what it means."""

from typing import Any

import msgspec
import pytest

from backends.batch.base import BatchError, BatchState, JobDescription
from backends.batch.scheduler import Limits, Parcel, Said
from backends.batch.slurm import STATES, Slurm, SlurmSettings
from domain.exit_codes import MEMORY, WALL_TIME
from domain.job import JobType

CONFIG = Said(0, "MaxArraySize            = 1001\nAccountingStorageType   = accounting_storage/slurmdbd\n")
PARTITION = Said(
    0, "PartitionName=main Default=YES MaxTime=2-12:00:00 State=UP\nPartitionName=x Default=NO MaxTime=1:00\n"
)
NODES = Said(0, "64|512000\n128|256000+\n")
JOB = JobDescription(token="ab12", spec={}, cores=8, memory_mb=16000, wall_s=90)


def slurm(**settings: object) -> Slurm:
    return Slurm(SlurmSettings(directory="/shared/x", **settings))  # type: ignore[arg-type]


@pytest.mark.feature("PA-303", "PA-310")
def test_a_submission_carries_label_needs_and_extra_options() -> None:
    one = slurm(partition="long", account="phys", qos="low", constraint="avx2", extra=("--licenses=x:1",))
    argv, stdin = one.submission(Parcel("ab12", (JOB,), "m.ab12", "/x/ab12.sh"), "#!/bin/sh\n")
    assert stdin == "#!/bin/sh\n"
    for word in (
        "--job-name=m.ab12",
        "--comment=m.ab12",
        "--no-requeue",
        "--cpus-per-task=8",
        "--mem=16000M",
        "--time=2",
        "--partition=long",
        "--account=phys",
        "--qos=low",
        "--constraint=avx2",
        "--licenses=x:1",
    ):
        assert word in argv
    assert "--array={indices}" not in argv
    argv, _ = one.submission(Parcel("prodagent-1", (JOB, JOB), "m.prodagent-1", "/x/y.sh"), "")
    assert argv[-1] == "--array={indices}"


@pytest.mark.feature("PA-303", "PA-310")
def test_gpus_architecture_and_the_lines_of_its_type_are_asked_for() -> None:
    one = slurm(
        constraint="avx2",
        extra=("--licenses=x:1",),
        extra_for={JobType.MERGE: ("--qos=merge",), JobType.PROCESSING: ("--nice=10",)},
        architecture_constraint={"aarch64": "grace"},
    )

    def asked(kind: str, **needs: Any) -> list[str]:
        job = JobDescription(token="ab12", spec={"type": kind}, **needs)
        argv, _ = one.submission(Parcel("ab12", (job,), "m.ab12", "/x/ab12.sh"), "")
        return [word for word in argv if word.startswith(("--gpus", "--constraint", "--licenses", "--qos", "--nice"))]

    assert asked("processing", gpus=2, architecture="aarch64") == [
        "--constraint=grace", "--gpus=2", "--licenses=x:1", "--nice=10",
    ]  # fmt: skip
    assert asked("merge", architecture="x86_64") == ["--constraint=avx2", "--licenses=x:1", "--qos=merge"]
    assert asked("") == ["--constraint=avx2", "--licenses=x:1"]
    with pytest.raises(msgspec.ValidationError, match="Invalid enum value 'merging'"):
        msgspec.convert({"directory": "/x", "extra_for": {"merging": ["--nice"]}}, SlurmSettings)


@pytest.mark.feature("PA-310")
def test_limits_are_learnt_and_checked_before() -> None:
    found = slurm().learn([CONFIG, PARTITION, NODES])
    assert found == Limits(cores=128, memory_mb=512000, wall_s=216_000, array=1000)
    assert found.refusal(JOB) == ""
    too_long = JobDescription(token="t", spec={}, wall_s=216_001)
    assert found.refusal(too_long) == "over the limit of the target: wall time 216001 s, at most 216000 s"
    assert Limits().refusal(too_long) == ""


@pytest.mark.feature("PA-303")
def test_a_target_that_cannot_be_used_says_why() -> None:
    with pytest.raises(BatchError, match="Invalid partition name specified") as caught:
        slurm(partition="nine").learn(
            [CONFIG, Said(1, "", "slurm_load_partitions: Invalid partition name specified"), NODES]
        )
    assert not caught.value.transient
    with pytest.raises(BatchError, match="no default partition") as caught:
        slurm().learn([CONFIG, Said(0, "PartitionName=x Default=NO\n"), NODES])
    assert not caught.value.transient
    with pytest.raises(BatchError, match="Unable to contact") as caught:
        slurm().learn([Said(1, "", "slurm_load_ctl_conf error: Unable to contact slurm controller"), PARTITION, NODES])
    assert caught.value.transient


@pytest.mark.feature("PA-303", "PA-310")
def test_a_job_may_go_to_one_of_several_partitions() -> None:
    """As sbatch takes them: the most that one of them gives is the limit."""
    both = Said(0, "PartitionName=main Default=YES MaxTime=2:00:00\nPartitionName=x MaxTime=3:00:00\nPartitionName=y\n")
    one = slurm(partition="main,x")
    assert one.probe()[1] == ["scontrol", "-o", "show", "partition"]
    assert one.probe()[2][-1] == "--partition=main,x"
    assert one.learn([CONFIG, both, NODES]).wall_s == 3 * 3600
    free = Said(0, both.out.replace("3:00:00", "UNLIMITED"))
    assert one.learn([CONFIG, free, NODES]).wall_s is None
    with pytest.raises(BatchError, match="no partition z"):
        slurm(partition="main,z").learn([CONFIG, both, NODES])


FAILED = "sbatch: error: Batch job submission failed: "
OVER = FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.mark.feature("PA-308", "PA-309")
@pytest.mark.parametrize(
    ("said", "what"),
    [
        (Said(0, "123\n"), "id"),
        (Said(0, "123;cluster\n"), "id"),
        (Said(0, "123\n", "sbatch: warning: your project has used 95 % of its hours"), "id"),
        (Said(0, "-----\nWelcome, 2 nodes are free\n123\n"), "id"),
        (Said(1, "", FAILED + "Requested node configuration is not available"), "refused"),
        (Said(1, "", FAILED + "Invalid account or account/partition combination specified"), "refused"),
        (
            Said(
                1,
                "",
                "sbatch: error: invalid partition specified: nine\n" + FAILED + "Invalid partition name specified",
            ),
            "refused",
        ),
        (Said(1, "", OVER), "later"),
        (Said(1, "", "sbatch: error: QOSMaxSubmitJobPerUserLimit\n" + OVER), "later"),
        (Said(1, "", "sbatch: error: AssocGrpSubmitJobsLimit\n" + OVER), "later"),
        (Said(1, "", "sbatch: error: QOSMaxWallDurationPerJobLimit\n" + OVER), "refused"),
        (Said(1, "", "sbatch: error: QOSMaxCpuPerJobLimit\n" + OVER), "refused"),
        (Said(127, "", "No such file or directory: 'sbatch'"), "later"),
        (Said(1, "", FAILED + "Unable to contact slurm controller (connect failure)"), "later"),
        (Said(1, "", FAILED + "Socket timed out on send/recv operation"), "doubt"),
        (Said(1, "", FAILED + "Zero Bytes were transmitted or received"), "doubt"),
        (Said(-9, "", "no end in time", late=True), "doubt"),
        (Said(-9, "123\n", "no end in time", late=True), "doubt"),
        (Said(0, "", ""), "doubt"),
        (Said(1, "", "something that nobody has seen before"), "doubt"),
    ],
)
def test_what_an_answer_to_sbatch_means(said: Said, what: str) -> None:
    sent = slurm().sent(said)
    assert {
        "id": sent.id == "123" and not sent.reason and not sent.doubt,
        "refused": bool(sent.reason) and not sent.transient and not sent.doubt and not sent.id,
        "later": bool(sent.reason) and sent.transient and not sent.doubt and not sent.id,
        "doubt": bool(sent.reason) and sent.doubt and not sent.id,
    }[what]


@pytest.mark.feature("PA-303", "PA-312")
@pytest.mark.parametrize("word", sorted(STATES))
def test_every_documented_state_has_a_meaning(word: str) -> None:
    listed = slurm().listed(f"7|N/A|{word}|n1|m.ab12|None")
    assert listed is not None
    assert (listed.state, listed.id, listed.name) == (STATES[word], "7", "m.ab12")


@pytest.mark.feature("PA-303")
def test_an_unknown_state_is_unknown_and_never_an_end() -> None:
    listed = slurm().listed("7|N/A|TELEPORTED|n1|m.ab12|Why not")
    assert listed is not None
    assert (listed.state, listed.reason) == (BatchState.UNKNOWN, "TELEPORTED: Why not")


@pytest.mark.feature("PA-303", "PA-315")
def test_reasons_of_waiting_and_holding() -> None:
    waits = slurm().listed("7|3|PENDING||m.prodagent-1|Resources")
    assert waits is not None
    assert (waits.index, waits.id, waits.state, waits.reason) == (3, "7_3", BatchState.PENDING, "Resources")


@pytest.mark.feature("PA-303", "PA-315")
@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("JobHeldUser", BatchState.HELD),
        ("JobHoldMaxRequeue", BatchState.HELD),
        ("launch failed requeued held", BatchState.HELD),
        ("PartitionTimeLimit", BatchState.HELD),
        ("QOSMaxWallDurationPerJobLimit", BatchState.HELD),
        ("AssocMaxCpuPerJobLimit", BatchState.HELD),
        ("QOSMinCpuNotSatisfied", BatchState.HELD),
        ("Job's account not permitted to use this partition (long allows other not phys)", BatchState.HELD),
        ("PartitionDown", BatchState.PENDING),
        ("QOSMaxJobsPerUserLimit", BatchState.PENDING),
        ("InvalidAccount", BatchState.PENDING),
        ("InvalidQOS", BatchState.PENDING),
        ("AssocGrpCpuLimit", BatchState.PENDING),
        ("ReqNodeNotAvail, UnavailableNodes:n1", BatchState.PENDING),
    ],
)
def test_what_never_starts_by_itself_is_held(reason: str, state: BatchState) -> None:
    listed = slurm().listed(f"7|N/A|PENDING||m.ab12|{reason}")
    assert listed is not None
    assert (listed.state, listed.reason) == (state, reason)


@pytest.mark.feature("PA-303")
def test_an_array_is_no_larger_than_the_cluster_takes() -> None:
    more = Said(0, CONFIG.out + "SchedulerParameters     = bf_max_job_test=500,max_array_tasks=300\n")
    assert [slurm().learn([config, PARTITION, NODES]).array for config in (CONFIG, more)] == [1000, 300]


@pytest.mark.feature("PA-312")
def test_what_the_system_ended_has_the_code_of_the_report() -> None:
    codes = {
        word: listed.exit_code
        for word in ("TIMEOUT", "OUT_OF_MEMORY", "FAILED")
        if (listed := slurm().listed(f"7|N/A|{word}|n1|a|None"))
    }
    assert codes == {"TIMEOUT": WALL_TIME, "OUT_OF_MEMORY": MEMORY, "FAILED": None}


@pytest.mark.feature("PA-303", "PA-312")
def test_accounting_gives_codes_and_signals() -> None:
    one = slurm()
    assert one.history(["a"]) is None, "no accounting was found"
    one.learn([CONFIG, PARTITION, NODES])
    assert one.history(["m.a", "m.b"])[-2] == "--name=m.a,m.b"  # type: ignore[index]
    text = (
        "m.a|12|FAILED|3:0|n1|1700000000|1700000060\n"
        "m.b|13_4|CANCELLED by 0|0:15|n2|1700000000|1700000061\n"
        "m.c|14|PENDING|0:0|None assigned|Unknown|Unknown\nnonsense\n"
    )
    failed, cancelled, waiting = one.recorded(Said(0, text))
    assert (failed.exit_code, failed.signal, failed.started_at, failed.ended_at) == (3, None, 1.7e9, 1.7e9 + 60)
    assert (cancelled.index, cancelled.signal, cancelled.exit_code, cancelled.reason) == (4, 15, None, "cancelled")
    assert (waiting.state, waiting.started_at, waiting.node) == (BatchState.PENDING, None, "")
    with pytest.raises(BatchError, match="sacct does not answer"):
        one.recorded(Said(1, "", "Slurm accounting storage is disabled"))


@pytest.mark.feature("PA-303")
def test_a_listing_that_is_none_is_an_error() -> None:
    with pytest.raises(BatchError, match="Unable to contact") as caught:
        list(slurm().records(Said(1, "", "slurm_load_jobs error: Unable to contact slurm controller")))
    assert caught.value.transient
    assert slurm().listed("slurm_load_jobs: some chatter") is None
    with pytest.raises(BatchError, match="squeue's answer is unreadable: Welcome to the cluster") as caught:
        slurm().records(Said(0, "Welcome to the cluster\nScheduled downtime on Monday\n"))
    assert caught.value.transient
    mixed = Said(0, "Scheduled downtime on Monday\n7|N/A|RUNNING|n1|m.ab12|None\n")
    assert [one.name for line in slurm().records(mixed) if (one := slurm().listed(line))] == ["m.ab12"]
    assert list(slurm().records(Said(0, ""))) == []
