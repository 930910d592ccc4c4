"""Calls that change what the agent works by: versions of a workflow, the configuration."""

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from actors.admin_pages.acting import audited, who
from actors.admin_pages.bodies import Hold, Plain, Text, receive
from actors.admin_pages.desk import Desk
from actors.admin_pages.refusal import Refusal, bad_value
from actors.messages import DropSite, PutSite, Reload, ReviseWorkflow, SettingChange
from config.faults import nearest
from config.secret import veiled
from domain.revising import Revision
from storage import views
from storage.added_sites import SiteRecord, record
from storage.views.versions import VersionView
from storage.views.versions import versions as versions_of

SOON_S = 10.0
"""A reload that takes longer goes on after the answer, in seconds."""
TURN = "waits for its turn"
RELOAD_S = 600.0
"""Longest time that a reload is waited for: that of its handler."""


class Revise(Plain, frozen=True, kw_only=True):
    """New values of what may be changed of a workflow, and why."""

    changes: Revision
    reason: Text = ""


class RevisionDone(msgspec.Struct, frozen=True, kw_only=True):
    """The new version, what it changes, and how many jobs come back from batch queues."""

    version: int
    changes: list[str]
    withdrawn: int
    dry_run: bool


class ReloadDone(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between the file and the settings in force; targets that leave when they are empty; what did not work."""

    changes: list[SettingChange]
    leaving: list[str]
    failed: list[str]
    dry_run: bool


class SiteTable(Plain, frozen=True, kw_only=True):
    """A site as the table that it would be in the configuration; `replace`: in place of the one of this name that was added."""

    site: dict[str, Any]
    replace: bool = False
    reason: Text = ""


class ReloadState(msgspec.Struct, frozen=True, kw_only=True):
    """How the last reload stands: what it waits for ("" = nothing, it is over), since when (UTC epoch seconds, 0: there was none),
    what came of it, why it was refused."""

    under_way: str = ""
    since: float = 0.0
    done: ReloadDone | None = None
    refused: str = ""


async def versions(desk: Desk, request: web.Request) -> list[VersionView]:
    return await desk.read(lambda c: versions_of(c, request.match_info["name"]))


async def revise(desk: Desk, request: web.Request) -> RevisionDone:
    body, name = await receive(request, Revise), request.match_info["name"]
    await desk.read(lambda c: views.status(c, desk.now, name))
    if body.changes == Revision():
        raise bad_value("changes", {}, f"one of {', '.join(Revision.__struct_fields__)}")
    order = ReviseWorkflow(
        workflow=name, revision=body.changes, reason=body.reason, who=who(request), dry_run=body.dry_run
    )

    async def work() -> RevisionDone:
        answer = await desk.ask("reviser", order)
        return RevisionDone(
            version=answer.version, changes=answer.changes, withdrawn=answer.withdrawn, dry_run=body.dry_run
        )

    return await audited(desk, request, repr(body)[:2000], work)  # type: ignore[no-any-return]


async def site(desk: Desk, request: web.Request) -> SiteRecord:
    name = request.match_info["name"]
    found = await desk.read(lambda c: record(c, desk.world.settings, name))
    if found is None:
        near = nearest(name, desk.world.settings.sites)
        raise Refusal(404, "not_found", f"there is no site {name!r}" + (f"; did you mean {near!r}?" if near else ""))
    return found


async def put_site(desk: Desk, request: web.Request) -> ReloadDone | web.Response:
    body = await receive(request, SiteTable)
    order = PutSite(
        name=request.match_info["name"],
        table=body.site,
        replace=body.replace,
        reason=body.reason,
        who=who(request),
        dry_run=body.dry_run,
    )
    return await _reload(desk, request, order)


async def drop_site(desk: Desk, request: web.Request) -> ReloadDone | web.Response:
    body = await receive(request, Hold)
    order = DropSite(name=request.match_info["name"], reason=body.reason, dry_run=body.dry_run, who=who(request))
    return await _reload(desk, request, order)


async def reload(desk: Desk, request: web.Request) -> ReloadDone | web.Response:
    body = await receive(request, Plain)
    return await _reload(desk, request, Reload(who=who(request), dry_run=body.dry_run))


async def _reload(desk: Desk, request: web.Request, order: Reload | PutSite | DropSite) -> ReloadDone | web.Response:
    """Answer when it is done; when that takes long, with what is under way: `reloading` tells how it goes on."""
    if desk.reloads.task is not None and not desk.reloads.task.done():
        doing = desk.world.doing or TURN
        raise Refusal(409, "refused", f"a reload is under way: {doing}; expected to be asked when it is over")

    async def work() -> ReloadDone:
        answer = await desk.ask("reloader", order, RELOAD_S)
        return ReloadDone(changes=answer.changes, leaving=answer.leaving, failed=answer.failed, dry_run=order.dry_run)

    asked = veiled({name: value for name, value in msgspec.structs.asdict(order).items() if name != "who"})
    task = asyncio.create_task(audited(desk, request, f"{asked}"[:2000], work), name="reload")
    task.add_done_callback(_heard)
    desk.reloads.task, desk.reloads.since = task, desk.now
    await asyncio.wait([task], timeout=SOON_S)
    if task.done():
        return task.result()  # type: ignore[no-any-return]
    told = msgspec.json.encode(_state(desk))
    return web.Response(status=202, body=told, content_type="application/json")


def _heard(task: asyncio.Task[ReloadDone]) -> None:
    """Look at what it raised, which nobody may be there to be told."""
    if not task.cancelled():
        task.exception()


async def reloading(desk: Desk, _request: web.Request) -> ReloadState:
    return _state(desk)


def _state(desk: Desk) -> ReloadState:
    task, since = desk.reloads.task, desk.reloads.since
    if task is None or task.cancelled():
        return ReloadState(under_way=desk.world.doing)
    if not task.done():
        return ReloadState(under_way=desk.world.doing or TURN, since=since)
    error = task.exception()
    return ReloadState(since=since, refused=str(error)) if error else ReloadState(since=since, done=task.result())
