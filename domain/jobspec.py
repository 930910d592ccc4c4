"""Write the job specification that the worker runtime reads (runtime/spec.py)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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


class Surroundings(NamedTuple):
    """What the site gives: where the sandbox archive lies (None without files), environment and stage-out rules."""

    sandbox: Mapping[str, str] | None
    environment: Mapping[str, str]
    stage_out: Sequence[Mapping[str, Any]]


class MergeInput(NamedTuple):
    """A file to be merged; `path` is where the node can open it. Sizes in bytes."""

    lfn: str
    path: str
    size: int
    events: int
    adler32: str


def write(
    workflow: str, spec: WorkflowSpec, job: Assignment, site: Surroundings, inputs: Sequence[MergeInput] = ()
) -> dict[str, Any]:
    """Return the specification, ready for JSON.

    File names carry the token, so that no two attempts ever write the same name. A processing output of at least the
    wanted merged size takes its merged name at once (PA-503).
    """
    merging = job.type is JobType.MERGE
    name = f"{job.job:010d}-{job.token[:12]}"
    output: dict[str, Any] = {
        "file": spec.output.file,
        "lfn": lfn(spec, merged=merging, counter=job.job, name=name),
        "count": spec.output.count,
    }
    if merging and not spec.merge.command:
        output["count"] = "inputs"
    if not merging:
        output["merged_lfn"] = lfn(spec, merged=True, counter=job.job, name=name)
        output["merged_from_bytes"] = int(spec.merge.min_fraction * spec.merge.max_bytes)
    return {
        "schema": SCHEMA,
        "token": job.token,
        "job": job.job,
        "type": str(job.type),
        "events": job.range.events,
        "workflow": workflow,
        "sandbox": site.sandbox,
        "environment": dict(site.environment),
        "inputs": [item._asdict() for item in inputs],
        "steps": _steps(spec, job, merging=merging),
        "output": output,
        "concatenate": merging and not spec.merge.command,
        "stage_out": [dict(rule) for rule in site.stage_out],
        "limits": {
            "wall_s": spec.resources.wall_s,
            "memory_mb": spec.resources.memory_mb,
            "disk_mb": spec.resources.disk_mb,
        },
        "stage_out_pauses_s": [60, 600],
    }


def _steps(spec: WorkflowSpec, job: Assignment, *, merging: bool) -> list[dict[str, Any]]:
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
        }
        for step in steps
    ]


def _filled(word: str, values: Mapping[str, object]) -> str:
    """Replace the known placeholders; other braces (a shell's, a dictionary's) stay as they are."""
    for name, value in values.items():
        word = word.replace("{" + name + "}", str(value))
    return word
