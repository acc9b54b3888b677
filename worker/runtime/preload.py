"""What the forkserver has ready for every attempt: handlers, grammars, the tokenizer, git's version."""

import contextlib

import worker.handlers
from worker.errors import JobError
from worker.git.run import git_version
from worker.indexing.preload import preload

REGISTERED = worker.handlers.__all__
preload()
with contextlib.suppress(JobError):  # without a git, the attempts that need it say so
    git_version()
