"""Files that are wanted at the same time go together, and each is answered for itself."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from backends.storage_element import batches
from backends.storage_element.base import Birth, Checksums, StorageError
from backends.storage_element.batches import Batches, Move
from backends.storage_element.sums import read_through

pytestmark = pytest.mark.feature("TX-10")


class Mover:
    """Notes its runs; what it does with one is `act`."""

    def __init__(self, act: Callable[[Sequence[Move]], Awaitable[None]] | None = None) -> None:
        self.runs: list[list[str]] = []
        self._act = act

    async def __call__(self, moves: Sequence[Move]) -> None:
        self.runs.append([move.target for move in moves])
        if self._act is not None:
            await self._act(moves)
            return
        for move in moves:
            move.landed()


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    made = [tmp_path / f"f{number}" for number in range(6)]
    for number, path in enumerate(made):
        path.write_bytes(bytes([number]) * (number + 1))
    return made


def born(path: Path) -> Birth:
    return read_through(path).birth if path.exists() else Birth(0, Checksums("00000001", "e3"))


async def bring(made: Batches, sources: Sequence[Path], birth: Birth | None = None) -> list[Move | BaseException]:
    moving = (made.move(path, f"/t/{path.name}", birth or born(path)) for path in sources)
    return await asyncio.gather(*moving, return_exceptions=True)


async def test_what_is_wanted_at_once_goes_in_one_run(sources: list[Path]) -> None:
    mover = Mover()
    moves = await bring(Batches(mover, 4), sources)
    assert mover.runs == [[f"/t/f{number}" for number in range(6)]]
    for move, path in zip(moves, sources, strict=True):
        assert isinstance(move, Move)
        assert move.birth == born(path)


async def test_runs_share_what_is_more_than_a_share(sources: list[Path]) -> None:
    mover = Mover()
    await bring(Batches(mover, 2, share=2), sources)
    assert sorted(mover.runs) == [["/t/f0", "/t/f1", "/t/f2"], ["/t/f3", "/t/f4", "/t/f5"]]


async def test_a_source_of_another_size_than_at_its_birth_is_not_moved(sources: list[Path]) -> None:
    mover = Mover()
    moved, error, *_ = await bring(Batches(mover, 4), sources, Birth(1, Checksums("00000001", "5f")))
    assert isinstance(moved, Move)
    assert isinstance(error, StorageError)
    assert (error.kind, str(error)) == ("integrity", f"source {sources[1]} has 2 bytes, expected 1")
    assert mover.runs == [["/t/f0"]]


async def test_a_run_takes_only_so_many_bytes(sources: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_BYTES", 6)
    mover = Mover()
    await bring(Batches(mover, 1), sources)
    assert mover.runs == [["/t/f0", "/t/f1", "/t/f2"], ["/t/f3"], ["/t/f4"], ["/t/f5"]]


async def test_a_source_that_is_gone_fails_alone(sources: list[Path]) -> None:
    sources[2].unlink()
    mover = Mover()
    answers = await bring(Batches(mover, 4), sources)
    error = answers.pop(2)
    assert isinstance(error, StorageError)
    assert error.kind == "missing"
    assert str(sources[2]) in str(error)
    assert all(isinstance(answer, Move) for answer in answers)
    assert "/t/f2" not in mover.runs[0]


async def test_what_the_mover_does_not_answer_for_has_failed(sources: list[Path]) -> None:
    async def some(moves: Sequence[Move]) -> None:
        moves[0].landed()
        moves[1].failed(StorageError("no room for /t/f1", kind="space"))

    landed, *errors = await bring(Batches(Mover(some), 4), sources[:3])
    assert isinstance(landed, Move)
    assert [(error.kind, str(error)) for error in errors if isinstance(error, StorageError)] == [
        ("space", "no room for /t/f1"),
        ("transient", "/t/f2: the mover said nothing of this file"),
    ]


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (StorageError("the disk is full", kind="space"), "space", "/t/f1: the disk is full"),
        (ZeroDivisionError("a slip"), "transient", "/t/f1: ZeroDivisionError: a slip"),
    ],
)
async def test_what_the_mover_raises_fails_those_that_have_not_landed(
    sources: list[Path], fault: Exception, kind: str, text: str
) -> None:
    async def breaking(moves: Sequence[Move]) -> None:
        moves[0].landed()
        raise fault

    answers = await bring(Batches(Mover(breaking), 4), sources[:2])
    assert isinstance(answers[1], StorageError)
    assert (answers[1].kind, str(answers[1])) == (kind, text)
    assert isinstance(answers[0], Move) is isinstance(fault, StorageError)


async def test_a_run_ends_when_the_last_that_waits_for_it_gives_up(sources: list[Path]) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hanging(moves: Sequence[Move]) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    made = Batches(Mover(hanging), 1)
    waiting = [asyncio.create_task(made.move(path, f"/t/{path.name}", born(path))) for path in sources[:2]]
    await begun.wait()
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    assert not ended.is_set()
    waiting[1].cancel()
    await asyncio.gather(waiting[1], return_exceptions=True)
    assert ended.is_set()


async def test_who_gives_up_before_the_run_is_left_out(sources: list[Path]) -> None:
    mover = Mover()
    made = Batches(mover, 1)
    waiting = [asyncio.create_task(made.move(path, f"/t/{path.name}", born(path))) for path in sources[:3]]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert mover.runs == [["/t/f0", "/t/f2"]]
