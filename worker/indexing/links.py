"""Which files of a repository an import leads to: pure, from the paths of the tree and a few project files.

What leads out of the repository (the standard library, other packages) has no file here. Where a language imports a
folder rather than a file (a Go package, Java's `a.b.*`), the target is the folder, with a slash at its end.
"""

import itertools
import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

from worker.indexing.languages import Language

PROJECT_FILES = ("go.mod", "package.json", "Cargo.toml", "tsconfig.json", "jsconfig.json")
"""Files whose content decides where modules are."""

MOST_CANDIDATES = 200
MOST_ALIASES = 200

_ECMASCRIPT_ENDS = (".ts", ".tsx", ".mts", ".cts", ".d.ts", ".js", ".jsx", ".mjs", ".cjs", ".json", ".vue", ".svelte")
_ECMASCRIPT_NAMED = re.compile(r"\.([mc]?)jsx?$")  # TypeScript names the file that will be compiled
_GO_MODULE = re.compile(r"^module\s+(?:\"([^\"]+)\"|(\S+))", re.MULTILINE)
# What TypeScript's configuration may have beyond JSON; strings come first, so that theirs stay.
_COMMENTS = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_LAST_COMMAS = re.compile(r'"(?:\\.|[^"\\])*"|,(?=\s*[}\]])', re.DOTALL)


