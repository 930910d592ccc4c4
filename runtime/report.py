"""Builds the report that every attempt leaves, whatever happened to it."""

import json
import os
import time
from typing import Any, Dict

from runtime.problem import Problem

MAX_BYTES = 8 * 1024 * 1024
LOG_BYTES = 64 * 1024

_encode = json.JSONEncoder(separators=(",", ":")).encode


def blank(token: str, job: int, node: str) -> Dict[str, Any]:
    """Return a report with nothing done yet."""
    now = time.time()
    return {
        "schema": 1,
        "token": token,
        "job": job,
        "exit_code": 0,
        "started_at": now,
        "ended_at": now,
        "node": node,
        "steps": [],
        "inputs": [],
        "outputs": [],
        "errors": [],
    }


def fail(report: Dict[str, Any], problem: Problem, log: str = "") -> None:
    """Write a problem into the report; the first one decides the exit code."""
    report["exit_code"] = report["exit_code"] or problem.code
    report["outputs"] = []
    report["errors"].append({"code": problem.code, "step": problem.step, "text": problem.text[:LOG_BYTES], "log": log})


def encode(report: Dict[str, Any]) -> bytes:
    """Return the report as JSON of at most MAX_BYTES; what had to go is marked by `truncated`."""
    raw = _encode(report).encode()
    if len(raw) <= MAX_BYTES:
        return raw
    bad = [entry for entry in report["inputs"] if not entry["ok"]]
    short = dict(report, truncated=True, inputs=bad[:1000], steps=report["steps"][:1000])
    errors = report["errors"][:100]
    short["errors"] = [dict(error, log=error["log"][-1000:], text=error["text"][:1000]) for error in errors]
    return _encode(short).encode()


def write(path: str, raw: bytes) -> None:
    """Put a report in place whole or not at all."""
    partial = path + ".part"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        view = memoryview(raw)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
    os.rename(partial, path)


def tail(path: str) -> str:
    """Return the last lines of a log."""
    try:
        with open(path, "rb") as source:
            source.seek(max(0, os.fstat(source.fileno()).st_size - LOG_BYTES))
            return source.read(LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
