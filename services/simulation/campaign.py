"""Many histories: one per seed, or one per await at which the agent is killed; on all cores."""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec

from services.simulation.database import Disk
from services.simulation.history import History, Kill, Outcome
from services.simulation.life import Build
from services.simulation.scenario import Scenario

MEMORY = Path("/dev/shm")  # noqa: S108
"""A directory in memory, where there is one: nothing of a simulation has to survive."""


class Trial(msgspec.Struct, frozen=True):
    """One history to be lived: its seed, and where the agent is killed beside what the scenario says."""

    seed: int
    kills: tuple[Kill, ...] = ()

    def __str__(self) -> str:
        return " ".join([f"--seed {self.seed}", *(f"--kill {kill.life}:{kill.after}" for kill in self.kills)])


def live(scenario: Scenario, build: Build, trial: Trial, progress: Callable[[float], None] | None = None) -> Outcome:
    """Live one history in a directory of its own."""
    with _directory() as directory:
        return History(scenario, trial.seed, build, Disk(Path(directory)), kills=trial.kills, progress=progress).run()


def live_all(
    scenario: Scenario, build: Build, trials: Sequence[Trial], workers: int = 1
) -> Iterator[tuple[Trial, Outcome]]:
    """Yield each trial with what came of it, in order; `workers` processes share the work."""
    if workers <= 1 or len(trials) <= 1:
        with _directory() as directory:
            disk = Disk(Path(directory))
            for trial in trials:
                yield trial, History(scenario, trial.seed, build, disk, kills=trial.kills).run()
        return
    forked = multiprocessing.get_context("fork")  # the tree's builder comes along without being pickled
    _worker.scenario, _worker.build = scenario, build
    with _directory() as place, ProcessPoolExecutor(workers, forked, _worker.settle, (place,)) as pool:
        yield from zip(trials, pool.map(_lived, trials, chunksize=4), strict=True)


class _Worker:
    """What a process of the pool keeps between its histories."""

    scenario: Scenario
    build: Build
    disk: Disk

    def settle(self, place: str) -> None:
        """Called once in each process, which cleans up nothing when it ends: its directory lies in one of its parent's."""
        self.disk = Disk(Path(tempfile.mkdtemp(dir=place)))


_worker = _Worker()


def _lived(trial: Trial) -> Outcome:
    return History(_worker.scenario, trial.seed, _worker.build, _worker.disk, kills=trial.kills).run()


def _directory() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(
        prefix="prodagent-simulation-", dir=MEMORY if MEMORY.is_dir() else None, ignore_cleanup_errors=True
    )


def each_await(steps: int, seed: int, every: int, first: int = 1) -> list[Trial]:
    """Return one trial per `every`-th step of a life of so many steps: the agent is killed after it."""
    return [Trial(seed, (Kill(0, after),)) for after in range(first, steps + 1, every)]
