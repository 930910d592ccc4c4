"""Turns the agent's records of a job, an attempt or a file into a sentence."""

from collections.abc import Mapping

from domain.rules import classify
from storage.views import AttemptView, FactView, FileView, JobView


def live_at(job: JobView, moment: float) -> list[AttemptView]:
    """Return the attempts of a job that were under way at a moment (UTC epoch seconds)."""
    return [
        tried
        for tried in job.attempts_made
        if tried.created_at <= moment and (tried.closed_at is None or tried.closed_at > moment)
    ]


def outcome(tried: AttemptView) -> str:
    """How an attempt ended, in one or a few words."""
    if tried.outcome is None:
        return "still under way"
    if tried.outcome == "void":
        return "never submitted"
    return tried.outcome if tried.outcome == "success" else f"{tried.outcome} with {tried.exit_code}"


def listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))


def retried(job: JobView, failed: AttemptView) -> str:
    """What followed the failed attempt of a job."""
    meaning = "" if failed.exit_code is None else f", {classify(failed.exit_code).name}"
    parts = [f"attempt {failed.number} of job {job.id} at {failed.site} booked as {failed.outcome}"]
    parts.append(f"code {failed.exit_code}{meaning}, blamed on the {failed.blame} ({failed.cause})")
    closed = failed.closed_at or failed.created_at
    decision = next((fact for fact in job.history if fact.at >= closed and fact.type in DECISIONS), None)
    if decision is not None:
        parts.append(f"{DECISIONS[decision.type]}: {decision.reason}")
    return "; ".join([*parts, *_later(job, failed.number)])


def remade(file: FileView, job: JobView, second: FileView | None) -> str:
    """What followed when a booked file was found damaged; `second` is what its job made in its place."""
    found = _first(file.history, "FilesInvalidated")
    again = _first(job.history, "JobsRequeued", found.at if found else 0.0)
    if found is None or again is None:
        return ""
    before = sum(tried.created_at < found.at for tried in job.attempts_made)
    reason = found.reason.replace(file.lfn, _name(file.lfn))
    parts = [f"found before the merge used it ({reason})", f"job {job.id} queued again: {again.reason}"]
    parts += _later(job, before)
    if second is not None and second.merged_into:
        parts.append(f"its new output was merged into {_name(second.merged_into)}")
    return "; ".join(parts)


def _name(lfn: str) -> str:
    return lfn.rpartition("/")[2]


DECISIONS = {
    "JobsCooledOff": "cooled off",
    "JobsRequeued": "queued again",
    "JobsPaused": "paused",
    "JobsExhausted": "given up",
}


def _later(job: JobView, number: int) -> list[str]:
    return [f"attempt {tried.number}: {outcome(tried)}" for tried in job.attempts_made if tried.number > number]


def _first(history: list[FactView], kind: str, since: float = 0.0) -> FactView | None:
    return next((fact for fact in history if fact.type == kind and fact.at >= since), None)
