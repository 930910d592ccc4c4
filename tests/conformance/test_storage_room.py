"""Every storage element tells how much room it has, or that it does not tell; one that is away is not taken for full."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.storage_element import room
from backends.storage_element.base import StorageError
from backends.storage_element.memory import MemorySettings, MemoryStorage
from tests.real.elements import Place, place

SILENT = ("memory", "webdav")
"""nginx knows no quota; the other servers say what their disk says."""


@pytest.fixture(params=["posix", "memory", "sftp", "xrootd", "webdav"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place(request.param, tmp_path / "server") as made:
        yield made


@pytest.mark.feature("PA-317", "TX-14")
async def test_the_room_is_that_of_the_disk_and_a_dead_server_has_none_to_tell(running: Place) -> None:
    async with running.element() as element:
        free = await element.free()
        if running.kind in SILENT:
            assert free is None
        else:
            disk = os.statvfs(running.data if running.data.exists() else running.data.parent)
            assert free == pytest.approx(disk.f_bavail * disk.f_frsize, rel=0.1)
        if running.server is not None:
            running.server.kill()
            with pytest.raises(StorageError) as error:
                await element.free()
            assert error.value.kind == "transient"
            running.server.start()
            assert (await element.free() is None) == (free is None)


async def test_what_has_a_capacity_tells_what_is_left_of_it(tmp_path: Path) -> None:
    storage = MemoryStorage(MemorySettings(capacity=10))
    source = tmp_path / "source"
    source.write_bytes(b"1234")
    await storage.receive(source, "/store/x", "f")
    assert await storage.free() == 6


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("oss.cgroup=public&oss.space=100&oss.free=60&oss.maxf=60&oss.used=40&oss.quota=-1\n", 60),
        ("oss.cgroup=public&oss.space=100&oss.free=60&oss.maxf=60&oss.used=40&oss.quota=50", 10),
        ("oss.space=100&oss.free=60&oss.used=40&oss.quota=30", 0),
        ("", None),
        ("oss.free=many", None),
        ("oss.space=0&oss.free=0&oss.maxf=0&oss.used=0&oss.quota=-1", None),
    ],
)
def test_what_an_xrootd_server_says(said: str, expected: int | None) -> None:
    assert room.of_xrootd(said) == expected


ANSWER = """<?xml version="1.0"?><D:multistatus xmlns:D="DAV:"><D:response><D:href>/dav/</D:href><D:propstat><D:prop>
<D:quota-available-bytes>{}</D:quota-available-bytes></D:prop></D:propstat></D:response></D:multistatus>"""


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (ANSWER.format("596650"), 596_650),
        (ANSWER.format(""), None),
        (ANSWER.format("-3"), None),
        ("<D:multistatus xmlns:D='DAV:'/>", None),
        ("no xml", None),
        ("<!DOCTYPE x><a/>", None),
    ],
)
def test_what_a_webdav_server_says(page: str, expected: int | None) -> None:
    assert room.of_webdav(page.encode()) == expected
