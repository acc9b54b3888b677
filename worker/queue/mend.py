"""mend: a safety net under the queue's wake-ups, for what was changed by hand."""

from typing import Any

import psycopg

Connection = psycopg.AsyncConnection[dict[str, Any]]

_MEND = "select queue.mend() as found"


async def mend(connection: Connection) -> int:
    """Wake jobs and tenants that nobody would have woken any more; answers how many it found, which should be none."""
    row = await (await connection.execute(_MEND)).fetchone()
    return row["found"] if row else 0
