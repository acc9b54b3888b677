"""What the forkserver imports once, so that no attempt pays for it: handlers, grammars, the tokenizer."""

import worker.handlers
from worker.indexing.preload import preload

REGISTERED = worker.handlers.__all__
preload()
