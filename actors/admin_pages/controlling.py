"""Calls about who may run where: sites with what was found out of them, and what operators say of them."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from actors.admin_pages.acting import audited, who
from actors.admin_pages.answers import Done
from actors.admin_pages.bodies import JobSites, Plain, Text, receive
from actors.admin_pages.desk import Desk
from actors.admin_pages.refusal import bad_value, not_found
from actors.messages import ConfirmFeed, LiftControl, LimitSet, ListSites, SetControl, SetLimit
from domain.controls import Kind, Mode, Scope
from storage import overrides
from storage.overrides import MOST, OverrideView
from storage.views.sites import ControlView, SiteView, all_sites, said

Subjects = Annotated[list[Text], Meta(min_length=1, max_length=10_000)]


class Say(Plain, frozen=True, kw_only=True):
    """What is said of which subjects: a hold, a mode of sites (`value`), trust in sites in spite of their records; for
    `lasts_s` seconds, else until it is lifted."""

    scope: Scope
    subjects: Subjects
    kind: Kind = Kind.HOLD
    value: Text = ""
    reason: Text = ""
    lasts_s: Annotated[float, Meta(gt=0, le=3660 * 86_400)] | None = None


class Unsay(Plain, frozen=True, kw_only=True):
    """What is no longer said of which subjects."""

    scope: Scope
    subjects: Subjects
    kind: Kind = Kind.HOLD
    reason: Text = ""


class ControlsDone(msgspec.Struct, frozen=True, kw_only=True):
    """The subjects of which something new is said, or no longer, or would be."""

    changed: list[str]
    dry_run: bool


class Limit(Plain, frozen=True, kw_only=True):
    """The new number of a limit of a target; null: there is none from now on. `default`: as the configuration says."""

    target: Text
    limit: Text
    value: Annotated[int, Meta(ge=0, le=MOST)] | None = None
    default: bool = False
    reason: Text = ""


class LimitDone(msgspec.Struct, frozen=True, kw_only=True):
    """What the limit was and is, or would be; what the configuration says (null: none)."""

    before: int | None
    after: int | None
    configured: int | None
    dry_run: bool


async def sites(desk: Desk, _request: web.Request) -> list[SiteView]:
    return await desk.read(lambda c: all_sites(c, desk.world.settings, desk.now))


async def controls(desk: Desk, _request: web.Request) -> list[ControlView]:
    return await desk.read(lambda c: said(c, desk.now))


async def control(desk: Desk, request: web.Request) -> ControlsDone:
    body = await receive(request, Say)
    modes = [str(mode) for mode in Mode]
    if (body.kind is Kind.MODE and body.value not in modes) or (body.kind is not Kind.MODE and body.value):
        expected = f"one of {', '.join(modes)}" if body.kind is Kind.MODE else "nothing: only a mode has a value"
        raise bad_value("value", body.value, expected)
    until = None if body.lasts_s is None else desk.now + body.lasts_s
    order = SetControl(
        scope=body.scope,
        subjects=body.subjects,
        kind=body.kind,
        value=body.value,
        reason=body.reason,
        until=until,
        who=who(request),
        dry_run=body.dry_run,
    )
    return await _controlled(desk, request, order)


async def lift(desk: Desk, request: web.Request) -> ControlsDone:
    body = await receive(request, Unsay)
    given = {name: getattr(body, name) for name in body.__struct_fields__}
    return await _controlled(desk, request, LiftControl(**given, who=who(request)))


async def job_sites(desk: Desk, request: web.Request) -> Done:
    body = await receive(request, JobSites)
    order = ListSites(**msgspec.structs.asdict(body), who=who(request))

    async def work() -> Done:
        return Done(changed=(await desk.ask("steward", order)).ids, dry_run=body.dry_run)

    return await audited(desk, request, repr(body)[:2000], work)  # type: ignore[no-any-return]


async def limits(desk: Desk, _request: web.Request) -> list[OverrideView]:
    return overrides.views(await desk.read(overrides.load), desk.world.settings)


async def limit(desk: Desk, request: web.Request) -> LimitDone:
    body = await receive(request, Limit)
    if body.default and body.value is not None:
        raise bad_value("value", body.value, "nothing beside default")
    given = {name: getattr(body, name) for name in body.__struct_fields__}
    order = SetLimit(**given, who=who(request))

    async def work() -> LimitDone:
        done: LimitSet = await desk.ask("steward", order)
        return LimitDone(before=done.before, after=done.after, configured=done.configured, dry_run=body.dry_run)

    return await audited(desk, request, repr(body), work)  # type: ignore[no-any-return]


async def confirm_feed(desk: Desk, request: web.Request) -> ControlsDone:
    body = await receive(request, Plain)
    if "feed" not in desk.system.names():
        raise not_found("no feed is configured; expected `source` in [feed]")
    return await _controlled(desk, request, ConfirmFeed(who=who(request), dry_run=body.dry_run), actor="feed")


async def _controlled(
    desk: Desk, request: web.Request, order: SetControl | LiftControl | ConfirmFeed, actor: str = "steward"
) -> ControlsDone:
    async def work() -> ControlsDone:
        return ControlsDone(changed=(await desk.ask(actor, order)).subjects, dry_run=order.dry_run)

    return await audited(desk, request, repr(order)[:2000], work)  # type: ignore[no-any-return]
