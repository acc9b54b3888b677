"""Contents that were left out because they are large: known by their size alone, and not to be fetched again."""

from collections.abc import Collection
from typing import Any

import psycopg
from psycopg.rows import tuple_row

Connection = psycopg.Connection[dict[str, Any]]

_OVERSIZE = """
select b.oid, b.size
from unnest(%s::bytea[]) w (oid)
join idx.blobs b on b.scope = %s and b.oid = w.oid
join idx.skip_reasons s on s.skip = b.skip and s.name = 'too_large'"""


def oversize(connection: Connection, scope: int, oids: Collection[bytes]) -> dict[bytes, int]:
    """Which of these contents were found too large before, with the size that is known of them."""
    if not oids:
        return {}
    with connection.cursor(row_factory=tuple_row) as cursor:
        return dict(cursor.execute(_OVERSIZE, (list(oids), scope)).fetchall())
