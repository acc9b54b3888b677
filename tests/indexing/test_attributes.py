"""What .gitattributes says, as git would answer: git itself is asked in the tests."""

import subprocess
import time

import pytest

from worker.indexing.attributes import MOST_RULES, Attribute, Attributes

PATHS = [
    "a.js", "lib/a.js", "lib/deep/a.js", "lib/b.min.js", "vendor/x/y.go", "vendor/z.go", "docs/api/index.html",
    "src/generated/pb.go", "src/x_pb2.py", "src/we[i]rd.py", "src/sp ace.py", "deep/er/vendor/q.go", "src/a1.c",
    "src/ab.c", "src/.hidden", "A.JS", "third/vendor",
]  # fmt: skip
TEXTS = [
    "*.js linguist-vendored\n",
    "lib/* linguist-vendored\n",
    "lib/** linguist-vendored\nlib/deep/** -linguist-vendored\n",
    "/a.js linguist-vendored=true\n",
    "vendor linguist-vendored\n",  # a folder's name: nothing below it
    "vendor/ linguist-vendored\n",
    "**/vendor/** linguist-vendored\n",
    "src/**/pb.go linguist-generated\n",
    "*_pb2.py linguist-generated=true\n# *.c linguist-generated\n",
    '"src/sp ace.py" linguist-generated\n',
    "src/we\\[i\\]rd.py linguist-generated\n",
    "src/a[0-9].c linguist-generated\nsrc/a[!0-9].c linguist-vendored\n",
    "src/?* linguist-vendored\nsrc/.* !linguist-vendored\n",
    "*\tlinguist-vendored\t-text\n*.go linguist-vendored=false\n",
    "docs/**/index.html linguist-generated linguist-vendored=false\n",
    "[attr]linguist-vendored x\n!a.js linguist-vendored\n",
    "a.js -linguist-vendored\n*.js linguist-vendored\n",
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A repository to ask git about."""
    folder = tmp_path_factory.mktemp("attributes")
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def by_git(checkout, attribute):
    """git's own answer for each path."""
    asked = subprocess.run(
        ["git", "check-attr", "-z", "--stdin", str(attribute)], cwd=checkout, input="\0".join(PATHS) + "\0",
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    fields = asked.stdout.split("\0")[:-1]
    said = {"set": True, "true": True, "unset": False, "false": False, "unspecified": None}
    return {fields[at]: said[fields[at + 2]] for at in range(0, len(fields), 3)}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("attribute", list(Attribute))
def test_the_answer_is_gits(checkout, text, attribute):
    """For every pattern and path of the lists."""
    (checkout / ".gitattributes").write_text(text)
    ours = Attributes({".gitattributes": text})
    assert {path: ours.of(path, attribute) for path in PATHS} == by_git(checkout, attribute)


def test_the_file_of_a_deeper_folder_wins(checkout):
    """Its patterns begin there."""
    texts = {".gitattributes": "*.js linguist-vendored\n", "lib/.gitattributes": "/a.js -linguist-vendored\n"}
    (checkout / "lib").mkdir(exist_ok=True)
    for path, text in texts.items():
        (checkout / path).write_text(text)
    ours = Attributes(texts)
    assert {path: ours.of(path, Attribute.VENDORED) for path in PATHS} == by_git(checkout, Attribute.VENDORED)
    (checkout / "lib" / ".gitattributes").unlink()


def test_hostile_patterns_cost_little():
    """Stars that would take a regular expression for ever, and more rules than anybody needs."""
    stars = "a*" * 200 + "b linguist-vendored\n"
    rules = "".join(f"{'**/' * 50}x{number}*y* linguist-generated\n" for number in range(MOST_RULES * 2))
    ours = Attributes({".gitattributes": stars + rules})
    started = time.process_time()
    assert ours.of("a" * 1_000, Attribute.VENDORED) is None
    assert ours.of("/".join(["d"] * 100), Attribute.GENERATED) is None
    assert time.process_time() - started < 5
