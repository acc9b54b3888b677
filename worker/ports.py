"""Taking a port of this machine, or saying in a sentence why not: it is the first thing that two processes dispute."""

import os
import socket

from worker.errors import PortUnavailable

FOR_METRICS = "--metrics-port or WORKER_METRICS_PORT"
FOR_RECEIVING = "--port or WORKER_RECEIVER_PORT"
"""How a user gives another port."""

_MOST_WAITING = 2048
"""Connections that wait to be taken; the system may allow fewer."""


def listen_on(host: str, port: int, *, named: str) -> socket.socket:
    """A socket that listens there, with port 0 on any that is free; `::` is every address, of IPv4 too.

    `named`: how a user gives another port. Raises PortUnavailable.
    """
    try:
        return socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=_MOST_WAITING,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as failure:
        reason = os.strerror(failure.errno) if failure.errno else str(failure)
        raise PortUnavailable(
            f"Port {port} of {host} cannot be used: {reason}.",
            hint=f"Give another one with {named}, a different one for each process; 0 takes any that is free.",
        ) from failure
