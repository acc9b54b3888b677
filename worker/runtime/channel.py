"""What child and parent say to each other over a socket pair.

Child to parent: JSON lines, read as bytes by the parent and never unpickled, because the child handles foreign content.
Parent to child: one length-prefixed pickle with the secrets, left unread in the socket until the handler asks.
"""

import json
import pickle
import socket
import struct
from dataclasses import dataclass
from typing import Any

from worker.job import GitToken
from worker.settings import Settings

LONGEST_MESSAGE = 1_000_000
"""Bytes of one line from a child; a longer one ends the attempt as crashed."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What only a child that asks gets: the settings, the database's URL, and the git token of its own job."""

    settings: Settings
    database_url: str
    git_token: GitToken | None = None


def pack_secrets(secrets: Secrets) -> bytes:
    """The bytes the parent leaves in the socket."""
    body = pickle.dumps(secrets)
    return struct.pack("!I", len(body)) + body


def read_secrets(channel: socket.socket) -> Secrets:
    """Read what `pack_secrets` made; blocks until it is there."""
    (length,) = struct.unpack("!I", _exactly(channel, 4))
    return pickle.loads(_exactly(channel, length))  # noqa: S301  (written by our own parent)


def pack(**facts: Any) -> bytes:
    """One line for the parent; `kind` says what it is."""
    line = json.dumps(facts, default=str).encode()
    if len(line) >= LONGEST_MESSAGE:
        raise ValueError(f"a {facts['kind']} message of {len(line)} bytes is over the limit of {LONGEST_MESSAGE}")
    return line + b"\n"


def _exactly(channel: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = channel.recv(count - len(data))
        if not piece:
            raise EOFError("the parent closed the channel")
        data += piece
    return data
