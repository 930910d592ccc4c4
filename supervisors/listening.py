"""Sockets that listen, on every address of a host."""

import asyncio
import socket

WAITING = 128
"""Most callers that wait to be let in."""

AT_ONCE = 1
"""Most callers that asyncio lets in at once: it says as often as that, at once, that there are no more open files."""


async def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of a host, on the same free port if 0. Raises OSError, with nothing left open."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((each[0], each[4][0]) for each in found):
            place = (address, sockets[0].getsockname()[1] if sockets else port)
            sockets.append(socket.create_server(place, family=family, backlog=WAITING))
    except BaseException:
        for each in sockets:
            each.close()
        raise
    return sockets
