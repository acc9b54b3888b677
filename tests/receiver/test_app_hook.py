"""The GitHub App's own address: one secret, many repositories, and whose they may be."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest

from tests.fixtures.workers import eventually
from tests.receiver import samples
from tests.receiver.conftest import Proxy, make_settings, running
from worker.database.pool import make_pool
from worker.errors import SettingsError
from worker.receiver.app_hook import AppHook
from worker.receiver.app_store import Linked, linking
from worker.receiver.github_app import Installed, Named, decide_installation
from worker.receiver.post import Post
from worker.receiver.signature import sign
from worker.receiver.store import Store
from worker.settings import Settings, load_settings

Database = psycopg.Connection[dict[str, Any]]
SECRET, BEFORE = "app-secret-0123456789", "app-secret-before-01"
OPERATOR, TENANT = uuid.UUID(int=0xAA), uuid.UUID(int=0xBB)
NUMBER, INSTALLATION = 186853002, 957387


class App:
    """GitHub, sending to the App's address."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def post(
        self, payload: dict[str, Any], event: str, *, delivery: str | None = None, secret: str = SECRET
    ) -> httpx.Response:
        """One delivery."""
        body = json.dumps(payload).encode()
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": delivery or str(uuid.uuid4()),
            "X-GitHub-Hook-Installation-Target-Type": "integration",
            "X-Hub-Signature-256": sign(body, secret),
        }
        return self.client.post("/webhooks/github", content=body, headers=headers)

    def push(self, **changes: Any) -> httpx.Response:
        """A push, as an App gets it: with its installation."""
        delivery = changes.pop("delivery", None)
        return self.post(samples.push(**changes) | {"installation": {"id": INSTALLATION}}, "push", delivery=delivery)


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    """A sender to a receiver that knows the App's secret, and the one before."""
    settings = make_settings(database_url, worker_github_app_secret=f"{SECRET}, {BEFORE}", worker_user_id=OPERATOR)
    with running(settings) as client:
        yield App(client)


def _add(db: Database, owner: uuid.UUID, *, url: str = "https://github.com/acme/repo", **columns: Any) -> uuid.UUID:
    db.execute("insert into auth.users (id) values (%s) on conflict do nothing", (owner,))
    row = db.execute(
        "insert into repositories (user_id, name, git_url, provider_id, default_branch, settings)"
        " values (%s, 'repo', %s, %s, 'main', %s) returning id",
        (owner, url, columns.get("provider_id"), json.dumps(columns.get("settings", {}))),
    ).fetchone()
    assert row is not None
    return row["id"]


def _row(db: Database, repository: uuid.UUID) -> dict[str, Any]:
    row = db.execute("select * from repositories where id = %s", (repository,)).fetchone()
    assert row is not None
    return row


def _jobs(db: Database) -> list[uuid.UUID]:
    rows = db.execute("select repository_id from indexing_jobs where status = 'queued' order by id").fetchall()
    return [row["repository_id"] for row in rows]


LINKED = {"github_installation_id": INSTALLATION}


@pytest.mark.parametrize(
    ("event", "payload", "installed"),
    [
        ("installation", samples.installation(), Installed(INSTALLATION, (Named(NUMBER, "Acme/Repo"),))),
        (
            "installation",
            samples.installation("new_permissions_accepted"),
            Installed(INSTALLATION, (Named(NUMBER, "Acme/Repo"),)),
        ),
        ("installation", samples.installation("deleted"), Installed(INSTALLATION, all_paused=True)),
        ("installation", samples.installation("suspend"), Installed(INSTALLATION, all_paused=True)),
        ("installation", samples.installation("unsuspend"), Installed(INSTALLATION, all_paused=False)),
        (
            "installation_repositories",
            samples.installation_repositories(),
            Installed(INSTALLATION, (Named(NUMBER, "Acme/Repo"),)),
        ),
        (
            "installation_repositories",
            samples.installation_repositories("removed"),
            Installed(INSTALLATION, (), (NUMBER,)),
        ),
        ("installation", samples.installation("renamed"), None),
        ("installation", {"action": "created"}, None),
        ("installation", samples.installation(repositories=[{"id": True}, 7]), Installed(INSTALLATION)),
    ],
)
def test_what_an_installation_reads(event: str, payload: dict[str, Any], installed: Installed | None) -> None:
    """The App's own events, as decisions."""
    assert decide_installation(event, payload) == installed


