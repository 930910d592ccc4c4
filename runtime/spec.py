"""What the agent tells a job: the JSON document that the runtime reads.

Kept as plain dictionaries, because the runtime has to start on Python 3.6 with the standard library alone.
"""

from typing import Any, Dict, List, Tuple

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
"""Optional besides: `limits.grace_s` (300: from the soft to the hard signal), `limits.sample_s` (10: longest pause
between two looks at the memory), `stage_out[].sync` (True: flush to disk before publishing). `output` may be None: the
job leaves no file. A step's `command` is run without a shell."""

COUNTS = ("lines", "reported", "inputs")


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
            found.append("{} is a {}, expected {}".format(key, type(spec[key]).__name__, kind.__name__))
    return found or _step_faults(spec) + _output_faults(spec)


_KINDS: Tuple[Tuple[str, type], ...] = (
    ("inputs", list),
    ("steps", list),
    ("stage_out", list),
    ("stage_out_pauses_s", list),
    ("sandbox", dict),
    ("environment", dict),
    ("output", dict),
    ("limits", dict),
)


def _step_faults(spec: Dict[str, Any]) -> List[str]:
    found = []
    for place, step in enumerate(spec.get("steps") or []):
        command = step.get("command") if isinstance(step, dict) else None
        if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
            found.append("steps[{}].command is {!r}, expected a list of words".format(place, command))
    if not spec.get("steps") and not spec.get("concatenate"):
        found.append("there are no steps and concatenate is false: nothing to do")
    for place, entry in enumerate(spec.get("inputs") or []):
        names = (entry.get("path"), entry.get("lfn")) if isinstance(entry, dict) else (None,)
        if not all(isinstance(name, str) for name in names):
            found.append("inputs[{}] is {!r}, expected an object with lfn and path".format(place, entry))
    return found


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
    for place, rule in enumerate(rules):
        if not isinstance(rule, dict) or rule.get("kind") != "posix" or not isinstance(rule.get("root"), str):
            found.append("stage_out[{}] is {!r}, expected kind posix with a root".format(place, rule))
    return found
