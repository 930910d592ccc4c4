"""Counters beside the rows, causes of failure added up, and indexes for what is asked often."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FILL = (
    "SELECT 'job', state, workflow_id, type, coalesce(pinned, ''), coalesce(target, ''), count(*), sum(events), 0 "
    "FROM job GROUP BY 2, 3, 4, 5, 6",
    "SELECT 'file', state, workflow_id, kind, site, '', count(*), sum(events), sum(size) FROM file GROUP BY 2, 3, 4, 5",
    "SELECT 'transfer', t.state, f.workflow_id, '', t.destination, '', count(*), sum(f.events), sum(f.size) "
    "FROM transfer t JOIN file f ON f.id = t.file_id GROUP BY 2, 3, 5",
    "SELECT 'attempt', coalesce(outcome, 'live'), 0, '', site, target, count(*), 0, 0 FROM attempt GROUP BY 2, 5, 6",
    "SELECT 'delivered', '', workflow_id, '', '', '', count(*), sum(events), sum(size) FROM file "
    "WHERE kind = 'merged' AND state = 'catalogued' AND NOT EXISTS (SELECT 1 FROM transfer t "
    "WHERE t.file_id = file.id AND t.state NOT IN ('safe', 'releasable', 'released', 'cancelled')) GROUP BY workflow_id",
)


def upgrade() -> None:
    _tally()
    _cause()
    op.create_index("ix_job_place", "job", ["workflow_id", "state", "type", "pinned", "target"])
    op.drop_index("ix_job_workflow_id_state", table_name="job")
    op.drop_index("ix_job_queue", table_name="job")
    op.create_index("ix_job_wake_at", "job", ["wake_at"], sqlite_where=sa.text("wake_at IS NOT NULL"))
    failed = sa.text("outcome IN ('failed', 'lost')")
    op.create_index("ix_attempt_failed", "attempt", ["outcome"], sqlite_where=failed)
    op.drop_index("ix_attempt_outcome_exit_code", table_name="attempt")
    op.create_index("ix_transfer_wake_at", "transfer", ["wake_at"], sqlite_where=sa.text("wake_at IS NOT NULL"))


def _tally() -> None:
    words = (("entity", 20), ("state", 20), ("type", 20), ("site", 100), ("target", 100))
    key: dict[str, sa.Column[Any]] = {
        name: sa.Column(name, sa.String(length=length), nullable=False) for name, length in words
    }
    key["workflow_id"] = sa.Column("workflow_id", ID, autoincrement=False, nullable=False)
    names = ("entity", "state", "workflow_id", "type", "site", "target")
    op.create_table(
        "tally",
        *(key[name] for name in names),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("number", "events", "bytes")),
        sa.PrimaryKeyConstraint(*names, name=op.f("pk_tally")),
        sqlite_with_rowid=False,
    )
    for rows in FILL:
        op.execute(  # the columns are those of `FILL`
            f"INSERT INTO tally (entity, state, workflow_id, type, site, target, number, events, bytes) {rows}"
        )


def _cause() -> None:
    """Failures of before are counted under their whole message: an empty fingerprint stands for any."""
    words = (("outcome", 20), ("blame", 20), ("site", 100), ("node", 100), ("fingerprint", 32))
    key = ("workflow_id", "outcome", "exit_code", "site", "node", "fingerprint")
    op.create_table(
        "cause",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("workflow_id", ID, nullable=False),
        *(sa.Column(name, sa.String(length=length), nullable=False) for name, length in words),
        sa.Column("exit_code", sa.Integer(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.Double(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.Column("attempt_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["workflow_id"], ["workflow.id"], name=op.f("fk_cause_workflow_id_workflow")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cause")),
        sa.UniqueConstraint(*key, name=op.f("uq_cause_workflow_id_outcome_exit_code_site_node_fingerprint")),
    )
    op.execute(
        "INSERT INTO cause (workflow_id, outcome, exit_code, blame, site, node, fingerprint, count, first_at, last_at, "
        "attempt_id) SELECT j.workflow_id, a.outcome, coalesce(a.exit_code, 0), coalesce(max(a.blame), ''), a.site, a.node, "
        "'', count(*), min(a.closed_at), max(a.closed_at), max(a.id) FROM attempt a JOIN job j ON j.id = a.job_id "
        "WHERE a.outcome IN ('failed', 'lost') GROUP BY j.workflow_id, a.outcome, a.exit_code, a.site, a.node"
    )
