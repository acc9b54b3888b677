"""The index job from tip to published rows: equal to a fresh index, cheap where nothing changed, billed once."""

import random
import uuid

import pytest
from psycopg.types.json import Jsonb

from worker.errors import LeaseLost, Snooze
from worker.handlers.index import index
from worker.handlers.payloads import IndexPayload
from worker.indexing.handle import Handle
from worker.job import Job, new_job_id

PYTHON = '''def {name}():
    """One."""
    return helper("{name}")


class {name}_class:
    def method(self):
        pass
'''


def source(name):
    """A small Python file."""
    return PYTHON.format(name=name)


@pytest.fixture
def repository(git_repository, make_repository):
    """A git repository with a few files, and its row."""
    git = git_repository(files={f"pkg/m{n}.py": source(f"f{n}") for n in range(5)} | {"README.md": "# hello\n"})
    return git, make_repository(git_url=git.url)


def test_a_first_index_holds_files_symbols_references_tokens_and_usage(indexer, repository, db):
    """What a job says of its result is what the tables hold."""
    git, repository_id = repository
    result = indexer.run(repository_id)
    assert (result["commit"], result["branch"]) == (git.head, "main")
    assert (result["files"], result["files_parsed"], result["files_changed"]) == (6, 6, 6)
    assert result["symbols"] == db.execute("select count(*) as n from idx.symbols").fetchone()["n"] == 16  # a heading
    usage = db.execute("select * from token_usage").fetchall()
    assert [row["tokens_used"] for row in usage] == [result["tokens_billed"]] == [result["tokens"]]
    assert usage[0]["metadata"]["tokenizer"] == "o200k_base"
    row = db.execute("select * from repositories where id = %s", (repository_id,)).fetchone()
    assert (row["last_indexed_commit"], row["status"], row["sync_state"]) == (git.head, "ready", "ready")
    assert result["bytes_fetched"] > 0
    assert set(result["seconds"]) == {"resolve", "fetch", "compare", "extract", "link", "publish"}


def test_a_repeated_push_says_what_the_last_publish_counted(indexer, repository, db):
    """Without counting again, unless a program published since that does not keep the count."""
    _, repository_id = repository
    first = indexer.run(repository_id)
    counts = ("files", "skipped", "symbols", "references", "tokens", "size_bytes")
    db.execute("update repository_branches set totals = jsonb_set(totals, '{files}', '7')")
    again = indexer.run(repository_id)
    assert {name: again[name] for name in counts} == {name: first[name] for name in counts} | {"files": 7}
    db.execute("update repository_branches set generation = generation + 1")
    again = indexer.run(repository_id)
    assert {name: again[name] for name in counts} == {name: first[name] for name in counts}


def test_a_repeated_push_starts_no_extractor(indexer, repository, monkeypatch):
    """There is nothing to read; the next change has them."""
    git, repository_id = repository
    indexer.run(repository_id)
    started = []
    monkeypatch.setattr("worker.indexing.pool.Handle", lambda nursery: started.append(1) or Handle(nursery))
    indexer.run(repository_id)
    assert started == []
    git.commit({"new.py": source("new")})
    assert indexer.run(repository_id)["files_parsed"] == 1
    assert started == [1]


def test_promise_9_a_repeated_push_writes_no_row_and_bills_nothing(indexer, repository):
    """The same tip again: zero rows in idx, zero tokens, nothing parsed."""
    _, repository_id = repository
    indexer.run(repository_id)
    start = indexer.transaction()
    result = indexer.run(repository_id)
    assert result["unchanged"]
    assert (result["files_parsed"], result["tokens_billed"], result["bytes_fetched"]) == (0, 0, 0)
    assert indexer.written_since(start) == 0


