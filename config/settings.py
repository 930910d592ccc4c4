"""Everything that may be set for one agent, one frozen struct per table of its TOML file; sites in config/site_settings.py.

The unit stands in the name of a key: `_s` seconds, `_mb` 10**6 bytes, `_bytes` bytes, `_percent` of the whole. Marks:
`restart` (it can change only with a restart), `secret`, `path`, `rest` (see config/faults.py).
"""

from typing import Annotated, Any, Literal

import msgspec

from config.kinds import (
    ClassPath,
    EnvironmentName,
    Gigabytes,
    NotNegative,
    Percent,
    Port,
    Positive,
    Seconds,
    Share,
    Store,
    Url,
    about,
    fixed,
    ordered,
)
from config.site_settings import Errors, Feed, Host, Quality, Queue, Site, Tracker
from domain.spec import Name


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Agent(_Table, frozen=True, kw_only=True):
    """Who this agent is and where it keeps what it knows."""

    name: Annotated[Name, fixed("the agent's name, unique at its ProdMgr")]
    store: Annotated[Store, fixed("the database; a relative SQLite file is beside this file", secret=True)] = (
        "sqlite:///state/agent.db"
    )
    state: Annotated[str, fixed("directory of agent.json, sandboxes and logs", path=True)] = "state"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], about("the least serious messages that are logged")
    ] = "info"
    window: Annotated[Positive, about("jobs are cut ahead up to this many times the thresholds of the sites")] = 5


class Admin(_Table, frozen=True, kw_only=True):
    """The page, programming interface and metrics for operators."""

    enabled: Annotated[bool, fixed("serve them at all")] = True
    host: Annotated[str, fixed("the address to listen on; beyond loopback others can reach it")] = "127.0.0.1"
    port: Annotated[Port, fixed("the port to listen on; 0 takes any free one")] = 8642
    faults: Annotated[bool, fixed("let operators crash an actor on command, to see what follows")] = False


class ProdMgrSettings(_Table, frozen=True, kw_only=True):
    """One ProdMgr that hands out allocations; without any, work comes from workflow files alone."""

    name: Annotated[Name, fixed("what it is called in this agent")]
    url: Annotated[Url, fixed("where it answers")]
    token_file: Annotated[str | None, about("file that holds the token; this or token_env", path=True)] = None
    token_env: Annotated[EnvironmentName | None, about("environment variable with the token; or token_file")] = None
    low: Annotated[NotNegative, about("queued jobs below which more work is asked for")] = 100
    poll_s: Annotated[Seconds, about("time between two looks for new work")] = 60.0
    renew_s: Annotated[Seconds, about("time between two renewals of the leases held")] = 600.0
    max_events: Annotated[Positive, about("most events asked for in one call")] = 1_000_000
    call_deadline_s: Annotated[Seconds, about("a call that takes longer is given up and repeated")] = 20.0
    retry_base_s: Annotated[Seconds, about("wait after the first failed call; doubles with each further one")] = 10.0
    retry_cap_s: Annotated[Seconds, about("longest wait between two tries of a call")] = 600.0

    def __post_init__(self) -> None:
        if (self.token_file is None) == (self.token_env is None):
            given = "neither" if self.token_file is None else "both"
            raise ValueError(f"exactly one of token_file and token_env expected, got {given}")
        ordered(self, "retry_base_s", "retry_cap_s")


class Report(_Table, frozen=True, kw_only=True):
    """How the reports of ended jobs are read."""

    sweep_s: Annotated[Seconds, about("longest time between two looks for ended jobs")] = 5.0
    batch: Annotated[Positive, about("reports read in one go")] = 100


class MergeSettings(_Table, frozen=True, kw_only=True):
    """How waiting outputs become merge jobs; the sizes stand in the workflow."""

    sweep_s: Annotated[Seconds, about("longest time between two looks at the waiting files")] = 5.0
    batch: Annotated[Positive, about("waiting files looked at in one go")] = 10_000


class Catalogue(_Table, frozen=True, kw_only=True):
    """When a block of the local catalogue closes (DBS-06): at whatever comes first."""

    sweep_s: Annotated[Seconds, about("longest time between two looks at the open blocks")] = 60.0
    block_max_files: Annotated[Positive, about("files of a block")] = 100
    block_max_bytes: Annotated[Positive, about("bytes of a block")] = 1_000_000_000_000
    block_max_events: Annotated[Positive, about("events of a block")] = 100_000_000
    block_max_age_s: Annotated[Seconds, about("age of an open block")] = 86_400.0


