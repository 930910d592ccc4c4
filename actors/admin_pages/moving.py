"""Calls about transfers: what is on its way or stopped, and what operators say of it."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from actors.admin_pages.acting import audited, who
from actors.admin_pages.answers import Done
from actors.admin_pages.bodies import Text, receive
from actors.admin_pages.desk import Desk
from actors.admin_pages.reading import limit, words
from actors.admin_pages.refusal import bad_value
from actors.messages import CancelTransfers, RetryTransfers
from domain.transfer import TransferState
from storage import views
from storage.views import TransferView


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """These transfers, or all to a destination that wait for a person."""

    ids: Annotated[list[Annotated[int, Meta(ge=1)]], Meta(max_length=10_000)] = []
    destination: Text = ""
    reason: Text = ""
    dry_run: bool = False


async def transfers(desk: Desk, request: web.Request) -> list[TransferView]:
    states, most = words(request, "state", TransferState), limit(request)
    return await desk.read(lambda c: views.transfers(c, states=states, limit=most))


async def retry(desk: Desk, request: web.Request) -> Done:
    body = await _choice(request)
    given = {name: getattr(body, name) for name in body.__struct_fields__}
    return await _done(desk, request, RetryTransfers(**given, who=who(request)))


async def cancel(desk: Desk, request: web.Request) -> Done:
    body = await _choice(request)
    given = {name: getattr(body, name) for name in body.__struct_fields__}
    return await _done(desk, request, CancelTransfers(**given, who=who(request)))


async def _choice(request: web.Request) -> Choice:
    body = await receive(request, Choice)
    if bool(body.ids) == bool(body.destination):
        raise bad_value("ids", body.ids, "either ids or a destination, and one of them")
    return body


async def _done(desk: Desk, request: web.Request, order: RetryTransfers | CancelTransfers) -> Done:
    async def work() -> Done:
        return Done(changed=(await desk.ask("transfer", order)).ids, dry_run=order.dry_run)

    return await audited(desk, request, repr(order)[:2000], work)  # type: ignore[no-any-return]
