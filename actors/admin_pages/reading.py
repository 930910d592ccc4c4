"""Calls that only look."""

import os
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import TypeVar

import msgspec
from aiohttp import web

from actors.admin_pages.answers import Actors, AgentView, DeadLetters, Failures, Status
from actors.admin_pages.desk import Desk
from actors.admin_pages.refusal import bad_value, not_found
from actors.messages import AskDrain, Draining
from config.faults import nearest
from domain.explain import OPERATOR
from domain.file import FileKind, FileState
from domain.job import JobState
from domain.obstacles import owner_away
from storage import archives, views
from storage import why as reasons
from storage.archives import Kept
from storage.backup import newest_at
from storage.endings import Ending, endings
from storage.engine import Connection
from storage.views import DatasetView, FileRow, FileView, JobRow, JobView, WorkflowDetail, WorkflowView
from storage.why import Explanation
from supervisors import ActorSnapshot

W = TypeVar("W", bound=StrEnum)

RECENT = 20
"""Failures shown where no number is asked for."""
WELL = ("idle", "busy", "running")
AWAY = ("paused", "parked", "stopped", "backing-off")


def words(request: web.Request, name: str, kind: type[W]) -> Sequence[W]:
    """Read a comma-separated parameter of known words."""
    chosen = [word for word in request.query.get(name, "").split(",") if word]
    known = [str(word) for word in kind]
    for word in chosen:
        if word not in known:
            raise bad_value(name, word, f"one of {', '.join(known)}", nearest(word, known))
    return [kind(word) for word in chosen]


def limit(request: web.Request, default: int = 100) -> int:
    """Read the parameter `limit`."""
    text = request.query.get("limit", str(default))
    if not text.isascii() or not text.isdigit() or not 1 <= len(text) <= 6 or not 1 <= int(text) <= 10_000:
        raise bad_value("limit", text, "a number from 1 to 10000")
    return int(text)


