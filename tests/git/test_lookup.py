"""Attack row 3: a name is looked up once, judged, and git connects to exactly those addresses."""

import socket
from collections.abc import Callable

import pytest

from worker.errors import GitNetworkError, UnsafeUrl
from worker.git.lookup import pin
from worker.git.resolve import resolve_tip
from worker.git.url import RepositoryUrl, parse_repository_url

URL = parse_repository_url("https://git.example.org/a/b")


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the name service answer with these addresses."""

    def use(*addresses: str) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)

    return use


def test_public_answers_are_pinned(answer: Callable[..., None]) -> None:
    """All addresses of a public name stay usable, in the order of the answer."""
    answer("140.82.121.4", "2606:50c0:8000::153", "140.82.121.4")
    assert pin(URL) == "git.example.org:443:140.82.121.4,2606:50c0:8000::153"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "100.64.0.1",
        "::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "64:ff9b::a00:1",
        "::ffff:10.0.0.1",
    ],
)
def test_a_name_that_points_inside_is_refused(answer: Callable[..., None], address: str) -> None:
    """One private answer among public ones is enough: such a name is not an honest one."""
    answer("140.82.121.4", address)
    with pytest.raises(UnsafeUrl, match="not a public address"):
        pin(URL)


def test_a_private_name_is_pinned_where_private_hosts_are_allowed(answer: Callable[..., None]) -> None:
    """Somebody's own git server may live at a private address."""
    answer("10.1.2.3")
    assert pin(parse_repository_url("https://git/a", allow_private_hosts=True)) == "git:443:10.1.2.3"


def test_a_name_that_does_not_exist_is_a_network_error() -> None:
    """A failed look-up may be mended by a retry."""
    with pytest.raises(GitNetworkError, match=r"git\.invalid cannot be looked up"):
        pin(parse_repository_url("https://git.invalid/a"))


def test_addresses_and_files_need_no_look_up(answer: Callable[..., None]) -> None:
    """Where no name is looked up, none can change."""
    answer()
    assert pin(parse_repository_url("https://140.82.121.4/a")) is None
    assert pin(RepositoryUrl("file:///x", "file", None, None, "x")) is None


def test_git_itself_connects_to_the_pinned_address(source, server, answer: Callable[..., None]) -> None:
    """A name that no name service knows is reached at the pinned address: git did not look it up again."""
    commit = source.commit({"a": b"1"})
    answer("127.0.0.1")
    port = server.server_address[1]
    url = RepositoryUrl(f"http://pinned.invalid:{port}/ok/source.git", "http", "pinned.invalid", port, "s", True)
    assert resolve_tip(url, "main").commit == commit
    assert server.requests[0]["Host"] == f"pinned.invalid:{port}"


def test_git_never_contacts_a_name_that_points_inside(source, server, answer: Callable[..., None]) -> None:
    """The refusal comes before the first packet."""
    source.commit({"a": b"1"})
    answer("127.0.0.1")
    port = server.server_address[1]
    url = RepositoryUrl(f"http://pinned.invalid:{port}/ok/source.git", "http", "pinned.invalid", port, "s", False)
    with pytest.raises(UnsafeUrl):
        resolve_tip(url, "main")
    assert server.requests == []
