"""The log of one job: from its node while it runs, what was kept of it afterwards."""

import asyncio

from aiohttp import web

from actors.admin_pages.answers import JobLog
from actors.admin_pages.desk import ASK_S, Desk
from actors.admin_pages.reading import number
from actors.admin_pages.refusal import Refusal, bad_value, not_found
from backends.batch.base import BatchError
from backends.batch.watching import Glimpse, Watching
from storage import views
from storage.views import AttemptView

TAIL = 64 * 1024
MOST = 1024 * 1024
"""Bytes of a log in one answer: where nothing is said, and at most."""


async def job_log(desk: Desk, request: web.Request) -> JobLog:
    """Ask the target once; whoever follows a log asks again."""
    tail = _tail(request)
    job = await desk.read(lambda c: views.one_job(c, number(request, "job")))
    if not job.attempts_made:
        raise not_found(f"job {job.id} was never submitted: it has no log")
    tried = job.attempts_made[-1]
    shown = await _watch(desk, tried, tail) if tried.live else None
    if shown is None:
        kept = tried.log or ""
        shown = Glimpse(None, kept.encode()[-tail:], len(kept.encode()))
        running = False
    else:
        running = True
    return JobLog(
        job=job.id,
        state=job.state,
        attempt=tried.number,
        node=tried.node,
        running=running,
        text=shown.log.decode(errors="replace"),
        log_bytes=shown.log_bytes,
        heartbeat=shown.heartbeat,
    )


async def _watch(desk: Desk, tried: AttemptView, tail: int) -> Glimpse | None:
    """Return what the node shows, None if the attempt does not run there or its target cannot say."""
    batch = desk.world.batches.get(tried.target)
    if not isinstance(batch, Watching):
        return None
    try:
        async with asyncio.timeout(ASK_S):
            return (await batch.watch([tried.token], tail)).get(tried.token)
    except (BatchError, TimeoutError) as error:
        text = f"target {tried.target} does not show the log: {error or 'no answer in time'}"
        raise Refusal(503, "target_away", text) from None


def _tail(request: web.Request) -> int:
    text = request.query.get("bytes", str(TAIL))
    if not text.isascii() or not text.isdigit() or not 1 <= len(text) <= 7 or not 1 <= int(text) <= MOST:
        raise bad_value("bytes", text, f"a number from 1 to {MOST}")
    return int(text)
