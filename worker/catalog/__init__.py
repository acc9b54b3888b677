"""Records → Postgres and back: schema idx and the index state of repositories."""
