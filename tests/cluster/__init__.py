"""Several nodes over one PostgreSQL, as one index."""
