"""The commands that search, as people and programs see their answers."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.conftest import USER

Worker = Callable[..., Any]
SOURCE = {
    "shop/cart.py": "import os\n\n\nclass Cart:\n    def total(self):\n        return price(1) + price(2)\n",
    "shop/price.py": "def price(number):\n    return number\n\n\nPRICE = price(3)\n",
    "tests/test_price.py": "def test_price():\n    assert price(1)\n",
    "notes.txt": "The \x1b[31mprice\x1b[0m is right.\n",
    "logo.bin": "\x00\x01\x02",
}


@pytest.fixture
def indexed(settings: dict[str, str], index_files: Callable[..., Any]) -> str:
    """The sample in the index of the commands' user; answers the repository's id."""
    return str(index_files(SOURCE, name="shop", owner=USER).id)


def test_search(worker: Worker, indexed: str) -> None:
    """As grep prints it where no person looks; the JSON has commit and cursor, and the cursor leads on."""
    assert worker("search", "price(", "--path", "shop/*.py").out.splitlines() == [
        "shop/shop/price.py:1:def price(number):",
        "shop/shop/price.py:5:PRICE = price(3)",
        "shop/shop/cart.py:6:        return price(1) + price(2)",
    ]
    assert worker("search", "PRICE", "--case").out == "shop/shop/price.py:5:PRICE = price(3)\n"
    assert worker("search", r"^class \w+", "--regex", "--context", "1").out.splitlines() == [
        "shop/shop/cart.py-3-", "shop/shop/cart.py:4:class Cart:", "shop/shop/cart.py-5-    def total(self):", "--",
    ]  # fmt: skip
    assert "\\x1b[31mprice" in worker("search", "price", "--language", "text").out
    rows = worker("search", "price", "--json", "--limit", "2").json
    assert [len(row["commit"]) for row in rows] == [40, 40]
    first = worker("search", "price", "--limit", "2")
    assert f"--after {rows[1]['cursor']}" in first.err
    (third, *_) = worker("search", "price", "--json", "--after", rows[1]["cursor"]).json
    assert (third["path"], third["line"]) not in [(row["path"], row["line"]) for row in rows]


def test_definitions(worker: Worker, indexed: str) -> None:
    """By name in three ways, of one kind, of one file, and all of them as a stream of JSON lines."""
    assert worker("symbols", "pric").out.split()[:3] == ["function", "price", "shop/shop/price.py:1"]
    assert "Cart.total" in worker("symbols", "ttl", "--fuzzy").out
    assert [row["qualname"] for row in worker("symbols", "Cart", "--kind", "class", "--json").json] == ["Cart"]
    assert worker("symbols", "Cart", "--exact").out.count("\n") == 1
    assert worker("outline", "./shop/cart.py").out.splitlines()[1:] == [
        "     4  class Cart", "     5    method total",
    ]  # fmt: skip
    lines = [json.loads(line) for line in worker("symbols", "--repo", indexed, "--all", "--json").out.splitlines()]
    assert [(row["path"], row["line"], row["kind"], row["name"], row["qualname"]) for row in lines] == [
        ("shop/cart.py", 4, "class", "Cart", "Cart"), ("shop/cart.py", 5, "method", "total", "Cart.total"),
        ("shop/price.py", 1, "function", "price", "price"), ("shop/price.py", 5, "constant", "PRICE", "PRICE"),
        ("tests/test_price.py", 1, "function", "test_price", "test_price"),
    ]  # fmt: skip
    assert len(worker("symbols", "--repo", "shop", "--all", "--kind", "class").out.splitlines()) == 1


def test_relations(worker: Worker, indexed: str, db: Any) -> None:
    """Uses, callers, and what a change may reach."""
    assert worker("references", "price", "--path", "shop").out.splitlines() == [
        "shop/shop/cart.py:6:call: return price(1) + price(2)", "shop/shop/price.py:5:call: PRICE = price(3)",
    ]  # fmt: skip
    assert worker("callers", "price").out.splitlines() == [
        "shop/shop/cart.py:5: method Cart.total (6)", "shop/shop/price.py:5: constant PRICE (5)",
        "shop/tests/test_price.py:1: function test_price (2)",
    ]  # fmt: skip
    db.execute(
        """insert into idx.import_edges
           select repo_no, 0, 'shop/cart.py', 'shop/price.py', '.price', 1 from public.repositories"""
    )
    assert worker("impact", "shop/price.py", "--repo", "shop").out == (
        "  1  shop/shop/cart.py  imports shop/price.py in line 1\n"
    )


def test_documents(worker: Worker, indexed: str) -> None:
    """Files, with why one was not read."""
    lines = worker("documents", "--repo", "shop").out.splitlines()
    assert lines[0].split() == ["file", "language", "size", "lines", "not", "read"]
    assert "binary" in next(line for line in lines if "logo.bin" in line)
    assert len(worker("documents", "--json").json) == len(SOURCE)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["search", "nowhere to be found"], 1, "Nothing found"),
        (["search", "ab"], 1, "Query must have 3 to 500 characters."),
        (["search", "(abc", "--regex"], 1, "not valid: parentheses"),
        (["search", "abc", "--language", "klingon"], 1, 'There is no language "klingon"'),
        (["search", "abc", "--branch", "dev"], 1, "Indexed: main."),
        (["search", "abc", "--after", "x"], 1, "cursor of a row"),
        (["search", "abc", "--repo", "nope"], 1, "There is no repository 'nope'"),
        (["symbols"], 2, "give a QUERY"),
        (["symbols", "--all"], 2, "needs --repo"),
        (["symbols", "x", "--exact", "--fuzzy"], 2, "exclude each other"),
        (["symbols", "x", "--kind", "klass"], 1, "There is no kind"),
        (["references", "Cart.total"], 1, "try 'total'"),
        (["outline", "nope.py"], 1, "No file 'nope.py' is indexed."),
        (["outline", "notes.txt"], 1, "no definitions"),
        (["impact", "notes.txt"], 1, "No indexed file imports it."),
    ],
)
def test_what_cannot_be_answered(worker: Worker, indexed: str, arguments: list[str], code: int, said: str) -> None:
    """A sentence on stderr that says what to do, and nothing on stdout."""
    ended = worker(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err


def test_in_a_terminal(worker: Worker, indexed: str, settings: dict[str, str]) -> None:
    """Hits stand below their file, the found text in colour; a hostile line steers nothing."""
    assert worker("search", "price").out.startswith("shop/shop/price.py:1:")
    main, side = pty.openpty()
    command = [sys.executable, "-m", "worker", "search", "price", "--context", "1"]
    environment = {**settings, "TERM": "xterm-256color"}
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=side, stderr=subprocess.PIPE):
        os.close(side)
        shown = b""
        while True:
            try:
                shown += os.read(main, 65536)
            except OSError:  # the other end is closed
                break
    os.close(main)
    text = shown.decode()
    assert "\x1b[1;31mprice\x1b[0m" in text
    assert text.count("shop/price.py") == 1
    assert "\x1b[31mprice" not in text