def test_a_push_reaches_each_repository_that_the_installation_reads(app: App, db: Database) -> None:
    """Two owners may have it: each gets a delivery and a job, and the same delivery again makes no second one."""
    known = _add(db, OPERATOR, provider_id=NUMBER, settings=LINKED)
    by_address = _add(db, TENANT, settings=LINKED)
    first = app.push(delivery="d-1")
    assert first.status_code == 202, first.text
    assert sorted(_jobs(db)) == sorted([known, by_address])
    again = app.push(delivery="d-1")
    assert (again.status_code, again.json()["duplicate"]) == (202, True)
    assert again.json()["job_ids"] == first.json()["job_ids"]
    assert len(_jobs(db)) == 2
    assert _row(db, by_address)["provider_id"] == NUMBER


def test_pushes_that_come_together_are_committed_together(db: Database, database_url: str) -> None:
    """Forty posts at once, some of repositories that nobody registered here: a few transactions hold them all."""
    for number in range(1, 31):
        _add(db, OPERATOR, url=f"https://github.com/acme/{number}", provider_id=number, settings=LINKED)
    settings = make_settings(database_url, worker_user_id=OPERATOR)

    def push(number: int) -> Post:
        payload = samples.push(repository=samples.repository(f"acme/{number}", id=number))
        body = json.dumps(payload | {"installation": {"id": INSTALLATION}}).encode()
        headers = {"x-github-event": "push", "x-github-delivery": f"d-{number}"}
        return Post(None, headers | {"x-hub-signature-256": sign(body, SECRET)}, body)

    async def post_all() -> list[int]:
        store = Store(make_pool(database_url, size=2, name="test"), seconds=10)
        async with store.opened():
            hook = AppHook(store, [SECRET], linking(settings), supersede=False, on_job=lambda _: None)
            answers = await asyncio.gather(*(hook.receive(push(number)) for number in range(1, 41)))
            again = await hook.receive(push(35))
            assert (again.status, again.content["status"]) == (200, "ignored")
        return [answer.status for answer in answers]

    assert asyncio.run(post_all()) == [202] * 30 + [200] * 10
    row = db.execute("select count(*) as n, count(distinct xmin::text) as written from webhook_deliveries").fetchone()
    assert row is not None
    assert row["n"] == 40
    assert row["written"] <= 4
    assert len(_jobs(db)) == 30


def test_an_installations_repository_is_found_by_an_index(db: Database, database_url: str) -> None:
    """Among thousands of others, of its own installation too, a push reads a few pages to find whom it concerns."""
    db.execute("insert into auth.users (id) values (%s)", (OPERATOR,))
    db.execute(
        "insert into repositories (user_id, name, git_url, provider_id, settings)"
        " select %s, 'r', 'https://github.com/r/' || n, case when n %% 2 = 0 then n end,"
        "   case when n < 3000 then %s::jsonb else '{}' end from generate_series(1, 6000) n",
        (OPERATOR, json.dumps(LINKED)),
    )
    db.execute("vacuum analyze repositories")
    store = Store(make_pool(database_url, size=1, name="test"), seconds=10)
    linked = Linked(store, linking(make_settings(database_url, worker_user_id=OPERATOR)))

    async def find() -> list[int]:
        async with store.opened():
            wanted = [Named(2500, "r/moved"), Named(9_999, "R/2501"), Named(5000, "r/5000")]
            return [len(await linked.find(INSTALLATION, each)) for each in wanted]

    read = "select idx_scan, seq_tup_read from pg_stat_user_tables where relname = 'repositories'"
    before = db.execute(read).fetchone()
    assert asyncio.run(find()) == [1, 1, 0]
    after = db.execute("select pg_stat_force_next_flush()") and db.execute(read).fetchone()
    assert before is not None
    assert after is not None
    assert after["seq_tup_read"] == before["seq_tup_read"]


