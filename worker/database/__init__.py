"""Everything about reaching a Postgres: connections, pools, migrations and the embedded server of a laptop."""
