"""From an import to the files behind it."""

import pytest

from worker.indexing.languages import Language
from worker.indexing.links import Links

PYTHON = ["app/__init__.py", "app/models.py", "app/sub/__init__.py", "app/sub/deep.py", "app/types.pyi", "tool.py",
          "src/lib/__init__.py", "src/lib/core.py", "scripts/run.py", "scripts/helper.py", "docs/conf.txt"]  # fmt: skip
SCRIPT = ["web/src/a.ts", "web/src/b.tsx", "web/src/dir/index.ts", "web/src/data.json", "web/src/old.js",
          "web/src/both.ts", "web/src/both.js", "web/tsconfig.json", "packages/ui/package.json",
          "packages/ui/src/index.ts", "packages/ui/src/button.tsx", "packages/core/package.json",
          "packages/core/index.js"]  # fmt: skip
GO = ["go.mod", "main.go", "pkg/a/a.go", "pkg/a/b.go", "tools/go.mod", "tools/x/x.go"]
RUST = ["Cargo.toml", "core/Cargo.toml", "core/src/lib.rs", "core/src/a.rs", "core/src/a/inner.rs", "core/src/b/mod.rs",
        "core/src/b/c.rs", "cli/Cargo.toml", "cli/src/main.rs"]  # fmt: skip
JAVA = ["m1/src/main/java/a/b/C.java", "m1/src/main/java/a/b/D.java", "m2/src/main/java/a/b/C.java",
        "m2/src/test/java/a/b/T.java", "m2/src/main/java/x/E.java"]  # fmt: skip
NATIVE = ["src/a.c", "src/a.h", "src/inner/b.h", "include/proj/api.h", "lib/string.h", "config.h"]
PROJECT = {
    "go.mod": "module example.org/me\n\ngo 1.22\n",
    "tools/go.mod": 'module "example.org/me/tools" // nested\n',
    "web/tsconfig.json": '{ // a comment\n "compilerOptions": {"paths": {"@/*": ["./src/*"], "exact": ["src/a"],}}}',
    "packages/ui/package.json": '{"name": "@acme/ui"}',
    "packages/core/package.json": '{"name": "core"}',
    "core/Cargo.toml": '[package]\nname = "my-core"\n',
    "cli/Cargo.toml": '[package]\nname = "cli"\n',
    "Cargo.toml": "[workspace]\n",
}

