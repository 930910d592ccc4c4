"""Ten thousand random faults between an agent and a batch system that forgets, repeats, lies and answers late.

The real ScheduledBatch, clerk, marks and Slurm's words; imitated are the channel, which loses requests and answers, kills the
clerk between any two of its steps or lets it run minutes later, and the batch system. What must hold: no token runs twice,
none runs after it was declared never to run, and every job is done exactly once in the end.
Also a program: `python -m tests.acceptance.treacherous --faults 10000 --seed 1`.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from backends.batch.base import BatchError, BatchState, JobDescription
from backends.batch.slurm import SlurmBatch, SlurmSettings
from backends.channel.base import Answer, Cut, Unreachable
from runtime import report
from runtime.build import build
from runtime.clerk import Clerk
from runtime.site_spool import SiteSpool

REFUSED = "sbatch: error: Batch job submission failed: "


class Killed(BaseException):
    """The clerk is gone in the middle of its work."""


class Hand:
    """A clock that every call moves on."""

    now = 0.0

    def time(self) -> float:
        return 1.7e9 + self.now

    def monotonic(self) -> float:
        return self.now


class Treachery:
    """The imitated cluster: what it was given, what it admits to, what runs. `faults` counts its misdeeds by kind."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self.spool = SiteSpool(str(root))
        self.chance = chance
        self.faults: collections.Counter[str] = collections.Counter()
        self.ran: collections.Counter[str] = collections.Counter()
        self.queue: dict[str, dict[str, Any]] = {}
        self.limbo: list[dict[str, Any]] = []
        self.fresh: list[str] = []
        self._next = 1

    def strikes(self, kind: str, share: float) -> bool:
        """Return whether this fault happens now, and count it."""
        if self.chance.random() >= share:
            return False
        self.faults[kind] += 1
        return True

    def command(self, argv: Sequence[str]) -> dict[str, Any]:
        """Answer a command of Slurm."""
        if argv[0] == "sbatch":
            return self._sbatch(argv)
        if argv[0] == "scancel":
            for name in argv[2:]:
                self.queue.pop(name, None)
            return _said("")
        if argv[0] == "sh":
            if self.strikes("listing fails", 0.03):
                return _said("", 1, "slurm_load_jobs error: Unable to contact slurm controller")
            return _said("\n".join(map(_line, self.queue.values())))
        return _said(
            {"show": "MaxArraySize = 11\n", "-o": "PartitionName=m Default=YES MaxTime=UNLIMITED\n"}.get(
                argv[1], "8|9000"
            )
        )

    def _sbatch(self, argv: Sequence[str]) -> dict[str, Any]:
        label = next(word.partition("=")[2] for word in argv if word.startswith("--job-name="))
        place = next((word.partition("=")[2] for word in argv if word.startswith("--array=")), None)
        members = [{"label": label, "index": index, "state": "PENDING"} for index in _places(place)]
        if self.strikes("refused for now", 0.02):
            return _said("", 1, REFUSED + "Job violates accounting/QOS policy (job submit limit, x)")
        if self.strikes("time-out, not accepted", 0.05):
            return _said("", 1, REFUSED + "Socket timed out on send/recv operation")
        if self.strikes("time-out, accepted later", 0.05):
            self.limbo += members
            return _said("", 1, REFUSED + "Socket timed out on send/recv operation")
        number = self._accept(members)
        if self.strikes("time-out, accepted", 0.05):
            return _said("", 1, REFUSED + "Socket timed out on send/recv operation")
        return _said(f"{number}\n")

    def _accept(self, members: list[dict[str, Any]]) -> int:
        number, self._next = self._next, self._next + 1
        self.fresh = []
        for member in members:
            name = f"{number}_{member['index']}" if member["index"] is not None else str(number)
            self.queue[name] = dict(member, id=name)
            self.fresh.append(name)
        return number

    def tick(self) -> None:
        """Let time pass at the cluster: jobs start, end, vanish; the controller forgets what it took last."""
        if self.limbo and self.chance.random() < 0.2:
            members, self.limbo = self.limbo, []
            for member in members:
                self._accept([member])
        if self.fresh and self.strikes("controller forgets", 0.02):
            for name in self.fresh:
                self.queue.pop(name, None)
            self._next -= 1  # and gives the id to the next one
            self.fresh = []
        for name, member in list(self.queue.items()):
            if member["state"] == "PENDING" and self.chance.random() < 0.3:
                self._start(name, member)
            elif member["state"] == "RUNNING" and self.chance.random() < 0.4:
                self._end(name, member)

    def _start(self, name: str, member: dict[str, Any]) -> None:
        tokens = Path(self.spool.parcels, member["label"].partition(".")[2] + ".tokens")
        try:
            token = tokens.read_text().split()[member["index"] or 0]
            taken = self.spool.claim(token, name)
        except OSError:
            taken = False  # cleaned
        if not taken:
            self.queue.pop(name)
            return
        self.ran[token] += 1
        member.update(state="RUNNING", token=token)
        if self.strikes("started twice", 0.03) and self.spool.claim(token, "twin"):
            self.ran[token] += 1

    def _end(self, name: str, member: dict[str, Any]) -> None:
        self.queue.pop(name)
        if not self.strikes("vanishes", 0.03):
            self.spool.end(member["token"], 0, "", began=1.0, at=2.0, node="n", batch_id=name)


