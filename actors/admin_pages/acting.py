"""Calls that act: each is handed to the actor concerned as an ordinary message, and audited."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from actors.admin_pages.answers import ActorChanged, Done, Killed, LettersDone, Submitted
from actors.admin_pages.bodies import (
    MAX_SUBMISSION,
    Chosen,
    Debug,
    Drainage,
    Hold,
    Kill,
    Letters,
    Plain,
    Replace,
    Retry,
    Submission,
    archive,
    receive,
)
from actors.admin_pages.desk import Desk
from actors.admin_pages.reading import one_actor
from actors.admin_pages.refusal import Refusal, bad_input, bad_value
from actors.extra import WrongActor, successor
from actors.messages import (
    Crash,
    Drain,
    Draining,
    DropLetters,
    HoldWorkflow,
    KillJobs,
    ReplayLetters,
    RetryJobs,
    SubmitWorkflow,
)
from config.faults import Faults
from config.workflow_file import read_spec
from storage import views, workflows
from storage.endings import endings

log = logging.getLogger("prodagent.admin")

WHO = "X-Prodagent-Who"
"""Header with the name of who acts, for the audit."""


def who(request: web.Request) -> str:
    """Return who acts, as they say: whoever holds the token may say any name."""
    name = "".join(letter for letter in request.headers.get(WHO, "") if letter.isprintable())
    return name[:100] or "operator"


async def audited(desk: Desk, request: web.Request, arguments: str, work: Callable[[], Awaitable[Any]]) -> Any:
    """Do it and write down what came of it, a refusal too."""
    verb = request.path.removeprefix("/api/v1/")[:100]
    try:
        answer = await work()
    except Refusal as refusal:
        await desk.record(who(request), verb, arguments, f"refused: {refusal}")
        raise
    await desk.record(who(request), verb, arguments, repr(answer)[:2000])
    return answer


async def submit(desk: Desk, request: web.Request) -> Submitted:
    body = await receive(request, Submission, MAX_SUBMISSION)
    try:
        spec = read_spec(body.spec, "spec")
    except Faults as faults:
        raise bad_input(faults.faults) from None
    order = SubmitWorkflow(spec=spec, sandbox=archive(body.sandbox), dry_run=body.dry_run)

    async def work() -> Submitted:
        answer = await desk.ask("injector", order)
        return Submitted(
            workflow=answer.workflow,
            name=answer.name,
            new=answer.new,
            events=answer.events,
            jobs=answer.jobs,
            dry_run=body.dry_run,
        )

    return await audited(desk, request, f"{spec.name}, dry_run={body.dry_run}", work)  # type: ignore[no-any-return]


async def retry(desk: Desk, request: web.Request) -> Done:
    body = await receive(request, Retry)
    await _check_chosen(desk, body)
    order = RetryJobs(
        jobs=body.jobs,
        workflow=body.workflow,
        request=body.request,
        code=body.code,
        site=body.site,
        archived=body.archived,
        who=who(request),
        dry_run=body.dry_run,
    )
    return await _done(desk, request, body, "error", order)


async def kill(desk: Desk, request: web.Request) -> Killed:
    body = await receive(request, Kill)
    await _check_chosen(desk, body)
    order = KillJobs(
        jobs=body.jobs,
        workflow=body.workflow,
        request=body.request,
        reason=body.reason,
        who=who(request),
        dry_run=body.dry_run,
    )
    done = await _done(desk, request, body, "error", order)
    left = [] if done.dry_run else await desk.read(lambda c: endings(c, jobs=done.changed))
    return Killed(changed=done.changed, dry_run=done.dry_run, ending=left)


async def _check_chosen(desk: Desk, body: Chosen) -> None:
    if sum(map(bool, (body.jobs, body.workflow, body.request))) != 1:
        raise bad_value("jobs", body.jobs, "either jobs or a workflow or a request, and one of them")
    if body.workflow:
        await desk.read(lambda c: views.status(c, desk.now, body.workflow))
    elif body.request:
        known = (await desk.read(workflows.load)).values()
        if body.request not in {item.request for item in known}:
            raise Refusal(404, "not_found", f"there is no request {body.request!r}")
    elif len(body.jobs) == 1:
        await desk.read(lambda c: views.one_job_row(c, body.jobs[0]))


async def hold(desk: Desk, request: web.Request) -> Done:
    return await _hold(desk, request, hold=True)


async def release(desk: Desk, request: web.Request) -> Done:
    return await _hold(desk, request, hold=False)


async def _hold(desk: Desk, request: web.Request, *, hold: bool) -> Done:
    body, name = await receive(request, Hold), request.match_info["name"]
    await desk.read(lambda c: views.status(c, desk.now, name))
    reason = body.reason or ("held by an operator" if hold else "released by an operator")
    order = HoldWorkflow(workflow=name, hold=hold, reason=reason, who=who(request), dry_run=body.dry_run)
    return await _done(desk, request, body, "injector", order)


async def replay(desk: Desk, request: web.Request) -> LettersDone:
    body = await receive(request, Letters)
    facts, mail = await _known_letters(desk, body)
    return await _letters(desk, request, body, ReplayLetters(facts=facts, mail=mail, who=who(request)))


async def drop(desk: Desk, request: web.Request) -> LettersDone:
    body = await receive(request, Letters)
    if not body.ids and not body.mail:
        raise bad_value("ids", body.ids, "the ids of the dead letters to drop, in ids or mail")
    facts, mail = await _known_letters(desk, body)
    return await _letters(desk, request, body, DropLetters(facts=facts, mail=mail, who=who(request)))


async def _known_letters(desk: Desk, body: Letters) -> tuple[list[int], list[int]]:
    """Return the letters meant, all dead ones if none is named; raise Refusal 404 for one that is not there."""
    named = bool(body.ids or body.mail)
    parked = [letter.id for letter in await desk.read(lambda c: views.dead_letters(c, dead_only=not named))]
    mail = [letter.id for letter in await desk.read(views.dead_mail)]
    if missing := sorted({*body.ids} - {*parked}):
        raise Refusal(404, "not_found", f"there is no dead letter {missing[0]}")
    if missing := sorted({*body.mail} - {*mail}):
        raise Refusal(404, "not_found", f"there is no dead letter m{missing[0]}")
    return (body.ids, body.mail) if named else (parked, mail)


async def _letters(desk: Desk, request: web.Request, body: Letters, order: ReplayLetters | DropLetters) -> LettersDone:
    if body.dry_run:
        return LettersDone(changed=order.facts, mail=order.mail, dry_run=True)

    async def work() -> LettersDone:
        answer = await desk.ask("postmaster", order)
        return LettersDone(changed=answer.facts, mail=answer.mail, dry_run=False)

    return await audited(desk, request, repr(body)[:2000], work)  # type: ignore[no-any-return]


async def drain(desk: Desk, request: web.Request) -> Draining:
    body = await receive(request, Drainage)
    reason = body.reason or ("an operator drains the agent" if body.on else "resumed by an operator")
    order = Drain(on=body.on, reason=reason, who=who(request), dry_run=body.dry_run)
    return await audited(desk, request, repr(body), lambda: desk.ask("drainer", order))  # type: ignore[no-any-return]


async def _done(desk: Desk, request: web.Request, body: Any, actor: str, order: object) -> Done:
    async def work() -> Done:
        return Done(changed=(await desk.ask(actor, order)).ids, dry_run=body.dry_run)

    return await audited(desk, request, repr(body)[:2000], work)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- actors
async def restart(desk: Desk, request: web.Request) -> ActorChanged:
    async def work(name: str) -> None:
        if one_actor(desk, name).parent is None:
            raise Refusal(409, "refused", f"{name} is the root of the tree: stop and run the agent instead")
        if "admin" not in below(desk, name):
            await desk.system.restart(name)
            return
        # our own end waits for this very answer: it comes afterwards
        task = asyncio.get_running_loop().create_task(desk.system.restart(name), name=f"restart {name}")
        desk.restarting.add(task)
        task.add_done_callback(lambda done: _restarted(desk, done))

    return await _with_actor(desk, request, "restarted", work)


def _restarted(desk: Desk, task: asyncio.Task[None]) -> None:
    desk.restarting.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s failed", task.get_name(), exc_info=error)


def below(desk: Desk, name: str) -> set[str]:
    """Return an actor or group with all that it holds."""
    known = desk.actors()
    children = known[name].children if name in known else ()
    return {name}.union(*(below(desk, child) for child in children))


async def pause(desk: Desk, request: web.Request) -> ActorChanged:
    async def work(name: str) -> None:
        desk.system.pause(name)

    return await _with_actor(desk, request, "paused", work)


async def resume(desk: Desk, request: web.Request) -> ActorChanged:
    async def work(name: str) -> None:
        desk.system.resume(name)

    return await _with_actor(desk, request, "resumed", work)


async def debug(desk: Desk, request: web.Request) -> ActorChanged:
    body = await receive(request, Debug)

    async def work(name: str) -> None:
        desk.system.debug(name, body.seconds)

    done = f"logged in full for {body.seconds:g} s" if body.seconds else "logged as usual"
    return await _on_actor(desk, request, body, done, work)


async def replace(desk: Desk, request: web.Request) -> ActorChanged:
    body = await receive(request, Replace)

    async def work(name: str) -> None:
        start = successor(desk.system, name, body.type)
        try:
            await desk.system.replace(name, start)
        except Exception as error:
            raise Refusal(
                409, "refused", f"{body.type} is not fit ({type(error).__name__}: {error}); the old one goes on"
            ) from None

    return await _on_actor(desk, request, body, f"replaced by {body.type}", work)


async def crash(desk: Desk, request: web.Request) -> ActorChanged:
    async def work(name: str) -> None:
        if not desk.world.settings.admin.faults:
            raise Refusal(403, "faults_off", "admin.faults is off in the configuration")
        desk.system.ref(name).tell(Crash())

    return await _with_actor(desk, request, "told to crash", work)


async def _with_actor(
    desk: Desk, request: web.Request, done: str, work: Callable[[str], Awaitable[None]]
) -> ActorChanged:
    return await _on_actor(desk, request, await receive(request, Plain), done, work)


async def _on_actor(
    desk: Desk, request: web.Request, body: Any, done: str, work: Callable[[str], Awaitable[None]]
) -> ActorChanged:
    name = request.match_info["name"]
    one_actor(desk, name)

    async def act() -> ActorChanged:
        try:
            if not body.dry_run:
                await work(name)
        except (ValueError, LookupError, RuntimeError, WrongActor) as error:
            raise Refusal(409, "refused", str(error.args[0] if error.args else error)) from None
        return ActorChanged(actor=name, done=done, dry_run=body.dry_run)

    return await audited(desk, request, repr(body)[:2000], act)  # type: ignore[no-any-return]