class Links:
    """The paths of one tree, and the way from an import to them."""

    def __init__(self, paths: Iterable[str], project_files: Mapping[str, str]) -> None:
        """`project_files`: path → text of those of PROJECT_FILES that the tree has."""
        self._paths = frozenset(paths)
        self._projects = {path: text for path, text in project_files.items() if path in self._paths}

    def targets(self, source: str, lang: Language, module: str, names: Sequence[str]) -> list[str]:
        """Files (and folders) behind one import of the file `source`, sorted; none: outside of the repository."""
        find = _FINDERS.get(lang)
        found = sorted(set(find(self, source, module, names))) if find is not None else []
        return [path for path in found if path != source]

    # What is looked up

    @cached_property
    def _folders(self) -> frozenset[str]:
        folders: set[str] = {""}
        for path in self._paths:
            folder = _folder(path)
            while folder not in folders:
                folders.add(folder)
                folder = _folder(folder)
        return frozenset(folders)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """Last part of the path → paths, in order."""
        by_name: dict[str, list[str]] = defaultdict(list)
        for path in sorted(self._paths):
            by_name[path.rpartition("/")[2]].append(path)
        return by_name

    @cached_property
    def _folders_by_name(self) -> dict[str, list[str]]:
        by_name: dict[str, list[str]] = defaultdict(list)
        for folder in sorted(self._folders):
            by_name[folder.rpartition("/")[2]].append(folder)
        return by_name

    @cached_property
    def _go_modules(self) -> list[tuple[str, str]]:
        """Module path and folder, longest path first."""
        found: list[tuple[str, str]] = []
        for path, text in self._of_kind("go.mod"):
            if named := _GO_MODULE.search(text):
                found.append((named[1] or named[2], _folder(path)))
        return sorted(found, key=lambda pair: (-len(pair[0]), pair))

    @cached_property
    def _packages(self) -> dict[str, str]:
        """Names of the JavaScript packages of the repository → their folders."""
        found: dict[str, str] = {}
        for path, text in self._of_kind("package.json"):
            name = _json(text).get("name")
            if isinstance(name, str) and name:
                found.setdefault(name, _folder(path))
        return found

    @cached_property
    def _aliases(self) -> dict[str, list[tuple[str, list[str]]]]:
        """Folder of a tsconfig → pattern and where it leads to, the longest pattern first."""
        found: dict[str, list[tuple[str, list[str]]]] = {}
        for path, text in [*self._of_kind("tsconfig.json"), *self._of_kind("jsconfig.json")]:
            options = _json(_plain_json(text)).get("compilerOptions")
            if not isinstance(options, dict):
                continue
            base = options.get("baseUrl")
            folder = _joined(_folder(path), base) if isinstance(base, str) else _folder(path)
            if folder is None:
                continue
            patterns = options.get("paths")
            entries = list(patterns.items())[:MOST_ALIASES] if isinstance(patterns, dict) else []
            if isinstance(base, str):
                entries.append(("*", ["*"]))
            aliases: list[tuple[str, list[str]]] = []
            for pattern, targets in entries:
                places = [_joined(folder, place) for place in targets if isinstance(place, str)] if targets else []
                aliases.append((str(pattern), [place for place in places if place is not None]))
            found.setdefault(_folder(path), []).extend(sorted(aliases, key=lambda alias: -len(alias[0])))
        return found

    @cached_property
    def _crates(self) -> dict[str, str]:
        """Names of the Rust crates of the repository, as code writes them → their folders."""
        found: dict[str, str] = {}
        for path, text in self._of_kind("Cargo.toml"):
            try:
                package = tomllib.loads(text).get("package")
            except tomllib.TOMLDecodeError:
                continue
            if isinstance(package, dict) and isinstance(package.get("name"), str):
                found.setdefault(package["name"].replace("-", "_"), _folder(path))
        return found

    @cached_property
    def _crate_folders(self) -> frozenset[str]:
        return frozenset(_folder(path) for path, _ in self._of_kind("Cargo.toml"))

    def _of_kind(self, name: str) -> list[tuple[str, str]]:
        return sorted((path, text) for path, text in self._projects.items() if path.rpartition("/")[2] == name)

    # Languages

    def python(self, source: str, module: str, names: Sequence[str]) -> Iterable[str]:
        """`a.b` is a/b.py or a/b/__init__.py; a name taken from a package may be a module of it."""
        dots = len(module) - len(module.lstrip("."))
        parts = [part for part in module[dots:].split(".") if part]
        roots = [_ancestor(_folder(source), dots - 1)] if dots else self._python_roots(source)
        for root in roots:
            place = _joined(root, "/".join(parts)) if root is not None else None
            if place is None:
                continue
            package = self._python_file(place) if place else self._first("__init__.py")
            taken = [file for name in names if name != "*" and (file := self._python_file(_under(place, name)))]
            if package is not None and len(taken) < max(len(names), 1):
                taken.append(package)
            if taken:
                return taken
        return ()

    def _python_roots(self, source: str) -> list[str | None]:
        """Where an absolute import may start: folders around the file that are no packages, and src folders."""
        roots: list[str | None] = []
        folder = _folder(source)
        while True:
            if _under(folder, "__init__.py") not in self._paths:
                roots.append(folder)
                if (nested := _under(folder, "src")) in self._folders:
                    roots.append(nested)
            if not folder:
                return roots
            folder = _folder(folder)

    def _python_file(self, place: str) -> str | None:
        return self._first(f"{place}/__init__.py", f"{place}.py", f"{place}.pyi", f"{place}/__init__.pyi")

    def ecmascript(self, source: str, module: str, names: Sequence[str]) -> Iterable[str]:
        """Relative paths with or without their ends, packages of the repository, and the aliases of tsconfig."""
        if module.startswith("."):
            place = _joined(_folder(source), module)
            return _one(self._ecmascript_file(place) if place is not None else None)
        for place in [*self._aliased(source, module), *self._in_package(module)]:
            if found := self._ecmascript_file(place):
                return [found]
        return ()

    def _ecmascript_file(self, place: str) -> str | None:
        bare = _ECMASCRIPT_NAMED.sub("", place)
        ends = [place, *(place + end for end in _ECMASCRIPT_ENDS)]
        if bare != place:
            ends += [bare + end for end in (".ts", ".tsx", ".mts", ".cts", ".d.ts")]
        ends += [_under(place, "index" + end) for end in _ECMASCRIPT_ENDS]
        return self._first(*ends)

    def _aliased(self, source: str, module: str) -> Iterable[str]:
        folder = _folder(source)
        while True:
            for pattern, places in self._aliases.get(folder, ()):
                head, star, tail = pattern.partition("*")
                if module == pattern or (star and module.startswith(head) and module.endswith(tail)):
                    middle = module[len(head) : len(module) - len(tail)] if star else ""
                    yield from (place.replace("*", middle) for place in places)
            if not folder:
                return
            folder = _folder(folder)

    def _in_package(self, module: str) -> Iterable[str]:
        parts = module.split("/")
        length = 2 if module.startswith("@") else 1
        folder = self._packages.get("/".join(parts[:length]))
        if folder is not None:
            rest = "/".join(parts[length:])
            yield from (_under(_under(folder, inner), rest or "index") for inner in ("", "src", "lib"))

    def go(self, source: str, module: str, names: Sequence[str]) -> Iterable[str]:
        """A package is a folder below that of the go.mod that names its beginning."""
        for name, folder in self._go_modules:
            if module == name or module.startswith(name + "/"):
                place = _joined(folder, module[len(name) + 1 :])
                return [f"{place}/"] if place is not None and place in self._folders and place else ()
        return ()

    def java(self, source: str, module: str, names: Sequence[str]) -> Iterable[str]:
        """A class is a file below some source root; the nearest root to the importing file wins."""
        parts = module.split(".")
        if names:  # a.b.*: the folder of a package, or the members of a class
            folders = self._ending(self._folders_by_name.get(parts[-1], ()), "/".join(parts))
            if folders:
                return [f"{_nearest(source, folders)}/"]
        for length in range(len(parts), 1, -1):  # a.b.C.D is inside of C
            files = self._ending(self._by_name.get(f"{parts[length - 1]}.java", ()), f"{'/'.join(parts[:length])}.java")
            if files:
                return [_nearest(source, files)]
        return ()

    def rust(self, source: str, module: str, names: Sequence[str]) -> Iterable[str]:
        """Paths from the crate, from here, from above, or of another crate of the repository."""
        root = self._crate_root(source)
        here = _rust_place(source)
        first, *rest = module.split("::")
        if first == "crate":
            return _one(self._rust_file(_folder(root) if root else "", rest) or root)
        if first in ("self", "super"):
            place: str | None = here if first == "self" else _folder(here)
            while rest[:1] == ["super"]:
                place, rest = _folder(place or ""), rest[1:]
            return _one(self._rust_file(place or "", rest))
        if first in self._crates:
            folder = self._crates[first]
            library = self._first(_under(folder, "src/lib.rs"), _under(folder, "src/main.rs"), _under(folder, "lib.rs"))
            return _one(self._rust_file(_folder(library), rest) or library if library else None)
        return _one(self._rust_file(here, [first, *rest]))

    def _crate_root(self, source: str) -> str | None:
        folder = _folder(source)
        while folder not in self._crate_folders:
            if not folder:
                break
            folder = _folder(folder)
        return self._first(*(_under(folder, name) for name in ("src/lib.rs", "src/main.rs", "lib.rs", "main.rs")))

    def _rust_file(self, place: str, parts: Sequence[str]) -> str | None:
        """The deepest module on the way: what comes behind it is defined in it."""
        for length in range(len(parts), 0, -1):
            path = _under(place, "/".join(parts[:length]))
            if found := self._first(f"{path}.rs", f"{path}/mod.rs"):
                return found
        return None

    def c(self, source: str, module: str, names: Sequence[str]) -> Iterable[str]:
        """Beside the file, or below a folder of headers; in angle brackets below the latter only."""
        path = module[1:-1]
        if module.startswith('"'):
            beside = _joined(_folder(source), path)
            if beside in self._paths:
                return [beside]
        plain = _joined("", path)
        if not plain:
            return ()
        files = self._ending(self._by_name.get(plain.rpartition("/")[2], ()), plain)
        if module.startswith("<"):
            files = [file for file in files if file == plain or file.endswith(f"include/{plain}")]
        return [_nearest(source, files)] if files else ()

    def named_file(self, source: str, module: str, names: Sequence[str]) -> Iterable[str]:
        """Ruby's require_relative, PHP's include and Bash's source: a path, beside the file or from the root."""
        name = module.strip('"')
        places = [_joined(_folder(source), name), _joined("", name), _joined("lib", name)]
        for place in places:
            if place is not None and (found := self._first(place, f"{place}.rb", f"{place}.lua")):
                return [found]
        return ()

    def lua(self, source: str, module: str, names: Sequence[str]) -> Iterable[str]:
        """`a.b` is a/b.lua or a/b/init.lua, from the root or below a folder that ends like it."""
        path = module.replace(".", "/")
        for end in (f"{path}.lua", f"{path}/init.lua"):
            files = self._ending(self._by_name.get(end.rpartition("/")[2], ()), end)
            if files:
                return [_nearest(source, files)]
        return ()

    def _first(self, *paths: str) -> str | None:
        return next((path for path in paths if path in self._paths), None)

    def _ending(self, paths: Iterable[str], end: str) -> list[str]:
        """Of very many files of one name the first ones only: a hostile tree must not cost the square of its size."""
        ending = (path for path in paths if path == end or path.endswith("/" + end))
        return list(itertools.islice(ending, MOST_CANDIDATES))


