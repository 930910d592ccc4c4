"""What every storage element must do: the contract of backends/storage_element/base.py, run against each of them."""

import asyncio
import hashlib
import os
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from backends.storage_element.base import Landed, StorageElement, StorageError
from backends.storage_element.sums import read_through
from tests.real.elements import KINDS, Place, place

CONTENT = os.urandom(3 * 1024 * 1024 + 17)
LFN = "/store/unmerged/a/b.root"


@pytest.fixture(scope="module", params=KINDS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(request.param, tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture
async def element(running: Place) -> AsyncIterator[StorageElement]:
    async with running.element() as made:
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


async def kind_of(act: Callable[[], object]) -> str:
    with pytest.raises(StorageError) as caught:
        await act()  # type: ignore[misc]
    return caught.value.kind


@pytest.mark.feature("TX-07", "TX-09")
async def test_a_file_is_received_verified_and_published(element: StorageElement, source: Path) -> None:
    landed = await element.receive(source, LFN, "fence1")
    assert landed.size == len(CONTENT)
    assert landed.checksums.adler32 == f"{zlib.adler32(CONTENT):08x}"
    assert landed.checksums.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert await element.size(LFN) is None
    assert await element.list("/store") == []
    await element.publish(landed, LFN)
    assert await element.size(LFN) == len(CONTENT)
    assert await element.checksums(LFN) == landed.checksums
    assert await element.list("/store") == [(LFN, len(CONTENT))]


@pytest.mark.feature("TX-09")
@pytest.mark.parametrize("content", [CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), CONTENT[:-1]], ids=["flipped", "short"])
async def test_a_source_that_is_not_as_at_its_birth_never_lands(
    element: StorageElement, running: Place, source: Path, content: bytes
) -> None:
    """The catalogue's size and checksums decide, not those of what happens to lie at the source now."""
    birth = read_through(source).birth
    write(source, content)

    async def receive() -> Landed:
        return await element.receive(source, LFN, "fence1", birth)

    assert await kind_of(receive) == "integrity"
    assert list(running.area.rglob("*.part")) == []
    write(source, CONTENT)
    landed = await receive()
    assert (landed.size, landed.checksums) == (birth.size, birth.checksums)


@pytest.mark.feature("TX-09", "TX-10")
async def test_a_source_is_moved_without_being_summed_up_again(
    element: StorageElement, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    birth = read_through(source).birth
    for module in ("posix", "sftp", "webdav", "xrootd"):
        for name in ("read_through", "sums_of"):
            monkeypatch.setattr(f"backends.storage_element.{module}.{name}", None, raising=False)
    landed = await element.receive(source, LFN, "fence1", birth)
    await element.publish(landed, LFN)
    assert landed.method in ("read back", "server adler32", "server sha256")
    assert await element.size(LFN) == len(CONTENT)


@pytest.mark.feature("TX-07")
async def test_publishing_never_overwrites(element: StorageElement, source: Path) -> None:
    await element.publish(await element.receive(source, LFN, "fence1"), LFN)
    write(source, b"another")
    second = await element.receive(source, LFN, "fence2")
    assert await kind_of(lambda: element.publish(second, LFN)) == "exists"
    assert await element.size(LFN) == len(CONTENT)
    await element.discard(LFN, "fence2")
    assert await element.size(LFN) == len(CONTENT)


@pytest.mark.feature("TX-07")
async def test_an_earlier_leftover_of_the_same_fence_is_replaced(element: StorageElement, source: Path) -> None:
    await element.receive(source, LFN, "fence1")
    write(source, b"second")
    landed = await element.receive(source, LFN, "fence1")
    await element.publish(landed, LFN)
    assert await element.size(LFN) == 6


@pytest.mark.feature("TX-07")
async def test_two_fences_do_not_meet(element: StorageElement, source: Path) -> None:
    first = await element.receive(source, LFN, "fence1")
    await element.receive(source, LFN, "fence2")
    await element.discard(LFN, "fence2")
    await element.discard(LFN, "fence2")
    await element.publish(first, LFN)
    assert await element.checksums(LFN) == first.checksums


@pytest.mark.feature("TX-07")
async def test_a_discarded_file_cannot_be_published(element: StorageElement, source: Path) -> None:
    landed = await element.receive(source, LFN, "fence1")
    await element.discard(LFN, "fence1")
    assert await kind_of(lambda: element.publish(landed, LFN)) == "missing"
    assert await element.size(LFN) is None


@pytest.mark.feature("TX-07")
async def test_a_temporary_file_is_published_under_its_own_name_only(element: StorageElement, source: Path) -> None:
    landed = await element.receive(source, LFN, "fence1")
    assert await kind_of(lambda: element.publish(landed, "/store/elsewhere/c")) == "permission"


async def test_delete_tells_whether_there_was_a_file(element: StorageElement, source: Path) -> None:
    await element.publish(await element.receive(source, LFN, "fence1"), LFN)
    assert await element.delete(LFN)
    assert not await element.delete(LFN)
    assert not await element.delete("/store/never/was")
    assert await element.size(LFN) is None


async def test_what_is_missing_is_said_to_be(element: StorageElement, tmp_path: Path) -> None:
    assert await kind_of(lambda: element.checksums(LFN)) == "missing"
    assert await kind_of(lambda: element.receive(tmp_path / "no-source", LFN, "f")) == "missing"
    assert await element.size(LFN) is None
    assert await element.list("/store") == []


async def test_list_is_sorted_and_below_its_prefix(element: StorageElement, source: Path) -> None:
    write(source, b"x")
    names = ["/store/b/2", "/store/b/1", "/store/a/1", "/store/bb/1", "/other/1"]
    for name in names:
        await element.publish(await element.receive(source, name, "f"), name)
    assert [name for name, _ in await element.list("/store/b")] == ["/store/b/1", "/store/b/2"]
    assert [name for name, _ in await element.list("/store/b/")] == ["/store/b/1", "/store/b/2"]
    assert [name for name, _ in await element.list("/")] == sorted(names)


async def test_an_empty_file_is_a_file(element: StorageElement, source: Path) -> None:
    write(source, b"")
    await element.publish(await element.receive(source, LFN, "f"), LFN)
    assert await element.size(LFN) == 0
    assert (await element.checksums(LFN)).adler32 == "00000001"


@pytest.mark.parametrize(
    "lfn", ["", "store/x", "/", "/store/../x", "/store/./x", "//store/x", "/store/", "/store/x/..", "/a\0b"]
)
async def test_a_name_that_leads_out_is_refused(element: StorageElement, source: Path, lfn: str) -> None:
    with pytest.raises(StorageError) as caught:
        element.pfn(lfn)
    assert caught.value.kind == "permission"
    assert await kind_of(lambda: element.receive(source, lfn, "f")) == "permission"
    assert await kind_of(lambda: element.delete(lfn)) == "permission"
    assert await kind_of(lambda: element.size(lfn)) == "permission"


@pytest.mark.parametrize("fence", ["", "../x", "a/b"])
async def test_a_fence_that_leads_out_is_refused(element: StorageElement, source: Path, fence: str) -> None:
    assert await kind_of(lambda: element.receive(source, LFN, fence)) == "permission"
    assert await kind_of(lambda: element.discard(LFN, fence)) == "permission"


async def test_the_local_path_opens_the_file_if_there_is_one(element: StorageElement, source: Path) -> None:
    await element.publish(await element.receive(source, LFN, "f"), LFN)
    path = element.local_path(LFN)
    assert path is None or path.read_bytes() == CONTENT


async def test_a_fetched_file_is_the_published_one(element: StorageElement, source: Path, tmp_path: Path) -> None:
    landed = await element.receive(source, LFN, "f")
    await element.publish(landed, LFN)
    target = tmp_path / "fetched"
    assert await element.fetch(LFN, target) == landed.checksums
    assert target.read_bytes() == CONTENT


async def test_what_cannot_be_fetched_leaves_nothing(element: StorageElement, tmp_path: Path) -> None:
    target = tmp_path / "fetched"
    assert await kind_of(lambda: element.fetch(LFN, target)) == "missing"
    assert not target.exists()


async def test_a_closed_element_opens_again(element: StorageElement, source: Path) -> None:
    await element.publish(await element.receive(source, LFN, "f"), LFN)
    await element.close()
    await element.close()
    assert await element.size(LFN) == len(CONTENT)


@pytest.mark.feature("TX-10")
async def test_many_files_come_at_once_into_a_new_directory(element: StorageElement, tmp_path: Path) -> None:
    contents = {f"/store/new/dir{n % 3}/f{n}": os.urandom(n * 100) for n in range(40)}

    async def bring(lfn: str, content: bytes) -> None:
        source = tmp_path / lfn.rpartition("/")[2]
        source.write_bytes(content)
        landed = await element.receive(source, lfn, "f")
        assert landed.checksums.sha256 == hashlib.sha256(content).hexdigest()
        await element.publish(landed, lfn)

    await asyncio.gather(*(bring(lfn, content) for lfn, content in contents.items()))
    assert dict(await element.list("/store")) == {lfn: len(content) for lfn, content in contents.items()}
    for lfn in list(contents)[::13]:
        assert (await element.checksums(lfn)).sha256 == hashlib.sha256(contents[lfn]).hexdigest()
