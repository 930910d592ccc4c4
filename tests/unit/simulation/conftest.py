"""A disk in memory that the histories of one module share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from run_agent import simulated
from services.simulation.campaign import MEMORY
from services.simulation.database import Disk
from services.simulation.history import History, Kill, Outcome
from services.simulation.scenario import read

Live = Callable[..., Outcome]


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    import tempfile

    place = MEMORY if MEMORY.is_dir() else tmp_path_factory.mktemp("disk")
    with tempfile.TemporaryDirectory(dir=place) as directory:
        yield Disk(Path(directory))


@pytest.fixture
def live(disk: Disk) -> Live:
    """Live one history of a world; fails unless everything holds in it."""

    def act(world: dict[str, Any], seed: int = 1, *kills: Kill, wrong: bool = False) -> Outcome:
        outcome = History(read(world), seed, simulated, disk, kills=kills).run()
        if not wrong:
            assert outcome.wrong == [], f"seed {seed}, kills {kills}"
        return outcome

    return act
