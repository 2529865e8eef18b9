"""People and their rights, signatures, and what an index asks of uploads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: SQLite gives out row ids for INTEGER only; PostgreSQL needs 64 bits.
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

#: What is looked up and sorted by: compared byte by byte, whatever the language of a PostgreSQL database is.
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    # Added in place: copying `indexes`, as SQLite's batch mode does, would break what refers to it.
    op.add_column("indexes", sa.Column("challenge", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("indexes", sa.Column("policy", sa.Text(), nullable=True))
    op.add_column("audit", sa.Column("token_id", sa.BigInteger(), nullable=True))
    op.add_column("tombstones", sa.Column("root", sa.Integer(), server_default="0", nullable=False))
    op.add_column("tombstones", sa.Column("path", NAME, nullable=True))
    op.execute("insert into counters (name, value) values ('credentials', 0), ('grants', 0)")
    _people()
    _credentials()
    _grants()
    op.create_table(
        "signatures",
        sa.Column("index_id", ID, nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["index_id"], ["indexes.id"], name=op.f("fk_signatures_index_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("index_id", "key", name=op.f("pk_signatures")),
    )


def _people() -> None:
    op.create_table(
        "users",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("display", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("disabled", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )
    op.create_table(
        "groups",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
        sa.UniqueConstraint("name", name=op.f("uq_groups_name")),
    )
    op.execute("insert into groups (name, created) values ('anonymous', 0), ('authenticated', 0)")
    op.create_table(
        "memberships",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("group_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_memberships_user_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name=op.f("fk_memberships_group_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "group_id", name=op.f("pk_memberships")),
    )
    op.create_index(op.f("ix_memberships_group_id"), "memberships", ["group_id"])


def _credentials() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", ID, nullable=False),
        sa.Column("digest", NAME, nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("indexes", sa.Text(), nullable=False),
        sa.Column("projects", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=True),
        sa.Column("revoked", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_tokens_user_id"), ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,  # the number of a token that is gone never comes back
    )
    op.create_index(op.f("ix_tokens_user_id"), "tokens", ["user_id"])
    op.create_table(
        "sessions",
        sa.Column("digest", NAME, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("csrf", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_sessions_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"])


def _grants() -> None:
    op.create_table(
        "grants",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=True),
        sa.Column("group_id", ID, nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("index_id", ID, nullable=True),
        sa.Column("project", NAME, nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("(user_id is null) <> (group_id is null)", name=op.f("ck_grants_subject")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_grants_user_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name=op.f("fk_grants_group_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["index_id"], ["indexes.id"], name=op.f("fk_grants_index_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
    )
    op.create_index(op.f("ix_grants_user_id"), "grants", ["user_id"])
    op.create_index(op.f("ix_grants_group_id"), "grants", ["group_id"])
    # Indexes that were there before rights were: open to read, as they have been.
    op.execute(
        "insert into grants (group_id, role, index_id, project, by, at)"
        " select groups.id, 'reader', indexes.id, '*', 'pidex', indexes.created"
        " from indexes, groups where groups.name = 'anonymous'"
    )
