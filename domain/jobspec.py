"""Write the job specification that the worker runtime reads (runtime/spec.py)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from domain.escalation import Need, need
from domain.job import JobType
from domain.names import lfn
from domain.ranges import Range
from domain.spec import Step, WorkflowSpec, order_steps
from domain.splitting import seed
from runtime.spec import SCHEMA


class Assignment(NamedTuple):
    """A job at a site, under one attempt's token."""

    job: int
    type: JobType
    range: Range
    token: str


BATCH_MARGIN_S = 600
"""Seconds that a batch slot lasts beyond the wall time of its job: 300 from the soft to the hard signal, the rest to stage
out (PA-320)."""


STAGE_OUT_PAUSES_S = [60, 600]
"""Seconds between the tries of a stage-out, before the next place is tried (PA-322)."""


class Surroundings(NamedTuple):
    """What the site gives: where the sandbox archive lies (None without files), environment and stage-out rules.

    A job that fails sooner than `hold_failure_s` seconds after its start waits out the rest (PA-321). `prestage`: inputs are
    copied to the node before the first step (PA-323). `accepted`: exit codes of a step after which the job goes on (PA-406).
    `logs`: whole logs are kept at the site, where the workflow says nothing (PA-324).
    """

    sandbox: Mapping[str, str] | None
    environment: Mapping[str, str]
    stage_out: Sequence[Mapping[str, Any]]
    hold_failure_s: float = 0.0
    prestage: bool = False
    accepted: Sequence[int] = ()
    logs: bool = False


class MergeInput(NamedTuple):
    """A file to be merged; `path` is where the node can open it, `sources` are ways to copy it to the node. Sizes in bytes."""

    lfn: str
    path: str
    size: int
    events: int
    adler32: str
    sources: tuple[Mapping[str, Any], ...] = ()


def output_names(spec: WorkflowSpec, job: int, kind: JobType, token: str) -> list[str]:
    """Return the LFNs that an attempt may write; nobody else ever writes these."""
    name = f"{job:010d}-{token[:12]}"
    kinds = (True,) if kind is JobType.MERGE else (False, True)
    return [lfn(spec, merged=merged, counter=job, name=name) for merged in kinds]


def write(
    workflow: str,
    spec: WorkflowSpec,
    job: Assignment,
    site: Surroundings,
    inputs: Sequence[MergeInput] = (),
    given: Need | None = None,
) -> dict[str, Any]:
    """Return the specification, ready for JSON; `given` is the memory and time that the job gets, if not its workflow's.

    File names carry the token, so that no two attempts ever write the same name. A processing output of at least the
    wanted merged size takes its merged name at once (PA-503).
    """
    merging = job.type is JobType.MERGE
    return {
        "schema": SCHEMA,
        "token": job.token,
        "job": job.job,
        "type": str(job.type),
        "events": job.range.events,
        "workflow": workflow,
        "sandbox": site.sandbox,
        "environment": dict(site.environment),
        "inputs": [
            {name: value for name, value in zip(MergeInput._fields, item, strict=True) if value != ()}
            for item in inputs
        ],
        "steps": _steps(spec, job, site.accepted, merging=merging),
        "output": _output(spec, job),
        "concatenate": merging and not spec.merge.command,
        "stage_out": [dict(rule) for rule in site.stage_out],
        "limits": {**(given or need(spec.resources))._asdict(), "disk_mb": spec.resources.disk_mb},
        "stage_out_pauses_s": STAGE_OUT_PAUSES_S,
        **_extras(spec, job, site),
    }


def _output(spec: WorkflowSpec, job: Assignment) -> dict[str, Any]:
    names = output_names(spec, job.job, job.type, job.token)
    output: dict[str, Any] = {"file": spec.output.file, "lfn": names[0], "count": spec.output.count}
    if job.type is not JobType.MERGE:
        output["merged_lfn"] = names[1]
        output["merged_from_bytes"] = int(spec.merge.min_fraction * spec.merge.max_bytes)
    elif not spec.merge.command:
        output["count"] = "inputs"
    return output


def _extras(spec: WorkflowSpec, job: Assignment, site: Surroundings) -> dict[str, Any]:
    """What only some jobs need; left out where it is not wanted."""
    extras: dict[str, Any] = {}
    if site.hold_failure_s:
        extras["hold_failure_s"] = site.hold_failure_s
    if site.prestage:
        extras["prestage"] = True
    if spec.hooks and job.type is not JobType.MERGE:
        extras["hooks"] = {name.value: file for name, file in spec.hooks.items()}
    log, output = kept_names(spec, job.job, job.token)
    if site.logs if spec.keep_logs is None else spec.keep_logs:
        extras["log_archive"] = {"lfn": log}
    if spec.keep_failed:
        extras["store_fail"] = {"lfn": output}
    return extras


def kept_names(spec: WorkflowSpec, job: int, token: str) -> tuple[str, str]:
    """Return the LFNs under which an attempt keeps its log, and its output if it failed; nobody else ever writes these."""
    place = f"{spec.name}/{job // 1000:06d}/{job:010d}-{token[:12]}"
    return f"/store/logs/{place}.tar.gz", f"/store/failed/{place}-{spec.output.file}"


def _steps(spec: WorkflowSpec, job: Assignment, accepted: Sequence[int], *, merging: bool) -> list[dict[str, Any]]:
    merges = [Step(name="merge", command=spec.merge.command)] if spec.merge.command else []
    steps = merges if merging else order_steps(spec.steps)
    values = {
        "first_event": job.range.first,
        "events": job.range.events,
        "last_event": job.range.end - 1,
        "seed": seed(spec, job.range.first),
        "run": spec.run,
        "job": job.job,
        "token": job.token,
    }
    return [
        {
            "name": step.name,
            "command": [_filled(word, values) for word in step.command],
            "environment": step.environment,
            **_flow(step, before, accepted),
        }
        for before, step in pairwise([None, *steps])
        if step is not None
    ]


def _flow(step: Step, before: Step | None, accepted: Sequence[int]) -> dict[str, Any]:
    """Return the control points and files of a step; the output of the one before it goes when this one has read it.

    What the step itself says of an exit code comes before what is accepted everywhere.
    """
    dropped = [before.output] if before is not None and before.output and not before.keep else []
    then = [*step.then, {"if": {"exit_code": list(accepted)}, "go": "next"}] if accepted else step.then
    flow = {"before": step.before, "then": then, "output": step.output, "drop": dropped}
    return {key: value for key, value in flow.items() if value}


def _filled(word: str, values: Mapping[str, object]) -> str:
    """Replace the known placeholders; other braces (a shell's, a dictionary's) stay as they are."""
    if "{" in word:
        for name, value in values.items():
            word = word.replace("{" + name + "}", str(value))
    return word
