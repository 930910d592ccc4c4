"""Files arrive whole, too, where the usual way is closed: no curl here, no shell there, or a shell that shows other files."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from backends.storage_element import shell, xrdfs
from backends.storage_element.base import Landed, StorageElement
from backends.storage_element.sums import read_through
from tests.real.elements import Place, place
from tests.real.sshd import Sshd

pytestmark = pytest.mark.feature("TX-09", "TX-10")


@pytest.fixture
def many(tmp_path: Path) -> list[Path]:
    made = [tmp_path / f"many{number}.root" for number in range(12)]
    for path in made:
        path.write_bytes(os.urandom(40_000))
    return made


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[Place]:
    with place("sftp", tmp_path / "server") as made:
        yield made


async def brought(element: StorageElement, sources: list[Path]) -> list[Landed]:
    """Receive and publish files at once, and see that they are there as they were."""

    async def one(source: Path) -> Landed:
        landed = await element.receive(source, f"/store/{source.name}", "f1")
        await element.publish(landed, f"/store/{source.name}")
        return landed

    landed = list(await asyncio.gather(*map(one, sources)))
    for source in sources:
        assert await element.checksums(f"/store/{source.name}") == read_through(source).checksums
    return landed


async def test_many_small_files_go_by_one_command_and_no_further_connection(sftp: Place, many: list[Path]) -> None:
    async with sftp.element() as element:
        landed = await brought(element, many)
    assert {each.method for each in landed} == {"server sha256"}
    assert isinstance(sftp.server, Sshd)
    assert sftp.server.accepted() == 1


async def test_an_account_for_sftp_alone_is_read_back(tmp_path: Path, many: list[Path]) -> None:
    with Sshd(tmp_path / "server", options="ForceCommand internal-sftp") as server:
        running = Place("sftp", tmp_path / "server", server)
        async with running.element() as element:
            landed = await brought(element, many)
    assert {each.method for each in landed} == {"read back"}


@pytest.mark.parametrize("code", [126, 127])
async def test_a_host_without_the_programs_is_not_asked_again(
    sftp: Place, many: list[Path], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(shell, "UNPACK", f"echo asked >> {sftp.data}/asked; exit {code}")
    async with sftp.element() as element:
        assert {each.method for each in await brought(element, many[:6])} == {"read back"}
        assert {each.method for each in await brought(element, many[6:])} == {"read back"}
    assert (sftp.data / "asked").read_text() == "asked\n"


async def test_a_shell_that_shows_other_files_is_not_believed(
    sftp: Place, many: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with an account whose SFTP begins in another directory than its shell."""
    monkeypatch.setattr(shell, "UNPACK", 'cat >/dev/null; for path; do echo "00 *$path"; done')
    async with sftp.element() as element:
        assert {each.method for each in await brought(element, many)} == {"read back"}


async def test_without_curl_files_go_by_the_agent_itself(
    tmp_path: Path, many: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    large = tmp_path / "large.root"
    large.write_bytes(os.urandom(9_000_000))
    with place("webdav", tmp_path / "server") as running:
        monkeypatch.setenv("PATH", str(tmp_path))
        async with running.element() as element:
            assert "no curl on this machine" in caplog.text
            await brought(element, [*many, large])


async def test_an_xrootd_server_is_asked_for_two_sums_at_a_time(
    tmp_path: Path, many: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has whoever asks while it counts four wait for 30 s."""
    ask = xrdfs._Program.ask
    asking: list[int] = []
    most = 0

    async def noted(self: xrdfs._Program, server: str, questions: Sequence[Any]) -> bool:
        nonlocal most
        if any("checksum" in question.words for question in questions):
            asking.append(1)
            most = max(most, len(asking))
            try:
                return await ask(self, server, questions)
            finally:
                asking.pop()
        return await ask(self, server, questions)

    monkeypatch.setattr(xrdfs._Program, "ask", noted)
    more = [path.with_name(f"{path.name}-{copy}") for path in many for copy in range(5)]
    for path in more:
        path.write_bytes(os.urandom(1000))
    with place("xrootd", tmp_path / "server") as running:
        async with running.element() as element:
            landed = await brought(element, more)
    assert {each.method for each in landed} == {"server adler32"}
    assert most == 2


async def test_a_directory_that_was_removed_meanwhile_is_made_again(tmp_path: Path, many: list[Path]) -> None:
    with place("webdav", tmp_path / "server") as running:
        async with running.element() as element:
            await brought(element, many[:6])
            for path in (running.area / "store").iterdir():
                path.unlink()
            (running.area / "store").rmdir()
            await brought(element, many[6:])
