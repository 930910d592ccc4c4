"""What the agent tells a job: the JSON document that the runtime reads.

Kept as plain dictionaries, because the runtime has to start on Python 3.6 with the standard library alone.
"""

from typing import Any, Dict, List, Tuple

from runtime import mover, plan

SCHEMA = 1

EXAMPLE = {
    "schema": SCHEMA,
    "token": "a1b2c3",  # one attempt; also the name of its directory
    "job": 17,
    "type": "processing",  # or "merge"
    "workflow": "hello",
    "events": 3,  # that the job should make; only the simulated cluster reads it
    "sandbox": {"path": "/site/sandboxes/<sha256>.tar.gz", "sha256": "<sha256>"},  # or None
    "environment": {"PATH": "/opt/bin:/usr/bin:/bin"},  # added to the payload's environment
    "inputs": [  # merge only; read in place when `path` can be opened
        {"lfn": "/store/a", "path": "/site/se/store/a", "size": 12, "adler32": "0a1b2c3d", "events": 3},
    ],
    # in order; placeholders of the job are already filled in, except {output}, {inputs}, {sandbox}
    "steps": [{"name": "payload", "command": ["python3", "make.py", "{output}"], "environment": {}}],
    # count: lines | reported | inputs (sum of the inputs' events, only with concatenate)
    "output": {"file": "events.txt", "lfn": "/store/unmerged/...", "count": "lines"},
    "concatenate": False,  # merge without a command: the inputs one after the other
    # and, for an output of at least so many bytes: "merged_lfn": "/store/...", "merged_from_bytes": 1500000000
    "stage_out": [{"kind": "posix", "root": "/site/se"}],  # tried in this order; 3 tries each
    "limits": {"wall_s": 600, "memory_mb": 2000, "disk_mb": 20000},
    "stage_out_pauses_s": [60, 600],
}
"""Optional besides; `output` may be None: the job leaves no file. A step's `command` is run without a shell.

limits.grace_s         300: from the soft signal (SIGUSR2) to the hard one
limits.sample_s        30: longest pause between two looks at memory and disk
steps[].before, .then  control points (runtime/plan.py)
steps[].output         the file that the next step sees as {previous}
steps[].drop           earlier files that are removed when this step has ended well
hooks                  {"pre_task" | "pre_step" | "post_step" | "post_task": a program of the sandbox}
prestage               True: inputs are copied to the node before the first step
inputs[].sources       further places of an input: rules of runtime/mover.py with its physical name there as `pfn`
stage_out[]            kinds and their keys: runtime/mover.py
heartbeat_s            60: seconds between two heartbeats
hold_failure_s         0: a job that fails sooner after its start waits out the rest (black-hole guard)
log_archive            {"lfn": ..., "stage_out": [...]}: where log and report go, compressed; rules as of the output if missing
store_fail             {"lfn": ...}: where the output of a failed job goes, apart from good ones
"""

COUNTS = ("lines", "reported", "inputs")
HOOKS = ("pre_task", "pre_step", "post_step", "post_task")
"""Programs of the sandbox that run before and after the whole task, and before and after each step; a step's hook gets its name."""


def faults(spec: Any) -> List[str]:
    """Return everything that is wrong with a job specification, as sentences; empty if a job can be run by it."""
    if not isinstance(spec, dict):
        return ["the specification is a {}, expected an object".format(type(spec).__name__)]
    found = []
    if spec.get("schema") != SCHEMA:
        found.append("schema is {!r}, expected {}".format(spec.get("schema"), SCHEMA))
    if not isinstance(spec.get("token"), str):
        found.append("token is {!r}, expected text".format(spec.get("token")))
    if not isinstance(spec.get("job"), int):
        found.append("job is {!r}, expected a number".format(spec.get("job")))
    for key, kind in _KINDS:
        if spec.get(key) is not None and not isinstance(spec[key], kind):
            found.append(
                "{} is a {}, expected {}".format(key, type(spec[key]).__name__, getattr(kind, "__name__", "number"))
            )
    if found:
        return found
    found = _step_faults(spec) + plan.faults(spec.get("steps") or []) + _input_faults(spec) + _output_faults(spec)
    return found + _extra_faults(spec)


