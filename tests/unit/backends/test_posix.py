"""What only a filesystem can do wrong."""

import errno
import os
from pathlib import Path

import pytest

from backends.storage_element import posix
from backends.storage_element.base import StorageError
from backends.storage_element.memory import MemorySettings, MemoryStorage
from backends.storage_element.posix import PosixSettings, PosixStorage

LFN = "/store/a/b"


@pytest.fixture
def element(tmp_path: Path) -> PosixStorage:
    return PosixStorage(PosixSettings(root=str(tmp_path / "se")))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"content\n" * 1000)
    return path


@pytest.mark.feature("TX-07")
async def test_the_temporary_name_carries_the_fence(element: PosixStorage, source: Path) -> None:
    landed = await element.receive(source, LFN, "f1")
    assert landed.temporary == element.pfn("/store/a/.b.f1.part")
    assert os.listdir(os.path.dirname(landed.temporary)) == [".b.f1.part"]
    await element.publish(landed, LFN)
    assert os.listdir(os.path.dirname(landed.temporary)) == ["b"]


@pytest.mark.parametrize("where", ["store", "store/a"])
async def test_a_symbolic_link_out_of_the_root_is_not_followed(
    element: PosixStorage, source: Path, tmp_path: Path, where: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = tmp_path / "se" / where
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    with pytest.raises(StorageError) as caught:
        await element.receive(source, LFN, "f1")
    assert caught.value.kind == "permission"
    assert list(outside.iterdir()) == []


async def test_a_link_in_place_of_the_file_is_not_read(element: PosixStorage, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    target = tmp_path / "se" / "store" / "a" / "b"
    target.parent.mkdir(parents=True)
    target.symlink_to(secret)
    with pytest.raises(StorageError) as caught:
        await element.checksums(LFN)
    assert caught.value.kind == "permission"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, "space"),
        (errno.EDQUOT, "space"),
        (errno.EACCES, "permission"),
        (errno.EROFS, "permission"),
        (errno.EIO, "transient"),
        (errno.ESTALE, "transient"),
    ],
)
async def test_a_fault_of_the_system_has_a_kind_and_leaves_nothing(
    element: PosixStorage, source: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: str
) -> None:
    def fails(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(posix.os, "fsync", fails)
    with pytest.raises(StorageError) as caught:
        await element.receive(source, LFN, "f1")
    assert caught.value.kind == kind
    assert caught.value.transient == (kind == "transient")
    assert os.listdir(os.path.dirname(element.pfn(LFN))) == []


@pytest.mark.feature("TX-10")
@pytest.mark.parametrize("closed", [[], ["copy_file_range"], ["copy_file_range", "sendfile"]])
async def test_the_kernel_copies_as_far_as_it_can(
    element: PosixStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: list[str]
) -> None:
    """Between two file systems it may know neither way."""

    def refuses(*_: object) -> int:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    for name in closed:
        monkeypatch.setattr(posix.os, name, refuses)
    monkeypatch.setattr(posix, "PIECE", 1000)
    source = tmp_path / "large"
    source.write_bytes(os.urandom((1 << 20) + 17))
    await element.publish(await element.receive(source, LFN, "f1"), LFN)
    assert Path(element.pfn(LFN)).read_bytes() == source.read_bytes()


@pytest.mark.feature("TX-10")
async def test_a_disk_that_fills_up_under_the_kernels_copy_is_a_matter_of_space(
    element: PosixStorage, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(posix.os, "copy_file_range", full)
    with pytest.raises(StorageError) as caught:
        await element.receive(source, LFN, "f1")
    assert caught.value.kind == "space"
    assert os.listdir(os.path.dirname(element.pfn(LFN))) == []


@pytest.mark.feature("TX-09")
async def test_a_copy_that_reads_back_differently_is_refused(
    element: PosixStorage, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.fsync

    def truncates(descriptor: int) -> None:
        os.ftruncate(descriptor, 100)
        whole(descriptor)

    monkeypatch.setattr(posix.os, "fsync", truncates)
    with pytest.raises(StorageError, match="reads back as 100 bytes") as caught:
        await element.receive(source, LFN, "f1")
    assert caught.value.kind == "integrity"
    assert os.listdir(os.path.dirname(element.pfn(LFN))) == []


async def test_a_file_in_place_of_a_directory_is_a_matter_of_permission(element: PosixStorage, source: Path) -> None:
    await element.publish(await element.receive(source, "/store/a", "f1"), "/store/a")
    with pytest.raises(StorageError) as caught:
        await element.receive(source, LFN, "f1")
    assert caught.value.kind in ("permission", "exists")
    assert await element.size(LFN) is None


async def test_a_full_memory_element_says_so(source: Path) -> None:
    element = MemoryStorage(MemorySettings(capacity=100))
    with pytest.raises(StorageError) as caught:
        await element.receive(source, LFN, "f1")
    assert caught.value.kind == "space"
