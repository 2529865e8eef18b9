"""Advisories about public packages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

#: What is looked up and sorted by: compared byte by byte, whatever the language of a PostgreSQL database is.
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "advisories",
        sa.Column("project", NAME, nullable=False),
        sa.Column("id", NAME, nullable=False),
        sa.Column("modified", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name=op.f("pk_advisories")),
    )