def number(request: web.Request, what: str) -> int:
    """Read the id in the path."""
    text = request.match_info["id"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise not_found(f"there is no {what} {text[:60]!r}: expected its number")
    return int(text)


async def status(desk: Desk, _request: web.Request) -> Status:
    now, snapshot, store = desk.now, desk.system.snapshot(), desk.world.store
    flows, sites, alerts, dead, ending = await desk.sum(
        "status",
        lambda c: (
            views.status(c, now),
            views.jobs_by_site(c),
            views.open_alerts(c),
            len(views.dead_letters(c, dead_only=True)) + len(views.dead_mail(c)),
            endings(c),
        ),
    )
    agent = AgentView(
        name=desk.world.settings.agent.name,
        pid=os.getpid(),
        started=desk.started,
        uptime=snapshot.uptime,
        stopping=snapshot.stopping,
        loop_lag=snapshot.loop_lag,
        store_commits=store.commits,
        store_units=store.units,
        snapshot_at=newest_at(backups.directory) if (backups := desk.world.backups) else None,
    )
    return Status(
        agent=agent,
        totals=views.sum_up(flows),
        workflows=flows,
        sites=sites,
        alerts=alerts,
        dead_letters=dead,
        ending=ending,
        troubled=[actor.name for actor in snapshot.actors if actor.state not in WELL],
    )


async def workflows(desk: Desk, _request: web.Request) -> list[WorkflowView]:
    return await desk.read(lambda c: views.status(c, desk.now))


async def workflow(desk: Desk, request: web.Request) -> WorkflowDetail:
    return await desk.read(lambda c: views.one_workflow(c, request.match_info["name"], desk.now))


async def jobs(desk: Desk, request: web.Request) -> list[JobRow]:
    states, most = words(request, "state", JobState), limit(request)
    name, site = request.query.get("workflow") or None, request.query.get("site") or None
    return await desk.read(lambda c: views.jobs(c, workflow_name=name, states=states, site=site, limit=most))


async def job(desk: Desk, request: web.Request) -> JobView:
    return await desk.read(lambda c: views.one_job(c, number(request, "job")))


async def job_archives(desk: Desk, request: web.Request) -> list[Kept]:
    identity = number(request, "job")
    return await desk.read(lambda c: (views.one_job_row(c, identity), archives.of_jobs(c, [identity]))[1])


async def ending(desk: Desk, request: web.Request) -> list[Ending]:
    name, owner = request.query.get("workflow", ""), request.query.get("request", "")
    named = [word for word in request.query.get("jobs", "").split(",") if word]
    if not all(word.isascii() and word.isdigit() and len(word) <= 18 for word in named):
        raise bad_value("jobs", request.query["jobs"], "numbers of jobs, comma-separated")
    ids = [int(word) for word in named] if named else None
    return await desk.read(lambda c: endings(c, jobs=ids, workflow_name=name, request=owner))


async def why(desk: Desk, request: web.Request) -> Explanation:
    return await explain(desk, request.match_info["subject"])


async def explain(desk: Desk, subject: str) -> Explanation:
    """Return the store's reason, or the actor that should see to it and does not run."""
    found = await desk.read(lambda c: reasons.why(c, subject, desk.world.settings, desk.now))
    if found.done or found.owner == OPERATOR:
        return found
    for actor in desk.actors().values():
        if actor.kind == "actor" and owns(actor.name, found) and actor.state in AWAY:
            failure = actor.last_failure
            error = "" if failure is None else f"{failure.type}: {failure.text}"
            away = owner_away(found, actor.name, actor.state, error)
            fields = {name: getattr(away, name) for name in ("code", "text", "unblocks", "owner", "wake_at")}
            return msgspec.structs.replace(found, **fields)
    return found


def owns(actor: str, found: Explanation) -> bool:
    """Whether that actor is the owner: the only one of its kind, or the one for the target."""
    if actor == found.owner:
        return True
    rest = actor.removeprefix(found.owner)
    return rest != actor and bool(found.target) and rest.strip("-:./ @") == found.target


async def actors(desk: Desk, _request: web.Request) -> Actors:
    return Actors(actors=list(desk.actors().values()))


async def actor(desk: Desk, request: web.Request) -> ActorSnapshot:
    return one_actor(desk, request.match_info["name"])


def one_actor(desk: Desk, name: str) -> ActorSnapshot:
    """Return one of the tree; raise Refusal 404 with the nearest name."""
    known = desk.actors()
    if name not in known:
        near = nearest(name, known)
        raise not_found(f"there is no actor {name!r}" + (f"; did you mean {near!r}?" if near else ""))
    return known[name]


async def failures(desk: Desk, request: web.Request) -> Failures:
    most = limit(request, RECENT)
    query = partial(_failures, most=most)
    return await (desk.sum("failures", query) if most == RECENT else desk.read(query))


def _failures(connection: Connection, most: int) -> Failures:
    return Failures(causes=views.causes(connection, limit=most), attempts=views.failures(connection, most))


async def alerts(desk: Desk, _request: web.Request) -> list[views.AlertView]:
    return await desk.read(views.open_alerts)


async def dead_letters(desk: Desk, _request: web.Request) -> DeadLetters:
    parked, mail = await desk.read(lambda c: (views.dead_letters(c), views.dead_mail(c)))
    return DeadLetters(parked=parked, mail=mail, counts=list(desk.system.snapshot().dead_letter_counts))


async def draining(desk: Desk, _request: web.Request) -> Draining:
    answer: Draining = await desk.ask("drainer", AskDrain())
    return answer


async def datasets(desk: Desk, _request: web.Request) -> list[DatasetView]:
    return await desk.read(views.datasets)


async def files(desk: Desk, request: web.Request) -> list[FileRow]:
    states, kinds, most = words(request, "state", FileState), words(request, "kind", FileKind), limit(request)
    name, site = request.query.get("workflow") or None, request.query.get("site") or None
    kind = kinds[0] if len(kinds) == 1 else None
    return await desk.read(
        lambda c: views.files(c, workflow_name=name, states=states, kind=kind, site=site, limit=most)
    )


async def file(desk: Desk, request: web.Request) -> FileView:
    return await desk.read(lambda c: views.one_file(c, number(request, "file")))


async def audit(desk: Desk, request: web.Request) -> list[views.AuditView]:
    most = limit(request)
    return await desk.read(lambda c: views.audited(c, most))
