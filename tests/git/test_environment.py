"""Attack row 2 and the environment in full: what git processes can see, and what anybody can see of them."""

import base64
import os
from pathlib import Path

import pytest

from worker.errors import GitError, GitPermanentError
from worker.git import run
from worker.git.environment import environment
from worker.git.url import RepositoryUrl, parse_repository_url

_SPY = """#!/bin/sh
env > {folder}/env
for argument in "$@"; do echo "$argument"; done > {folder}/arguments
readlink /proc/self/fd/0 > {folder}/stdin
pwd > {folder}/cwd
cut -d" " -f5,6 /proc/$$/stat > {folder}/group_and_session
echo $$ > {folder}/pid
"""


@pytest.fixture
def spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program named git that writes down how it was called."""
    (tmp_path / "git").write_text(_SPY.format(folder=tmp_path))
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_git_gets_our_environment_and_nothing_else(spy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret and no GIT_ variable of this process reaches git: the environment is exactly the fixed one."""
    for name in ("DATABASE_URL", "WORKER_MASTER_KEYS", "GIT_DIR", "GIT_PROXY_COMMAND", "https_proxy", "LD_PRELOAD"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    with run.git("version", about="itself", seconds=10):
        pass
    seen = dict(line.split("=", 1) for line in (spy / "env").read_text().splitlines())
    added_by_sh = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert {name: seen[name] for name in seen.keys() - added_by_sh} == {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "SSH_ASKPASS": "/bin/false",
        "GIT_SSH_COMMAND": "/bin/false",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_PROTOCOL_FROM_USER": "0",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "LC_ALL": "C.UTF-8",
    }
    assert (spy / "stdin").read_text().strip() == "/dev/null"
    assert (spy / "cwd").read_text().strip() == "/"


def test_every_call_names_its_repository_and_switches_the_dangers_off(spy: Path) -> None:
    """Hooks, redirects, credential helpers, bundles and submodules are off by options that no repository overrides."""
    with run.git("version", about="itself", seconds=10):
        pass
    arguments = (spy / "arguments").read_text().splitlines()
    assert arguments[0] == "--git-dir=/dev/null"
    for setting in (
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "http.followRedirects=false",
        "transfer.credentialsInUrl=die",
        "credential.helper=",
        "transfer.bundleURI=false",
        "protocol.version=2",
        "submodule.recurse=false",
        "gc.auto=0",
        "maintenance.auto=false",
        "http.lowSpeedLimit=1000",
        "http.lowSpeedTime=30",
    ):
        assert arguments[arguments.index(setting) - 1] == "-c"


def test_git_stays_in_the_session_of_its_job(spy: Path) -> None:
    """A group of its own is killed at once; the session is how a worker finds what is left of a job."""
    with run.git("version", about="itself", seconds=10):
        pass
    group, session = (spy / "group_and_session").read_text().split()
    assert group == (spy / "pid").read_text().strip()
    assert int(session) == os.getsid(0)


def test_only_the_transport_of_the_url_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git may speak https for an https URL and nothing at all for local work, whatever a repository says."""
    assert environment()["GIT_ALLOW_PROTOCOL"] == "none"
    assert environment(parse_repository_url("https://140.82.121.4/a"))["GIT_ALLOW_PROTOCOL"] == "https"
    assert environment(RepositoryUrl("file:///x", "file", None, None, "x"))["GIT_ALLOW_PROTOCOL"] == "file"


def test_what_is_set_for_one_host_is_not_in_the_process_list(spy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configuration of a single call travels in the environment, which other users cannot read, not in arguments."""
    monkeypatch.setattr("worker.git.environment.pin", lambda _url: "git.example.org:443:140.82.121.4")
    url = parse_repository_url("https://git.example.org/a")
    with run.git("ls-remote", about="a", seconds=10, url=url):
        pass
    assert "GIT_CONFIG_VALUE_0=git.example.org:443:140.82.121.4" in (spy / "env").read_text()
    assert "140.82.121.4" not in (spy / "arguments").read_text()


def test_a_token_goes_to_one_host_and_into_no_argument(spy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 2: the header is set for the repository's own host, in a variable; redirects and submodules cannot get it."""
    monkeypatch.setattr("worker.git.environment.pin", lambda _url: "git.example.org:8443:140.82.121.4")
    url = parse_repository_url("https://git.example.org:8443/a/b").with_token("git.example.org:8443", "planted-token")
    with run.git("ls-remote", url.url, about="a", seconds=10, url=url):
        pass
    seen = dict(line.split("=", 1) for line in (spy / "env").read_text().splitlines())
    assert seen["GIT_CONFIG_COUNT"] == "2"
    assert seen["GIT_CONFIG_KEY_1"] == "http.https://git.example.org:8443/.extraHeader"
    value = base64.b64encode(b"x-access-token:planted-token").decode()
    assert seen["GIT_CONFIG_VALUE_1"] == f"Authorization: Basic {value}"
    assert value not in (spy / "arguments").read_text()
    assert "planted-token" not in (spy / "arguments").read_text()


def test_a_machine_without_git_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing git is named, with what to do, instead of a FileNotFoundError."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="no git on this machine") as problem, run.git("version", about="x", seconds=9):
        pass
    assert "Install git" in str(problem.value.hint)


def test_a_git_that_ignores_pinned_addresses_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git before 2.37 would look the name up again by itself, without a word."""
    (tmp_path / "git").write_text("#!/bin/sh\necho git version 2.36.9")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    run.git_version.cache_clear()
    with pytest.raises(GitPermanentError, match=r"too old .*2\.36\.9"):
        run.git_version()
    monkeypatch.undo()
    assert tuple(map(int, run.git_version().split(".")))[:2] >= run.OLDEST_GIT
