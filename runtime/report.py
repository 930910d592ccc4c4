"""Builds the report that every attempt leaves, whatever happened to it."""

import json
import os
import time
from typing import Any, Dict, List

from runtime import codes
from runtime.problem import Problem

MAX_BYTES = 8 * 1024 * 1024
LOG_BYTES = 64 * 1024

_text = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


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
        "timing": {},
    }


def fail(report: Dict[str, Any], problem: Problem, log: str = "") -> None:
    """Write a problem into the report; the first one decides the exit code."""
    report["exit_code"] = report["exit_code"] or problem.code
    report["outputs"] = []
    report["errors"].append({"code": problem.code, "step": problem.step, "text": problem.text[:LOG_BYTES], "log": log})


def never_updated(token: str, job: int, node: str) -> Dict[str, Any]:
    """Return the report that stands until the job has ended: what is found if the runtime itself is killed."""
    report = blank(token, job, node)
    fail(report, Problem(codes.NEVER_UPDATED, "the runtime began and has not ended: killed, or still running"))
    return report


def _encode(report: Dict[str, Any]) -> bytes:
    """Return it as UTF-8; bytes of a file name that are none, which Python has as lone surrogates, become question marks."""
    return _text(report).encode("utf-8", "replace")


def encode(report: Dict[str, Any]) -> bytes:
    """Return the report as JSON of at most MAX_BYTES; what had to go is marked by `truncated`.

    Logs go first, then good inputs and parents, then all but the first hundred of everything.
    """
    raw = _encode(report)
    if len(raw) <= MAX_BYTES:
        return raw
    short = dict(report, truncated=True, inputs=[entry for entry in report["inputs"] if not entry["ok"]][:1000])
    short["steps"] = report["steps"][:1000]
    short["outputs"] = [{key: output[key] for key in output if key not in _LONG} for output in report["outputs"]]
    short["errors"] = [
        dict(error, log=error["log"][-1000:], text=error["text"][:1000]) for error in report["errors"][:100]
    ]
    raw = _encode(short)
    if len(raw) <= MAX_BYTES:
        return raw
    short.update(inputs=_cut(short["inputs"]), steps=_cut(short["steps"]), log_archive=None, kept=None)
    return _encode({key: value for key, value in short.items() if value is not None})


_LONG = ("parents", "lumis", "branches", "skipped_files")


def _cut(entries: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Return the first hundred, with no text longer than 1000 letters."""
    return [
        {key: value[:1000] if isinstance(value, str) else value for key, value in entry.items()}
        for entry in entries[:100]
    ]


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
