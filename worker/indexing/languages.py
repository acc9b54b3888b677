"""Which language a path is in."""

import re
from enum import IntEnum

PARSER_VERSION = 3
"""Raise it when the records of an unchanged file would differ: stored files are then read again."""


class Language(IntEnum):
    """The rows of idx.languages. NONE stands for objects nobody read, TEXT for any other text."""

    NONE = -1
    TEXT = 0
    PYTHON = 1
    JAVASCRIPT = 2
    TYPESCRIPT = 3
    TSX = 4
    GO = 5
    RUST = 6
    JAVA = 7
    C = 8
    CPP = 9
    CSHARP = 10
    RUBY = 11
    PHP = 12
    SCALA = 13
    KOTLIN = 14
    SWIFT = 15
    LUA = 16
    ELIXIR = 17
    BASH = 18
    SQL = 19
    MARKDOWN = 20
    YAML = 21
    TOML = 22
    JSON = 23
    CSS = 24
    HTML = 25


_SUFFIXES: dict[Language, str] = {
    Language.PYTHON: "py pyi pyw",
    Language.JAVASCRIPT: "js mjs cjs jsx",
    Language.TYPESCRIPT: "ts mts cts",
    Language.TSX: "tsx",
    Language.GO: "go",
    Language.RUST: "rs",
    Language.JAVA: "java",
    Language.C: "c",
    # The grammar of C++ reads C as well, the other way round classes are lost: so headers are C++.
    Language.CPP: "h cc cpp cxx c++ hh hpp hxx h++ ipp inl tpp cu cuh",
    Language.CSHARP: "cs",
    Language.RUBY: "rb rake gemspec ru",
    Language.PHP: "php phtml",
    Language.SCALA: "scala sc sbt",
    Language.KOTLIN: "kt kts",
    Language.SWIFT: "swift",
    Language.LUA: "lua",
    Language.ELIXIR: "ex exs",
    Language.BASH: "sh bash ksh bats ebuild",
    Language.SQL: "sql",
    Language.MARKDOWN: "md markdown",
    Language.YAML: "yaml yml",
    Language.TOML: "toml",
    Language.JSON: "json jsonc json5 webmanifest code-workspace",
    Language.CSS: "css scss less",
    Language.HTML: "html htm svg",
}
_BY_SUFFIX: dict[str, Language] = {
    suffix: language for language, suffixes in _SUFFIXES.items() for suffix in suffixes.split()
}
_NAMES: dict[Language, str] = {
    Language.PYTHON: "sconstruct sconscript wscript",
    Language.RUBY: "rakefile gemfile podfile fastfile vagrantfile",
    Language.BASH: ".bashrc .bash_profile .bash_aliases .bash_logout .profile .envrc pkgbuild",
    Language.TOML: "pipfile",
    Language.JSON: ".babelrc .jshintrc .swcrc",
    Language.YAML: ".clang-format .clang-tidy",
}
_BY_NAME: dict[str, Language] = {name: language for language, names in _NAMES.items() for name in names.split()}
_INTERPRETERS: dict[Language, str] = {
    Language.PYTHON: "python pypy",
    Language.JAVASCRIPT: "node nodejs",
    Language.TYPESCRIPT: "deno bun ts-node tsx",
    Language.RUBY: "ruby jruby",
    Language.PHP: "php",
    Language.SCALA: "scala scala-cli",
    Language.KOTLIN: "kotlin",
    Language.SWIFT: "swift",
    Language.LUA: "lua luajit resty",
    Language.ELIXIR: "elixir",
    Language.BASH: "sh bash dash ksh ash bats",
}
_BY_INTERPRETER: dict[str, Language] = {
    name: language for language, names in _INTERPRETERS.items() for name in names.split()
}
_SHEBANG = re.compile(rb"#![ \t]*(?:\S*/)?(?:env[ \t]+(?:-\S+[ \t]+|\w+=\S*[ \t]+)*)?(?:\S*/)?([a-z-]+)")


def language_of(path: str) -> Language:
    """The language of a path by its extension, or by its name; TEXT for every other one."""
    name = path.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    if dot and stem:
        return _BY_SUFFIX.get(suffix.lower(), Language.TEXT)
    return _BY_NAME.get(name.lower(), Language.TEXT)


def language_of_script(content: bytes) -> Language:
    """The language that a text's first line (`#!/usr/bin/env bash`) names; TEXT where it names none that is known.

    For files that are TEXT by their path. They stay TEXT in their rows: when a tree is compared nobody has read them.
    """
    match = _SHEBANG.match(content)
    return _BY_INTERPRETER.get(match[1].decode().rstrip("-"), Language.TEXT) if match else Language.TEXT
