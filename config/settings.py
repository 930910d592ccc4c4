"""Everything that may be set for one agent, one frozen struct per table of its TOML file.

The unit stands in the name of a key: `_s` seconds, `_mb` 10**6 bytes, `_bytes` bytes, `_percent` of the whole. Marks:
`restart` (it can change only with a restart), `secret`, `path`, `rest` (see config/faults.py).
"""

from itertools import pairwise
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from domain.held import HeldRule
from domain.rules import BUILT_IN, UNKNOWN, Rule
from domain.spec import Name


def about(text: str, **marks: bool) -> Meta:
    """The one line that explains a key, with its marks."""
    return Meta(description=text, extra=dict(marks) or None)


def fixed(text: str, **marks: bool) -> Meta:
    """The same for a key that can change only with a restart."""
    return about(text, restart=True, **marks)


def _ordered(table: msgspec.Struct, *names: str) -> None:
    """Refuse a table in which a key is above the one that follows it."""
    for low, high in pairwise(names):
        if getattr(table, low) > getattr(table, high):
            raise ValueError(f"{low} = {getattr(table, low)} is above {high} = {getattr(table, high)}")


Seconds = Annotated[float, Meta(gt=0)]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Percent = Annotated[float, Meta(gt=0, le=100)]
Gigabytes = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Store = Annotated[
    str,
    Meta(
        pattern=r"^(sqlite(\+aiosqlite)?:///.+|(mysql|mariadb)(\+aiomysql)?://.+/.+)$",
        description="sqlite:///file or mysql://user:${PASSWORD}@host/database",
    ),
]
Url = Annotated[str, Meta(pattern=r"^https?://[^/\s]+", description="an address that starts with http:// or https://")]
ClassPath = Annotated[str, Meta(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="module:Class")]
EnvironmentName = Annotated[str, Meta(pattern=r"^[A-Za-z_]\w*$", description="the name of an environment variable")]


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
        _ordered(self, "retry_base_s", "retry_cap_s")


class Plugin(_Table, frozen=True, kw_only=True):
    """A backend and its own keys, which stand in the same table."""

    kind: Annotated[str, fixed("a built-in name or module:Class")]
    options: Annotated[dict[str, Any], about("the keys of this kind of backend", rest=True)] = {}


class Host(_Table, frozen=True, kw_only=True):
    """A host that targets and storage elements name by `host = "..."` and that is reached by SSH, over one connection.

    What is not set is as in an OpenSSH client configuration; the name "local" is this machine and needs no table.
    """

    address: Annotated[str | None, fixed("its address; else the name of this table, as `ssh NAME` would take it")] = (
        None
    )
    port: Annotated[Port | None, fixed("its port; else that of the SSH configuration, or 22")] = None
    user: Annotated[str | None, fixed("the account there; else that of the SSH configuration, or our own")] = None
    identity_files: Annotated[
        list[str], fixed("private keys, a certificate beside them; else agent and usual keys")
    ] = []
    known_hosts: Annotated[
        str | None, fixed("file of known host keys; else those of the SSH configuration", path=True)
    ] = None
    ssh_config: Annotated[str | None, fixed("OpenSSH client configuration; else ~/.ssh/config", path=True)] = None
    jump: Annotated[Name | None, fixed("the host of another table that the connection goes through")] = None
    commands_at_once: Annotated[
        Positive, fixed("most commands that run there at once; sshd's own MaxSessions is 10")
    ] = 8
    calls_per_hour: Annotated[Positive, fixed("most commands within an hour")] = 3600
    connect_s: Annotated[Seconds, fixed("a connection that is not ready after this is given up")] = 20.0
    keepalive_s: Annotated[Seconds, fixed("a silent connection is asked for a sign of life after this")] = 15.0
    keepalive_tries: Annotated[Positive, fixed("unanswered signs of life before the connection counts as lost")] = 3
    retry_base_s: Annotated[Seconds, fixed("wait after the first failed connection; doubles with each further one")] = (
        1.0
    )
    retry_cap_s: Annotated[Seconds, fixed("longest wait between two tries to connect")] = 60.0
    refused_s: Annotated[Seconds, fixed("wait after the host did not let us in")] = 600.0

    def __post_init__(self) -> None:
        _ordered(self, "retry_base_s", "retry_cap_s")


class Limits(_Table, frozen=True, kw_only=True):
    """How much may be pending or running at a target at once (PA-206 to PA-208)."""

    processing: Annotated[NotNegative, about("processing jobs, pending and running together")] = 100
    merge: Annotated[NotNegative, about("merge jobs, pending and running together")] = 10
    processing_pending: Annotated[NotNegative | None, about("processing jobs that do not run yet; else any number")] = (
        None
    )
    merge_pending: Annotated[NotNegative | None, about("merge jobs that do not run yet; else any number")] = None
    cores: Annotated[Positive | None, about("cores of all its jobs together; else any number")] = None
    memory_mb: Annotated[Positive | None, about("memory of all its jobs together, in 10**6 bytes; else any amount")] = (
        None
    )
    dynamic: Annotated[
        bool, about("let the thresholds grow up to five times while the target runs all it gets (PA-208)")
    ] = False


