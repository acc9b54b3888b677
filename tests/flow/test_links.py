"""Import edges of a branch: equal to a fresh index after every push, and written only where they differ."""

import pytest

FILES = {
    "app/__init__.py": "",
    "app/a.py": "from app import b\nimport os\n",
    "app/b.py": "from .later import thing\n",
    "go.mod": "module example.org/me\n",
    "main.go": 'package main\n\nimport (\n\t"fmt"\n\t"example.org/me/pkg"\n)\n\nfunc main() { fmt.Println(pkg.X) }\n',
    "pkg/x.go": "package pkg\n\nvar X = 1\n",
}


@pytest.fixture
def repository(git_repository, make_repository):
    """Files that import each other, and one that is not there yet."""
    git = git_repository(files=FILES)
    return git, make_repository(git_url=git.url)


def edges(db, repository_id):
    """The edges of a repository, without line numbers."""
    rows = db.execute(
        "select e.src, e.dst, e.module from idx.import_edges e join repositories r on r.repo_no = e.repo_no"
        " where r.id = %s order by 1, 3, 2", (repository_id,),
    )  # fmt: skip
    return [(row["src"], row["module"], row["dst"]) for row in rows]


def test_edges_lead_to_files_folders_or_out_of_the_repository(indexer, repository, db):
    """A Go package is a folder; what is not in the tree has no target."""
    _, repository_id = repository
    indexer.run(repository_id)
    assert edges(db, repository_id) == [
        ("app/a.py", "app", "app/b.py"),
        ("app/a.py", "os", None),
        ("app/b.py", ".later", None),
        ("main.go", "example.org/me/pkg", "pkg/"),
        ("main.go", "fmt", None),
    ]


def test_a_file_that_comes_or_goes_moves_the_edges_of_those_that_stayed(indexer, repository, db):
    """Also a project file that names the module anew; what stays is not written again."""
    git, repository_id = repository
    indexer.run(repository_id)
    git.commit(files={"app/later.py": "thing = 1\n"})
    indexer.run(repository_id)
    assert ("app/b.py", ".later", "app/later.py") in edges(db, repository_id)
    assert len(edges(db, repository_id)) == 5
    git.commit(files={"app/later.py": None, "go.mod": "module example.org/you\n"})
    start = indexer.transaction()
    indexer.run(repository_id)
    assert ("app/b.py", ".later", None) in edges(db, repository_id)
    assert ("main.go", "example.org/me/pkg", None) in edges(db, repository_id)
    written = db.execute(
        "select count(*) as n from idx.import_edges where xmin::text::bigint >= %s", (start,)
    ).fetchone()["n"]
    assert written == 2


def test_a_changed_content_writes_its_own_edges_alone(indexer, repository, db):
    """The other files' edges keep their rows; a removed file's go with it."""
    git, repository_id = repository
    indexer.run(repository_id)
    start = indexer.transaction()
    git.commit(files={"app/a.py": "from app import b\nimport sys\n"})
    indexer.run(repository_id)
    rows = db.execute("select module from idx.import_edges where xmin::text::bigint >= %s", (start,)).fetchall()
    assert [row["module"] for row in rows] == ["sys"]
    git.commit(files={"app/a.py": None})
    indexer.run(repository_id)
    assert not [edge for edge in edges(db, repository_id) if edge[0] == "app/a.py"]


def test_edges_after_any_pushes_equal_those_of_a_fresh_index(indexer, repository, db, make_repository):
    """Renames, a package that shadows a module, a module that becomes a package."""
    git, repository_id = repository
    indexer.run(repository_id)
    steps = [
        {"app/b.py": None, "app/b/__init__.py": "from . import c\n", "app/b/c.py": "import app.a\n"},
        {"app/b/c.py": None, "app/b/d.py": "from ..a import x\n"},
        {"pkg/x.go": None, "pkg/inner/y.go": 'package inner\n\nimport _ "example.org/me/pkg/inner"\n'},
        {"src/app/__init__.py": "", "web/a.ts": "import './b'\n", "web/b.js": "", "web/b.ts": "import 'x'\n"},
    ]
    for files in steps:
        git.commit(files=files)
        indexer.run(repository_id)
        fresh = make_repository(git_url=git.url + "/.")
        indexer.run(fresh)
        assert edges(db, repository_id) == edges(db, fresh)
        db.execute("delete from repositories where id = %s", (fresh,))