def test_promise_1_an_outage_spools_what_comes_to_the_app(proxy: Proxy, db: Database, tmp_path: Any) -> None:
    """Signed posts of repositories that were seen get 202 and are committed later, in order; the others are refused."""
    mine = _add(db, OPERATOR, provider_id=NUMBER, settings=LINKED)
    spool = {"worker_receiver_spool_dir": tmp_path / "spool", "worker_user_id": OPERATOR}
    with running(make_settings(proxy.url, worker_github_app_secret=SECRET, **spool)) as client:
        app = App(client)
        assert app.push(delivery="d-0").status_code == 202
        proxy.cut()
        assert app.push(delivery="d-1").json()["status"] == "spooled"
        assert app.post(samples.installation("suspend"), "installation", delivery="d-2").json()["status"] == "spooled"
        assert app.push(delivery="d-3").json()["status"] == "spooled"
        unknown = samples.repository("acme/other", id=4711)
        assert app.push(repository=unknown).status_code == 503
        stranger = samples.installation("suspend") | {"installation": {"id": 1}}
        assert app.post(stranger, "installation").status_code == 503
        assert app.post(samples.push(), "push", secret="wrong-secret-0123456").status_code == 401
        assert app.post(samples.ping(kind="App"), "ping").json()["status"] == "ok"
        assert client.get("/health").json()["spooled"] == 3
        proxy.restore()
        _eventually_empty(client)
        assert app.push(delivery="d-4").json()["status"] == "ignored"
    rows = db.execute("select delivery_id, status from webhook_deliveries order by id").fetchall()
    assert [(row["delivery_id"], row["status"]) for row in rows] == [
        ("d-0", "queued"), ("d-1", "queued"), ("d-2", "processed"), ("d-3", "ignored"), ("d-4", "ignored"),
    ]  # fmt: skip
    assert _row(db, mine)["paused_reasons"] == ["installation"]


def test_an_app_secret_that_was_changed_lets_no_spooled_post_in(proxy: Proxy, db: Database, tmp_path: Any) -> None:
    """The next receiver of the folder has another secret: what was signed with the one before is not committed."""
    _add(db, OPERATOR, provider_id=NUMBER, settings=LINKED)
    spool = {"worker_receiver_spool_dir": tmp_path / "spool", "worker_user_id": OPERATOR}
    with running(make_settings(proxy.url, worker_github_app_secret=SECRET, **spool)) as client:
        assert App(client).push(delivery="d-0").status_code == 202
        proxy.cut()
        assert App(client).push(delivery="d-1").json()["status"] == "spooled"
    proxy.restore()
    with running(make_settings(proxy.url, worker_github_app_secret=BEFORE, **spool)) as client:
        _eventually_empty(client)
    assert db.execute("select delivery_id from webhook_deliveries").fetchall() == [{"delivery_id": "d-0"}]


def _eventually_empty(client: httpx.Client) -> None:
    eventually(lambda: client.get("/health").json().get("spooled") == 0, seconds=30, what="the end of the spool")


