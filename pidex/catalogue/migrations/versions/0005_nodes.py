"""Whose a publish that is under way is, and what nodes of a cluster tell each other."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: What is looked up and sorted by: compared byte by byte, whatever the language of a PostgreSQL database is.
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("intents", sa.Column("owner", sa.Text(), nullable=True))
    op.create_table(
        "shared",
        sa.Column("name", NAME, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_shared")),
    )