CASES = [
    (PYTHON, "app/sub/deep.py", Language.PYTHON, ".", ("x",), ["app/sub/__init__.py"]),
    (PYTHON, "app/sub/deep.py", Language.PYTHON, "..", ("models",), ["app/models.py"]),
    (PYTHON, "app/sub/deep.py", Language.PYTHON, "..models", ("M",), ["app/models.py"]),
    (PYTHON, "app/models.py", Language.PYTHON, ".sub", ("deep", "name"), ["app/sub/__init__.py", "app/sub/deep.py"]),
    (PYTHON, "app/models.py", Language.PYTHON, "app.sub.deep", (), ["app/sub/deep.py"]),
    (PYTHON, "app/models.py", Language.PYTHON, "app.types", (), ["app/types.pyi"]),
    (PYTHON, "app/models.py", Language.PYTHON, "tool", (), ["tool.py"]),
    (PYTHON, "app/models.py", Language.PYTHON, "models", (), []),  # a neighbour in a package is no top level module
    (PYTHON, "scripts/run.py", Language.PYTHON, "helper", (), ["scripts/helper.py"]),
    (PYTHON, "scripts/run.py", Language.PYTHON, "lib.core", ("f",), ["src/lib/core.py"]),
    (PYTHON, "app/models.py", Language.PYTHON, "os.path", (), []),
    (PYTHON, "tool.py", Language.PYTHON, "..x", ("y",), []),  # above the root
    (SCRIPT, "web/src/a.ts", Language.TYPESCRIPT, "./b", (), ["web/src/b.tsx"]),
    (SCRIPT, "web/src/a.ts", Language.TYPESCRIPT, "./dir", (), ["web/src/dir/index.ts"]),
    (SCRIPT, "web/src/dir/index.ts", Language.TYPESCRIPT, "../a.js", (), ["web/src/a.ts"]),
    (SCRIPT, "web/src/a.ts", Language.TYPESCRIPT, "./old.js", (), ["web/src/old.js"]),
    (SCRIPT, "web/src/a.ts", Language.TYPESCRIPT, "./both", (), ["web/src/both.ts"]),
    (SCRIPT, "web/src/a.ts", Language.TYPESCRIPT, "./data.json", (), ["web/src/data.json"]),
    (SCRIPT, "web/src/dir/index.ts", Language.TYPESCRIPT, "@/b", (), ["web/src/b.tsx"]),
    (SCRIPT, "web/src/b.tsx", Language.TSX, "exact", (), ["web/src/a.ts"]),
    (SCRIPT, "web/src/a.ts", Language.TYPESCRIPT, "@acme/ui", (), ["packages/ui/src/index.ts"]),
    (SCRIPT, "web/src/a.ts", Language.TYPESCRIPT, "@acme/ui/button", (), ["packages/ui/src/button.tsx"]),
    (SCRIPT, "web/src/a.ts", Language.TYPESCRIPT, "core", (), ["packages/core/index.js"]),
    (SCRIPT, "web/src/a.ts", Language.TYPESCRIPT, "react", (), []),
    (SCRIPT, "web/src/a.ts", Language.TYPESCRIPT, "../../../../etc/passwd", (), []),
    (GO, "main.go", Language.GO, "example.org/me/pkg/a", (), ["pkg/a/"]),
    (GO, "main.go", Language.GO, "example.org/me/tools/x", (), ["tools/x/"]),
    (GO, "main.go", Language.GO, "example.org/meaning/pkg/a", (), []),
    (GO, "main.go", Language.GO, "fmt", (), []),
    (RUST, "core/src/lib.rs", Language.RUST, "self::a", (), ["core/src/a.rs"]),
    (RUST, "core/src/a.rs", Language.RUST, "self::inner", (), ["core/src/a/inner.rs"]),
    (RUST, "core/src/b/c.rs", Language.RUST, "super::Thing", (), []),
    (RUST, "core/src/b/c.rs", Language.RUST, "super::super::a::Thing", (), ["core/src/a.rs"]),
    (RUST, "core/src/a/inner.rs", Language.RUST, "crate::b::c::f", (), ["core/src/b/c.rs"]),
    (RUST, "core/src/a/inner.rs", Language.RUST, "crate::Top", (), ["core/src/lib.rs"]),
    (RUST, "cli/src/main.rs", Language.RUST, "my_core::b::X", (), ["core/src/b/mod.rs"]),
    (RUST, "cli/src/main.rs", Language.RUST, "my_core", (), ["core/src/lib.rs"]),
    (RUST, "cli/src/main.rs", Language.RUST, "std::io", (), []),
    (JAVA, "m2/src/main/java/x/E.java", Language.JAVA, "a.b.C", (), ["m2/src/main/java/a/b/C.java"]),
    (JAVA, "m1/src/main/java/a/b/D.java", Language.JAVA, "a.b.C.Inner", (), ["m1/src/main/java/a/b/C.java"]),
    (JAVA, "m2/src/main/java/x/E.java", Language.JAVA, "a.b", ("*",), ["m2/src/main/java/a/b/"]),
    (JAVA, "m2/src/main/java/x/E.java", Language.JAVA, "a.b.C", ("*",), ["m2/src/main/java/a/b/C.java"]),
    (JAVA, "m2/src/main/java/x/E.java", Language.JAVA, "java.util.List", (), []),
    (NATIVE, "src/a.c", Language.C, '"a.h"', (), ["src/a.h"]),
    (NATIVE, "src/a.c", Language.C, '"b.h"', (), ["src/inner/b.h"]),
    (NATIVE, "src/inner/b.h", Language.CPP, '"../a.h"', (), ["src/a.h"]),
    (NATIVE, "src/a.c", Language.C, "<proj/api.h>", (), ["include/proj/api.h"]),
    (NATIVE, "src/a.c", Language.C, "<string.h>", (), []),  # the system's, not the one that only has its name
    (NATIVE, "src/a.c", Language.C, '"../../../config.h"', (), []),
    (["lib/a/b.rb", "x.rb", "sub/y.rb"], "sub/y.rb", Language.RUBY, "./../x", (), ["x.rb"]),
    (["lib/a/b.rb", "x.rb"], "x.rb", Language.RUBY, "a/b", (), ["lib/a/b.rb"]),
    (["inc/a.php", "index.php"], "index.php", Language.PHP, '"inc/a.php"', (), ["inc/a.php"]),
    (["bin/run.sh", "bin/lib.sh"], "bin/run.sh", Language.BASH, "./lib.sh", (), ["bin/lib.sh"]),
    (["lua/a/b.lua", "lua/a/init.lua"], "lua/a/b.lua", Language.LUA, "a", (), ["lua/a/init.lua"]),
]


@pytest.mark.parametrize(("paths", "source", "lang", "module", "names", "expected"), CASES)
def test_an_import_leads_to_its_files(paths, source, lang, module, names, expected):
    """And what leads out of the repository has none."""
    assert Links(paths, PROJECT).targets(source, lang, module, names) == expected


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"name": 3, "compilerOptions": {"paths": []}}', "[" * 10_000, "[package\n"]
)
def test_broken_project_files_lead_nowhere_and_break_nothing(text):
    """Whatever stands in them."""
    paths = ["package.json", "tsconfig.json", "Cargo.toml", "go.mod", "a.ts", "b.ts"]
    links = Links(paths, {path: text for path in paths[:4]})  # noqa: C420
    assert links.targets("a.ts", Language.TYPESCRIPT, "./b", ()) == ["b.ts"]
    for lang in (Language.TYPESCRIPT, Language.GO, Language.RUST):
        assert links.targets("a.ts", lang, "elsewhere/x", ()) == []


def test_the_answer_does_not_depend_on_the_order_of_the_paths():
    """An incremental update and a fresh index see the same."""
    for source, lang, module in [("src/a.c", Language.C, '"b.h"'), ("x/E.java", Language.JAVA, "a.b.C")]:
        paths = [*NATIVE, *JAVA, "other/b.h", "more/b.h"]
        assert Links(paths, {}).targets(source, lang, module, ()) == Links(paths[::-1], {}).targets(
            source, lang, module, ()
        )
