"""The pages for people: the same answers as the programming interface gives, as HTML."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import msgspec
from aiohttp import web

from actors.admin_pages import controlling, reading
from actors.admin_pages.desk import Desk
from actors.admin_pages.metrics import asked
from actors.admin_pages.words import FILTERS
from domain.file import FileState
from domain.job import JobState
from supervisors import ActorSnapshot

Page = Callable[[Desk, web.Request, bool], Awaitable[str]]

LIVE_S = 2
STILL_S = 10
"""Seconds between two looks of an open page: the overview and what one watches, and lists."""

ABOUT_SITES = (
    "back-pressure", "bad-nodes", "breaker-open", "feed-doubtful", "feed-stale", "host-blocked", "host-refused", "no-site",
    "node-excluded", "restore", "slots-unknown", "status-silent", "submission-silent",
)  # fmt: skip
"""Codes of alerts that the page of sites shows."""

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
)
_templates.filters.update(FILTERS)


class Branch(NamedTuple):
    """An actor in the drawn tree."""

    level: int
    seen: ActorSnapshot


def refused(status: int, text: str) -> str:
    """Say why there is no such page."""
    return _templates.get_template("refused.html").render(status=status, text=text)


def _render(name: str, desk: Desk, request: web.Request, may_act: bool, every: int = LIVE_S, **more: Any) -> str:
    agent = desk.world.settings.agent.name
    return _templates.get_template(name).render(agent=agent, may_act=may_act, here=request.path_qs, every=every, **more)


async def overview(desk: Desk, request: web.Request, may_act: bool) -> str:
    status, failures = await reading.status(desk, request), await reading.failures(desk, request)
    over = ("completed", "aborted")
    flows = sorted(status.workflows, key=lambda flow: (flow.state in over, -flow.id))
    present = {word for row in status.sites for word in row.states}
    states = [str(word) for word in JobState if word in present]
    shown = {"status": status, "failures": failures, "states": states, "flows": flows, "tree": tree(desk)}
    shown["hosts"], shown["asked"] = desk.world.hosts.states(), asked(desk)
    return _render("overview.html", desk, request, may_act, LIVE_S, **shown)


def tree(desk: Desk) -> list[Branch]:
    """Return the actors in start order with how deep each stands."""
    levels: dict[str | None, int] = {None: -1}
    found = []
    for actor in desk.actors().values():
        levels[actor.name] = levels[actor.parent] + 1
        found.append(Branch(levels[actor.name], actor))
    return found


async def workflow(desk: Desk, request: web.Request, may_act: bool) -> str:
    detail = await reading.workflow(desk, request)
    found = await reading.explain(desk, f"workflow:{detail.workflow.name}")
    spec = msgspec.json.format(msgspec.json.encode(detail.spec), indent=2).decode()
    shown: dict[str, Any] = {"detail": detail, "flow": detail.workflow, "found": found, "spec": spec}
    return _render("workflow.html", desk, request, may_act, **shown)


async def jobs(desk: Desk, request: web.Request, may_act: bool) -> str:
    found = await reading.jobs(desk, request)
    return _render("jobs.html", desk, request, may_act, STILL_S, jobs=found, states=list(JobState))


async def job(desk: Desk, request: web.Request, may_act: bool) -> str:
    one = await reading.job(desk, request)
    found = await reading.explain(desk, f"job:{one.id}")
    kept = await reading.job_archives(desk, request)
    return _render("job.html", desk, request, may_act, job=one, found=found, kept=kept)


async def files(desk: Desk, request: web.Request, may_act: bool) -> str:
    shown = {"files": await reading.files(desk, request), "datasets": await reading.datasets(desk, request)}
    return _render("files.html", desk, request, may_act, STILL_S, states=list(FileState), **shown)


async def file(desk: Desk, request: web.Request, may_act: bool) -> str:
    one = await reading.file(desk, request)
    found = await reading.explain(desk, f"file:{one.id}")
    return _render("file.html", desk, request, may_act, file=one, found=found)


async def actor(desk: Desk, request: web.Request, may_act: bool) -> str:
    one, faults = await reading.actor(desk, request), desk.world.settings.admin.faults
    return _render("actor.html", desk, request, may_act, actor=one, faults=faults)


async def why(desk: Desk, request: web.Request, may_act: bool) -> str:
    return _render("why.html", desk, request, may_act, found=await reading.why(desk, request))


async def sites(desk: Desk, request: web.Request, may_act: bool) -> str:
    told = [alert for alert in await reading.alerts(desk, request) if alert.code in ABOUT_SITES]
    shown: dict[str, Any] = {
        "sites": await controlling.sites(desk, request),
        "said": await controlling.controls(desk, request),
        "asked": asked(desk),
        "alerts": told,
        "doubtful": any(alert.code == "feed-doubtful" for alert in told),
        "hosts": desk.world.hosts.states(),
    }
    return _render("sites.html", desk, request, may_act, **shown)


async def failures(desk: Desk, request: web.Request, may_act: bool) -> str:
    found = await reading.failures(desk, request)
    return _render("failures.html", desk, request, may_act, STILL_S, failures=found)


async def dead_letters(desk: Desk, request: web.Request, may_act: bool) -> str:
    found = await reading.dead_letters(desk, request)
    return _render("dead_letters.html", desk, request, may_act, STILL_S, letters=found)


async def audit(desk: Desk, request: web.Request, may_act: bool) -> str:
    return _render("audit.html", desk, request, may_act, STILL_S, audit=await reading.audit(desk, request))


PAGES: dict[str, Page] = {
    "/": overview,
    "/workflows/{name}": workflow,
    "/jobs": jobs,
    "/jobs/{id}": job,
    "/files": files,
    "/files/{id}": file,
    "/actors/{name}": actor,
    "/why/{subject:.+}": why,
    "/sites": sites,
    "/failures": failures,
    "/dead-letters": dead_letters,
    "/audit": audit,
}