def test_promise_9_only_what_changed_is_parsed_and_billed(indexer, repository, db):
    """One edited, one added, one removed, one renamed file: two contents are parsed."""
    git, repository_id = repository
    indexer.run(repository_id)
    git.commit(
        files={
            "pkg/m0.py": source("edited"),
            "new.py": source("brand_new"),
            "pkg/m1.py": None,
            "pkg/m2.py": None,
            "pkg/renamed.py": source("f2"),
        }
    )
    result = indexer.run(repository_id)
    assert (result["files_parsed"], result["files_removed"], result["files"]) == (2, 2, 6)
    billed = db.execute("select sum(tokens) as n from idx.blobs where content ~ 'edited|brand_new'").fetchone()["n"]
    assert result["tokens_billed"] == billed


def test_a_push_that_only_removes_files_parses_none(indexer, repository):
    """Removal costs nothing."""
    git, repository_id = repository
    indexer.run(repository_id)
    git.commit(files={"pkg/m0.py": None})
    result = indexer.run(repository_id)
    assert (result["files_parsed"], result["tokens_billed"], result["files"]) == (0, 0, 5)


def random_changes(dice, git, step):
    """A few edits, copies, removals, binaries and new files, in no particular order."""
    paths = sorted(str(path.relative_to(git.path)) for path in git.path.rglob("*") if path.is_file())
    paths = [path for path in paths if not path.startswith(".git/")]
    changes = {}
    for _ in range(dice.randint(1, 4)):
        path = dice.choice([*paths, f"n{step}.py", f"d/x{step}.js", f"b{step}.bin"])
        kind = dice.random()
        if kind < 0.3 and path in paths:
            changes[path] = None
        elif kind < 0.45:
            changes[path] = b"\x00\x01binary" + bytes([step])
        elif kind < 0.6:
            changes[path] = (git.path / dice.choice(paths)).read_bytes() if paths else "x"
        else:
            changes[path] = source(f"s{step}")
    return changes


@pytest.mark.parametrize("seed", range(4))
def test_promise_8_incremental_updates_equal_a_fresh_full_index(indexer, git_repository, make_repository, seed):
    """Any history of edits, renames, removals, type changes and force pushes ends row for row as a fresh index does."""
    dice = random.Random(seed)
    git = git_repository(files={f"f{n}.py": source(f"f{n}") for n in range(6)})
    repository_id = make_repository(git_url=git.url)
    for step in range(6):
        git.commit(files=random_changes(dice, git, step))
        if dice.random() < 0.25:
            git.git("reset", "--hard", "HEAD~1")  # a force push back
        if dice.random() < 0.7:  # some pushes are never delivered
            indexer.run(repository_id)
    indexer.run(repository_id)
    fresh = make_repository(git_url=git.url, user_id=uuid.uuid4())
    indexer.run(fresh)
    assert indexer.files(repository_id) == indexer.files(fresh)


def test_promise_2_a_zombie_cannot_publish(indexer, repository, db):
    """An attempt whose job was taken away right before publish changes no row that a user can read."""
    _, repository_id = repository
    job = indexer.claim(repository_id)

    def take_away(phase):
        if phase == "publish":
            db.execute(
                "select queue.give_back(id, lease_token, 'rescue', 'crash', '0', 'worker_lost', 'x') from indexing_jobs"
            )

    with pytest.raises(LeaseLost):
        index(indexer.context(job, take_away), IndexPayload())
    assert indexer.files(repository_id) == []
    assert db.execute("select count(*) as n from token_usage").fetchone()["n"] == 0
    assert db.execute("select status from indexing_jobs").fetchone()["status"] == "queued"


def test_promise_2_a_failed_attempts_work_is_kept_and_billed_once(indexer, repository, db):
    """Blobs stored by an attempt that died before publish are reused, and billed by the one that publishes."""
    _, repository_id = repository
    job = indexer.claim(repository_id)

    def fall_over(phase):
        if phase == "publish":
            raise RuntimeError("killed before publish")

    with pytest.raises(RuntimeError):
        index(indexer.context(job, fall_over), IndexPayload())
    context = indexer.context_again(job)
    index(context, IndexPayload())
    assert context.result["files_parsed"] == 0
    total = db.execute("select sum(tokens) as n from idx.blobs").fetchone()["n"]
    assert db.execute("select array_agg(tokens_used) as n from token_usage").fetchone()["n"] == [total]


