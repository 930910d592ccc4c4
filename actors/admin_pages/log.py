"""Calls about the event log: look at facts, publish and remove them, see who reads it, compact it."""

from collections.abc import Callable
from typing import Any, TypeVar

from aiohttp import web

from actors.admin_pages.acting import audited, who
from actors.admin_pages.answers import Compaction, Told
from actors.admin_pages.bodies import Forget, Plain, Publish, Remove, receive
from actors.admin_pages.desk import Desk
from actors.admin_pages.reading import limit, number
from actors.admin_pages.refusal import Refusal, bad_value
from actors.messages import Compacted, CompactLog
from storage import later, messages
from storage.messages import HistoryView, MessageView, SubscriberView, TypeCount
from storage.store import Tx
from storage.views import Unknown

T = TypeVar("T")


async def listed(desk: Desk, request: web.Request) -> list[MessageView]:
    types = [word for word in request.query.get("type", "").split(",") if word]
    sender, before, most = request.query.get("sender"), _before(request), limit(request)
    return await desk.read(lambda c: messages.listed(c, types=types, sender=sender, before=before, limit=most))


def _before(request: web.Request) -> int | None:
    text = request.query.get("before")
    if text is not None and (not text.isascii() or not text.isdigit() or len(text) > 18):
        raise bad_value("before", text, "the id of a fact")
    return None if text is None else int(text)


async def counts(desk: Desk, _request: web.Request) -> list[TypeCount]:
    return await desk.sum("messages", messages.counts)


async def history(desk: Desk, request: web.Request) -> HistoryView:
    entity, item = request.match_info["entity"], number(request, "item")
    return await desk.read(lambda c: messages.history(c, entity, item))


async def subscribers(desk: Desk, _request: web.Request) -> list[SubscriberView]:
    return await desk.read(messages.subscribers)


async def publish(desk: Desk, request: web.Request) -> Told:
    body = await receive(request, Publish)

    async def work() -> Told:
        if body.delay_s or body.unique_key:

            def put_off(tx: Tx) -> int:
                return later.publish(tx, body.topic, body.body, delay_s=body.delay_s, unique_key=body.unique_key)

            waits = await _write(desk, request, put_off, dry_run=body.dry_run)
            return Told(waits=waits, dry_run=body.dry_run)
        before = await _write(
            desk, request, lambda tx: messages.publish(tx, body.topic, body.body), dry_run=body.dry_run
        )
        found = await desk.read(lambda c: messages.listed(c, types=["Published"], limit=10))
        return Told(ids=[fact.id for fact in found if fact.id > before][-1:], dry_run=body.dry_run)

    return await audited(desk, request, f"{body.topic}, {body.body!r}"[:2000], work)  # type: ignore[no-any-return]


async def remove(desk: Desk, request: web.Request) -> Told:
    body = await receive(request, Remove)

    async def work() -> Told:
        _confirmed(confirm=body.confirm, dry_run=body.dry_run)
        ids = await _write(desk, request, lambda tx: messages.remove(tx, body.ids), dry_run=body.dry_run)
        return Told(ids=ids, dry_run=body.dry_run)

    return await audited(desk, request, repr(body)[:2000], work)  # type: ignore[no-any-return]


async def forget(desk: Desk, request: web.Request) -> Told:
    body = await receive(request, Forget)

    async def work() -> Told:
        _confirmed(confirm=body.confirm, dry_run=body.dry_run)
        unread = await _write(desk, request, lambda tx: messages.forget(tx, body.subscriber), dry_run=body.dry_run)
        return Told(unread=unread, dry_run=body.dry_run)

    return await audited(desk, request, repr(body)[:2000], work)  # type: ignore[no-any-return]


def _confirmed(*, confirm: bool, dry_run: bool) -> None:
    if not (confirm or dry_run):
        raise bad_value("confirm", confirm, "true: what is removed is gone for good")


class _Dry(Exception):
    """Carries the answer of a unit out of the transaction that it undoes."""

    def __init__(self, answer: Any) -> None:
        super().__init__(answer)
        self.answer = answer


async def _write(desk: Desk, request: web.Request, unit: Callable[[Tx], T], *, dry_run: bool) -> T:
    """Write on behalf of who asks; with `dry_run` the unit is undone when its answer is known."""

    def whole(tx: Tx) -> T:
        answer = unit(tx)
        if dry_run:
            raise _Dry(answer)
        return answer

    try:
        return await desk.world.store.write(whole, sender=f"operator {who(request)}"[:100])
    except _Dry as dry:
        answer: T = dry.answer
        return answer
    except Unknown as error:
        raise Refusal(404, "not_found", str(error)) from None
    except (PermissionError, ValueError) as error:
        raise Refusal(409, "refused", str(error)) from None


async def compact(desk: Desk, request: web.Request) -> Compaction:
    body = await receive(request, Plain)

    async def work() -> Compaction:
        done: Compacted = await desk.ask("keeper", CompactLog(dry_run=body.dry_run, who=who(request)))
        return Compaction(
            facts=done.facts, moves=done.moves, bytes=done.bytes, held_by=done.held_by, dry_run=body.dry_run
        )

    return await audited(desk, request, repr(body), work)  # type: ignore[no-any-return]
