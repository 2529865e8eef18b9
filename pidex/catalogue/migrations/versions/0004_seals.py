"""A chain through the audit, and sums over the rows of what was decided."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pidex.catalogue import audit

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

#: What is looked up and sorted by: compared byte by byte, whatever the language of a PostgreSQL database is.
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "seals",
        sa.Column("name", NAME, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_seals")),
    )
    audit.chain(op.get_bind())
