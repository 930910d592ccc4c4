"""What Grid Engine's commands say, in the texts of 8.1.9, and what it means; what the pages say of the example."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec import structs

from backends.batch.base import BatchError, BatchState, JobDescription
from backends.batch.scheduler import Limits, Listed, Parcel, Said
from backends.opening import settings_of
from config.loader import load
from domain.exit_codes import WALL_TIME
from examples.batch_system.gridengine import GridEngine, GridSettings

CONFIG = Said(0, "#global:\nmax_aj_instances             2000\nmax_aj_tasks                 75000\nmax_u_jobs 0\n")
HOSTS = Said(
    0,
    "HOSTNAME                ARCH         NCPU NSOC NCOR NTHR  LOAD  MEMTOT  MEMUSE  SWAPTO  SWAPUS\n"
    "----------------------------------------------------------------------------------------------\n"
    "global                  -               -    -    -    -     -       -       -       -       -\n"
    "node1                   lx-amd64        2    1    2    2  3.54   23.5G    1.7G     0.0     0.0\n"
    "node2                   lx-amd64        2    1    2    2     -  512.0M       -     0.0       -\n",
)
QUEUE = Said(0, "qname                 main\nslots                 8,[node1=16]\nh_rt                  48:00:00\n")
JOB = JobDescription(token="ab12", spec={}, cores=4, memory_mb=15999, wall_s=90)


def engine(**settings: object) -> GridEngine:
    return GridEngine(GridSettings(directory="/shared/x", **settings))  # type: ignore[arg-type]


@pytest.mark.feature("PA-301", "PA-310")
def test_a_submission_carries_label_needs_and_extra_options() -> None:
    one = engine(queue="long.q", project="phys", parallel_environment="smp", extra=("-js", "5"))
    argv, stdin = one.submission(Parcel("ab12", (JOB,), "5f.ab12", "/x/ab12.sh"), "#!/bin/sh\n")
    assert (stdin, argv[3], argv[-1]) == ("", "{indices}", "/x/ab12.sh")
    words = set(pairwise(argv))
    assert {("-N", "pa.5f.ab12"), ("-q", "long.q"), ("-P", "phys"), ("-pe", "smp"), ("smp", "4")} <= words
    assert {("-l", "h_rt=90,mem_free=4000M"), ("-js", "5"), ("-r", "n"), ("-wd", "/")} <= words
    elsewhere = structs.replace(JOB, avoid_nodes=("n1", "n2"))
    argv, _ = one.submission(Parcel("ab12", (elsewhere,), "5f.ab12", "/x/ab12.sh"), "")
    assert ("-l", "h_rt=90,mem_free=4000M,hostname=!(n1|n2)") in set(pairwise(argv))
    argv, _ = engine(memory="").submission(Parcel("ab12", (JOB,), "5f.ab12", "/x/ab12.sh"), "")
    assert ("-l", "h_rt=90") in set(pairwise(argv))
    assert "-q" not in argv


@pytest.mark.feature("PA-310")
def test_limits_are_learnt() -> None:
    found = engine(queue="main", parallel_environment="smp").learn([CONFIG, HOSTS, QUEUE])
    assert found == Limits(cores=16, memory_mb=24064, wall_s=172_800, array=75000)
    free = Said(0, QUEUE.out.replace("48:00:00", "3600,[node1=INFINITY]"))
    assert engine(queue="main", memory="").learn([CONFIG, HOSTS, free]) == Limits(cores=1, array=75000)
    assert engine(parallel_environment="smp").learn([CONFIG, HOSTS]) == Limits(memory_mb=24064, array=75000)


@pytest.mark.feature("PA-301")
def test_a_target_that_cannot_be_used_says_why() -> None:
    absent = Said(1, "", 'No cluster queue or queue instance matches the phrase "nine"')
    with pytest.raises(BatchError, match='the phrase "nine"') as caught:
        engine(queue="nine").learn([CONFIG, HOSTS, absent])
    assert not caught.value.transient
    away = Said(1, "", "error: commlib error: got select error (Connection refused)")
    with pytest.raises(BatchError, match="Connection refused") as caught:
        engine().learn([away, HOSTS])
    assert caught.value.transient


RAN = "Unable to run job: "


@pytest.mark.feature("PA-308", "PA-309")
@pytest.mark.parametrize(
    ("said", "what"),
    [
        (Said(0, "3.1-5:1\n"), "id"),
        (Said(0, "3.6-6:1\n4.9-12:1\n"), "id"),
        (Said(1, "", RAN + 'Job was rejected because job requests unknown queue "nine"\nExiting.'), "refused"),
        (Said(1, "", RAN + 'unknown resource "nine"\nExiting.'), "refused"),
        (Said(1, "", RAN + "denied: host is no submit host"), "refused"),
        (Said(2, "", 'qsub: invalid option argument "-bad"'), "refused"),
        (Said(25, "", RAN + "job rejected: only 1 jobs are allowed per user (current job count: 1)"), "later"),
        (
            Said(1, "", "error: commlib error: got select error (Connection refused)\n" + RAN + "got send error"),
            "later",
        ),
        (Said(127, "", "sh: 1: qsub: not found"), "later"),
        (Said(1, "", RAN + "failed receiving gdi request response for mid=1 (got syncron message)"), "doubt"),
        (Said(25, "3.1-2:1\n", RAN + "job rejected: only 1 jobs are allowed per user"), "doubt"),
        (Said(-9, "", "no end in time", late=True), "doubt"),
        (Said(-9, "3.1-5:1\n", "no end in time", late=True), "doubt"),
        (Said(0, "", ""), "doubt"),
        (Said(1, "", "something that nobody has seen before"), "doubt"),
    ],
)
def test_what_an_answer_to_qsub_means(said: Said, what: str) -> None:
    sent = engine().sent(said)
    assert {
        "id": sent.id == "3" and not sent.reason and not sent.doubt,
        "refused": bool(sent.reason) and not sent.transient and not sent.doubt and not sent.id,
        "later": bool(sent.reason) and sent.transient and not sent.doubt and not sent.id,
        "doubt": bool(sent.reason) and sent.doubt and not sent.id,
    }[what]


LISTING = """\
<?xml version='1.0'?>
<job_info  xmlns:xsd="http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas/qstat/qstat.xsd">
  <queue_info>
    <job_list state="running">
      <JB_job_number>3</JB_job_number>
      <JAT_prio>0.25000</JAT_prio>
      <JB_name>pa.5f.ab12</JB_name>
      <JB_owner>root</JB_owner>
      <state>{state}</state>
      <JAT_start_time>2026-11-22T11:19:25</JAT_start_time>
      <queue_name>main@node1</queue_name>
      <slots>1</slots>
      <tasks>6</tasks>
    </job_list>
  </queue_info>
  <job_info>
    <job_list state="pending">
      <JB_job_number>7</JB_job_number>
      <JAT_prio>0.00000</JAT_prio>
      <JB_name>somebody's own</JB_name>
      <state>qw</state>
      <JB_submission_time>2026-11-22T11:19:25</JB_submission_time>
      <queue_name></queue_name>
    </job_list>
  </job_info>
