"""Which language a path is in."""

import pytest

from worker.indexing.languages import Language, language_of


@pytest.mark.parametrize(
    ("path", "lang"),
    [
        ("a.py", Language.PYTHON),
        ("stubs/a.pyi", Language.PYTHON),
        ("a.pyw", Language.PYTHON),
        ("a.js", Language.JAVASCRIPT),
        ("a.mjs", Language.JAVASCRIPT),
        ("a.cjs", Language.JAVASCRIPT),
        ("a.jsx", Language.JAVASCRIPT),
        ("a.ts", Language.TYPESCRIPT),
        ("a.d.mts", Language.TYPESCRIPT),
        ("a.cts", Language.TYPESCRIPT),
        ("a.tsx", Language.TSX),
        ("cmd/main.go", Language.GO),
        ("src/lib.rs", Language.RUST),
        ("A.JAVA", Language.JAVA),
        ("style.scss", Language.CSS),
        ("index.html", Language.HTML),
        ("home/.bashrc", Language.BASH),
        ("Pipfile", Language.TOML),
        ("tsconfig.jsonc", Language.JSON),
        ("site_scons/SConstruct", Language.PYTHON),
        ("Dockerfile", Language.TEXT),
        ("README", Language.TEXT),
        ("py", Language.TEXT),
        (".py", Language.TEXT),
        ("dir.py/file", Language.TEXT),
        ("a.py.orig", Language.TEXT),
    ],
)
def test_language_of(path: str, lang: Language) -> None:
    """The extension decides, in any case of letters; everything unknown is text."""
    assert language_of(path) is lang
