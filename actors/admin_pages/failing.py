"""Calls about what follows failures: nodes that get no jobs, needs that were learned."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from actors.admin_pages.acting import audited, who
from actors.admin_pages.answers import Done
from actors.admin_pages.bodies import Plain, Text, receive
from actors.admin_pages.desk import Desk
from actors.admin_pages.refusal import bad_value
from actors.messages import AllowNode, ExcludeNode, RevertNeeds
from storage import views
from storage.nodes import NodeView, excluded

Word = Annotated[str, Meta(min_length=1, max_length=100)]


class NodeChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Whether something changed, or would."""

    changed: bool
    dry_run: bool


class Allow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node at a site."""

    site: Word
    node: Word
    dry_run: bool = False


class Exclude(Allow, frozen=True, kw_only=True):
    """For how many hours (None: until it is allowed again), and why."""

    hours: Annotated[float, Meta(gt=0, le=87_600)] | None = None
    reason: Text = "excluded by an operator"


async def nodes(desk: Desk, _request: web.Request) -> list[NodeView]:
    return [one.view for one in await desk.read(lambda c: excluded(c, desk.now))]


async def exclude(desk: Desk, request: web.Request) -> NodeChanged:
    body = await receive(request, Exclude)
    _check_site(desk, body.site)
    order = ExcludeNode(
        site=body.site, node=body.node, hours=body.hours, reason=body.reason, who=who(request), dry_run=body.dry_run
    )
    return await _changed(desk, request, body, order)


async def allow(desk: Desk, request: web.Request) -> NodeChanged:
    body = await receive(request, Allow)
    _check_site(desk, body.site)
    order = AllowNode(site=body.site, node=body.node, who=who(request), dry_run=body.dry_run)
    return await _changed(desk, request, body, order)


async def revert(desk: Desk, request: web.Request) -> Done:
    body, name = await receive(request, Plain), request.match_info["name"]
    await desk.read(lambda c: views.status(c, desk.now, name))
    order = RevertNeeds(workflow=name, who=who(request), dry_run=body.dry_run)

    async def work() -> Done:
        return Done(changed=(await desk.ask("error", order)).ids, dry_run=body.dry_run)

    return await audited(desk, request, repr(body), work)  # type: ignore[no-any-return]


async def _changed(desk: Desk, request: web.Request, body: Allow, order: AllowNode | ExcludeNode) -> NodeChanged:
    async def work() -> NodeChanged:
        return NodeChanged(changed=bool((await desk.ask("error", order)).ids), dry_run=body.dry_run)

    return await audited(desk, request, repr(body)[:2000], work)  # type: ignore[no-any-return]


def _check_site(desk: Desk, site: str) -> None:
    if site not in desk.world.settings.sites:
        raise bad_value("site", site, f"one of {', '.join(sorted(desk.world.settings.sites)) or 'no site at all'}")