_Finder = Callable[[Links, str, str, Sequence[str]], Iterable[str]]
_FINDERS: dict[Language, _Finder] = {
    Language.PYTHON: Links.python,
    Language.JAVASCRIPT: Links.ecmascript,
    Language.TYPESCRIPT: Links.ecmascript,
    Language.TSX: Links.ecmascript,
    Language.GO: Links.go,
    Language.JAVA: Links.java,
    Language.RUST: Links.rust,
    Language.C: Links.c,
    Language.CPP: Links.c,
    Language.RUBY: Links.named_file,
    Language.PHP: Links.named_file,
    Language.BASH: Links.named_file,
    Language.LUA: Links.lua,
}


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _under(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name


def _ancestor(folder: str, steps: int) -> str | None:
    """The folder so many steps up; None above the root."""
    for _ in range(steps):
        if not folder:
            return None
        folder = _folder(folder)
    return folder


def _joined(folder: str, path: str) -> str | None:
    """The path from a folder, without `.` and `..`; None outside of the repository."""
    parts = [part for part in folder.split("/") if part]
    for part in path.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _nearest(source: str, paths: Sequence[str]) -> str:
    """The path that shares most folders with the source; of equal ones the shortest, then the first by name."""
    here = source.split("/")

    def distance(path: str) -> tuple[int, int, str]:
        shared = 0
        for ours, theirs in zip(here, path.split("/"), strict=False):
            if ours != theirs:
                break
            shared += 1
        return -shared, len(path), path

    return min(paths, key=distance)


def _rust_place(source: str) -> str:
    """The folder that the modules of a file are in."""
    folder, _, name = source.rpartition("/")
    return folder if name in ("mod.rs", "lib.rs", "main.rs") else source.removesuffix(".rs")


def _one(path: str | None) -> list[str]:
    return [path] if path is not None else []


def _plain_json(text: str) -> str:
    for extra in (_COMMENTS, _LAST_COMMAS):
        text = extra.sub(lambda found: found[0] if found[0].startswith('"') else "", text)
    return text


def _json(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
