"""The agent's tables."""

from pathlib import Path

from storage.schema.columns import LFN, MAX_LFN, NAMING, Id, Line, Schema, Time, Word, lease_table, metadata, one_of
from storage.schema.data import block, dataset, file, merge_input, replica, transfer
from storage.schema.deciding import (
    added_site,
    adjustment,
    brake,
    breaker,
    configured,
    control,
    hourly,
    job_list,
    learned,
    leaving,
    node,
    offer,
    override,
    revision,
    rulebook,
    threshold,
)
from storage.schema.desk import alert, audit, dead_letter, outbox
from storage.schema.history import cause, cursor, daily, event, folded, horizon, later, parked, restoration, tally
from storage.schema.keeping import archive, volume
from storage.schema.work import FAILED, SOME_FAILURE, allocation, attempt, flag, job, lease, workflow

AGENT = Schema("agent", metadata, Path(__file__).parents[1] / "migrations" / "agent")
"""The agent's tables and their migrations."""

__all__ = [
    "AGENT",
    "FAILED",
    "LFN",
    "MAX_LFN",
    "NAMING",
    "SOME_FAILURE",
    "Id",
    "Line",
    "Schema",
    "Time",
    "Word",
    "added_site",
    "adjustment",
    "alert",
    "allocation",
    "archive",
    "attempt",
    "audit",
    "block",
    "brake",
    "breaker",
    "cause",
    "configured",
    "control",
    "cursor",
    "daily",
    "dataset",
    "dead_letter",
    "event",
    "file",
    "flag",
    "folded",
    "horizon",
    "hourly",
    "job",
    "job_list",
    "later",
    "learned",
    "lease",
    "lease_table",
    "leaving",
    "merge_input",
    "metadata",
    "node",
    "offer",
    "one_of",
    "outbox",
    "override",
    "parked",
    "replica",
    "restoration",
    "revision",
    "rulebook",
    "tally",
    "threshold",
    "transfer",
    "volume",
    "workflow",
]
