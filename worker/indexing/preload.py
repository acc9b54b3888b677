"""Everything slow, once: called in the process that extractors are forked from."""

from worker.indexing.grammars import grammar_of
from worker.indexing.languages import Language
from worker.indexing.tokens import count_tokens


def preload() -> None:
    """Import all grammars, compile their queries and load the tokenizer. Takes about 1.3 s, a fifth of it for C++."""
    for lang in Language:
        grammar_of(lang)
    count_tokens("")
