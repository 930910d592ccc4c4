"""Judge one target: how many jobs of each type it may be given now, and why none (PA-206, PA-207, PA-211 to PA-214, PA-218)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from domain.controls import DRAINED, Control, Kind, Mode, Scope, about, mode_of
from domain.job import JobType
from domain.matching import Place


class Held(NamedTuple):
    """What a target holds of jobs of one type: all that are released to it or in its hands, and those that do not run yet."""

    jobs: int = 0
    pending: int = 0


NONE = Held()


class Limits(NamedTuple):
    """How many jobs of each type, how many of them waiting, and how many cores and MB a target may hold; None = any number."""

    jobs: Mapping[JobType, int]
    pending: Mapping[JobType, int | None]
    cores: int | None = None
    memory_mb: int | None = None


class Sight(NamedTuple):
    """What is known of a target. `off`: the configuration gives it no work; `open_s`: its breaker, or its site's, is open for
    so long, for the reason `evidence`; `probes`: how many jobs may go there while a breaker is half-open; `poor`: the record
    of its site is below the cut-off; `behind`: the stage that has to catch up; `releases`: the software there, if known;
    `stopped`: why nothing is submitted there, as "code: text"; `groups`: those it is meant for, `fillers`: and others may come;
    `leaving`: it is out of the configuration and runs empty; `gpus` and `architectures`: of its nodes."""

    target: str
    site: str
    limits: Limits
    held: Mapping[JobType, Held] = {}
    cores: int = 0
    memory_mb: int = 0
    off: str = ""
    open_s: float = 0.0
    evidence: str = ""
    probes: int | None = None
    poor: str = ""
    behind: str = ""
    score: float = 1.0
    releases: frozenset[str] | None = None
    stopped: str = ""
    groups: frozenset[str] = frozenset()
    fillers: bool = False
    leaving: bool = False
    gpus: int = 0
    architectures: frozenset[str] = frozenset()


def judge(sight: Sight, controls: Sequence[Control]) -> Place:
    """Return the place as the queue sees it; `controls` are those in force."""
    mode, words = mode_of(controls, sight.site)
    shut = _shut(sight, controls)
    drained = {kind: f"site-{_word(mode)}: {sight.site} is in {mode} ({words})" for kind in DRAINED[mode]}
    if sight.leaving:
        gone = f"site-drained: {sight.target} is out of the configuration, what is there goes on"
        drained = {JobType.PROCESSING: gone, **drained}
    return Place(
        target=sight.target,
        site=sight.site,
        free={kind: _free(sight, kind) for kind in JobType},
        closed=dict.fromkeys(JobType, shut) if shut else drained,
        jobs=sight.probes,
        cores=None if sight.limits.cores is None else sight.limits.cores - sight.cores,
        memory_mb=None if sight.limits.memory_mb is None else sight.limits.memory_mb - sight.memory_mb,
        picky=mode is Mode.TEST,
        score=sight.score,
        releases=sight.releases,
        groups=sight.groups,
        fillers=sight.fillers,
        gpus=sight.gpus,
        architectures=sight.architectures,
    )


def _word(mode: Mode) -> str:
    return "down" if mode is Mode.DOWN else "drained"


def _free(sight: Sight, kind: JobType) -> int:
    held, waiting = sight.held.get(kind, NONE), sight.limits.pending.get(kind)
    free = sight.limits.jobs.get(kind, 0) - held.jobs
    return free if waiting is None else min(free, waiting - held.pending)


def _shut(sight: Sight, controls: Sequence[Control]) -> str:
    """Return why nothing at all goes there: a person's word first, then what the agent found out by itself."""
    for scope, name in ((Scope.AGENT, "agent"), (Scope.SITE, sight.site), (Scope.TARGET, sight.target)):
        if hold := about(controls, Kind.HOLD, scope, name):
            return f"held: {scope} {name} is held ({hold.words})"
    if sight.off:
        return f"site-off: {sight.off}"
    if sight.stopped:
        return sight.stopped
    trusted = about(controls, Kind.TRUST, Scope.SITE, sight.site) is not None
    if sight.open_s > 0 and not trusted:
        return f"breaker-open: {sight.target} gets no jobs for {sight.open_s:.0f} s: {sight.evidence}"
    if sight.poor and not trusted:
        return f"poor-record: {sight.poor}"
    return f"back-pressure: {sight.behind}" if sight.behind else ""


UNBLOCKS: dict[str, str] = {
    "no-slot": "a job that ends at one of these targets, or higher limits there",
    "quota": "cores or memory that a job gives back there, or higher limits",
    "no-site": "a target at one of its sites, with what it needs, in the configuration; or other needs: `workflow change`",
    "no-data": "a target at that site in the configuration",
    "target-silent": "an answer of the target",
    "bad-nodes": "`nodes allow SITE NODE` for those that are repaired, or the end of their time",
    "restoring": "an answer of the target: what has run there since the snapshot has to be known first",
    "spread": "the end of its jobs and merges at one of these sites, or a higher `max_sites`: `workflow change`",
    "group": "a target for its group, or `fillers = true` there",
    "no-release": "that software at one of these sites, and the word of the feed that it is there",
    "site-off": "`enabled = true` there in the configuration",
    "site-down": "`site enabled`, or the end of the mode's time",
    "site-drained": "`site enabled`, or the end of the mode's time",
    "site-test": "`site enabled`, or a workflow that names the site",
    "held": "`resume`, or the end of the hold's time",
    "breaker-open": "the end of that time, then good probes; what it names has to be mended first; `site trust` opens it at once",
    "poor-record": "better attempts, with time; or `site trust`",
    "back-pressure": "that stage, once it has caught up",
    "agent-drains": "`drain --resume`",
    "disk-full": "room on the disk of the agent's state",
    "store-damaged": "a snapshot, restored",
    "next-sweep": "the queue's next look",
}
"""What ends each reason to wait in the queue."""
BY_PERSON = frozenset(
    {
        "no-site",
        "no-data",
        "no-release",
        "group",
        "site-off",
        "site-down",
        "site-drained",
        "site-test",
        "held",
        "agent-drains",
        "store-damaged",
    }
)
"""Reasons that a person has to end."""
