"""Token counts are exact."""

import pytest

from worker.indexing.tokens import TOKENIZER, count_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("hello world", 2),
        ("tiktoken is great!", 6),
        ("antidisestablishmentarianism", 6),
        ("2 + 2 = 4", 7),
        ("お誕生日おめでとう", 8),
        ("a <|endoftext|> b", 9),
        ("\n" * 3, 1),
    ],
)
def test_known_counts(text: str, tokens: int) -> None:
    """The counts of o200k_base; a special token's text is ordinary text."""
    assert TOKENIZER == "o200k_base"
    assert count_tokens(text) == tokens


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the library's own
def test_equals_the_library_s_own_encoder() -> None:
    """Counting without the library's Python half gives what its encoder gives."""
    from bpe_openai import get_encoding

    text = "def f(x: int) -> str:\n\treturn f'{x!r}' * 3  # grün 😀\r\n" * 50
    assert count_tokens(text) == len(get_encoding(TOKENIZER).encode_ordinary(text))


def test_a_million_characters() -> None:
    """A text that the library's encoder refuses is counted."""
    assert count_tokens("a" * 1_200_000) == 150_000