class Transfer(_Table, frozen=True, kw_only=True):
    """How merged files reach their destinations."""

    sweep_s: Annotated[Seconds, about("longest time between two looks at the waiting transfers")] = 5.0
    max_active: Annotated[Positive, about("transfers under way per destination; 25 files below 10 MB count as one")] = 5
    look_s: Annotated[Seconds, about("time between two looks whether a destination answers and has room")] = 30.0
    retry_base_s: Annotated[Seconds, about("wait after the first failed try; doubles each time (TX-18)")] = 60.0
    retry_cap_s: Annotated[Seconds, about("longest wait between two tries")] = 5_400.0
    max_tries: Annotated[Positive, about("tries that count before a transfer is parked (PA-317)")] = 3
    deadline_s: Annotated[Seconds, about("a try that takes longer is given up")] = 3_600.0

    def __post_init__(self) -> None:
        ordered(self, "retry_base_s", "retry_cap_s")


class Cleanup(_Table, frozen=True, kw_only=True):
    """How what is no longer needed is deleted (PA-513, PA-514)."""

    sweep_s: Annotated[Seconds, about("longest time between two looks for deletable files")] = 60.0
    batch: Annotated[Positive, about("files deleted in one go per site")] = 100
    tries: Annotated[Positive, about("tries before a file is listed as not deletable")] = 3
    job_directories: Annotated[bool, about("remove the working directories of finished jobs")] = True
    directory_mb: Annotated[
        Positive, about("one that has to stay is emptied beyond this, but for specification and report (PA-414)")
    ] = 80


class Archives(_Table, frozen=True, kw_only=True):
    """What is kept of attempts that are over (PA-414): specification and report of each, beside the agent's state."""

    enabled: Annotated[bool, fixed("keep them at all")] = True
    success_s: Annotated[Seconds, about("those of successes are kept this long")] = 30 * 86_400.0
    failure_s: Annotated[Seconds, about("those of failures are kept this long")] = 90 * 86_400.0
    total_gb: Annotated[Gigabytes, about("most GB of all of them here; beyond it the oldest go first")] = 10.0
    logs: Annotated[bool, about("whole logs are kept at the site, where a workflow says nothing")] = False


class Monitor(_Table, frozen=True, kw_only=True):
    """How the agent watches itself: limbo (REL-11) and its own books."""

    sweep_s: Annotated[Seconds, about("time between two looks")] = 60.0
    verify_every_s: Annotated[Seconds, about("time between two proofs of the books")] = 3_600.0
    limbo_handover_s: Annotated[Seconds, about("waiting this long for one of the agent's own actors is limbo")] = (
        3_600.0
    )
    limbo_outside_s: Annotated[Seconds, about("waiting this long for a batch system, storage or ProdMgr is limbo")] = (
        14 * 86_400.0
    )
    limbo_overdue_s: Annotated[Seconds, about("this long after its wake time is limbo")] = 900.0


class Disk(_Table, frozen=True, kw_only=True):
    """What is no longer begun as the disk of the agent's state fills (OPS-10); each ends by itself when there is room."""

    sweep_s: Annotated[Seconds, about("time between two looks at the disk")] = 10.0
    intake_percent: Annotated[Percent, about("from here on no new work is taken on or cut")] = 85.0
    submit_percent: Annotated[Percent, about("from here on no job is submitted")] = 95.0
    write_percent: Annotated[Percent, about("from here on nothing is written any more")] = 98.0
    hysteresis_percent: Annotated[Percent, about("so far below its mark each begins again")] = 5.0
    quotas_gb: Annotated[
        dict[Literal["state", "sandboxes", "archives", "scratch", "backups"], Gigabytes],
        about(
            "most GB that state, sandboxes, archives, scratch or backups may take; beyond it no new work is taken on"
        ),
    ] = {}

    def __post_init__(self) -> None:
        ordered(self, "hysteresis_percent", "intake_percent", "submit_percent", "write_percent")


class Backup(_Table, frozen=True, kw_only=True):
    """Snapshots of the store while the agent works (OPS-16): checked, rotated, restored with `db restore`."""

    enabled: Annotated[bool, fixed("make them at all")] = True
    directory: Annotated[str, fixed("where they lie; best on another disk than the store", path=True)] = "backups"
    every_s: Annotated[Seconds, about("time between two snapshots; none is made while nothing is written")] = 900.0
    late_s: Annotated[Seconds, about("a newest snapshot that is older, with writes since, is an alert")] = 3_600.0
    keep_last: Annotated[Positive, about("newest snapshots that are kept")] = 8
    keep_days: Annotated[NotNegative, about("days of which the last snapshot is kept besides")] = 7

    def __post_init__(self) -> None:
        ordered(self, "every_s", "late_s")


