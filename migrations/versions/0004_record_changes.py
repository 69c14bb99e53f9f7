"""Which records changed, so that what knows them can follow."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the log and its watermarks; nobody knows the records yet, so it begins empty."""
    for column in ("last_change", "change_floor"):
        op.add_column("collections", sa.Column(column, sa.Integer, nullable=False, server_default=sa.text("0")))
    op.create_table(
        "record_changes",
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("collection_id", sa.Integer, sa.ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
        sa.Column("record_key", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("record_changes_by_collection", "record_changes", ["collection_id"])