class Wire:
    """A channel that loses things. It runs the clerk in this process."""

    host = "nowhere"

    def __init__(self, cluster: Treachery) -> None:
        self.cluster = cluster
        self.late: list[tuple[str, bytes]] = []

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"", **_: object) -> Answer:
        if "clerk" not in argv:
            return Answer(
                0, f"{self.cluster.spool.root}\n".encode() + os.fsencode("\n".join(os.listdir(self.cluster.spool.root)))
            )
        if self.cluster.strikes("request lost", 0.03):
            raise Unreachable("no connection")
        if self.cluster.strikes("clerk runs later", 0.03):
            self.late.append((argv[-1], stdin))
            raise Cut("the connection went away")
        answer = self._clerk(argv[-1], stdin)
        if answer is None:
            raise Cut("the clerk is gone")
        if self.cluster.strikes("answer lost", 0.05):
            raise Cut("the connection went away")
        return Answer(0, json.dumps(answer).encode())

    async def put(self, path: str, content: bytes, mode: int = 0o600) -> None:
        raise AssertionError("nothing is put: the runtime is there")

    def catch_up(self) -> None:
        """Let a clerk of the past go on, long after the agent gave it up."""
        if self.late and self.cluster.chance.random() < 0.3:
            self._clerk(*self.late.pop(0))

    def _clerk(self, root: str, stdin: bytes) -> Mapping[str, Any] | None:
        clerk = Clerk(root, json.loads(stdin))
        clerk._run = lambda argv, _: self.cluster.command(argv)  # type: ignore[method-assign]
        steps = self.cluster.chance.randrange(1, 40) if self.cluster.strikes("clerk killed", 0.04) else -1

        def counted(real: Any) -> Any:
            def step(*arguments: Any, **named: Any) -> Any:
                nonlocal steps
                steps -= 1
                if steps == 0:
                    raise Killed
                return real(*arguments, **named)

            return step

        with (
            mock.patch.object(report, "write", counted(report.write)),
            mock.patch.object(os, "symlink", counted(os.symlink)),
            mock.patch.object(os, "mkdir", counted(os.mkdir)),
        ):
            try:
                return clerk.answer()
            except Killed:
                return None


