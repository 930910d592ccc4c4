"""Calls that change what the agent works by: versions of a workflow, the configuration."""

import msgspec
from aiohttp import web

from actors.admin_pages.acting import audited, who
from actors.admin_pages.bodies import Plain, Text, receive
from actors.admin_pages.desk import Desk
from actors.admin_pages.refusal import bad_value
from actors.messages import Reload, ReviseWorkflow, SettingChange
from domain.revising import Revision
from storage import views
from storage.views.versions import VersionView
from storage.views.versions import versions as versions_of


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


async def reload(desk: Desk, request: web.Request) -> ReloadDone:
    body = await receive(request, Plain)

    async def work() -> ReloadDone:
        answer = await desk.ask("reloader", Reload(who=who(request), dry_run=body.dry_run))
        return ReloadDone(changes=answer.changes, leaving=answer.leaving, failed=answer.failed, dry_run=body.dry_run)

    return await audited(desk, request, repr(body), work)  # type: ignore[no-any-return]
