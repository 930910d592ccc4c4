"""Checks that every input is there and is what the catalogue says."""

import os
from typing import Any, Dict, List

from runtime.checksum import adler32_of


def check(inputs: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Return the report of each input, in order; none is left out because another is bad."""
    reports = []
    for entry in inputs:
        problem = _problem(entry)
        report: Dict[str, Any] = {"lfn": entry["lfn"], "ok": not problem, "events": int(entry.get("events") or 0)}
        if problem:
            report["problem"] = problem
        reports.append(report)
    return reports


def _problem(entry: Dict[str, Any]) -> str:
    path = entry["path"]
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
