"""The tables: what is decided, what is derived from the files, and nothing that is both."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: SQLite gives out row ids for INTEGER only; PostgreSQL needs 64 bits.
Id = BigInteger().with_variant(Integer, "sqlite")

#: What is looked up and sorted by: compared byte by byte, whatever the language of a PostgreSQL database is.
Name = Text().with_variant(Text(collation="C"), "postgresql")

# --- about the catalogue itself --------------------------------------------------------------------------

#: `program`: the pidex version that last changed the tables, so that an older one can name it when refusing.
meta = Table(
    "meta",
    metadata,
    Column("key", Name, primary_key=True),
    Column("value", Text, nullable=False),
)

#: One sum over the rows of each decided table, and the newest digest of the audit's chain (see `seals`).
seals = Table(
    "seals",
    metadata,
    Column("name", Name, primary_key=True),
    Column("value", Text, nullable=False),
)

# --- decided: what people and time decided; kept, backed up, never rebuilt ---------------------------------

#: One row: the global serial. Taken inside each writing transaction, so commit order is serial order (SER-1).
counters = Table(
    "counters",
    metadata,
    Column("name", Name, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

indexes = Table(
    "indexes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    Column("mutability", Text, nullable=False, server_default="folder"),
    Column("created", BigInteger, nullable=False),  # microseconds since 1970, UTC, as all times here
    # Whether strangers are asked to sign in where something is absent, or hidden from them (AUT-4).
    Column("challenge", Boolean, nullable=False, server_default=false()),
    Column("policy", Text),  # JSON: what uploads are held to; null: the defaults
    # JSON lists, in order: indexes whose contents this one has too, upstreams by name, folders of its own.
    Column("bases", Text, nullable=False, server_default="[]"),
    Column("upstreams", Text, nullable=False, server_default="[]"),
    Column("folders", Text, nullable=False, server_default="[]"),
    Column("rules", Text),  # JSON: what of its contents the index shows; null: all of it
    CheckConstraint("mutability in ('folder', 'immutable', 'volatile')", name="mutability"),
)

#: In a bucket a file is in the index because of this row; in a folder the row remembers first seen and who.
admissions = Table(
    "admissions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("index_id", ForeignKey("indexes.id"), nullable=False),
    Column("key", Name, nullable=False),  # file name, casefolded: unique in an index
    Column("filename", Name, nullable=False),
    Column("sha256", Name, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("first_seen", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("how", Text, nullable=False),
    UniqueConstraint("index_id", "key"),
)

#: Bytes that a name had before: kept for restore-file.
superseded = Table(
    "superseded",
    metadata,
    Column("id", Id, primary_key=True),
    Column("index_id", ForeignKey("indexes.id"), nullable=False),
    Column("key", Name, nullable=False),
    Column("filename", Name, nullable=False),
    Column("sha256", Name, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("first_seen", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("replaced", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("how", Text, nullable=False),
    Index(None, "index_id", "key"),
)

#: A name deleted by command or API stays burnt, against the folder too.
tombstones = Table(
    "tombstones",
    metadata,
    Column("index_id", ForeignKey("indexes.id"), primary_key=True),
    Column("key", Name, primary_key=True),
    Column("filename", Name, nullable=False),
    Column("sha256", Name, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("reason", Text),
    # Where the file lay, so that it can be brought back to its place; null where nobody noted it.
    Column("root", Integer, nullable=False, server_default="0"),
    Column("path", Name),
)

#: A publish that is under way: finished or undone at the next start.
intents = Table(
    "intents",
    metadata,
    Column("index_id", ForeignKey("indexes.id"), primary_key=True),
    Column("key", Name, primary_key=True),
    Column("filename", Name, nullable=False),
    Column("root", Integer, nullable=False),
    Column("path", Name, nullable=False),
    Column("sha256", Name, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("owner", Text),  # the node and process that publishes
)

#: `scope` 'release': target is the canonical version; 'file': target is the casefolded file name (YNK-1).
yanks = Table(
    "yanks",
    metadata,
    Column("index_id", ForeignKey("indexes.id"), primary_key=True),
    Column("project", Name, primary_key=True),
    Column("scope", Name, primary_key=True),
    Column("target", Name, primary_key=True),
    Column("reason", Text, nullable=False),  # empty: none given
    Column("by", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    CheckConstraint("scope in ('release', 'file')", name="scope"),
)

statuses = Table(
    "statuses",
    metadata,
    Column("index_id", ForeignKey("indexes.id"), primary_key=True),
    Column("project", Name, primary_key=True),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("by", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    CheckConstraint("status in ('active', 'deprecated', 'archived', 'quarantined')", name="status"),
)

#: Every change that a reader can see, in commit order. Caches, feeds and mirrors follow it by serial.
journal = Table(
    "journal",
    metadata,
    Column("serial", Id, primary_key=True, autoincrement=False),
    Column("index_id", ForeignKey("indexes.id"), nullable=False),
    Column("project", Name, nullable=False),
    Column("version", Text),
    Column("action", Text, nullable=False),
    Column("filename", Name),
    Column("at", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Index(None, "index_id", "project", "serial"),
)

#: Who did what: written in the transaction that does it.
audit = Table(
    "audit",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("via", Text, nullable=False),
    Column("address", Text),
    Column("action", Text, nullable=False),
    Column("index_name", Text),
    Column("project", Name),
    Column("subject", Text),
    Column("before", Text),  # JSON
    Column("after", Text),  # JSON
    Column("token_id", BigInteger),  # the token by which the actor was known; it may be gone
    # A chain: the digest (SHA-256) of a row covers the row itself and the digest of the one before it.
    Column("previous", Text),
    Column("digest", Text),
)

#: People, and programs that sign in by token. One without a password comes by htpasswd file, proxy or token.
users = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Name, nullable=False, unique=True),  # casefolded: who somebody is
    Column("display", Text, nullable=False),  # as first spelled
    Column("password_hash", Text),
    Column("disabled", Boolean, nullable=False, server_default=false()),
    Column("created", BigInteger, nullable=False),
)

#: 'anonymous' (everybody) and 'authenticated' (whoever signed in) are always there, without members.
groups = Table(
    "groups",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    Column("created", BigInteger, nullable=False),
)

memberships = Table(
    "memberships",
    metadata,
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("group_id", ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True),
    Index(None, "group_id"),
)

#: Of a token only its hash is stored. Globs and scopes are JSON lists; a token never exceeds its user.
tokens = Table(
    "tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("digest", Name, nullable=False, unique=True),
    Column("hint", Text, nullable=False),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("comment", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("indexes", Text, nullable=False),
    Column("projects", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger),
    Column("revoked", BigInteger),
    Index(None, "user_id"),
    sqlite_autoincrement=True,  # the number of a token that is gone never comes back
)

#: Who may do what. A right belongs to a row of `users` or `groups`, and goes with it.
grants = Table(
    "grants",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE")),
    Column("group_id", ForeignKey("groups.id", ondelete="CASCADE")),
    Column("role", Text, nullable=False),
    Column("index_id", ForeignKey("indexes.id", ondelete="CASCADE")),  # null: every index
    Column("project", Name, nullable=False),  # a pattern of normalised names; '*': the index itself
    Column("by", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Index(None, "user_id"),
    Index(None, "group_id"),
    CheckConstraint("(user_id is null) <> (group_id is null)", name="subject"),
)

#: Who is signed in by the web pages. Of a session's secret only the hash is stored.
sessions = Table(
    "sessions",
    metadata,
    Column("digest", Name, primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("via", Text, nullable=False),  # how the user was known when the session began
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("csrf", Text, nullable=False),
    Index(None, "user_id"),
)

#: Unused: signatures (.asc) lie in the folder beside their files. Kept, since catalogues have the table.
signatures = Table(
    "signatures",
    metadata,
    Column("index_id", ForeignKey("indexes.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Name, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

#: Other indexes that pages and files are fetched from, by name. `secret`: for the owner's eyes only.
upstreams = Table(
    "upstreams",
    metadata,
    Column("name", Name, primary_key=True),
    Column("url", Text, nullable=False),
    Column("settings", Text, nullable=False),  # JSON: kind, time-outs, proxy, CA, how to sign in
    Column("secret", Text),
    Column("created", BigInteger, nullable=False),
)

#: Whose a name is (the origin lock): outlives the files. No row: nobody decided yet.
origins = Table(
    "origins",
    metadata,
    Column("index_id", ForeignKey("indexes.id", ondelete="CASCADE"), primary_key=True),
    Column("project", Name, primary_key=True),
    Column("origin", Text, nullable=False),
    Column("upstream", Text),  # which one, where the origin is 'upstream'
    Column("by", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("reason", Text),
    CheckConstraint("origin in ('local', 'upstream', 'merged', 'blocked')", name="origin"),
)

#: Names that are kept for this installation before anybody uploads them: 'acme-*' over all that begin so.
reservations = Table(
    "reservations",
    metadata,
    Column("index_id", ForeignKey("indexes.id", ondelete="CASCADE"), primary_key=True),
    Column("pattern", Name, primary_key=True),
    Column("by", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("reason", Text),
)

#: What may be shown although a rule would hide it, until when and why. `subject`: 'name' or 'name==1.0'.
exemptions = Table(
    "exemptions",
    metadata,
    Column("index_id", ForeignKey("indexes.id", ondelete="CASCADE"), primary_key=True),
    Column("subject", Name, primary_key=True),
    Column("until", BigInteger),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)

#: Releases and files that are withheld by a person, own and mirrored ones alike. Targets as in `yanks`.
holds = Table(
    "holds",
    metadata,
    Column("index_id", ForeignKey("indexes.id", ondelete="CASCADE"), primary_key=True),
    Column("project", Name, primary_key=True),
    Column("scope", Name, primary_key=True),
    Column("target", Name, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    CheckConstraint("scope in ('release', 'file')", name="scope"),
)

#: Downloads, counted by day and without addresses. `day`: days since 1970, UTC.
downloads = Table(
    "downloads",
    metadata,
    Column("index_id", ForeignKey("indexes.id", ondelete="CASCADE"), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("project", Name, primary_key=True),
    Column("filename", Name, primary_key=True),
    Column("client", Name, primary_key=True),
    Column("python", Name, primary_key=True),
    Column("version", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Index(None, "index_id", "project", "day"),
)

# --- derived: read out of the folders and files; `pidex scan --rebuild` makes them again --------------------

#: The condition of the partial index below; a query uses the index only where it says exactly this.
UNFINISHED = text("state <> 'whole'")

#: One row a path of a folder: what lies there, and what a look into it said.
places = Table(
    "places",
    metadata,
    Column("index_id", ForeignKey("indexes.id"), primary_key=True),
    Column("root", Integer, primary_key=True),
    Column("path", Name, primary_key=True),
    Column("key", Name, nullable=False),
    Column("project", Name),  # what the file name says, None where it says nothing
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("ctime_ns", BigInteger, nullable=False),
    Column("inode", BigInteger, nullable=False),
    Column("device", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("sha256", Name),
    Column("code", Text),
    Column("reason", Text),
    Column("looks", Integer, nullable=False, server_default="0"),
    Column("next_look", Float),
    Index(None, "index_id", "key"),
    # Few places are not whole; the page of a project asks for them each time it is made. The migration gives
    # PostgreSQL the same condition; said here it would load that dialect, 40 ms of every start.
    Index("ix_places_unfinished", "index_id", "project", sqlite_where=UNFINISHED),
    CheckConstraint("state in ('unread', 'pending', 'whole', 'refused')", name="state"),
    # Stored in the order of the key: one tree to write instead of two.
    sqlite_with_rowid=False,
)

#: Things in folders that no place can be made of: broken links, loops, unreadable files and folders.
problems = Table(
    "problems",
    metadata,
    Column("index_id", ForeignKey("indexes.id"), primary_key=True),
    Column("root", Integer, primary_key=True),
    Column("path", Name, primary_key=True),
    Column("code", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

#: What was read out of bytes, by their hash and the kind they were read as.
contents = Table(
    "contents",
    metadata,
    Column("sha256", Name, primary_key=True),
    Column("kind", Name, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("blake2b_256", Name, nullable=False),
    Column("md5", Text, nullable=False),
    Column("metadata", LargeBinary),  # zlib; METADATA or PKG-INFO byte for byte inside
    Column("metadata_sha256", Text),
    Column("name", Name),
    Column("version", Text),
    Column("requires_python", Text),
    Column("summary", Text),
)

#: The files an index lists, complete enough to make a page from this table alone.
files = Table(
    "files",
    metadata,
    Column("index_id", ForeignKey("indexes.id"), primary_key=True),
    Column("key", Name, primary_key=True),
    Column("filename", Name, nullable=False),
    Column("project", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("version", Text, nullable=False),
    Column("packagetype", Text, nullable=False),
    Column("python_version", Text, nullable=False),
    Column("sha256", Name, nullable=False),
    Column("blake2b_256", Name, nullable=False),
    Column("md5", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("upload_time", BigInteger, nullable=False),
    Column("requires_python", Text),
    Column("metadata_sha256", Text),
    Column("shelf", Text, nullable=False),
    Column("root", Integer, nullable=False),
    Column("path", Name, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("ctime_ns", BigInteger, nullable=False),
    Column("inode", BigInteger, nullable=False),
    Column("device", BigInteger, nullable=False),
    Index(None, "index_id", "project"),
    Index(None, "index_id", "blake2b_256"),
)

#: The project list, with the serial of each project's last change.
projects = Table(
    "projects",
    metadata,
    Column("index_id", ForeignKey("indexes.id"), primary_key=True),
    Column("project", Name, primary_key=True),
    Column("name", Name, nullable=False),
    Column("files", Integer, nullable=False),
    Column("serial", BigInteger, nullable=False),
)

#: How far the reading of an index's folders has come since the server started.
scans = Table(
    "scans",
    metadata,
    Column("index_id", ForeignKey("indexes.id"), primary_key=True),
    Column("listed", Boolean, nullable=False),  # the first listing since the start is in `places`
    Column("finished", BigInteger),  # when the last full scan ended
    Column("files", Integer, nullable=False, server_default="0"),
)

# --- expendable: what running nodes tell each other; lost without harm while none runs ----------------------

#: Leases, whose value is the holder (`leases`), and counted guesses (`guesses`). `until`: by the database.
shared = Table(
    "shared",
    metadata,
    Column("name", Name, primary_key=True),
    Column("value", Text, nullable=False),
    Column("until", BigInteger, nullable=False),
)
