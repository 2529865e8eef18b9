"""Every SQL statement, one module a noun (SQLAlchemy Core)."""