def test_an_attempt_killed_at_nine_tenths_is_resumed_without_parsing_again(
    indexer, git_repository, make_repository, db, monkeypatch
):
    """What was stored is reused, and paid for by the attempt that publishes: each token once."""
    git = git_repository(files={f"m{n}.py": source(f"f{n}") for n in range(40)})
    repository_id = make_repository(git_url=git.url)
    job = indexer.claim(repository_id)
    context = indexer.context(job)

    def die_late(phase, done=0, total=None):
        if phase == "extract" and total and done >= 0.9 * total:
            raise SystemExit

    context.progress = die_late
    monkeypatch.setattr("worker.handlers.index_extract.BATCH_BLOBS", 4)
    with pytest.raises(SystemExit):
        index(context, IndexPayload())
    kept = db.execute("select count(*) as n from idx.blobs").fetchone()["n"]
    assert kept >= 32
    assert db.execute("select count(*) as n from token_usage").fetchone()["n"] == 0
    context = indexer.context_again(job)
    index(context, IndexPayload())
    assert context.result["files_parsed"] == 40 - kept
    total = db.execute("select sum(tokens) as n from idx.blobs").fetchone()["n"]
    assert db.execute("select array_agg(tokens_used) as n from token_usage").fetchone()["n"] == [total]


def test_owners_do_not_share_private_content(indexer, git_repository, make_repository, db):
    """The same local repository for two owners is stored twice: no existence oracle."""
    git = git_repository(files={"a.py": source("a")})
    first, second = make_repository(git_url=git.url), make_repository(git_url=git.url)
    assert indexer.run(first)["tokens_billed"] > 0
    result = indexer.run(second)
    assert result["files_parsed"] == 1
    assert result["tokens_billed"] > 0
    scopes = db.execute("select count(distinct scope) as n from idx.blobs").fetchone()["n"]
    assert scopes == 2


def test_two_repositories_of_one_owner_share_content_and_pay_once(indexer, git_repository, make_repository):
    """A second repository with the same content parses and bills nothing."""
    owner = uuid.uuid4()
    git = git_repository(files={"a.py": source("a")})
    other = git_repository(name="other", files={"b.py": source("a")})
    indexer.run(make_repository(git_url=git.url, user_id=owner))
    result = indexer.run(make_repository(git_url=other.url, user_id=owner))
    assert (result["files"], result["files_parsed"], result["tokens_billed"]) == (1, 0, 0)


def test_what_is_not_read_is_shown_with_its_reason(indexer, git_repository, make_repository):
    """Binary, too large, symlink, odd names: each has a row and a reason; nothing is silently left out."""
    git = git_repository(
        files={"ok.py": source("ok"), "image.bin": b"\x89PNG\x00\x01", "big.txt": "x" * 1_000_001, "nul.py": b"a\x00b"}
    )
    (git.path / "link").symlink_to("/etc/passwd")
    (git.path / "odd\nname.py").write_text("x = 1\n")
    git.git("add", "-A")
    git.git("commit", "-q", "-m", "odd things")
    repository_id = make_repository(git_url=git.url)
    result = indexer.run(repository_id)
    assert result["files"] == 6
    assert result["skipped"] == {"bad_path": 1, "binary": 2, "symlink": 1, "too_large": 1}
    assert not any("root:" in str(row) for row in indexer.files(repository_id))


