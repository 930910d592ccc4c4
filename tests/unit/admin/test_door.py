"""The door listens before anybody can let callers in."""

import asyncio
import socket

import pytest

from actors.admin_pages.door import Door
from supervisors.testing import Signal


@pytest.mark.feature("REL-13")
async def test_who_knocks_is_heard_once_and_waits() -> None:
    door = await Door.open("127.0.0.1", 0)
    knocked, knocks = Signal(), []
    try:
        door.watch(lambda: (knocks.append(1), knocked.fire()))
        callers = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(3)]
        await knocked.reached()
        served = await asyncio.start_server(lambda _, writer: writer.close(), sock=door.sockets[0])
        assert [await reader.read() for reader, _ in callers] == [b"", b"", b""]
        for _, writer in callers:
            writer.close()
        served.close()
        await served.wait_closed()
    finally:
        door.close()
    assert knocks == [1]
    assert door.sockets[0].fileno() == -1


async def test_every_address_of_a_name_has_the_same_port() -> None:
    door = await Door.open("localhost", 0)
    try:
        assert {each.getsockname()[1] for each in door.sockets} == {door.port}
        assert door.url == f"http://localhost:{door.port}"
    finally:
        door.close()
        door.close()


async def test_nothing_stays_open_when_the_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await Door.open("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "told"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("10.0.0.7", "10.0.0.7")]
)
def test_clients_here_are_told_an_address_that_they_reach(host: str, told: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert Door(host, [listening]).url == f"http://{told}:{listening.getsockname()[1]}"