class Events(_Table, frozen=True, kw_only=True):
    """The event log: what is kept and for how long, when a failed event is handed out again."""

    sweep_s: Annotated[Seconds, about("longest time before a subscriber looks without having been woken")] = 5.0
    batch: Annotated[Positive, about("events handed to a subscriber in one go")] = 500
    handler_s: Annotated[Seconds, about("a handler that takes longer with one event has failed")] = 20.0
    redelivery_s: Annotated[tuple[Seconds, ...], about("waits before further tries; then a dead letter (PA-012)")] = (
        1.0,
        5.0,
        30.0,
        120.0,
        600.0,
    )
    keep_s: Annotated[
        Seconds, about("older facts are compacted to a summary once everybody has read them (PA-018)")
    ] = 90 * 86_400.0
    calls_keep_s: Annotated[Seconds, about("answered calls to ProdMgrs are kept this long (PA-014)")] = 72 * 3_600.0
    compact_every_s: Annotated[Seconds, about("time between two looks for what may be compacted")] = 3_600.0
    free_bytes: Annotated[NotNegative, about("room that compaction leaves in an SQLite file for what comes next")] = (
        67_108_864
    )


class ExtraActor(_Table, frozen=True, kw_only=True):
    """An actor type of your own, started with the others."""

    type: Annotated[ClassPath, fixed("where its class is")]
    under: Annotated[str, fixed("the supervisor group that it belongs to")]
    essential: Annotated[bool, fixed("escalate when it cannot be kept alive; else it is parked")] = False
    settings: Annotated[dict[str, Any], fixed("its own keys")] = {}


class Supervision(_Table, frozen=True, kw_only=True):
    """How the actors are kept alive (PA-002, PA-003, PA-011)."""

    intensity: Annotated[NotNegative, fixed("restarts within period_s before a supervisor gives up")] = 5
    period_s: Annotated[Seconds, fixed("the time in which restarts are counted")] = 60.0
    backoff_base_s: Annotated[Seconds, fixed("wait before the second restart; doubles each time")] = 0.5
    backoff_cap_s: Annotated[Seconds, fixed("longest wait before a restart")] = 30.0
    backoff_jitter: Annotated[Share, fixed("share by which a wait varies at random")] = 0.2
    healthy_s: Annotated[Seconds, fixed("after this long without a failure the waits start anew")] = 300.0
    handler_deadline_s: Annotated[Seconds, fixed("a handler that takes longer is cancelled")] = 30.0
    shutdown_s: Annotated[Seconds, fixed("time that an actor gets to stop")] = 10.0
    mailbox: Annotated[Positive, fixed("messages that a mailbox holds")] = 1000

    def __post_init__(self) -> None:
        ordered(self, "backoff_base_s", "backoff_cap_s")


class Settings(_Table, frozen=True, kw_only=True):
    """One agent."""

    agent: Annotated[Agent, about("who this agent is and where it keeps what it knows")]
    admin: Annotated[Admin, about("the page, programming interface and metrics for operators")] = Admin()
    prodmgr: Annotated[list[ProdMgrSettings], about("the ProdMgrs that work is taken from")] = []
    hosts: Annotated[dict[Name, Host], about("the hosts that are reached by SSH, by name")] = {}
    sites: Annotated[dict[Name, Site], about("the places where work is done or delivered, by name")] = {}
    queue: Annotated[Queue, about("matching queued jobs to free places")] = Queue()
    quality: Annotated[Quality, about("the record that a site must have")] = Quality()
    feed: Annotated[Feed, about("a feed that says how sites stand")] = Feed()
    tracker: Annotated[Tracker, about("following submitted jobs")] = Tracker()
    errors: Annotated[Errors, about("what follows a failed attempt")] = Errors()
    report: Annotated[Report, about("reading the reports of ended jobs")] = Report()
    merge: Annotated[MergeSettings, about("merging small outputs")] = MergeSettings()
    catalogue: Annotated[Catalogue, about("closing blocks")] = Catalogue()
    transfer: Annotated[Transfer, about("delivering merged files")] = Transfer()
    cleanup: Annotated[Cleanup, about("deleting what is no longer needed")] = Cleanup()
    archives: Annotated[Archives, about("keeping what attempts were and said")] = Archives()
    monitor: Annotated[Monitor, about("watching for limbo and wrong books")] = Monitor()
    disk: Annotated[Disk, about("what stops as the disk fills")] = Disk()
    backup: Annotated[Backup, about("snapshots of the store")] = Backup()
    events: Annotated[Events, about("keeping, compacting and redelivering events")] = Events()
    supervision: Annotated[Supervision, about("keeping the actors alive")] = Supervision()
    actors: Annotated[dict[Name, ExtraActor], fixed("actor types of your own, by name")] = {}