_KINDS: Tuple[Tuple[str, Any], ...] = (
    ("inputs", list),
    ("steps", list),
    ("stage_out", list),
    ("stage_out_pauses_s", list),
    ("sandbox", dict),
    ("environment", dict),
    ("output", dict),
    ("limits", dict),
    ("hooks", dict),
    ("prestage", bool),
    ("heartbeat_s", (int, float)),
    ("hold_failure_s", (int, float)),
    ("log_archive", dict),
    ("store_fail", dict),
)


def _step_faults(spec: Dict[str, Any]) -> List[str]:
    found = []
    for place, step in enumerate(spec.get("steps") or []):
        command = step.get("command") if isinstance(step, dict) else None
        if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
            found.append("steps[{}].command is {!r}, expected a list of words".format(place, command))
    if not spec.get("steps") and not spec.get("concatenate"):
        found.append("there are no steps and concatenate is false: nothing to do")
    for place, step in enumerate(spec.get("steps") or []):
        names = (step.get("drop") or []) + [step.get("output") or "-"] if isinstance(step, dict) else []
        found += [
            "steps[{}] names the file {!r}, expected one below".format(place, name) for name in names if _far(name)
        ]
    return found


def _input_faults(spec: Dict[str, Any]) -> List[str]:
    found = []
    for place, entry in enumerate(spec.get("inputs") or []):
        names = (entry.get("path") or entry.get("sources"), entry.get("lfn")) if isinstance(entry, dict) else (None,)
        if not isinstance(names[-1], str) or not names[0]:
            found.append("inputs[{}] is {!r}, expected an object with lfn and path or sources".format(place, entry))
            continue
        sources = entry.get("sources") or []
        found += mover.faults("inputs[{}].sources".format(place), [dict(rule, root="/") for rule in sources])
        if not all(isinstance(rule.get("pfn"), str) for rule in sources):
            found.append("inputs[{}].sources is {!r}, expected a pfn in each".format(place, sources))
    return found


def _extra_faults(spec: Dict[str, Any]) -> List[str]:
    found = []
    for name, file in (spec.get("hooks") or {}).items():
        if name not in HOOKS or _far(file):
            found.append("hooks.{} is {!r}, expected {} and a file of the sandbox".format(name, file, "|".join(HOOKS)))
    for key in ("log_archive", "store_fail"):
        entry = spec.get(key) or {}
        if entry and (not str(entry.get("lfn")).startswith("/") or ".." in entry["lfn"].split("/")):
            found.append("{}.lfn is {!r}, expected an absolute name".format(key, entry.get("lfn")))
        if entry and not entry.get("stage_out") and not spec.get("stage_out"):
            found.append("{} has no stage_out, expected one here or for the output".format(key))
        found += mover.faults(key + ".stage_out", entry.get("stage_out") or [])
    return found


def _far(name: Any) -> bool:
    """Return whether this is no name of a file below the working directory."""
    return not isinstance(name, str) or not name or name.startswith("/") or ".." in name.split("/")


def _output_faults(spec: Dict[str, Any]) -> List[str]:
    output = spec.get("output")
    if output is None:
        return []
    found = []
    name = output.get("file")
    if not isinstance(name, str) or not name or "/" in name or name in (".", ".."):
        found.append("output.file is {!r}, expected a file name without directories".format(name))
    for key in ("lfn", "merged_lfn"):
        lfn = output.get(key, "/") if key == "merged_lfn" else output.get(key) or ""
        if not isinstance(lfn, str) or not lfn.startswith("/") or ".." in lfn.split("/"):
            found.append("output.{} is {!r}, expected an absolute name".format(key, lfn))
    if output.get("count") not in COUNTS:
        found.append("output.count is {!r}, expected one of {}".format(output.get("count"), ", ".join(COUNTS)))
    rules = spec.get("stage_out") or []
    if not rules:
        found.append("stage_out is empty, expected at least one rule")
    found += mover.faults("stage_out", rules)
    return found
