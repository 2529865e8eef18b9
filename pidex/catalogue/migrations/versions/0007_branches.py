"""Branches of git of indexes in a bucket."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

#: SQLite gives out row ids for INTEGER only; PostgreSQL needs 64 bits.
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

#: What is looked up and sorted by: compared byte by byte, whatever the language of a PostgreSQL database is.
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "branches",
        sa.Column("index_id", ID, nullable=False),
        sa.Column("tip", sa.Text(), nullable=True),
        sa.Column("packs", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_branches_index_id")),
        sa.PrimaryKeyConstraint("index_id", name=op.f("pk_branches")),
    )
    op.create_table(
        "packs",
        sa.Column("index_id", ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sha256", NAME, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_packs_index_id")),
        sa.PrimaryKeyConstraint("index_id", "number", name=op.f("pk_packs")),
    )
