"""Waiting in place: an answer that comes within moments costs no turn of the event loop.

Registering a socket with the loop, letting the loop sleep and being woken by it take a good part of a short statement's
time. Who has nothing else to do anyway may as well wait here.
"""

import select
import time

from psycopg.abc import RV, PQGen
from psycopg.waiting import Ready, Wait


def in_place(exchange: PQGen[RV], fileno: int, seconds: float) -> PQGen[RV]:
    """The same exchange; while it is younger than `seconds` the calling thread waits for its socket.

    Later it asks its caller to wait, as it would have from the beginning.
    """
    give_up_at = time.monotonic() + seconds
    poll = select.poll()
    try:
        wanted = next(exchange)
        while True:
            poll.register(fileno, _EVENTS[wanted])
            left = give_up_at - time.monotonic()
            came = poll.poll(left * 1_000) if left > 0 else []
            wanted = exchange.send(_ready(came[0][1], wanted) if came else (yield wanted))
    except StopIteration as end:
        return end.value


_EVENTS = {
    Wait.R: select.POLLIN,
    Wait.W: select.POLLOUT,
    Wait.RW: select.POLLIN | select.POLLOUT,
}


def _ready(events: int, wanted: int) -> Ready:
    """What is ready of what was wanted; a broken socket is, for whatever it was: libpq then finds out."""
    if not events & (select.POLLIN | select.POLLOUT):
        return Ready(int(wanted))
    return Ready((Ready.R if events & select.POLLIN else 0) | (Ready.W if events & select.POLLOUT else 0))