def test_attack_6_content_that_postgres_refuses_costs_only_itself(indexer, git_repository, make_repository):
    """NUL, invalid UTF-8, half surrogate pairs, giant identifiers and words: cleaned, capped or skipped."""
    git = git_repository(
        files={
            "bad_utf8.py": b"caf\xe9 = 1\ndef caf\xe9_two():\n    pass\n",
            "giant.py": f"def {'a' * 6000}():\n    pass\n\ndef small():\n    return {'b' * 6000}()\n",
            "giant.js": "// line\n" * 40 + f"import x from './{'c' * 6000}';\nfunction small() {{ return x(); }}\n",
            "escapes.json": '{"a\\u0000b": 1, "c\\ud800d": {"e": 2}, "fine": 3}\n',
            "escapes.toml": '"a\\u0000b" = 1\nfine = 2\n',
            "escapes.yaml": '"a\\0b": 1\nfine: 2\n',
            "nul.py": b"x = 1\n\x00\n",
            "word.txt": "x" * 900_000,
            "longer_word.txt": "y" * 3_000_000,
            "good.py": source("good"),
        }
    )
    repository_id = make_repository(git_url=git.url)
    result = indexer.run(repository_id)
    assert (result["files"], result["skipped"]) == (10, {"binary": 1, "too_large": 1})
    names = {row["name"] for row in indexer.db.execute("select name from idx.symbols")}
    assert {"small", "good", "good_class", "fine"} <= names
    assert max(len(name.encode()) for name in names) <= 512
    assert not any("\0" in name for name in names)


def test_a_server_that_lags_behind_the_push_is_asked_again_later(indexer, repository):
    """The tip is still the commit before the push: the job snoozes at no cost."""
    git, repository_id = repository
    payload = {"ref": "refs/heads/main", "before": git.head, "after": "a" * 40}
    job = indexer.claim(repository_id, **payload)
    with pytest.raises(Snooze):
        index(indexer.context(job), IndexPayload.model_validate(payload))


def test_promise_5_a_lagging_server_is_waited_for_after_several_pushes_too(indexer, repository, db):
    """Two pushes coalesced, the server still shows the commit before both: nothing is lost, the job snoozes."""
    git, repository_id = repository
    first, second = "b" * 40, "c" * 40
    for before, after in ((git.head, first), (first, second)):
        payload = {"ref": "refs/heads/main", "before": before, "after": after}
        db.execute(
            "select queue.enqueue(%s, %s, 'incremental_update', %s, p_coalesce_key => 'k')",
            (new_job_id(), repository_id, Jsonb(payload)),
        )
    # It has waited behind a long job: only the newest push's age says whether a server may still lag.
    db.execute("update indexing_jobs set queued_at = queued_at - interval '5 minutes'")
    row = db.execute("select * from queue.claim(%s, array['incremental_update'], 1)", (indexer.worker_id,)).fetchone()
    with pytest.raises(Snooze):
        index(indexer.context(Job(**row)), IndexPayload.model_validate(row["payload"]))


def test_a_late_older_push_is_not_waited_for(indexer, repository):
    """The index is ahead of the delivery already: done at once."""
    git, repository_id = repository
    first = git.head
    git.commit(files={"more.py": source("more")})
    indexer.run(repository_id)
    result = indexer.run(repository_id, ref="refs/heads/main", before="0" * 39 + "1", after=first)
    assert result["unchanged"]


def test_a_path_longer_than_an_index_entry_costs_only_itself(indexer, git_repository, make_repository):
    """A tree as anybody may push it, with a path of 6 kB: that file is left out by name, the rest is indexed."""
    git = git_repository(files={"good.py": source("good")})
    dice = random.Random(1)
    folders = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=200)) for _ in range(30)]
    tree = git.git("rev-parse", "HEAD^{tree}").strip()
    for folder in folders:
        listing = git.path / ".git" / "listing"
        listing.write_text(f"040000 tree {tree}\t{folder}\n")
        tree = git.git("-c", "alias.make=!git mktree < .git/listing", "make").strip()
    commit = git.git("commit-tree", tree, "-m", "deep").strip()
    git.git("update-ref", "refs/heads/main", commit)
    result = indexer.run(make_repository(git_url=git.url))
    assert (result["files"], result["skipped"]) == (1, {"bad_path": 1})
