"""A large repository that nobody wrote: source files of several languages with a history, the same at every call.

Names follow a Zipf-like law and files import each other, so that references, tokens and trigrams behave as they do in
real code.
"""

import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

_WORDS = """
    account adapter amount array async backend balance batch branch buffer builder bundle cache channel chunk client
    cluster column command commit config context counter cursor customer daemon dataset deadline decoder default
    delivery digest document driver element encoder endpoint engine entry error event factory fetch field filter
    folder format frame gateway group handler header history image index input invoice item job journal kernel key
    label lease ledger length level limit link list loader lock log manager mapper matrix member memory merge message
    metric model module monitor namespace node notice number object offset order owner packet page parser patch path
    payload period plan player pointer policy pool price process product profile project provider proxy query queue
    range rate reader record region registry release report request resource response result retry route row runner
    sample schedule schema scope search section segment sender series server session setting shard signal size slot
    socket source stage state status storage store stream string table target task template tenant thread ticket
    timeout token topic trace track transfer tree trigger tunnel update upload user value vector version view volume
    wallet watcher weight window worker writer zone
    """.split()  # noqa: SIM905


class Maker:
    """Writes files; one seed gives one repository."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._weights = [1 / (rank + 3) for rank in range(len(_WORDS))]

    def name(self, parts: int = 2) -> str:
        """A name such as `queue_worker_17`; some are common, most are rare."""
        words = self._dice.choices(_WORDS, self._weights, k=parts)
        return "_".join(words) + (f"_{self._dice.randrange(400)}" if self._dice.random() < 0.7 else "")

    def title(self) -> str:
        """A name such as `QueueWorker17`."""
        return "".join(part.capitalize() for part in self.name().split("_"))

    def sentence(self) -> str:
        """Words for a comment."""
        return " ".join(self._dice.choices(_WORDS, k=self._dice.randint(5, 12))).capitalize() + "."

    def python(self, others: list[str]) -> str:
        """A module of a few classes and functions."""
        imported = self._dice.sample(others, min(len(others), self._dice.randint(1, 6)))
        lines = [f'"""{self.sentence()}"""', "", "import json", "import logging", ""]
        lines += [f"from {path.removesuffix('.py').replace('/', '.')} import {self.name()}" for path in imported]
        for _ in range(self._dice.randint(1, 4)):
            lines += ["", "", f"class {self.title()}({self.title()}):", f'    """{self.sentence()}"""', ""]
            for _ in range(self._dice.randint(1, 8)):
                lines += [f"    def {self.name()}(self, {self.name(1)}, {self.name(1)}=None):"]
                lines += [f"        # {self.sentence()}"] + [
                    f"        {self.name(1)} = self.{self.name()}({self.name(1)}, {self._dice.randrange(999)})"
                    for _ in range(self._dice.randint(2, 14))
                ]
                lines += [f"        return {self.name()}({self.name(1)})", ""]
        return "\n".join(lines) + "\n"

    def typescript(self, others: list[str]) -> str:
        """A module of functions and an interface."""
        lines = [f"import {{ {self.title()} }} from '/{path.removesuffix('.ts')}';" for path in others[:3]]
        lines += [f"export interface {self.title()} {{", f"  {self.name(1)}: string;", "}", ""]
        for _ in range(self._dice.randint(2, 10)):
            lines += [f"/** {self.sentence()} */", f"export function {self.name(2)}(input: {self.title()}) {{"]
            lines += [
                f"  const {self.name(1)} = {self.name()}(input.{self.name(1)}, {self._dice.randrange(99)});"
                for _ in range(self._dice.randint(2, 12))
            ]
            lines += ["}", ""]
        return "\n".join(lines) + "\n"

    def prose(self, _others: list[str]) -> str:
        """A page of a manual."""
        lines = [f"# {self.title()}", ""]
        for _ in range(self._dice.randint(3, 30)):
            lines += [f"## {self.sentence()}", "", " ".join(self.sentence() for _ in range(6)), ""]
        return "\n".join(lines) + "\n"

    def kind(self) -> tuple[str, Callable[[list[str]], str]]:
        """Ending and writer of the next file."""
        share = self._dice.random()
        return ("py", self.python) if share < 0.7 else ("ts", self.typescript) if share < 0.85 else ("md", self.prose)


def make_repository(folder: Path, *, files: int, commits: int = 20, seed: int = 1) -> Path:
    """A bare repository of so many files, grown over some commits; answers its path."""
    maker, dice = Maker(seed), random.Random(seed)
    paths: list[str] = []
    by_ending: dict[str, list[str]] = {"py": [], "ts": [], "md": []}
    folder.mkdir(exist_ok=True)
    git_dir = folder / "generated.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", git_dir], check=True)
    importer = subprocess.Popen(["git", "fast-import", "--quiet"], cwd=git_dir, stdin=subprocess.PIPE)
    assert importer.stdin is not None
    for number in range(commits):
        changes: list[tuple[str, str]] = []
        for _ in range(files // commits):
            ending, write = maker.kind()
            package = f"{maker.name(1).split('_')[0]}/{maker.name(1).split('_')[0]}"
            path = f"{package}/{maker.name()}_{len(paths)}.{ending}"
            some = by_ending[ending]
            changes.append((path, write(dice.sample(some, min(len(some), 6)))))
            paths.append(path)
            some.append(path)
        if number:  # a tenth of the files of before is edited as well
            for path in dice.sample(paths[: -len(changes)], len(changes) // 10):
                writer = {"py": maker.python, "ts": maker.typescript, "md": maker.prose}[path.rpartition(".")[2]]
                changes.append((path, writer([])))
        for line in _commit(number, changes):
            importer.stdin.write(line)
    importer.stdin.close()
    assert importer.wait() == 0
    return git_dir


def _commit(number: int, changes: list[tuple[str, str]]) -> Iterator[bytes]:
    yield f"commit refs/heads/main\ncommitter Bench <bench@example.org> {1_700_000_000 + number} +0000\n".encode()
    yield b"data 6\nChange\n"
    for path, text in dict(changes).items():
        content = text.encode()
        yield f"M 100644 inline {path}\ndata {len(content)}\n".encode() + content + b"\n"