def test_an_apps_repository_that_delivers_too_often_is_told_when_to_come_again(db: Database, database_url: str) -> None:
    """429 for that repository alone."""
    _add(db, OPERATOR, provider_id=NUMBER, settings=LINKED)
    limit = {"worker_receiver_rate_per_minute": 2, "worker_github_app_secret": SECRET, "worker_user_id": OPERATOR}
    with running(make_settings(database_url, **limit)) as client:
        app = App(client)
        answers = [app.push() for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert 0 < int(answers[2].headers["retry-after"]) <= 30
        assert app.push(repository=samples.repository("acme/other", id=4711)).status_code == 200


def test_nobody_elses_repository_hears_of_a_push(app: App, db: Database) -> None:
    """A tenant who registered the same address, or claims its number, learns nothing: hints hold file names."""
    _add(db, TENANT, provider_id=NUMBER)
    _add(db, OPERATOR, settings={"github_installation_id": 5}, provider_id=NUMBER)
    answer = app.push()
    assert (answer.status_code, answer.json()["status"]) == (200, "ignored")
    assert _jobs(db) == []
    row = db.execute("select repository_id, status from webhook_deliveries").fetchone()
    assert row == {"repository_id": None, "status": "ignored"}


def test_deliveries_without_a_repository_are_stored_once(app: App, db: Database) -> None:
    """Also when they come from many connections at once: null equals null in their key."""
    _add(db, OPERATOR)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: app.post(samples.installation(), "installation", delivery="d-1"), range(16)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert sum(not answer.json().get("duplicate", True) for answer in answers) == 1
    assert db.execute("select repository_id, delivery_id from webhook_deliveries").fetchall() == [
        {"repository_id": None, "delivery_id": "d-1"}
    ]


def test_an_installation_links_the_operators_repositories_and_those_of_its_tenants(app: App, db: Database) -> None:
    """A stranger who registered a private repository's address before must not get a token for it."""
    stranger = uuid.UUID(int=0xCC)
    operators, strangers = _add(db, OPERATOR), _add(db, stranger)
    tenants = _add(db, TENANT)
    _add(db, TENANT, url="https://github.com/acme/other", settings=LINKED)
    answer = app.post(samples.installation(), "installation")
    assert (answer.status_code, answer.json()["repositories_read"]) == (200, 2), answer.text
    for repository in (operators, tenants):
        row = _row(db, repository)
        assert (row["settings"], row["provider_id"]) == (LINKED, NUMBER)
    assert _row(db, strangers)["settings"] == {}
    assert sorted(_jobs(db)) == sorted([operators, tenants])
    delivery = db.execute("select status from webhook_deliveries").fetchone()
    assert delivery == {"status": "processed"}


@pytest.mark.parametrize(
    ("event", "end", "begin"),
    [
        ("installation", samples.installation("suspend"), samples.installation("unsuspend")),
        (
            "installation_repositories",
            samples.installation_repositories("removed"),
            samples.installation_repositories("added"),
        ),
    ],
)
def test_what_an_installation_no_longer_reads_is_paused_until_it_does(
    app: App, db: Database, event: str, end: dict[str, Any], begin: dict[str, Any]
) -> None:
    """Pushes make no jobs that the server would refuse; afterwards one job looks for what was missed."""
    repository = _add(db, OPERATOR, provider_id=NUMBER, settings=LINKED)
    assert app.post(end, event).json()["repositories_paused"] == 1
    assert _row(db, repository)["paused_reasons"] == ["installation"]
    assert app.push().json()["status"] == "ignored"
    assert _jobs(db) == []
    assert app.post(begin, event).json()["repositories_read"] == 1
    assert _row(db, repository)["paused_reasons"] == []
    assert _jobs(db) == [repository]


def test_an_app_that_was_removed_pauses_all_of_its_repositories(app: App, db: Database) -> None:
    """Whatever the event lists: GitHub leaves the list out where it is long."""
    repository = _add(db, OPERATOR, settings=LINKED)
    app.post(samples.installation("deleted", repositories=[]), "installation")
    assert _row(db, repository)["paused_reasons"] == ["installation"]


def test_repository_events_come_by_the_app_too(app: App, db: Database) -> None:
    """A rename is taken from here for a repository that the App reads."""
    repository = _add(db, OPERATOR, provider_id=NUMBER, settings=LINKED)
    answer = app.post(samples.renamed() | {"installation": {"id": INSTALLATION}}, "repository")
    assert answer.status_code == 202, answer.text
    assert _row(db, repository)["git_url"] == "https://github.com/acme/new-repo"


def test_a_malformed_push_leaves_nothing_behind(app: App, db: Database) -> None:
    """The transaction that finds out is rolled back."""
    _add(db, OPERATOR, settings=LINKED)
    answer = app.push(after="HEAD")
    assert (answer.status_code, answer.json()["status"]) == (400, "malformed")
    assert db.execute("select count(*) as n from webhook_deliveries").fetchone() == {"n": 0}


def test_strangers_get_the_same_answer_at_both_addresses(app: App, sender: Any) -> None:
    """Wrong secret, no secret configured, unknown repository: one status, one body."""
    wrong = app.post(samples.push(), "push", secret="wrong-secret-0123456")
    unknown = app.client.post(f"/webhooks/github/{uuid.uuid4()}", content=b"{}")
    without_app = sender.client.post(
        "/webhooks/github", content=b"{}", headers={"X-Hub-Signature-256": sign(b"{}", "")}
    )
    assert wrong.status_code == unknown.status_code == without_app.status_code == 401
    assert wrong.content == unknown.content == without_app.content


def test_the_apps_secret_is_changed_without_losing_a_delivery(app: App) -> None:
    """While two are set, both are accepted."""
    assert app.post(samples.ping(kind="App"), "ping", secret=BEFORE).status_code == 200
    assert app.post(samples.ping(kind="App"), "ping").status_code == 200


@pytest.mark.parametrize("secret", ["short", f"{SECRET},", f"{SECRET},{BEFORE},{BEFORE}"])
def test_a_secret_that_is_none_is_refused_at_start(secret: str) -> None:
    """The setting's name is said, the secret is not."""
    with pytest.raises(SettingsError, match="WORKER_GITHUB_APP_SECRET") as problem:
        load_settings(worker_github_app_secret=secret)
    assert secret not in str(problem.value)


def test_no_child_has_the_apps_secret_and_no_log_line_either() -> None:
    """It is among what is kept out of logs, each by itself."""
    settings = Settings(_env_file=None, worker_github_app_secret=f"{SECRET},{BEFORE}")  # type: ignore[call-arg]
    assert {SECRET, BEFORE} <= set(settings.secrets())
    assert settings.for_children().worker_github_app_secret is None


@pytest.mark.parametrize("owned", [True, False])
def test_a_duplicate_is_found_by_an_index(db: Database, owned: bool) -> None:
    """Among the deliveries of many repositories a repeated one reads a few pages, with a repository and without."""
    repository = _add(db, OPERATOR) if owned else None
    db.execute("insert into auth.users (id) values (%s) on conflict do nothing", (OPERATOR,))
    db.execute(
        "insert into repositories (user_id, name, git_url)"
        " select %s, 'r', 'https://github.com/r/' || n from generate_series(1, 2000) n",
        (OPERATOR,),
    )
    db.execute(
        "insert into webhook_deliveries (repository_id, delivery_id, status)"
        " select r.id, 'd-' || n, 'processed' from repositories r, generate_series(1, 10) n"
    )
    db.execute(
        "insert into webhook_deliveries (repository_id, delivery_id, status) values (%s, 'd-7', 'processed')"
        " on conflict do nothing",
        (repository,),
    )
    db.execute("vacuum analyze webhook_deliveries")
    again = "select * from queue.deliver(%s, 'github', 'd-7', 'push', '{}', '{}', null)"
    row = db.execute(f"explain (analyze, buffers, format json) {again}", (repository,)).fetchone()
    assert row is not None
    assert row["QUERY PLAN"][0]["Plan"]["Shared Hit Blocks"] < 150
    assert (db.execute(again, (repository,)).fetchone() or {})["duplicate"] is True
