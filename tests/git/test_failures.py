"""What git says when it fails, as classes, and as sentences that are safe to show."""

import pytest

from worker.errors import (
    AccessDenied,
    BranchNotFound,
    DiskFull,
    FetchRefused,
    Forbidden,
    GitError,
    GitNetworkError,
    GitPermanentError,
    RateLimited,
    RepositoryNotFound,
    ServerBusy,
)
from worker.git.failures import failure

SAID = [
    ("fatal: could not read Username for 'https://github.com': terminal prompts disabled", AccessDenied),
    ("fatal: Authentication failed for 'https://github.com/a/b/'", AccessDenied),
    ("remote: Repository not found.\nfatal: repository 'https://github.com/a/b/' not found", RepositoryNotFound),
    ("fatal: unable to access 'https://x/': The requested URL returned error: 403", Forbidden),
    ("fatal: unable to access 'https://x/': The requested URL returned error: 429", RateLimited),
    ("fatal: unable to access 'https://x/': The requested URL returned error: 503", ServerBusy),
    ("fatal: unable to access 'https://x/': The requested URL returned error: 502", GitNetworkError),
    ("fatal: couldn't find remote ref refs/heads/x", BranchNotFound),
    ("fatal: unable to access 'https://x/': Could not resolve host: x", GitNetworkError),
    ("fatal: unable to access 'https://x/': SSL certificate problem: self-signed certificate", GitNetworkError),
    ("error: RPC failed; curl 28 Operation too slow. Less than 1000 bytes/sec", GitNetworkError),
    ("fatal: the remote end hung up unexpectedly", GitNetworkError),
    ("fatal: fetch-pack: invalid index-pack output", GitNetworkError),
    ("fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output", DiskFull),
    ("fatal: transport 'ext' not allowed", GitPermanentError),
    ("fatal: remote error: upload-pack: not our ref 12", FetchRefused),
    ("fatal: remote error: upload-pack: filter 'blob:limit' not supported", FetchRefused),
    ("fatal: dumb http transport does not support shallow capabilities", GitPermanentError),
    ("fatal: something nobody foresaw", GitError),
    ("", GitError),
    # The server writes these lines, and may write anything: they decide nothing.
    ("remote: fatal: no space left on device\nfatal: something nobody foresaw", GitError),
]


@pytest.mark.parametrize(("said", "kind"), SAID)
def test_each_saying_has_its_class(said: str, kind: type[Exception]) -> None:
    """The class decides on retries, so each cause that a retry does not mend is told apart."""
    assert type(failure("https://x/a", 128, said.encode())) is kind


def test_the_sentence_is_short_clean_and_without_credentials() -> None:
    """Escapes, the server's lines, megabytes and `user:token@` never reach a log or a screen."""
    said = "remote: buy now\n\x1b[31mfatal: \x1b]0;owned\x07 odd https://me:hunter2@x/y " + "z" * 100_000
    sentence = str(failure("https://x/a", 128, said.encode() + b"\xff"))
    assert "hunter2" not in sentence
    assert "buy now" not in sentence
    assert sentence.isprintable()
    assert len(sentence) < 300


def test_a_killed_git_says_by_what() -> None:
    """A signal, such as that of the kernel's memory killer, is the only trace it leaves."""
    killed = failure("https://x/a", -9, b"")
    assert "killed by signal 9" in str(killed)
    assert killed.retryable


def test_a_crashed_git_is_not_tried_again() -> None:
    """What overflows git's stack once, such as a tree of very many levels, does so each time."""
    assert not failure("https://x/a", -11, b"").retryable
