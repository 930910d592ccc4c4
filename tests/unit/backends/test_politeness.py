"""A site is asked little: one call for a submission of any size, one for the state of all its jobs; all are counted."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from backends.batch.asking import Traffic
from backends.batch.base import BatchError, BatchState, JobDescription
from backends.batch.scheduled import ScheduledBatch
from backends.batch.scheduler import Limits, Parcel, Said
from backends.batch.slurm import Slurm, SlurmSettings
from backends.channel.base import OverBudget
from backends.channel.hosts import Hosts
from backends.channel.local import LocalChannel
from backends.channel.pace import HOUR_S
from config.site_settings import Host
from runtime.build import build
from supervisors import SystemClock

JOBS = 1000
OPENING = 4
"""Calls of a fresh site: look, put the runtime there, unpack it, probe."""


class Paper(Slurm):
    """A batch system on paper: it writes down what it is given, and lists that as running."""

    def __init__(self, settings: SlurmSettings, book: Path) -> None:
        super().__init__(settings)
        self._book = str(book)

    def probe(self) -> list[list[str]]:
        return []

    def learn(self, answers: Sequence[Said]) -> Limits:
        return Limits(array=5000)

    def submission(self, parcel: Parcel, script: str) -> tuple[list[str], str]:
        lines = "".join(f"7|{place}|RUNNING|n1|{parcel.label}|None\n" for place in range(len(parcel.jobs)))
        return ["sh", "-c", f"cat >>{self._book}; echo 7"], lines

    def listing(self) -> list[str]:
        return ["cat", self._book]


class Hand:
    """A clock wound by hand."""

    now = 0.0

    def time(self) -> float:
        return 1_700_000_000 + self.now

    def monotonic(self) -> float:
        return self.now


@pytest.mark.feature("PA-305", "PA-309", "PA-311")
async def test_calls_do_not_grow_with_jobs(tmp_path: Path) -> None:
    (tmp_path / "book").touch()
    settings = SlurmSettings(directory=str(tmp_path / "site"))
    hosts, clock = Hosts({}), Hand()
    scheduler = Paper(settings, tmp_path / "book")
    batch = ScheduledBatch(settings, scheduler, hosts=hosts, runtime=build(tmp_path), clock=clock)
    await batch.open()
    assert batch.traffic() == Traffic(OPENING, OPENING)
    verdicts = await batch.submit([JobDescription(token=f"t{number}", spec={}) for number in range(JOBS)])
    assert all(verdict.accepted for verdict in verdicts)
    assert batch.traffic().calls == OPENING + 1
    poll = await batch.poll("")
    assert len(poll.statuses) == JOBS
    assert {status.state for status in poll.statuses} == {BatchState.RUNNING}
    await batch.poll(poll.cursor)
    await batch.watch([f"t{number}" for number in range(JOBS)])
    assert batch.traffic() == Traffic(OPENING + 4, OPENING + 4)
    clock.now += HOUR_S
    assert batch.traffic() == Traffic(OPENING + 4, 0)
    (state,) = hosts.states()
    assert (state.host, state.calls_last_hour, state.calls_per_hour_limit) == ("local", OPENING + 4, None)
    await hosts.close()


class Silent(Paper):
    """Its accounting is configured, and the command for it is missing."""

    def history(self, names: Sequence[str]) -> list[str] | None:
        return ["no-such-sacct", *names]


@pytest.mark.feature("PA-303", "PA-312")
async def test_a_missing_sacct_is_one_witness_less(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    book = tmp_path / "book"
    book.touch()
    settings = SlurmSettings(directory=str(tmp_path / "site"))
    hosts = Hosts({})
    batch = ScheduledBatch(settings, Silent(settings, book), hosts=hosts, runtime=build(tmp_path), clock=SystemClock())
    await batch.open()
    await batch.submit([JobDescription(token="t1", spec={})])
    cursor = (await batch.poll("")).cursor
    book.write_text("")
    for _ in range(2):  # gone from the queue; then its end is asked for
        poll = await batch.poll(cursor)
        assert [(one.token, one.state) for one in poll.statuses] == [("t1", BatchState.UNKNOWN)]
    assert (await batch.find(["t1"]))["t1"].state is BatchState.UNKNOWN
    assert "sacct does not answer: " in caplog.text
    assert "no-such-sacct" in caplog.text
    await hosts.close()


@pytest.mark.feature("PA-305")
async def test_this_machine_has_a_budget_too_if_a_table_says_so() -> None:
    hosts = Hosts({"local": Host(calls_per_hour=2, commands_at_once=3)})
    channel = hosts.channel("local")
    assert isinstance(channel, LocalChannel)
    for _ in range(2):
        assert (await channel.run(["true"])).code == 0
    with pytest.raises(OverBudget, match="had its 2 calls of this hour") as caught:
        await channel.run(["true"])
    assert caught.value.transient
    assert not caught.value.may_have_run
    (state,) = hosts.states()
    assert (state.calls, state.calls_last_hour, state.calls_per_hour_limit, state.slots) == (2, 2, 2, 3)
    await hosts.close()


class Strict(Paper):
    """It has a limit, which somebody may raise."""

    most_cores = 4

    def learn(self, answers: Sequence[Said]) -> Limits:
        return Limits(cores=self.most_cores)


@pytest.mark.feature("PA-305", "PA-310")
async def test_a_limit_that_was_raised_is_seen_and_not_asked_for_with_every_refusal(tmp_path: Path) -> None:
    (tmp_path / "book").touch()
    settings = SlurmSettings(directory=str(tmp_path / "site"), max_cores=16)
    hosts, clock, scheduler = Hosts({}), Hand(), Strict(settings, tmp_path / "book")
    batch = ScheduledBatch(settings, scheduler, hosts=hosts, runtime=build(tmp_path), clock=clock)
    await batch.open()

    async def answers(*cores: int) -> list[str]:
        jobs = [JobDescription(token=f"t{clock.now:g}-{most}".replace("-", "."), spec={}, cores=most) for most in cores]
        return [verdict.reason for verdict in await batch.submit(jobs)]

    over = "over the limit of the target: cores 8, at most 4"
    assert await answers(8) == [over]
    scheduler.most_cores = 64
    calls = batch.traffic().calls
    assert await answers(8) == [over]
    assert batch.traffic().calls == calls, "it is as old as before"
    clock.now += 60.0
    assert await answers(8, 17) == ["", "over the limit of the target: cores 17, at most 16"]
    assert batch.traffic().calls == calls + 2, "the limits, then the submission"
    await hosts.close()


@pytest.mark.feature("PA-308", "PA-312")
async def test_a_shared_file_system_that_is_not_there_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    settings, hosts = SlurmSettings(directory=str(tmp_path / "shared/site")), Hosts({})
    batch = ScheduledBatch(
        settings, Paper(settings, tmp_path / "book"), hosts=hosts, runtime=build(tmp_path), clock=Hand()
    )
    with pytest.raises(BatchError, match=r"shared/site cannot be used: .*No such file or directory"):
        await batch.open()
    (tmp_path / "shared").mkdir()
    await batch.open()
    await hosts.close()