class Desk:
    """What submitter and tracker do, without a store: intent, call, question in doubt; poll, compare, lost."""

    def __init__(self, batch: SlurmBatch, chance: random.Random, jobs: int) -> None:
        self.batch, self.chance = batch, chance
        self.waiting = list(range(jobs))
        self.doubt: dict[str, int] = {}
        self.live: dict[str, int] = {}
        self.absent: collections.Counter[str] = collections.Counter()
        self.never: set[str] = set()
        self.done: dict[int, str] = {}
        self.cursor = ""
        self.over: list[str] = []

    async def submit(self) -> None:
        if self.doubt:
            found = await self.batch.find(list(self.doubt))
            for token, job in self.doubt.items():
                if token in found:
                    self.live[token] = job
                else:
                    self.never.add(token)
                    self.waiting.append(job)
            self.doubt = {}
        if self.over:
            await self.batch.clean(self.over)
            self.over = []
        wanted, self.waiting = self.waiting[:25], self.waiting[25:]
        self.doubt = {f"{self.chance.getrandbits(128):032x}": job for job in wanted}
        verdicts = await self.batch.submit(
            [JobDescription(token=token, spec={"job": job}) for token, job in self.doubt.items()]
        )
        for verdict in verdicts:
            job = self.doubt.pop(verdict.token)
            if verdict.accepted:
                self.live[verdict.token] = job
            else:
                self.waiting.append(job)

    async def follow(self, *, compare: bool) -> None:
        poll = await self.batch.poll("" if compare else self.cursor)
        self.cursor = poll.cursor
        self._book({status.token: status for status in poll.statuses})
        if compare:
            listed = {status.token for status in poll.statuses if status.state is not BatchState.UNKNOWN}
            missing = [token for token in self.live if token not in listed]
            self.absent = collections.Counter({token: self.absent[token] + 1 for token in missing})
            due = [token for token in missing if self.absent[token] > 3]
            if due:
                found = await self.batch.find(due)
                self._book(found)
                lost = [token for token in due if token in self.live and self.absent[token] > 6]
                lost = [token for token in lost if token not in found or found[token].state is BatchState.UNKNOWN]
                await self.batch.cancel(lost)
                self.over += lost
                for token in lost:
                    self.waiting.append(self.live.pop(token))

    def _book(self, statuses: Mapping[str, Any]) -> None:
        for token, status in statuses.items():
            if token in self.live and status.state is BatchState.ENDED:
                job = self.live.pop(token)
                self.over.append(token)
                if status.exit_code == 0 and not status.reason:
                    assert job not in self.done, f"job {job} is done twice"
                    self.done[job] = token
                else:
                    self.waiting.append(job)


async def campaign(directory: Path, *, faults: int, seed: int, jobs: int = 60, array_max: int = 10) -> Treachery:
    """Run jobs until so many faults have happened; then everything has to come to its end. Raise AssertionError."""
    chance = random.Random(seed)
    root = directory / "site"
    cluster = Treachery(root, chance)
    cluster.spool.create()
    runtime = build(directory)
    (root / runtime.stem).mkdir()
    clock, wire = Hand(), Wire(cluster)
    settings = SlurmSettings(directory=str(root), array_max=array_max, evidence_s=5)
    hosts: Any = mock.Mock(channel=lambda _: wire)

    def batch() -> SlurmBatch:
        return SlurmBatch(settings, hosts=hosts, runtime=runtime, clock=clock)

    desk = Desk(batch(), chance, jobs)
    wanted = jobs
    for turn in range(faults * 20):
        clock.now += 1
        cluster.tick()
        wire.catch_up()
        if cluster.strikes("agent killed", 0.01):
            desk.batch, desk.cursor = batch(), ""
        with contextlib.suppress(BatchError):
            await desk.submit() if turn % 2 else await desk.follow(compare=turn % 8 == 0)
        over = cluster.faults.total() >= faults
        if not over and len(desk.done) > wanted - jobs // 2:  # keep it busy
            desk.waiting += range(wanted, wanted + jobs // 2)
            wanted += jobs // 2
        if over and len(desk.done) == wanted:
            break
    assert len(desk.done) == wanted, (
        f"{wanted - len(desk.done)} jobs forgotten: {desk.doubt} {desk.live} {desk.waiting}"
    )
    assert max(cluster.ran.values()) == 1, "a token ran twice"
    assert not desk.never & cluster.ran.keys(), "a token ran that was declared never to run"
    assert len(set(desk.done.values())) == wanted
    assert all(cluster.ran[token] == 1 for token in desk.done.values()), "a job is done that never ran"
    return cluster


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    options = parser.parse_args()
    print(f"{options.faults} faults, seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="treacherous-") as directory:
        cluster = asyncio.run(campaign(Path(directory), faults=options.faults, seed=options.seed))
    print(json.dumps(cluster.faults), f"{len(cluster.ran)} tokens ran, none twice")


def _said(out: str, code: int = 0, err: str = "") -> dict[str, Any]:
    return {"code": code, "out": out, "err": err}


def _line(member: Mapping[str, Any]) -> str:
    number, _, index = member["id"].partition("_")
    return f"{number}|{index or 'N/A'}|{member['state']}|n1|{member['label']}|None"


def _places(text: str | None) -> list[int | None]:
    if text is None:
        return [None]
    bounds = [part.split("-") for part in text.split(",")]
    return [number for pair in bounds for number in range(int(pair[0]), int(pair[-1]) + 1)]


if __name__ == "__main__":
    main()
