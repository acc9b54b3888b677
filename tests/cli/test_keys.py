"""key set, remove."""

from io import StringIO

TOKEN = "github_pat_0123456789planted"


def test_a_token_is_read_from_standard_input_and_kept_encrypted(worker, db, monkeypatch) -> None:
    """It is no argument, so that no process list and no shell history has it, and no output repeats it."""
    monkeypatch.setattr("sys.stdin", StringIO(TOKEN + "\n"))
    ended = worker("key", "set", "github", "--json")
    assert ended.json == {"service": "github", "stored": True}
    assert TOKEN not in ended.out + ended.err
    row = db.execute("select user_id::text, service, api_key from user_api_keys").fetchone()
    assert row["service"] == "github"
    assert row["api_key"].startswith("v1.k1.")
    assert worker("key", "remove", "github").code == 0
    assert worker("key", "remove", "github").code == 1
    monkeypatch.setattr("sys.stdin", StringIO("short\n"))
    assert worker("key", "set", "github").code == 1
    assert worker("key", "set", "gitlab").code == 2


def test_a_repository_may_name_its_installation(worker, db) -> None:
    """The number goes into its settings, where only whoever runs the worker can put it."""
    added = worker("repo", "add", "https://github.com/acme/plans", "--installation", "7", "--json").json
    row = db.execute("select settings from repositories where id = %s", (added["id"],)).fetchone()
    assert row["settings"] == {"github_installation_id": 7}