class Target(_Table, frozen=True, kw_only=True):
    """One batch system at a site; further keys are those of its kind."""

    kind: Annotated[str, fixed("a built-in name (local, pilot, slurm, htcondor, simulated) or module:Class")]
    enabled: Annotated[bool, about("whether it gets new jobs")] = True
    limits: Annotated[Limits, about("thresholds by job type")] = Limits()
    max_submit: Annotated[Positive, about("most jobs in one submission call")] = 500
    pending_s: Annotated[Seconds | None, about("as tracker.pending_s, for this target")] = None
    running_s: Annotated[Seconds | None, about("as tracker.running_s, for this target")] = None
    poll_s: Annotated[Seconds, about("time between two status queries")] = 5.0
    environment: Annotated[
        dict[str, Annotated[str, Meta(extra={"verbatim": True})]], about("environment variables of its jobs")
    ] = {}
    hold_failure_s: Annotated[
        float, Meta(ge=0), about("a job that fails sooner after its start waits out the rest: no node fails jobs fast")
    ] = 120.0
    prestage: Annotated[bool, about("copy inputs to the node before the first step, instead of reading in place")] = (
        False
    )
    options: Annotated[dict[str, Any], about("the keys of this kind of batch system", rest=True)] = {}


class Site(_Table, frozen=True, kw_only=True):
    """A place with a storage element and batch targets."""

    enabled: Annotated[bool, about("whether it gets new work")] = True
    storage: Annotated[Plugin, about("its storage element")]
    targets: Annotated[dict[Name, Target], about("its batch systems by name, unique over all sites")] = {}
    cost: Annotated[float, Meta(gt=0), about("what an hour of a core is worth there; dearer sites get fewer jobs")] = (
        1.0
    )
    stage_out_fallback: Annotated[
        list[Name], about("sites whose storage takes outputs when its own does not, one after the other (PA-322)")
    ] = []


class Queue(_Table, frozen=True, kw_only=True):
    """How queued jobs are matched to free places."""

    sweep_s: Annotated[Seconds, about("longest time between two looks at the queue")] = 5.0
    lease_s: Annotated[Seconds, about("an unused match goes back to the queue after this (PA-204)")] = 60.0
    backlog: Annotated[Positive, about("so many items that wait for a later stage stop the release (PA-209)")] = 600
    backlog_s: Annotated[Seconds, about("so does one that has waited this long; half of either lets it go on")] = 60.0


class Quality(_Table, frozen=True, kw_only=True):
    """The record below which a site gets no new work (PA-213); faults of payloads and of the agent do not count."""

    below: Annotated[Share, about("smallest share of attempts that must end well")] = 0.5
    attempts: Annotated[Positive, about("fewer attempts say nothing")] = 20
    window_s: Annotated[Seconds, about("the time that is looked at")] = 3 * 86_400.0


class Feed(_Table, frozen=True, kw_only=True):
    """A feed that says how sites stand, as JSON in a file or at an address (PA-212); off while neither is named."""

    file: Annotated[str | None, fixed("the file that holds it; this or url", path=True)] = None
    url: Annotated[Url | None, fixed("the address that answers it; or file")] = None
    poll_s: Annotated[Seconds, about("time between two looks at it")] = 60.0
    deadline_s: Annotated[Seconds, about("a look that takes longer is given up")] = 20.0
    stale_s: Annotated[Seconds, about("an older answer changes nothing any more, and is an alert")] = 7_200.0

    def __post_init__(self) -> None:
        if self.file is not None and self.url is not None:
            raise ValueError("at most one of file and url expected, got both")

    @property
    def source(self) -> str:
        """Where it is; "" = there is none."""
        return self.url or self.file or ""


class Tracker(_Table, frozen=True, kw_only=True):
    """How submitted jobs are followed."""

    grace_s: Annotated[Seconds, about("absence is not judged sooner after submission (PA-313)")] = 300.0
    lost_s: Annotated[Seconds, about("absent without proof for this long is lost")] = 900.0
    compare_s: Annotated[
        Seconds, about("time between two comparisons of all that a target lists with all that it should have")
    ] = 60.0
    call_deadline_s: Annotated[Seconds, about("a status query that takes longer is given up")] = 60.0
    pending_s: Annotated[Seconds, about("a job that waits longer in a batch queue is taken elsewhere (PA-314)")] = (
        5 * 86_400.0
    )
    silent_s: Annotated[
        Seconds, about("a target that does not say for so long how its jobs are gets no more of them (PA-217)")
    ] = 600.0
    unconfirmed_s: Annotated[Seconds, about("a submission without an answer for so long is an alert")] = 600.0
    running_s: Annotated[Seconds, about("a job that runs so far beyond its batch wall time is ended")] = 3_600.0
    stalled_s: Annotated[Seconds, about("running jobs without progress for so long are an alert (PA-325)")] = 7_200.0


