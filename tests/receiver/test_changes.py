"""Events that change a repository's row, over real HTTP into a real database."""

from typing import Any

import psycopg
import pytest

from tests.receiver import samples
from tests.receiver.conftest import Sender

Database = psycopg.Connection[dict[str, Any]]
NUMBER = 186853002


def _row(db: Database, sender: Sender) -> dict[str, Any]:
    row = db.execute("select * from repositories where id = %s", (sender.repository,)).fetchone()
    assert row is not None
    return row


def _jobs(db: Database) -> list[str]:
    return [row["ref"] for row in db.execute("select payload ->> 'ref' as ref from indexing_jobs").fetchall()]


@pytest.fixture
def known(sender: Sender, db: Database) -> Sender:
    """A sender for a repository whose number is known."""
    db.execute(
        "update repositories set git_url = 'https://github.com/acme/repo', name = 'Repo', provider_id = %s,"
        " default_branch = 'main', visibility = 'public'",
        (NUMBER,),
    )
    return sender


def test_a_rename_and_a_transfer_move_the_url_and_the_name_that_came_from_it(known: Sender, db: Database) -> None:
    """The next job reads the new address; a name that somebody chose stays."""
    answer = known.post(samples.renamed(), event="repository")
    assert answer.status_code == 202, answer.text
    row = _row(db, known)
    assert (row["git_url"], row["name"]) == ("https://github.com/acme/new-repo", "new-repo")
    assert _jobs(db) == ["refs/heads/main"]
    db.execute("update repositories set name = 'mine'")
    known.post(samples.transferred(full_name="Other/New-Repo"), event="repository")
    row = _row(db, known)
    assert (row["git_url"], row["name"]) == ("https://github.com/other/new-repo", "mine")
    assert _jobs(db) == ["refs/heads/main"]  # the second one joined it


def test_an_address_that_another_repository_of_the_owner_has_stays_there(
    known: Sender, db: Database, make_repository: Any
) -> None:
    """Somebody registered the new address by hand: two rows of one address cannot be, and no answer fails."""
    db.execute(
        "insert into repositories (user_id, name, git_url)"
        " select user_id, 'other', 'https://github.com/acme/new-repo' from repositories"
    )
    assert known.post(samples.renamed(), event="repository").status_code == 202
    assert _row(db, known)["git_url"] == "https://github.com/acme/repo"


def test_an_archived_repository_is_paused_until_it_is_unarchived(known: Sender, db: Database) -> None:
    """The delivery counts as processed; what was missed is looked for when it comes back."""
    answer = known.post(samples.repository_event("archived", archived=True), event="repository", delivery="d-1")
    assert (answer.status_code, answer.json()["status"]) == (200, "processed")
    assert _row(db, known)["paused_reasons"] == ["archived"]
    assert _jobs(db) == []
    delivery = db.execute("select status, processed_at from webhook_deliveries").fetchone()
    assert delivery is not None
    assert (delivery["status"], delivery["processed_at"] is None) == ("processed", False)
    assert known.post(samples.repository_event("unarchived"), event="repository").status_code == 202
    assert _row(db, known)["paused_reasons"] == []
    assert _jobs(db) == ["refs/heads/main"]


def test_an_old_event_that_comes_again_changes_nothing(known: Sender, db: Database) -> None:
    """A redelivery of `archived` after `unarchived` must not pause the repository again."""
    archived = samples.repository_event("archived", archived=True)
    known.post(archived, event="repository", delivery="d-1")
    known.post(samples.repository_event("unarchived"), event="repository", delivery="d-2")
    again = known.post(archived, event="repository", delivery="d-1")
    assert (again.status_code, again.json()["status"]) == (200, "processed")
    assert _row(db, known)["paused_reasons"] == []


def test_privatized_closes_the_pool_at_once(known: Sender, db: Database) -> None:
    """The answer means that nobody else is shown it from now on; the job moves the contents."""
    assert known.post(samples.repository_event("privatized", private=True), event="repository").status_code == 202
    assert _row(db, known)["visibility"] == "private"
    assert _jobs(db) == ["refs/heads/main"]


def test_publicized_leaves_it_to_the_job_to_show_anything(known: Sender, db: Database) -> None:
    """Only the server's own answer to a stranger opens the pool."""
    db.execute("update repositories set visibility = 'private'")
    assert known.post(samples.repository_event("publicized"), event="repository").status_code == 202
    assert _row(db, known)["visibility"] == "private"
    assert _jobs(db) == ["refs/heads/main"]


def test_a_new_default_branch_is_shown_once_it_is_indexed(known: Sender, db: Database) -> None:
    """Until then the old one is; where it is indexed already, at once."""
    known.post(samples.default_branch_edited("trunk"), event="repository")
    assert _row(db, known)["default_branch"] == "main"
    assert _jobs(db) == ["refs/heads/trunk"]
    db.execute(
        "insert into repository_branches (repository_id, branch_no, name, commit) values (%s, 5, 'trunk', %s)",
        (known.repository, "c" * 40),
    )
    known.post(samples.default_branch_edited("trunk"), event="repository")
    row = _row(db, known)
    assert (row["default_branch"], row["last_indexed_commit"]) == ("trunk", "c" * 40)


def test_a_change_and_its_delivery_are_committed_together(known: Sender, db: Database) -> None:
    """Where the delivery cannot be stored, the row is as it was."""
    db.execute("alter table webhook_deliveries add constraint no_more check (event_type <> 'repository') not valid")
    with_trouble = known.post(samples.renamed(), event="repository")
    assert with_trouble.status_code >= 500
    assert _row(db, known)["git_url"] == "https://github.com/acme/repo"


def test_unknown_events_are_answered_200(known: Sender, db: Database) -> None:
    """GitHub adds events; none of them is an error."""
    answer = known.post({"action": "created", "repository": samples.repository()}, event="star")
    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")
    assert _jobs(db) == []


def test_a_body_with_a_new_name_of_the_same_number_is_still_this_repository(known: Sender, db: Database) -> None:
    """Identity is the number: a push after a rename that nobody told of is indexed."""
    push = samples.push(repository=samples.repository("Acme/Renamed-Unheard"))
    assert known.post(push).status_code == 202
    assert known.post(samples.push(repository=samples.repository(id=5))).json()["status"] == "ignored"