</job_info>
"""


@pytest.mark.feature("PA-301")
def test_a_listing_is_split_and_read() -> None:
    one = engine()
    first, second = one.records(Said(0, LISTING.format(state="r")))
    at = 1_795_346_365.0
    expected = Listed(
        name="5f.ab12", index=5, id="3.6", state=BatchState.RUNNING, reason="", node="node1", started_at=at
    )
    assert (one.listed(first), one.listed(second)) == (expected, None)
    older = LISTING.replace("0.25000", "0.71234")
    assert list(one.records(Said(0, older.format(state="r")))) == [first, second], "a priority is no news"
    for said in (Said(1, "", "got send error"), Said(0, LISTING[:600]), Said(-9, LISTING, late=True)):
        with pytest.raises(BatchError, match="qstat does not list") as caught:
            one.records(said)
        assert caught.value.transient


@pytest.mark.feature("PA-312", "PA-315")
@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("qw", BatchState.PENDING),
        ("Rq", BatchState.PENDING),
        ("hqw", BatchState.HELD),
        ("Eqw", BatchState.HELD),
        ("r", BatchState.RUNNING),
        ("t", BatchState.RUNNING),
        ("Rr", BatchState.RUNNING),
        ("dr", BatchState.RUNNING),
        ("S", BatchState.RUNNING),
        ("x", BatchState.UNKNOWN),
        ("rQ", BatchState.UNKNOWN),
        ("", BatchState.UNKNOWN),
    ],
)
def test_a_state_is_read_by_its_letters(word: str, state: BatchState) -> None:
    one = engine()
    listed = one.listed(next(iter(one.records(Said(0, LISTING.format(state=word))))))
    assert listed is not None
    assert listed.state is state
    assert bool(listed.reason) == (state in (BatchState.HELD, BatchState.UNKNOWN))


RECORD = """\
=
hostname     node1               
jobname      pa.5f.ab12          
jobnumber    6                   
taskid       1                   
start_time   {start}
end_time     {end}
failed       {failed}
exit_status  {status}
"""  # noqa: W291 -- qacct fills its columns
TIMES = {"start": "Sun Nov 22 11:19:25 2026", "end": "Sun Nov 22 11:19:27 2026"}


@pytest.mark.feature("PA-312")
@pytest.mark.parametrize(
    ("failed", "status", "code", "signal"),
    [
        ("0    ", "3                   ", 3, None),
        ("0    ", "143 (Terminated)", 143, None),
        ("100 : assumedly after job", "137                  (Killed)", None, 9),
        ("37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "140 (User defined signal 2)", WALL_TIME, None),
    ],
)
def test_accounting_gives_codes_and_signals(failed: str, status: str, code: int | None, signal: int | None) -> None:
    (listed,) = engine().recorded(Said(0, RECORD.format(failed=failed, status=status, **TIMES)))
    assert (listed.name, listed.index, listed.id, listed.node) == ("5f.ab12", 0, "6.1", "node1")
    assert (listed.exit_code, listed.signal, listed.state) == (code, signal, BatchState.ENDED)
    assert (listed.started_at, listed.ended_at) == (1_795_346_365.0, 1_795_346_367.0)


@pytest.mark.feature("PA-312")
def test_what_is_no_end_in_the_accounting() -> None:
    one = engine()
    error = RECORD.format(failed="27  : searching requested shell", status="0", start="-/-", end="-/-")
    assert one.recorded(Said(0, error)) == [], "a job in the error state has not ended"
    assert one.recorded(Said(0, RECORD[:100])) == [], "a record that is cut"
    assert one.recorded(Said(0, "error: job name pa.5f.* not found\n")) == []
    for text in (
        "/x/default/common/accounting: No such file or directory\nerror: cannot read",
        "sh: 1: qacct: not found",
    ):
        with pytest.raises(BatchError, match="qacct does not answer"):
            one.recorded(Said(0, text))


ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "docs/how-to/add-a-batch-system.md", ROOT / "examples/batch_system/README.md"]


def test_each_line_of_the_worked_example_is_one_of_the_file() -> None:
    example = PAGES[0].read_text().partition("### Worked example")[2].partition("### Rules")[0]
    shown = re.findall(r"```python\n(.*?)```", example, re.DOTALL)
    assert len(shown) >= 7
    code = (ROOT / "examples/batch_system/gridengine.py").read_text()
    assert [part for part in shown if part not in code] == []
    assert len(code.splitlines()) <= 250, "a batch system is one file of about 200 lines"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_configuration_on_the_page_is_accepted(page: Path, tmp_path: Path) -> None:
    (table,) = [text for text in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL) if "gridengine" in text]
    path = tmp_path / "agent.toml"
    hosts = '[agent]\nname = "a"\n[hosts.login]\naddress = "login.example"\n'
    path.write_text(f'{hosts}[sites.cluster.storage]\nkind = "posix"\nroot = "/store"\n{table}')
    loaded = load(path, settings_of)
    target = loaded.settings.sites["cluster"].targets["cluster-sge"]
    checked = loaded.plugin(target, GridSettings, "here")
    assert (checked.queue, checked.directory) == ("long.q", "/shared/group/prodagent")
