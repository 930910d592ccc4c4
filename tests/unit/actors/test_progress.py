"""How far copies have come, as it is asked and told."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors import progress
from actors.progress import LOOK_S, Copy, Progress
from backends.storage_element.base import StorageError
from domain.transfer import TransferState
from storage.transfers import Transfer

pytestmark = pytest.mark.feature("TX-10")

SIZE = 200_000_000


def task(identity: int, destination: str = "alps", size: int = SIZE) -> Transfer:
    return Transfer(
        id=identity,
        file_id=1,
        source="cern",
        destination=destination,
        state=TransferState.MOVING,
        attempt=1,
        fence=3,
        lfn="/store/a",
        size=size,
        adler32="",
        sha256="",
        wake_at=None,
        reason="",
    )


@pytest.mark.parametrize(
    ("looks", "text", "rate"),
    [
        ([], "", 0.0),
        ([(10.0, None)], "", 0.0),
        ([(10.0, 50_000_000)], "50 MB of 200 MB, 5 MB/s", 5e6),
        ([(10.0, 50_000_000), (20.0, 51_000_000)], "51 MB of 200 MB, 100 kB/s", 1e5),
        ([(10.0, 50_000_000), (20.0, 50_000_000), (30.0, 50_000_000)], "50 MB of 200 MB, nothing new for 20 s", 0.0),
        ([(10.0, 0)], "0 bytes of 200 MB, nothing new for 10 s", 0.0),
        ([(10.0, SIZE)], "all 200 MB are there and being verified", 2e7),
    ],
)
def test_what_is_said_of_a_copy(looks: list[tuple[float, int | None]], text: str, rate: float) -> None:
    copy = Copy(task(1), 0.0)
    for now, done in looks:
        copy.seen(done, now)
    assert copy.text() == text
    assert copy.rate == pytest.approx(rate)


def test_a_copy_is_looked_at_every_ten_seconds_and_not_before() -> None:
    assert LOOK_S == 10.0
    made = Progress()
    made.begun(task(1), 0.0)
    made.begun(task(2), 5.0)
    assert made.due(9.9) == []
    (first,) = made.due(10.0)
    first.seen(1, 10.0)
    assert [copy.task.id for copy in made.due(15.0)] == [2]
    assert [copy.task.id for copy in made.due(20.0)] == [1, 2]
    made.ended(task(1))
    assert [copy.task.id for copy in made.due(99.0)] == [2]


async def test_each_is_asked_where_it_goes_and_none_waits_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One element tells, one is away, one says nothing, one has been taken out; one file is fetched to this machine first."""
    monkeypatch.setattr(progress, "ANSWER_S", 0.01)
    asked: list[tuple[str, str]] = []

    async def tells(lfn: str, fence: str) -> int:
        asked.append((lfn, fence))
        return 40_000_000

    async def away(*_: str) -> int:
        raise StorageError("it does not answer", kind="transient")

    async def hangs(*_: str) -> int:
        await asyncio.Event().wait()
        return 1

    storages: Any = {
        name: SimpleNamespace(under_way=act) for name, act in (("alps", tells), ("away", away), ("slow", hangs))
    }
    clock: Any = SimpleNamespace(monotonic=lambda: 10.0)
    made = Progress()
    for number, name in enumerate(("alps", "away", "slow", "gone", "home"), 1):
        made.begun(task(number, name), 0.0)
    here = tmp_path / "file"
    here.write_bytes(bytes(1000))
    with made.fetching(task(5, "home"), here):
        await made.look(made.due(10.0), storages, clock)
        assert asked == [("/store/a", "1.3")]
        assert made.sums() == {
            "alps": (40_000_000, 4e6),
            "away": (0, 0.0),
            "slow": (0, 0.0),
            "gone": (0, 0.0),
            "home": (1000, 100.0),
        }
        assert made._copies[5].text() == "fetched from cern: 1 kB of 200 MB, 100 bytes/s"
    assert made.due(10.0) == []
