"""Objects of the bucket that no name has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

#: What is looked up and sorted by: compared byte by byte, whatever the language of a PostgreSQL database is.
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "garbage",
        sa.Column("sha256", NAME, nullable=False),
        sa.Column("marked", sa.BigInteger(), nullable=False),
        sa.Column("dropping", sa.BigInteger()),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_garbage")),
    )
