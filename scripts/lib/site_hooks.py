"""What the documentation site needs beside mkdocs: pages in an order, no diagram or link that leads out of it."""

import re
from pathlib import Path
from typing import Any

_ORDER = [
    *("index", "quick-start", "concepts", "deploy-fly", "supabase", "configuration", "commands"),
    *("operating", "runbooks", "receiver", "queue", "indexing", "logs", "tracing"),
    *("writing-a-handler", "security-model", "architecture"),
]


def on_config(config: Any) -> Any:
    """All pages of docs/, the known ones in their order; a new page is never left out."""
    names = sorted(path.stem for path in Path(config.docs_dir).glob("*.md"))
    config.nav = [f"{name}.md" for name in sorted(names, key=_place)]
    return config


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """Files beside docs/ are not on the site: their links lead to the repository, or are plain text without one."""

    def replaced(link: re.Match[str]) -> str:
        text, path = link[1], link[2]
        return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{path})" if config.repo_url else text

    markdown = re.sub(r"```mermaid\nstateDiagram-v2\n(.*?)```\n", _as_table, markdown, flags=re.S)
    markdown = re.sub(r"\[([^\]]+)\]\(\.\./([^)]+)\)", replaced, markdown)
    return re.sub(r"\[([^\]]+)\]\((examples/[^)]+)\)", lambda link: f"`docs/{link[2]}`", markdown)


def _as_table(diagram: re.Match[str]) -> str:
    """A diagram that GitHub draws as a table: what would draw it here comes from the network."""
    rows = re.findall(r"^ *(\S+) --> (\S+): (.+)$", diagram[1], re.M)
    lines = ["| from | to | by |", "|---|---|---|", *(f"| {begin} | {end} | {verb} |" for begin, end, verb in rows)]
    return "\n".join(lines).replace("[*]", "–") + "\n"


def _place(name: str) -> tuple[int, str]:
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)
