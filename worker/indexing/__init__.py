"""Bytes → records: what a file is, what it says, and what it defines and uses. Knows no Postgres, git or job."""
