"""What git printed when it failed → the error class that says whether a retry helps."""

import re
import signal

from worker.errors import (
    AccessDenied,
    BranchNotFound,
    DiskFull,
    FetchRefused,
    Forbidden,
    GitError,
    GitNetworkError,
    GitPermanentError,
    JobError,
    RateLimited,
    RepositoryNotFound,
    ServerBusy,
)

_LONGEST_DETAIL = 200
_CRASHES = (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT)  # a tree 50,000 folders deep: no retry mends it

# First match wins. Only git's own lines are searched (see _own_lines); {subject} is what git worked on,
# {detail} one cleaned line of what it said.
_CAUSES: tuple[tuple[str, type[JobError], str, str | None], ...] = (
    (
        r"no space left on device|disk quota exceeded",
        DiskFull,
        "No room left on the disk for the objects of {subject}.",
        "Free space in WORKER_SCRATCH_DIR, or point it to a larger disk.",
    ),
    (
        r"dubious ownership",
        AccessDenied,
        "{subject} belongs to another user of this machine, and git refuses to read it.",
        "Run the worker as the owner of the repository, or change the owner.",
    ),
    (
        r"returned error: 403",
        Forbidden,
        "{subject} may not be read by whoever asks.",
        "Check what the token may read; without one, only what strangers may read can be indexed.",
    ),
    (
        r"returned error: 429",
        RateLimited,
        "{subject} was asked too often.",
        None,
    ),
    (
        r"returned error: 503",
        ServerBusy,
        "{subject} cannot be read for now: {detail}.",
        None,
    ),
    (
        r"authentication failed|could not read (username|password)|returned error: 401|permission denied",
        AccessDenied,
        "{subject} asks for credentials: it is private, or it does not exist.",
        "Check the URL. A private repository needs a token: `worker key set github`, or WORKER_GIT_TOKEN.",
    ),
    (
        r"returned error: 3\d\d|redirect",
        GitPermanentError,
        "{subject} redirects to another URL, and redirects are not followed.",
        "The repository may have moved: use its present URL. Some servers want `.git` at the end.",
    ),
    (
        r"not our ref|unadvertised object|reference is not a tree|want .* not valid",
        FetchRefused,
        "{subject} no longer gives out that commit; a force push may have come between.",
        None,
    ),
    (
        r"remote error: .*filter|unexpected line: '?filter|unknown filter|invalid filter-spec",
        FetchRefused,
        "{subject} does not leave out what it is asked to: {detail}.",
        None,
    ),
    (
        r"couldn't find remote ref",
        BranchNotFound,
        "{subject} has no such branch.",
        None,
    ),
    (
        r"returned error: (404|410)|repository .* not found|does not appear to be a git repository|"
        r"not valid: is this a git",
        RepositoryNotFound,
        "{subject} is not a repository that strangers may see.",
        None,
    ),
    (
        r"dumb http transport",
        GitPermanentError,
        "{subject} is served as plain files, from which no single commit can be fetched.",
        "Use a git server that speaks the smart HTTP protocol.",
    ),
    (
        r"mismatched algorithms|unknown object format|object-format|sha256",
        GitPermanentError,
        "{subject} uses another object format than SHA-1, which this program cannot read: {detail}.",
        None,
    ),
    (
        r"transport .* not allowed|protocol .* not supported|illegal|credentials in",
        GitPermanentError,
        "git refused the URL of {subject}: {detail}.",
        None,
    ),
    (
        r"unable to access|could not resolve|failed to connect|connection|timed? ?out|too slow|early eof|"
        r"rpc failed|hung up|unexpected disconnect|empty reply|recv failure|ssl|certificate|expected flush|"
        r"returned error: (5\d\d)|bad line length|invalid index-pack output|unexpected end of file",
        GitNetworkError,
        "{subject} could not be reached, or the connection broke: {detail}.",
        None,
    ),
)


def failure(subject: str, status: int, stderr: bytes) -> JobError:
    """The error for a git that printed `stderr` and ended with `status` (negative: by that signal)."""
    lines = _own_lines(stderr)
    detail = _detail(lines) or _ending(status)
    text = "\n".join(lines)
    for pattern, kind, sentence, hint in _CAUSES:
        if re.search(pattern, text, re.IGNORECASE):
            return kind(_sentence(sentence, subject, detail), hint=hint)
    if status in _CRASHES:
        return GitPermanentError(f"git crashed on {subject}: {detail}.")
    return GitError(f"git failed on {subject}: {detail}.")


def _own_lines(stderr: bytes) -> list[str]:
    """The lines git wrote itself; those after `remote:` are the server's and may say anything."""
    text = stderr.decode("utf-8", "replace")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = [re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", line).strip() for line in re.split(r"[\r\n]+", text)]
    return [line for line in lines if line and not line.startswith("remote:")]


def _detail(lines: list[str]) -> str:
    told = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines
    if not told:
        return ""
    line = re.sub(r"://[^/\s]*@", "://", told[0])
    return line.partition(": ")[2][:_LONGEST_DETAIL].rstrip(".") or line[:_LONGEST_DETAIL]


def _ending(status: int) -> str:
    return f"it was killed by signal {-status}" if status < 0 else f"it ended with status {status}"


def _sentence(template: str, subject: str, detail: str) -> str:
    text = template.replace("{subject}", subject).replace("{detail}", detail)
    return text[0].upper() + text[1:] if not text.startswith(("http", "file")) else text
