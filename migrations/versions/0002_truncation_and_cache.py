"""Which vectors are of a content's beginning only; vectors of deleted contents, for reuse."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column and the tables; nothing that is stored was cut, as far as is known."""
    op.add_column("record_vectors", sa.Column("truncated", sa.Integer, nullable=False, server_default=sa.text("0")))
    op.create_table(
        "embedding_origins",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("probe", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("fingerprint", "metric", "probe"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "embedding_cache",
        sa.Column("key", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("origin_id", sa.Integer, sa.ForeignKey("embedding_origins.id", ondelete="CASCADE"), nullable=False),
        sa.Column("source_hash", sa.LargeBinary, nullable=False),
        sa.Column("truncated", sa.Integer, nullable=False),
        sa.Column("checksum", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("origin_id", "source_hash"),
        sqlite_autoincrement=True,
    )
