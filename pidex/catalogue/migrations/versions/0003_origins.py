"""Upstreams, inheritance and whose a name is; what is withheld; a chain through the audit; downloads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: SQLite gives out row ids for INTEGER only; PostgreSQL needs 64 bits.
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

#: What is looked up and sorted by: compared byte by byte, whatever the language of a PostgreSQL database is.
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    for name in ("bases", "upstreams", "folders"):
        op.add_column("indexes", sa.Column(name, sa.Text(), server_default="[]", nullable=False))
    op.add_column("indexes", sa.Column("rules", sa.Text(), nullable=True))
    for name in ("previous", "digest"):
        op.add_column("audit", sa.Column(name, sa.Text(), nullable=True))
    op.create_table(
        "upstreams",
        sa.Column("name", NAME, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=True),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_upstreams")),
    )
    _decisions()
    _of_index(
        "downloads",
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("project", NAME, nullable=False),
        sa.Column("filename", NAME, nullable=False),
        sa.Column("client", NAME, nullable=False),
        sa.Column("python", NAME, nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        key=("day", "project", "filename", "client", "python"),
    )
    op.create_index(op.f("ix_downloads_index_id_project_day"), "downloads", ["index_id", "project", "day"])
    # Names that have files here, or had: nobody else's from now on.
    op.execute(
        "insert into origins (index_id, project, origin, by, at)"
        " select index_id, project, 'local', 'pidex', min(at) from journal where project <> ''"
        " group by index_id, project"
    )


def _decisions() -> None:
    who = (
        ("by", sa.Text(), False),
        ("at", sa.BigInteger(), False),
    )
    _of_index(
        "origins",
        sa.Column("project", NAME, nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=True),
        *(sa.Column(name, kind, nullable=null) for name, kind, null in who),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "origin in ('local', 'upstream', 'merged', 'blocked')", name=op.f("ck_origins_origin")
        ),
        key=("project",),
    )
    _of_index(
        "reservations",
        sa.Column("pattern", NAME, nullable=False),
        *(sa.Column(name, kind, nullable=null) for name, kind, null in who),
        sa.Column("reason", sa.Text(), nullable=True),
        key=("pattern",),
    )
    _of_index(
        "exemptions",
        sa.Column("subject", NAME, nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        *(sa.Column(name, kind, nullable=null) for name, kind, null in who),
        key=("subject",),
    )
    _of_index(
        "holds",
        sa.Column("project", NAME, nullable=False),
        sa.Column("scope", NAME, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        *(sa.Column(name, kind, nullable=null) for name, kind, null in who),
        sa.CheckConstraint("scope in ('release', 'file')", name=op.f("ck_holds_scope")),
        key=("project", "scope", "target"),
    )


def _of_index(table: str, *columns: sa.Column[object] | sa.CheckConstraint, key: tuple[str, ...]) -> None:
    """A table whose rows belong to an index, and go with it."""
    op.create_table(
        table,
        sa.Column("index_id", ID, nullable=False),
        *columns,
        sa.ForeignKeyConstraint(
            ["index_id"], ["indexes.id"], name=op.f(f"fk_{table}_index_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("index_id", *key, name=op.f(f"pk_{table}")),
    )
