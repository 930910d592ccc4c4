"""A workflow as people write it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from domain.job import JobType
from domain.types import looked_at
from runtime import plan

Name = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$", description="letters, digits, _ . -; at most 100")
]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class Step(_Table, frozen=True, kw_only=True):
    """One program run on the worker node.

    `command` may contain the placeholders {first_event}, {events}, {last_event}, {seed}, {run}, {job}, {token},
    {output} (path of the job's output file), {inputs} (expands to one argument per input path, merge only) and
    {sandbox} (directory of the workflow's files), {previous} (the `output` of the step before). `after` names the steps that
    must have ended well before it. `before` and `then` are control points: lists of rules as runtime/plan.py has them. An
    `output` is a file that the next step reads; `keep` False removes it once that has ended well. `sites` and `deny_sites`: where
    it can run and where not, as for the workflow; its job goes where all its steps may (PA-205).
    """

    name: Name = "payload"
    command: Annotated[list[str], Meta(min_length=1)]
    environment: dict[str, str] = {}
    after: list[str] = []
    before: list[dict[str, Any]] = []
    then: list[dict[str, Any]] = []
    output: Name | None = None
    keep: bool = True
    sites: list[Name] = []
    deny_sites: list[Name] = []
    filter_efficiency: Annotated[float, Meta(gt=0, le=1)] = 1.0
    event_multiplier: Annotated[float, Meta(gt=0)] = 1.0


class Output(_Table, frozen=True, kw_only=True):
    """The file that a job leaves. `count` says how its events are known: by its lines, or as reported by the payload
    (a JSON object {"events": N} in the file that the environment variable PRODAGENT_COUNTS names)."""

    file: Name = "events.txt"
    count: Literal["lines", "reported"] = "lines"


class Merge(_Table, frozen=True, kw_only=True):
    """How small outputs become large files.

    `max_bytes`, `max_events` and `max_files` are never exceeded except by a single larger input. A bin of at least
    `min_fraction` of max_bytes or max_events goes at once, the rest when no more input comes or when its oldest file has
    waited `max_wait_s`. Without a `command` the inputs' bytes are put one after the other. Merges run where their inputs lie; with
    `sites` only there, and never at `deny_sites`: what lies elsewhere waits, parked with that reason (PA-205).
    """

    command: list[str] = []
    sites: list[Name] = []
    deny_sites: list[Name] = []
    min_fraction: Annotated[float, Meta(gt=0, le=1)] = 0.75
    max_bytes: Positive = 2_000_000_000
    max_events: Positive | None = None
    max_files: Positive = 500
    max_wait_s: Positive = 12 * 3600


class Dataset(_Table, frozen=True, kw_only=True):
    """The name /primary/processed/tier; primary defaults to the workflow's name (DBS-02)."""

    primary: Name | None = None
    processed: Name = "v1"
    tier: Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9\-]{0,49}$", description="capitals, digits, -")] = "GEN"


class Resources(_Table, frozen=True, kw_only=True):
    """What one job needs; memory and disk in MB (10**6 bytes), wall time in seconds; the `architecture` of the node as `uname -m`
    says it (unset: any). Merges need no GPUs (PA-310)."""

    cores: Positive = 1
    memory_mb: Positive = 2000
    disk_mb: Positive = 20_000
    wall_s: Positive = 8 * 3600
    gpus: NotNegative = 0
    architecture: Name | None = None


Cause = Literal[
    "payload", "site", "node", "network", "storage", "credential", "infrastructure", "nobody", "processing", "merge",
]  # fmt: skip
"""Blames (domain/rules.py) and types of jobs, as keys of a table of back-offs."""


class BackOff(_Table, frozen=True, kw_only=True):
    """How long to wait before the next attempt: a curve over the failures so far of the same blame, from `base_s` up to `cap_s`
    seconds. The `curve` is fixed, linear, squared, exponential, one that the agent brings (its errors.curves), or pause: until a
    person retries it."""

    curve: Name = "exponential"
    base_s: Annotated[float, Meta(ge=0)] = 60.0
    cap_s: Annotated[float, Meta(ge=0)] = 3600.0


class Retry(_Table, frozen=True, kw_only=True):
    """Attempts in total per blame and job type, and the exponential back-off before the next one in seconds (PA-402, PA-404).

    `back_off` holds others, by blame (payload, site, ...) or by type of job (merge, ...); the blame is looked for first.
    """

    processing: Positive = 3
    merge: Positive = 4
    site: Positive = 5
    infrastructure: Positive = 20
    base_s: Annotated[float, Meta(ge=0)] = 60.0
    cap_s: Annotated[float, Meta(ge=0)] = 3600.0
    back_off: dict[Cause, BackOff] = {}

    def curve(self, blame: str, kind: str) -> BackOff:
        """Return how to wait after a failure of this blame in a job of this type."""
        by: Mapping[Any, BackOff] = self.back_off
        return by.get(blame) or by.get(kind) or BackOff(base_s=self.base_s, cap_s=self.cap_s)


class Stuck(_Table, frozen=True, kw_only=True):
    """How long a job may wait in a batch system, and run beyond the wall time it asked for, in seconds; unset: as at the
    target (PA-314)."""

    pending_s: Annotated[float, Meta(gt=0)] | None = None
    running_s: Annotated[float, Meta(gt=0)] | None = None


class Hook(StrEnum):
    """When a program of the workflow's files runs besides the steps (PA-123); at a step it gets the step's name."""

    PRE_TASK = "pre_task"
    PRE_STEP = "pre_step"
    POST_STEP = "post_step"
    POST_TASK = "post_task"


class WorkflowSpec(_Table, frozen=True, kw_only=True):
    """What is to be produced, from how many events, by which programs, and where it goes.

    `sites`: where processing may run (none: everywhere), `deny_sites`: where it may not (PA-205); a site that is in both is denied.
    `keep_logs`: each job's log and report are kept at the site as an archive (PA-324); unset: as the agent says. `keep_failed`:
    what a failed job made is kept apart and never registered (PA-322). `stage_out`: sites whose storage takes the outputs, one
    after the other, in place of that of the job's own site and its fall-backs. `releases`: tags of the software that
    processing jobs need; they go where a feed says that it is there, or where none says anything (PA-212). `max_sites`: at so
    many sites at once it may have jobs, or outputs that wait for their merge. `group`: whose work it is, for sites that are
    meant for some groups (PA-210).
    """

    schema: Literal[1] = 1
    name: Name
    events: Positive
    steps: Annotated[list[Step], Meta(min_length=1)]
    events_per_job: Positive = 1000
    first_event: Positive = 1
    run: Positive = 1
    seed: NotNegative = 1
    priority: Annotated[int, Meta(ge=0, le=9999)] = 100
    category: Literal["mc", "data", "relval"] = "mc"
    era: Name = "Run1"
    sites: list[str] = []
    deny_sites: list[Name] = []
    max_sites: Positive | None = None
    group: Name | None = None
    releases: list[Name] = []
    files: list[str] = []
    deliver_to: list[str] = []
    stage_out: list[str] = []
    output: Output = Output()
    merge: Merge = Merge()
    dataset: Dataset = Dataset()
    resources: Resources = Resources()
    retry: Retry = Retry()
    stuck: dict[JobType, Stuck] = {}
    hooks: dict[Hook, str] = {}
    keep_logs: bool | None = None
    keep_failed: bool = False

    def __post_init__(self) -> None:
        steps = order_steps(self.steps)
        points = [{"name": step.name, "before": step.before, "then": step.then} for step in steps]
        if faults := plan.faults(points):
            raise ValueError("; ".join(faults))
        allowed = [set(sites) for sites in (self.sites, *(step.sites for step in steps)) if sites]
        if allowed and not set.intersection(*allowed):
            raise ValueError(
                "sites: no site stands in the lists of the workflow and of all its steps; expected one at least"
            )

    @property
    def dataset_name(self) -> str:
        return f"/{self.dataset.primary or self.name}/{self.dataset.processed}/{self.dataset.tier}"


def order_steps(steps: list[Step]) -> list[Step]:
    """Return the steps so that each comes after those it names; raise ValueError for a cycle, an unknown or a double name."""
    if len(steps) == 1 and not steps[0].after:
        return steps
    by_name = {step.name: step for step in steps}
    if len(by_name) != len(steps):
        doubles = sorted({step.name for step in steps if [other.name for other in steps].count(step.name) > 1})
        raise ValueError(f"steps: the name {doubles[0]!r} stands twice; expected unique names")
    for step in steps:
        for name in step.after:
            if name not in by_name:
                raise ValueError(
                    f"steps.{step.name}.after: no step {name!r}; expected one of {', '.join(sorted(by_name))}"
                )
    ordered: list[Step] = []
    while len(ordered) < len(steps):
        done = {step.name for step in ordered}
        ready = [step for step in steps if step.name not in done and done.issuperset(step.after)]
        if not ready:
            raise ValueError(f"steps: a cycle through {', '.join(sorted(set(by_name) - done))}")
        ordered.extend(ready)
    return ordered


looked_at(WorkflowSpec)
