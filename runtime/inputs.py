"""Checks that every input is there and is what the catalogue says, and brings it to the node if that is wanted.

An input is read at `path`, or from the first of its `sources` (rules of runtime/mover.py, with the physical name as `pfn`)
that has it whole. With `prestage` every input is copied into the job's own directory first.
"""

import os
from contextlib import suppress
from typing import Any, Dict, List, Tuple

from runtime.checksum import adler32_of
from runtime.mover import open_mover


def check(inputs: List[Dict[str, Any]], directory: str, prestage: bool) -> Tuple[List[Dict[str, Any]], List[str]]:
    """Return the report of each input and the path at which to read it, in order; none is left out because another is bad."""
    reports, paths = [], []
    for place, entry in enumerate(inputs):
        path, problems = _bring(entry, os.path.join(directory, "%06d" % place), prestage)
        report: Dict[str, Any] = {"lfn": entry["lfn"], "ok": bool(path), "events": int(entry.get("events") or 0)}
        if problems:
            report["problem"] = "; ".join(problems)
        reports.append(report)
        paths.append(path)
    return reports, paths


def _bring(entry: Dict[str, Any], local: str, prestage: bool) -> Tuple[str, List[str]]:
    """Return where an input can be read, "" for nowhere, and what was wrong with the sources before it."""
    problems = []
    sources = list(entry.get("sources") or [])
    if entry.get("path") and not prestage:
        problem = _problem(entry, entry["path"])
        if not problem:
            return str(entry["path"]), []
        problems.append(problem)
    elif entry.get("path"):
        sources.insert(0, {"kind": "posix", "root": "/", "pfn": entry["path"]})
    for rule in sources:
        if rule["kind"] == "posix" and not prestage:
            problem, path = _problem(entry, rule["pfn"]), rule["pfn"]
        else:
            problem, path = _fetch(entry, rule, local), local
        if not problem:
            return str(path), problems
        problems.append("{}: {}".format(rule["pfn"], problem))
    return "", problems


def _fetch(entry: Dict[str, Any], rule: Dict[str, Any], local: str) -> str:
    os.makedirs(os.path.dirname(local), exist_ok=True)
    try:
        open_mover(rule).fetch(rule["pfn"], local)
    except OSError as fault:
        problem = str(fault)
    else:
        problem = _problem(entry, local)
    if problem:
        with suppress(OSError):
            os.unlink(local)
    return problem


def _problem(entry: Dict[str, Any], path: str) -> str:
    try:
        size = os.stat(path).st_size
        if entry.get("size") is not None and size != entry["size"]:
            return "size is {}, expected {}".format(size, entry["size"])
        if entry.get("adler32"):
            found = adler32_of(path)
            if int(found, 16) != int(entry["adler32"], 16):
                return "adler32 is {}, expected {}".format(found, entry["adler32"])
        elif not os.access(path, os.R_OK):
            return "not readable"
    except (OSError, ValueError) as fault:
        return str(fault)
    return ""
