"""Ports: a taken one is told in a sentence, also in a race, and `::` answers by IPv4 and IPv6."""

import contextlib
import socket
import urllib.request

import pytest

from tests.receiver.conftest import make_settings, running
from worker.errors import PortUnavailable
from worker.ports import FOR_METRICS, listen_on
from worker.receiver.serve import make_server
from worker.runtime.http import HealthServer

EVERYWHERE = ("127.0.0.1", "[::1]")


def has_ipv6() -> bool:
    """Whether this machine speaks it."""
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


def test_the_second_of_two_workers_on_a_port_is_told_what_to_do() -> None:
    """Both may have found it free a moment before; the first goes on."""
    first = HealthServer("127.0.0.1", 0, lambda: (True, {}), before_metrics=lambda: None)
    try:
        with pytest.raises(PortUnavailable, match=f"Port {first.port} of 127.0.0.1 cannot be used") as told:
            HealthServer("127.0.0.1", first.port, lambda: (True, {}), before_metrics=lambda: None)
        assert told.value.hint is not None
        assert "--metrics-port or WORKER_METRICS_PORT" in told.value.hint
        assert urllib.request.urlopen(f"http://127.0.0.1:{first.port}/health/live").status == 200
    finally:
        first.close()


def test_the_second_of_two_receivers_on_a_port_is_told_what_to_do(database_url: str) -> None:
    """The same, of the receiver's server."""
    with listen_on("127.0.0.1", 0, named=FOR_METRICS) as taken:
        settings = make_settings(database_url, worker_receiver_port=taken.getsockname()[1])
        with pytest.raises(PortUnavailable, match="cannot be used"):
            make_server(settings, database_url).run()


def test_a_port_that_one_may_not_have_is_told_with_its_reason() -> None:
    """An address of another machine."""
    with pytest.raises(PortUnavailable, match=r"of 192\.0\.2\.1 cannot be used: Can"):
        listen_on("192.0.2.1", 0, named=FOR_METRICS)


@needs_ipv6
def test_a_worker_answers_by_both_kinds_of_addresses() -> None:
    """On Fly, checks come by IPv4 and other Machines by IPv6."""
    server = HealthServer("::", 0, lambda: (True, {}), before_metrics=lambda: None)
    try:
        for host in EVERYWHERE:
            assert urllib.request.urlopen(f"http://{host}:{server.port}/health").status == 200
    finally:
        server.close()


@needs_ipv6
def test_a_receiver_answers_by_both_kinds_of_addresses(database_url: str) -> None:
    """On Fly, the proxy comes by IPv4 and other Machines by IPv6."""
    with running(make_settings(database_url, worker_http_host="::")) as client:
        port = client.base_url.port
        for host in EVERYWHERE:
            assert urllib.request.urlopen(f"http://{host}:{port}/health/live").status == 200