class Errors(_Table, frozen=True, kw_only=True):
    """What follows a failed attempt (docs/how-to/write-an-error-rule.md)."""

    rules: Annotated[list[Rule], about("rules of your own, before the built-in ones; the first match wins")] = []
    held: Annotated[list[HeldRule], about("the same for jobs that a batch system holds")] = []
    releases: Annotated[NotNegative, about("how often a held job is released before it goes elsewhere")] = 3
    elsewhere_s: Annotated[Seconds, about("a job keeps away this long from the site that failed it")] = 3_600.0
    fast_s: Annotated[
        Seconds, about("an attempt that fails sooner is fast; above targets.hold_failure_s, which it may have waited")
    ] = 180.0
    fast_failures: Annotated[Positive, about("so many fast failures exclude a node (PA-321)")] = 3
    fast_within_s: Annotated[Seconds, about("when they come within this time")] = 3_600.0
    exclude_s: Annotated[Seconds, about("so long a node is excluded")] = 21_600.0
    excluded_percent: Annotated[Percent, about("more excluded nodes of a target stop submission there")] = 20.0
    brake_first: Annotated[Positive, about("so many first attempts with one payload cause pause a workflow")] = 10
    brake_after: Annotated[Positive, about("from so many attempts on their failures are judged by their share")] = 50
    brake_percent: Annotated[Percent, about("a larger share blamed on the payload pauses the workflow")] = 50.0
    probes: Annotated[Positive, about("jobs that a braked workflow runs first when it is released")] = 3
    more_percent: Annotated[Percent, about("how much more memory or time a job gets that ran out of it")] = 50.0
    memory_cap_mb: Annotated[Positive, about("most memory that a job is given so")] = 16_000
    wall_cap_s: Annotated[Positive, about("most wall time that a job is given so, in seconds")] = 172_800
    learn_percent: Annotated[
        Percent, about("when so many percent of a workflow's jobs needed more, all get it from the start")
    ] = 5.0

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        taken = [*names, *(rule.name for rule in BUILT_IN), UNKNOWN.name]
        if double := next((name for name in names if taken.count(name) > 1), None):
            raise ValueError(f"rules: the name {double!r} stands twice, or is built in; expected one of its own")


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
    max_active: Annotated[Positive, about("transfers under way per destination")] = 4
    retry_base_s: Annotated[Seconds, about("wait after the first failed try; doubles each time (TX-18)")] = 60.0
    retry_cap_s: Annotated[Seconds, about("longest wait between two tries")] = 5_400.0
    max_tries: Annotated[Positive, about("tries before a transfer is parked")] = 20
    deadline_s: Annotated[Seconds, about("a try that takes longer is given up")] = 3_600.0

    def __post_init__(self) -> None:
        _ordered(self, "retry_base_s", "retry_cap_s")


class Cleanup(_Table, frozen=True, kw_only=True):
    """How what is no longer needed is deleted (PA-513, PA-514)."""

    sweep_s: Annotated[Seconds, about("longest time between two looks for deletable files")] = 60.0
    batch: Annotated[Positive, about("files deleted in one go per site")] = 100
    tries: Annotated[Positive, about("tries before a file is listed as not deletable")] = 3
    job_directories: Annotated[bool, about("remove the working directories of finished jobs")] = True


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
        dict[Literal["state", "sandboxes", "scratch", "backups"], Gigabytes],
        about("most GB that state, sandboxes, scratch or backups may take, by name; beyond it no new work is taken on"),
    ] = {}

    def __post_init__(self) -> None:
        _ordered(self, "hysteresis_percent", "intake_percent", "submit_percent", "write_percent")


class Backup(_Table, frozen=True, kw_only=True):
    """Snapshots of the store while the agent works (OPS-16): checked, rotated, restored with `db restore`."""

    enabled: Annotated[bool, fixed("make them at all")] = True
    directory: Annotated[str, fixed("where they lie; best on another disk than the store", path=True)] = "backups"
    every_s: Annotated[Seconds, about("time between two snapshots; none is made while nothing is written")] = 900.0
    late_s: Annotated[Seconds, about("a newest snapshot that is older, with writes since, is an alert")] = 3_600.0
    keep_last: Annotated[Positive, about("newest snapshots that are kept")] = 8
    keep_days: Annotated[NotNegative, about("days of which the last snapshot is kept besides")] = 7

    def __post_init__(self) -> None:
        _ordered(self, "every_s", "late_s")


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
        _ordered(self, "backoff_base_s", "backoff_cap_s")


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
    monitor: Annotated[Monitor, about("watching for limbo and wrong books")] = Monitor()
    disk: Annotated[Disk, about("what stops as the disk fills")] = Disk()
    backup: Annotated[Backup, about("snapshots of the store")] = Backup()
    events: Annotated[Events, about("keeping, compacting and redelivering events")] = Events()
    supervision: Annotated[Supervision, about("keeping the actors alive")] = Supervision()
    actors: Annotated[dict[Name, ExtraActor], about("actor types of your own, by name")] = {}
