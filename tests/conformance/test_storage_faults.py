"""What every remote storage element must do when its server, its disk or its network fails: nothing half is ever published."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backends.storage_element import sftp, webdav, xrootd
from backends.storage_element.base import StorageElement, StorageError
from backends.storage_element.sums import read_through
from tests.real.elements import REMOTE, Place, place

LFN = "/store/unmerged/a/b.root"
LARGE = 120_000_000
"""Bytes: long enough under way to be caught in the middle."""


@pytest.fixture(params=REMOTE)
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place(request.param, tmp_path / "server") as made:
        yield made


@pytest.fixture
async def element(running: Place) -> AsyncIterator[StorageElement]:
    async with running.element() as made:
        yield made


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "source"
    with path.open("wb") as sink:
        block = os.urandom(1_000_000)
        for _ in range(LARGE // len(block)):
            sink.write(block)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small"
    path.write_bytes(os.urandom(100_000))
    return path


async def caught(act: Callable[[], Awaitable[object]]) -> StorageError:
    with pytest.raises(StorageError) as error:
        await act()
    return error.value


def parts(running: Place) -> list[Path]:
    """Return what lies under temporary names, on the server's own disk."""
    return list(running.data.rglob("*.part")) + [path for path in running.data.glob(".incoming/*") if path.is_file()]


async def under_way(running: Place, task: asyncio.Task[object]) -> None:
    """Return when some bytes lie at the server."""
    while not any(path.stat().st_size for path in parts(running)):
        assert not task.done(), "it was over before it could be caught"
        await asyncio.sleep(0.001)


def children(word: str) -> list[str]:
    said = subprocess.run(["pgrep", "-f", word], check=False, capture_output=True, text=True).stdout
    return [
        pid
        for pid in said.split()
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith((b"sftp", b"xrdcp", b"ssh", b"curl"))
    ]


@pytest.mark.feature("TX-07", "TX-09")
async def test_a_server_killed_in_the_middle_publishes_nothing(
    element: StorageElement, running: Place, large: Path, small: Path
) -> None:
    moving = asyncio.create_task(element.receive(large, LFN, "f1"))
    await under_way(running, moving)
    assert running.server is not None
    running.server.kill()
    assert (await caught(lambda: moving)).kind == "transient"
    running.server.start()
    assert await element.size(LFN) is None
    assert await element.list("/store") == []
    landed = await element.receive(small, LFN, "f1")
    await element.publish(landed, LFN)
    assert await element.checksums(LFN) == read_through(small).checksums


@pytest.mark.feature("TX-10")
async def test_a_mover_that_hangs_is_killed_with_its_processes(
    element: StorageElement, running: Place, large: Path, small: Path
) -> None:
    moving = asyncio.create_task(element.receive(large, LFN, "f1"))
    await under_way(running, moving)
    assert running.server is not None
    running.server.freeze()
    moving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await moving
    assert children(str(large)) == []
    running.server.thaw()
    await element.discard(LFN, "f1")
    assert await element.size(LFN) is None
    await element.publish(await element.receive(small, LFN, "f2"), LFN)
    assert await element.size(LFN) == small.stat().st_size


WRITERS = {
    "sftp": (sftp, "_write"),
    "webdav": (webdav.WebdavStorage, "_put"),
    "xrootd": (xrootd.XrootdStorage, "_copy"),
}


@pytest.mark.feature("TX-09")
@pytest.mark.parametrize("damage", ["short", "flipped"])
async def test_a_copy_that_differs_is_never_landed(
    element: StorageElement, running: Place, small: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """Spoil what lies on the server's disk between the last byte and the verification."""
    owner, name = WRITERS[running.kind.partition("-")[0]]
    if running.kind == "sftp-child":
        owner, name = sftp.SftpStorage, "_by_child"
    write = getattr(owner, name)

    async def spoiled(*given: object, **named: object) -> object:
        answer = await write(*given, **named)
        for path in parts(running):
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content[:-1] if damage == "short" else content)
        return answer

    monkeypatch.setattr(owner, name, spoiled)
    error = await caught(lambda: element.receive(small, LFN, "f1"))
    assert error.kind == "integrity"
    assert "reads back as" in str(error)
    assert parts(running) == []
    assert await element.size(LFN) is None


@pytest.mark.feature("TX-07", "TX-09")
async def test_a_truncated_file_under_the_final_name_is_seen_and_kept_apart(
    element: StorageElement, running: Place, small: Path
) -> None:
    """As XRootD leaves it when a worker's plain copy dies: it is neither taken for the file nor written over."""
    landed = await element.receive(small, LFN, "f1")
    await element.publish(landed, LFN)
    final = next(path for path in running.data.rglob("b.root") if path.is_file())
    os.truncate(final, 40_000)
    assert await element.size(LFN) == 40_000
    assert await element.checksums(LFN) != landed.checksums
    second = await element.receive(small, LFN, "f2")
    assert (await caught(lambda: element.publish(second, LFN))).kind == "exists"
    assert final.stat().st_size == 40_000
    assert await element.delete(LFN)
    await element.publish(second, LFN)
    assert await element.checksums(LFN) == landed.checksums


@contextmanager
def little_disk(directory: Path) -> Iterator[Path]:
    """Yield a file system of 4 MB."""
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=777", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount the little file system that gets full")
@pytest.mark.parametrize("kind", REMOTE)
async def test_a_full_disk_is_a_matter_of_space(kind: str, tmp_path: Path, small: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom(6_000_000))
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if "pytest-of" in str(parent):
            parent.chmod(0o755)
    with little_disk(tmp_path / "disk") as disk, place(kind, tmp_path / "server", disk) as running:
        async with running.element() as element:
            error = await caught(lambda: element.receive(big, LFN, "f1"))
            assert error.kind == ("transient" if kind.startswith("webdav") else "space"), error  # nginx answers 500
            assert await element.size(LFN) is None
            assert parts(running) == []
            await element.publish(await element.receive(small, LFN, "f2"), LFN)
            assert await element.checksums(LFN) == read_through(small).checksums
