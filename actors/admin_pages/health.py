"""Whether the agent lives, and whether it can work."""

import asyncio

from aiohttp import web

from actors.admin_pages.answers import Health
from actors.admin_pages.desk import Desk
from actors.admin_pages.reading import WELL

PATIENCE_S = 5.0


async def healthz(_desk: Desk, _request: web.Request) -> Health:
    """The process lives and its loop turns: it has just answered."""
    return Health(ok=True, problems=[])


async def readyz(desk: Desk, _request: web.Request) -> Health:
    """Every essential actor runs and the store takes a write."""
    snapshot = desk.system.snapshot()
    problems = [
        f"{actor.name} is {actor.state}" for actor in snapshot.actors if actor.essential and actor.state not in WELL
    ]
    if snapshot.stopping:
        problems.append("the agent is stopping")
    try:
        async with asyncio.timeout(PATIENCE_S):
            await desk.world.store.write(lambda _tx: None, sender="admin")
    except Exception as error:
        problems.append(f"the store takes no writes: {error or type(error).__name__}")
    return Health(ok=not problems, problems=problems)
