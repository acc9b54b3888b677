"""Real repositories to read from, and a real git server that can also misbehave."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from worker.git.url import RepositoryUrl, parse_repository_url

_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    **{f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


class Source:
    """A bare repository filled by plumbing commands, so that its trees may hold anything."""

    def __init__(self, path: Path) -> None:
        self.path = path
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", path], env=_ENVIRONMENT, check=True)

    def git(self, *arguments: str | bytes, data: bytes = b"") -> str:
        """What git prints, without its newline."""
        command = ["git", f"--git-dir={self.path}", *arguments]
        done = subprocess.run(command, input=data, env=_ENVIRONMENT, check=True, capture_output=True)
        return done.stdout.decode().strip()

    def blob(self, content: bytes) -> str:
        """Store a content."""
        return self.git("hash-object", "-w", "--stdin", data=content)

    def tree(self, *entries: tuple[str, str, bytes]) -> str:
        """Store a tree of (mode, oid, name), as it is: git's own checks are off."""
        raw = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid) for mode, oid, name in entries)
        return self.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", data=raw)

    def commit_tree(self, tree: str, *, branch: str = "main", parent: str | None = None) -> str:
        """Commit a stored tree and move the branch there."""
        commit = self.git("commit-tree", tree, *(("-p", parent) if parent else ()), "-m", "change")
        self.git("update-ref", f"refs/heads/{branch}", commit)
        return commit

    def commit(self, files: dict[str, bytes], *, branch: str = "main", parent: str | None = None) -> str:
        """Commit top-level files."""
        entries = [("100644", self.blob(content), name.encode()) for name, content in sorted(files.items())]
        return self.commit_tree(self.tree(*entries), branch=branch, parent=parent)

    @property
    def url(self) -> RepositoryUrl:
        """The repository over file://."""
        return parse_repository_url(str(self.path), allow_local=True)


@pytest.fixture
def make_source(tmp_path: Path) -> Callable[..., Source]:
    """Make an empty bare repository of the given name."""

    def make(name: str = "source.git") -> Source:
        (tmp_path / "served").mkdir(exist_ok=True)
        return Source(tmp_path / "served" / name)

    return make


@pytest.fixture
def source(make_source: Callable[..., Source]) -> Source:
    """An empty bare repository."""
    return make_source()


@pytest.fixture
def git_dir(tmp_path: Path) -> Path:
    """Where to fetch to; not there yet."""
    return tmp_path / "fetched.git"


class _Bridge(BaseHTTPRequestHandler):
    """`git http-backend` behind Python's HTTP server; the first part of the path chooses how it behaves."""

    @property
    def git_server(self) -> "GitServer":
        assert isinstance(self.server, GitServer)
        return self.server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        mode, _, rest = self.path.lstrip("/").partition("/")
        path, _, query = rest.partition("?")
        self.git_server.requests.append(dict(self.headers.items()) | {"path": self.path})
        if mode.isdigit():
            self.send_response(int(mode))
            if mode == "401":
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
            if mode.startswith("3"):
                self.send_header("Location", f"{self.git_server.base}/ok/{rest}")
            self.end_headers()
        elif mode == "hang":
            self.git_server.stopping.wait(60)
        else:
            self._serve(mode, path, query)

    def _serve(self, mode: str, path: str, query: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        variables = {
            **_ENVIRONMENT,
            "GIT_PROJECT_ROOT": str(self.git_server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": "/" + path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": "" if mode == "v0" else self.headers.get("Git-Protocol", ""),
        }
        # It ends with an error status after a refusal, which is in its answer all the same.
        backend = ["git", "http-backend"]
        answer = subprocess.run(backend, input=body, env=variables, check=False, capture_output=True)
        head, _, content = answer.stdout.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        self.send_response(int(dict(headers).get("Status", "200").split()[0]))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self._send(mode, content)

    def _send(self, mode: str, content: bytes) -> None:
        is_pack = b"packfile" in content[:4096]
        if mode == "stall" and is_pack:  # two thirds come, then nothing more
            self.wfile.write(content[: len(content) * 2 // 3])
            self.wfile.flush()
            self.git_server.stopping.wait(60)
        elif mode == "broken" and is_pack:
            self.wfile.write(content[: len(content) // 2])
        else:
            self.wfile.write(content)


class GitServer(ThreadingHTTPServer):
    """A smart HTTP server of every repository under a folder."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Bridge)
        self.root = root
        self.base = f"http://127.0.0.1:{self.server_address[1]}"
        self.requests: list[dict[str, str]] = []
        self.stopping = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no news."""

    def url(self, repository: str = "source.git", mode: str = "ok") -> RepositoryUrl:
        """The URL of a repository, served as `mode` says: ok, v0, stall, broken, hang or an HTTP status."""
        return parse_repository_url(f"{self.base}/{mode}/{repository}", allow_private_hosts=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """A git server over HTTP of what `make_source` makes."""
    (tmp_path / "served").mkdir(exist_ok=True)
    server = GitServer(tmp_path / "served")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.stopping.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def no_git_left(server: GitServer) -> Iterator[None]:
    """After the test, with the server still up and silent, no git may be alive, nor a dead one unreaped."""
    yield
    until = time.monotonic() + 5  # the server's own git may need a moment
    while left := _gits():
        assert time.monotonic() < until, left
        time.sleep(0.02)


def _gits() -> list[str]:
    return [child.name() for child in psutil.Process().children(recursive=True) if "git" in child.name()]
