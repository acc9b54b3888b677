"""What every git process gets to see: this environment and configuration, and nothing of the machine's."""

import os

from worker.git.lookup import pin
from worker.git.url import RepositoryUrl

_ENVIRONMENT = {
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "SSH_ASKPASS": "/bin/false",
    "GIT_SSH_COMMAND": "/bin/false",
    "GIT_PROTOCOL_FROM_USER": "0",
    "GIT_LFS_SKIP_SMUDGE": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "LC_ALL": "C.UTF-8",
}

_CONFIG = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.bigFileThreshold=8m",  # larger blobs are hashed as a stream: a blob of zeros costs no memory
    # Mapped parts of packs count as memory of the job: else reading a pack of 2 GB would look like 2 GB of it.
    "core.packedGitWindowSize=8m",
    "core.packedGitLimit=32m",
    "http.followRedirects=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=30",
    "transfer.credentialsInUrl=die",
    # Honest old repositories would not pass fsck, and strange trees do no harm where nothing is checked out.
    "transfer.fsckObjects=false",
    "transfer.bundleURI=false",
    "credential.helper=",
    "protocol.version=2",
    "submodule.recurse=false",
    "fetch.unpackLimit=1",  # a pack stays a pack: its size is what was fetched
    "gc.auto=0",
    "maintenance.auto=false",
)

OPTIONS = tuple(part for setting in _CONFIG for part in ("-c", setting))
"""The configuration as options of git; it wins over that of the repository."""


def environment(url: RepositoryUrl | None = None) -> dict[str, str]:
    """The environment of one git process, which may talk to `url` alone, or to nobody."""
    variables = {"PATH": os.environ.get("PATH", os.defpath), **_ENVIRONMENT}
    variables["GIT_ALLOW_PROTOCOL"] = url.scheme if url else "none"
    return variables | _settings_of(url) if url else variables


def _settings_of(url: RepositoryUrl) -> dict[str, str]:
    """What is set for one URL, as variables: everybody on the machine may read arguments."""
    found: list[tuple[str, str]] = []
    if (pinned := pin(url)) is not None:
        found.append(("http.curloptResolve", pinned))
    if url.authorization is not None:
        found.append((f"http.{url.origin}/.extraHeader", url.authorization))
    variables = {"GIT_CONFIG_COUNT": str(len(found))} if found else {}
    for number, (key, value) in enumerate(found):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables
