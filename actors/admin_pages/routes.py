"""The programming interface as one table: the server, the OpenAPI document and the reference page are made from it."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from actors.admin_pages import acting, changing, controlling, failing, log, moving, reading, tailing
from actors.admin_pages.answers import (
    ActorChanged,
    Actors,
    Compaction,
    DeadLetters,
    Done,
    Failures,
    JobLog,
    Killed,
    LettersDone,
    Status,
    Submitted,
    Told,
)
from actors.admin_pages.bodies import (
    Debug,
    Drainage,
    Forget,
    Hold,
    JobSites,
    Kill,
    Letters,
    Plain,
    Publish,
    Remove,
    Replace,
    Retry,
    Submission,
)
from actors.admin_pages.controlling import ControlsDone, Limit, LimitDone, Say, Unsay
from actors.admin_pages.desk import Desk
from actors.messages import Draining
from storage.added_sites import SiteRecord
from storage.archives import Kept
from storage.endings import Ending
from storage.messages import HistoryView, MessageView, SubscriberView, TypeCount
from storage.nodes import NodeView
from storage.overrides import OverrideView
from storage.views import (
    AlertView,
    AuditView,
    DatasetView,
    FileRow,
    FileView,
    JobRow,
    JobView,
    TransferView,
    WorkflowDetail,
    WorkflowView,
)
from storage.views.sites import ControlView, SiteView
from storage.views.versions import VersionView
from storage.why import Explanation
from supervisors import ActorSnapshot

Handler = Callable[[Desk, web.Request], Awaitable[Any]]


class Route(NamedTuple):
    """`body` None: the call only looks. `query`: parameters with what they mean; `later`: what is answered with 202 when it takes
    long."""

    method: str
    path: str
    handler: Handler
    summary: str
    answer: Any
    body: type[msgspec.Struct] | None = None
    query: Mapping[str, str] = MappingProxyType({})
    later: Any = None

    @property
    def acts(self) -> bool:
        return self.body is not None


LIMIT = {"limit": "most rows, 1 to 10000"}
JOBS = {"workflow": "its name", "state": "states, comma-separated", "site": "its name", **LIMIT}
FILES = {
    "workflow": "its name",
    "state": "states, comma-separated",
    "kind": "unmerged or merged",
    "site": "its name",
    **LIMIT,
}

MESSAGES = {"type": "types, comma-separated", "sender": "who wrote them", "before": "older than this id", **LIMIT}

TRANSFERS = {"state": "states, comma-separated", **LIMIT}

ENDING = {"jobs": "their numbers, comma-separated", "workflow": "its name", "request": "its name"}

TAIL = {"bytes": "so much of the end, 1 to 1048576"}

API = "/api/v1"
ROUTES: tuple[Route, ...] = (
    Route("GET", "/status", reading.status, "Everything at a glance", Status),
    Route("GET", "/workflows", reading.workflows, "Workflows with their ledgers of events", list[WorkflowView]),
    Route("GET", "/workflows/{name}", reading.workflow, "One workflow: ledger, failures, history", WorkflowDetail),
    Route("GET", "/jobs", reading.jobs, "Jobs, newest first", list[JobRow], query=JOBS),
    Route("GET", "/jobs/{id}", reading.job, "One job: attempts, inputs, files, history", JobView),
    Route("GET", "/jobs/{id}/log", tailing.job_log, "The end of a job's log, live while it runs", JobLog, query=TAIL),
    Route("GET", "/jobs/{id}/archives", reading.job_archives, "What is kept of a job's attempts", list[Kept]),
    Route("GET", "/ending", reading.ending, "What targets have still to end", list[Ending], query=ENDING),
    Route(
        "GET", "/why/{subject:.+}", reading.why, "What a job, workflow, file, transfer or site waits for", Explanation
    ),
    Route("GET", "/actors", reading.actors, "The supervision tree", Actors),
    Route("GET", "/actors/{name}", reading.actor, "One actor or group", ActorSnapshot),
    Route(
        "GET", "/failures", reading.failures, "Causes of failure and the last failed attempts", Failures, query=LIMIT
    ),
    Route("GET", "/alerts", reading.alerts, "Open alerts, newest first", list[AlertView]),
    Route("GET", "/dead-letters", reading.dead_letters, "What could not be handled", DeadLetters),
    Route("GET", "/drain", reading.draining, "What is still under way while the agent drains", Draining),
    Route("GET", "/sites", controlling.sites, "Sites and targets: modes, breakers, records, limits", list[SiteView]),
    Route("GET", "/sites/{name}", changing.site, "One site as it is configured", SiteRecord),
    Route(
        "PUT",
        "/sites/{name}",
        changing.put_site,
        "Add a site, or replace one that was added",
        changing.ReloadDone,
        changing.SiteTable,
        later=changing.ReloadState,
    ),
    Route(
        "DELETE",
        "/sites/{name}",
        changing.drop_site,
        "Take out a site that was added",
        changing.ReloadDone,
        Hold,
        later=changing.ReloadState,
    ),
    Route("GET", "/controls", controlling.controls, "Holds, modes and trust in force", list[ControlView]),
    Route("GET", "/limits", controlling.limits, "Limits that operators set", list[OverrideView]),
    Route("GET", "/datasets", reading.datasets, "Datasets of the local catalogue", list[DatasetView]),
    Route("GET", "/files", reading.files, "Files, newest first", list[FileRow], query=FILES),
    Route("GET", "/files/{id}", reading.file, "One file: copies, parents, transfers, history", FileView),
    Route("GET", "/transfers", moving.transfers, "Transfers, newest first", list[TransferView], query=TRANSFERS),
    Route("POST", "/transfers/retry", moving.retry, "Try parked or quarantined ones once more", Done, moving.Choice),
    Route("POST", "/transfers/cancel", moving.cancel, "Give transfers up for good", Done, moving.Choice),
    Route("GET", "/messages", log.listed, "Facts of the event log, newest first", list[MessageView], query=MESSAGES),
    Route("GET", "/messages/count", log.counts, "Facts by type, kept and compacted", list[TypeCount]),
    Route("GET", "/messages/history/{entity}/{id}", log.history, "All that moved one item", HistoryView),
    Route("GET", "/subscribers", log.subscribers, "Who reads the log, the furthest behind first", list[SubscriberView]),
    Route("GET", "/audit", reading.audit, "Commands and what came of them", list[AuditView], query=LIMIT),
    Route("POST", "/workflows", acting.submit, "Take on a workflow", Submitted, Submission),
    Route("POST", "/workflows/{name}/hold", acting.hold, "Release no more jobs of a workflow", Done, Hold),
    Route("POST", "/workflows/{name}/release", acting.release, "Release them again", Done, Hold),
    Route("GET", "/workflows/{name}/versions", changing.versions, "Versions of a workflow", list[VersionView]),
    Route(
        "POST",
        "/workflows/{name}/change",
        changing.revise,
        "Give a workflow a new version",
        changing.RevisionDone,
        changing.Revise,
    ),
    Route("GET", "/reload", changing.reloading, "How the last reload stands", changing.ReloadState),
    Route(
        "POST",
        "/reload",
        changing.reload,
        "Read the configuration anew",
        changing.ReloadDone,
        Plain,
        later=changing.ReloadState,
    ),
    Route("GET", "/nodes", failing.nodes, "Nodes that get no jobs", list[NodeView]),
    Route("POST", "/nodes/exclude", failing.exclude, "Give a node no jobs", failing.NodeChanged, failing.Exclude),
    Route("POST", "/nodes/allow", failing.allow, "Give it jobs again", failing.NodeChanged, failing.Allow),
    Route("POST", "/workflows/{name}/revert", failing.revert, "Forget what its jobs needed more of", Done, Plain),
    Route("POST", "/jobs/retry", acting.retry, "Reopen jobs, or end their back-off now", Done, Retry),
    Route("POST", "/jobs/kill", acting.kill, "End jobs for good", Killed, Kill),
    Route("POST", "/jobs/sites", controlling.job_sites, "Say where single jobs may run", Done, JobSites),
    Route("POST", "/dead-letters/replay", acting.replay, "Hand dead letters out again", LettersDone, Letters),
    Route("POST", "/dead-letters/drop", acting.drop, "Forget dead letters for good", LettersDone, Letters),
    Route("POST", "/drain", acting.drain, "Begin no new work, or begin it again", Draining, Drainage),
    Route("POST", "/controls", controlling.control, "Hold, set the mode of, or trust something", ControlsDone, Say),
    Route("POST", "/controls/lift", controlling.lift, "Take that back", ControlsDone, Unsay),
    Route("POST", "/limits", controlling.limit, "Set a limit of a target", LimitDone, Limit),
    Route("POST", "/feed/confirm", controlling.confirm_feed, "Believe a feed that is in doubt", ControlsDone, Plain),
    Route("POST", "/messages", log.publish, "Tell something to whoever follows Published", Told, Publish),
    Route("POST", "/messages/remove", log.remove, "Remove published facts for good", Told, Remove),
    Route(
        "POST",
        "/subscribers/forget",
        log.forget,
        "Drop the cursor of a subscriber that is no more",
        Told,
        Forget,
    ),
    Route("POST", "/compaction", log.compact, "Compact old facts that all have read", Compaction, Plain),
    Route(
        "POST", "/actors/{name}/restart", acting.restart, "Replace an actor or group by fresh ones", ActorChanged, Plain
    ),
    Route("POST", "/actors/{name}/pause", acting.pause, "Let it take no further message", ActorChanged, Plain),
    Route("POST", "/actors/{name}/resume", acting.resume, "Let it go on", ActorChanged, Plain),
    Route("POST", "/actors/{name}/debug", acting.debug, "Log it in full for a while", ActorChanged, Debug),
    Route("POST", "/actors/{name}/replace", acting.replace, "Let another class take over", ActorChanged, Replace),
    Route("POST", "/actors/{name}/crash", acting.crash, "Make it fail (with admin.faults on)", ActorChanged, Plain),
)
