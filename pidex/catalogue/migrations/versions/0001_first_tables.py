"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: SQLite gives out row ids for INTEGER only; PostgreSQL needs 64 bits.
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

#: What is looked up and sorted by: compared byte by byte, whatever the language of a PostgreSQL database is.
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    _foundations()
    _admissions()
    _decisions()
    _history()
    _places()
    _contents()
    _listings()
    if op.get_bind().dialect.name == "sqlite":
        _expectations()


def _foundations() -> None:
    """The catalogue itself, its counter and its indexes."""
    op.create_table(
        "meta",
        sa.Column("key", NAME, nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_meta")),
    )
    op.create_table(
        "counters",
        sa.Column("name", NAME, nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )
    op.execute("insert into counters (name, value) values ('serial', 0)")
    op.create_table(
        "indexes",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("mutability", sa.Text(), server_default="folder", nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "mutability in ('folder', 'immutable', 'volatile')", name=op.f("ck_indexes_mutability")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_indexes")),
        sa.UniqueConstraint("name", name=op.f("uq_indexes_name")),
    )


def _admissions() -> None:
    """What is in an index, what was, and what must not come back."""
    op.create_table(
        "admissions",
        sa.Column("id", ID, nullable=False),
        sa.Column("index_id", ID, nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("filename", NAME, nullable=False),
        sa.Column("sha256", NAME, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("how", sa.Text(), nullable=False),
        sa.UniqueConstraint("index_id", "key", name=op.f("uq_admissions_index_id_key")),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_admissions_index_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_admissions")),
    )
    op.create_table(
        "superseded",
        sa.Column("id", ID, nullable=False),
        sa.Column("index_id", ID, nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("filename", NAME, nullable=False),
        sa.Column("sha256", NAME, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("replaced", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("how", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_superseded_index_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_superseded")),
    )
    op.create_index(op.f("ix_superseded_index_id_key"), "superseded", ["index_id", "key"], unique=False)
    op.create_table(
        "tombstones",
        sa.Column("index_id", ID, nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("filename", NAME, nullable=False),
        sa.Column("sha256", NAME, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_tombstones_index_id")),
        sa.PrimaryKeyConstraint("index_id", "key", name=op.f("pk_tombstones")),
    )
    op.create_table(
        "intents",
        sa.Column("index_id", ID, nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("filename", NAME, nullable=False),
        sa.Column("root", sa.Integer(), nullable=False),
        sa.Column("path", NAME, nullable=False),
        sa.Column("sha256", NAME, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_intents_index_id")),
        sa.PrimaryKeyConstraint("index_id", "key", name=op.f("pk_intents")),
    )


def _decisions() -> None:
    """What people said about releases and projects."""
    op.create_table(
        "yanks",
        sa.Column("index_id", ID, nullable=False),
        sa.Column("project", NAME, nullable=False),
        sa.Column("scope", NAME, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("scope in ('release', 'file')", name=op.f("ck_yanks_scope")),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_yanks_index_id")),
        sa.PrimaryKeyConstraint("index_id", "project", "scope", "target", name=op.f("pk_yanks")),
    )
    op.create_table(
        "statuses",
        sa.Column("index_id", ID, nullable=False),
        sa.Column("project", NAME, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "status in ('active', 'deprecated', 'archived', 'quarantined')", name=op.f("ck_statuses_status")
        ),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_statuses_index_id")),
        sa.PrimaryKeyConstraint("index_id", "project", name=op.f("pk_statuses")),
    )


def _history() -> None:
    """What happened."""
    op.create_table(
        "journal",
        sa.Column("serial", ID, autoincrement=False, nullable=False),
        sa.Column("index_id", ID, nullable=False),
        sa.Column("project", NAME, nullable=False),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("filename", NAME, nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_journal_index_id")),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_journal")),
    )
    op.create_index(
        op.f("ix_journal_index_id_project_serial"), "journal", ["index_id", "project", "serial"], unique=False
    )
    op.create_table(
        "audit",
        sa.Column("id", ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("via", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("index_name", sa.Text(), nullable=True),
        sa.Column("project", NAME, nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )


def _places() -> None:
    """What lies in the folders."""
    op.create_table(
        "places",
        sa.Column("index_id", ID, nullable=False),
        sa.Column("root", sa.Integer(), nullable=False),
        sa.Column("path", NAME, nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("project", NAME, nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("ctime_ns", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("device", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sha256", NAME, nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("looks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_look", sa.Float(), nullable=True),
        sa.CheckConstraint(
            "state in ('unread', 'pending', 'whole', 'refused')", name=op.f("ck_places_state")
        ),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_places_index_id")),
        sa.PrimaryKeyConstraint("index_id", "root", "path", name=op.f("pk_places")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_places_index_id_key"), "places", ["index_id", "key"], unique=False)
    op.create_index(
        "ix_places_unfinished",
        "places",
        ["index_id", "project"],
        unique=False,
        sqlite_where=sa.text("state <> 'whole'"),
        postgresql_where=sa.text("state <> 'whole'"),
    )
    op.create_table(
        "problems",
        sa.Column("index_id", ID, nullable=False),
        sa.Column("root", sa.Integer(), nullable=False),
        sa.Column("path", NAME, nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_problems_index_id")),
        sa.PrimaryKeyConstraint("index_id", "root", "path", name=op.f("pk_problems")),
    )
    op.create_table(
        "scans",
        sa.Column("index_id", ID, nullable=False),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sa.Column("finished", sa.BigInteger(), nullable=True),
        sa.Column("files", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_scans_index_id")),
        sa.PrimaryKeyConstraint("index_id", name=op.f("pk_scans")),
    )


def _contents() -> None:
    """What was read out of the files."""
    op.create_table(
        "contents",
        sa.Column("sha256", NAME, nullable=False),
        sa.Column("kind", NAME, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("blake2b_256", NAME, nullable=False),
        sa.Column("md5", sa.Text(), nullable=False),
        sa.Column("metadata", sa.LargeBinary(), nullable=True),
        sa.Column("metadata_sha256", sa.Text(), nullable=True),
        sa.Column("name", NAME, nullable=True),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("requires_python", sa.Text(), nullable=True),
        sa.Column("summary", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("sha256", "kind", name=op.f("pk_contents")),
    )


def _listings() -> None:
    """What the indexes list."""
    op.create_table(
        "files",
        sa.Column("index_id", ID, nullable=False),
        sa.Column("key", NAME, nullable=False),
        sa.Column("filename", NAME, nullable=False),
        sa.Column("project", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("packagetype", sa.Text(), nullable=False),
        sa.Column("python_version", sa.Text(), nullable=False),
        sa.Column("sha256", NAME, nullable=False),
        sa.Column("blake2b_256", NAME, nullable=False),
        sa.Column("md5", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("upload_time", sa.BigInteger(), nullable=False),
        sa.Column("requires_python", sa.Text(), nullable=True),
        sa.Column("metadata_sha256", sa.Text(), nullable=True),
        sa.Column("shelf", sa.Text(), nullable=False),
        sa.Column("root", sa.Integer(), nullable=False),
        sa.Column("path", NAME, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("ctime_ns", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("device", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_files_index_id")),
        sa.PrimaryKeyConstraint("index_id", "key", name=op.f("pk_files")),
    )
    op.create_index(op.f("ix_files_index_id_blake2b_256"), "files", ["index_id", "blake2b_256"], unique=False)
    op.create_index(op.f("ix_files_index_id_project"), "files", ["index_id", "project"], unique=False)
    op.create_table(
        "projects",
        sa.Column("index_id", ID, nullable=False),
        sa.Column("project", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["index_id"], ["indexes.id"], name=op.f("fk_projects_index_id")),
        sa.PrimaryKeyConstraint("index_id", "project", name=op.f("pk_projects")),
    )


def _expectations() -> None:
    """Tell SQLite's planner what the tables will look like: few indexes, many projects, ten files in each.

    Without figures it takes `index_id` for a narrow choice, and reads a whole index to find one project.
    (For each key: rows in all, then rows for each value of its first column, of its first two, ...)
    """
    op.execute("analyze")
    figures = {
        ("files", "sqlite_autoindex_files_1"): "100000 100000 1",
        ("files", "ix_files_index_id_project"): "100000 100000 10",
        ("files", "ix_files_index_id_blake2b_256"): "100000 100000 1",
        ("places", "places"): "100000 100000 50000 1",
        ("places", "ix_places_index_id_key"): "100000 100000 1",
        ("places", "ix_places_unfinished"): "1000 1000 10",
        ("projects", "sqlite_autoindex_projects_1"): "10000 10000 1",
        ("admissions", "sqlite_autoindex_admissions_1"): "100000 100000 1",
        ("yanks", "sqlite_autoindex_yanks_1"): "1000 1000 2 2 1",
        ("journal", "ix_journal_index_id_project_serial"): "100000 100000 10 1",
    }
    for (table, key), figure in figures.items():
        op.execute(
            sa.text("insert into sqlite_stat1 (tbl, idx, stat) values (:tbl, :idx, :stat)").bindparams(
                tbl=table, idx=key, stat=figure
            )
        )
