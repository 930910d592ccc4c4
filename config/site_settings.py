"""The tables about sites: how they are reached, what they may hold, when their jobs are given up."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from config.kinds import ClassPath, NotNegative, Percent, Port, Positive, Seconds, Share, Url, about, fixed, ordered
from domain.held import HeldRule
from domain.rules import BUILT_IN, UNKNOWN, Rule
from domain.spec import Name


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Plugin(_Table, frozen=True, kw_only=True):
    """A backend and its own keys, which stand in the same table."""

    kind: Annotated[str, fixed("a built-in name or module:Class")]
    options: Annotated[dict[str, Any], about("the keys of this kind of backend", rest=True)] = {}


class Host(_Table, frozen=True, kw_only=True):
    """A host that targets and storage elements name by `host = "..."` and that is reached by SSH, over one connection.

    What is not set is as in an OpenSSH client configuration; the name "local" is this machine and needs no table.
    """

    address: Annotated[str | None, about("its address; else the name of this table, as `ssh NAME` would take it")] = (
        None
    )
    port: Annotated[Port | None, about("its port; else that of the SSH configuration, or 22")] = None
    user: Annotated[str | None, about("the account there; else that of the SSH configuration, or our own")] = None
    identity_files: Annotated[
        list[str], about("private keys, a certificate beside them; else agent and usual keys")
    ] = []
    known_hosts: Annotated[
        str | None, about("file of known host keys; else those of the SSH configuration", path=True)
    ] = None
    ssh_config: Annotated[str | None, about("OpenSSH client configuration; else ~/.ssh/config", path=True)] = None
    jump: Annotated[Name | None, about("the host of another table that the connection goes through")] = None
    commands_at_once: Annotated[
        Positive, about("most commands that run there at once; sshd's own MaxSessions is 10")
    ] = 8
    calls_per_hour: Annotated[Positive, about("most commands within an hour")] = 3600
    connect_s: Annotated[Seconds, about("a connection that is not ready after this is given up")] = 20.0
    keepalive_s: Annotated[Seconds, about("a silent connection is asked for a sign of life after this")] = 15.0
    keepalive_tries: Annotated[Positive, about("unanswered signs of life before the connection counts as lost")] = 3
    retry_base_s: Annotated[Seconds, about("wait after the first failed connection; doubles with each further one")] = (
        1.0
    )
    retry_cap_s: Annotated[Seconds, about("longest wait between two tries to connect")] = 60.0
    refused_s: Annotated[Seconds, about("wait after the host did not let us in")] = 600.0

    def __post_init__(self) -> None:
        ordered(self, "retry_base_s", "retry_cap_s")


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
    groups: Annotated[list[Name], about("groups of workflows that it is meant for; else as its site has it")] = []
    fillers: Annotated[bool, about("let other workflows take what those groups leave free")] = False
    limits: Annotated[Limits, about("thresholds by job type")] = Limits()
    gpus: Annotated[NotNegative, about("most GPUs of one job; jobs that ask for more do not go there (PA-310)")] = 0
    architectures: Annotated[
        list[Name], about("what its nodes are, as `uname -m` says it; jobs that ask for another do not go there")
    ] = []
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

    def __post_init__(self) -> None:
        _of_groups(self)


class Site(_Table, frozen=True, kw_only=True):
    """A place with a storage element and batch targets."""

    enabled: Annotated[bool, about("whether it gets new work")] = True
    storage: Annotated[Plugin, about("its storage element")]
    targets: Annotated[dict[Name, Target], about("its batch systems by name, unique over all sites")] = {}
    groups: Annotated[list[Name], about("groups of workflows that it is meant for (PA-210); else all workflows")] = []
    fillers: Annotated[bool, about("let other workflows take what those groups leave free")] = False
    cost: Annotated[float, Meta(gt=0), about("what an hour of a core is worth there; dearer sites get fewer jobs")] = (
        1.0
    )
    stage_out_fallback: Annotated[
        list[Name], about("sites whose storage takes outputs when its own does not, one after the other (PA-322)")
    ] = []

    def __post_init__(self) -> None:
        _of_groups(self)


def _of_groups(table: Target | Site) -> None:
    if table.fillers and not table.groups:
        raise ValueError("fillers = true without groups; expected the groups that come first, or no fillers")


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

    file: Annotated[str | None, about("the file that holds it; this or url", path=True)] = None
    url: Annotated[Url | None, about("the address that answers it; or file")] = None
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
    curves: Annotated[
        dict[Name, ClassPath], fixed("back-offs of your own, by the name that workflows use (PA-404)")
    ] = {}
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
