"""Schema revisions of the SQL database: every schema that was ever made goes to the newest and back, with its rows."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from databases.place import MADE_BEFORE, Place, Rows
from sqlalchemy import create_engine, text

from perennial import settings as environment
from perennial.adapters.sql import migration
from perennial.adapters.sql.schema import NEWEST, RETIRED, REVISIONS, metadata
from perennial.cli import main
from perennial.core.governance.ledger import Head
from perennial.errors import LedgerBroken, SchemaMismatch, UsageError
from perennial.flows.governance.ledger_check import KeptHead, check
from perennial.local import supervisor, supervisord
from perennial.wiring import database

RELEASED = "release_0_1_0"
POSTGRES = pytest.param("postgresql", marks=pytest.mark.server)
both = pytest.mark.parametrize("place", ["sqlite", POSTGRES], indirect=True)
REFUSED = SchemaMismatch.exit_code
SET_NEWER = "UPDATE perennial_alembic_version SET version_num = '9999'"


@pytest.fixture
def places(request, tmp_path) -> Iterator[Callable[[str], Place]]:
    """A maker of empty databases of a kind."""
    made: list[Place] = []

    def make(kind: str) -> Place:
        if kind == "sqlite":
            (tmp_path / "state").mkdir(exist_ok=True)
            url = f"sqlite:///{tmp_path}/state/{uuid4().hex[:8]}.db"
        else:
            name, server = f"schema_{uuid4().hex[:8]}", request.getfixturevalue("postgres")
            with create_engine(server, isolation_level="AUTOCOMMIT").connect() as connection:
                connection.execute(text(f"CREATE DATABASE {name}"))
            url = f"{server.rpartition('/')[0]}/{name}"
        made.append(Place(url))
        return made[-1]

    yield make
    for place in made:
        place.engine.dispose()


@pytest.fixture
def place(request, places, monkeypatch) -> Place:
    made = places(getattr(request, "param", "sqlite"))
    monkeypatch.setenv("PERENNIAL_DATABASE_URL", made.url)
    return made


def kept(before: Rows, after: Rows) -> bool:
    return all(after[name] == rows for name, rows in before.items())


def revision() -> str | None:
    return database.schema(environment.load()).stored().revision


def ledger_holds(head: Head | None = None) -> None:
    ledger = database.store(environment.load()).ledger
    check(ledger, None if head is None else KeptHead(head=head), None, lambda *_: False)


def backups(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "state").glob("*.backup"))


def test_the_code_names_the_revisions_that_there_are():
    scripts = migration._scripts()
    assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == REVISIONS
    assert scripts.get_heads() == [NEWEST]


@pytest.mark.parametrize("name", MADE_BEFORE)
def test_every_earlier_schema_opens_with_its_rows_and_goes_back_and_forth(place, tmp_path, name):
    before = place.load(name).rows()
    seq, last = next((seq, last) for _, seq, last in before["perennial_ledger_head"])
    head = Head(seq=seq, hash=last, at=datetime.now(UTC))
    ledger_holds(head)
    assert revision() == NEWEST
    assert kept(before, place.rows())
    (backup,) = backups(tmp_path)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert Place(f"sqlite:///{backup}").rows() == before
    store = database.store(environment.load())
    store.feedback.put({"p9": 1.0}, datetime.now(UTC), "ci")
    store.releases.note_pass("r1", datetime.now(UTC))
    newest = place.rows()
    assert main(["store", "downgrade", "--to", REVISIONS[0]]) == 0
    assert revision() == REVISIONS[0]
    assert kept(newest, place.rows())
    assert set(RETIRED) <= set(place.rows())
    assert main(["store", "upgrade"]) == 0
    assert revision() == NEWEST
    assert kept(newest, place.rows())
    ledger_holds(head)


def test_a_release_and_a_token_of_the_released_version_are_read(place):
    place.load(RELEASED)
    settings = environment.load()
    store = database.store(settings)
    (release,) = store.releases.latest("test_failure_predictor")
    assert (release.release_id, release.candidate.version) == ("r1", "1.0.0")
    assert [intent.actor for intent in store.intents.pending("r1")] == ["bob"]
    assert database.tokens(settings).find("t1").account == "ann"
    assert [row.entry.kind for row in store.ledger.rows()][-1] == "release.promoted"


@both
def test_the_revisions_make_the_tables_that_the_code_expects(place, places, monkeypatch):
    """A change of `schema` without a revision fails here."""
    with place.engine.begin() as connection:
        migration.migrate(connection, migration.StoredSchema(frozenset(), None), NEWEST)
    with place.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, parent: name not in RETIRED}
        )
        differences = compare_metadata(context, metadata)
    if place.kind == "sqlite":  # whose indexes on expressions are not reflected; `definitions` compares them
        differences = [change for change in differences if change[0] not in ("add_index", "remove_index")]
    assert differences == []
    made_at_once = places(place.kind)
    monkeypatch.setenv("PERENNIAL_DATABASE_URL", made_at_once.url)
    ledger_holds()
    assert made_at_once.definitions() == place.definitions()


@pytest.mark.parametrize("place", [POSTGRES], indirect=True)
@pytest.mark.parametrize("command", [["ledger", "show"], ["token", "list"], ["ledger", "head"]], ids=" ".join)
def test_an_older_server_database_is_refused_until_a_person_upgrades_it(place, capsys, command):
    before = place.load(RELEASED).rows()
    assert main(command) == REFUSED
    told = capsys.readouterr().err
    assert NEWEST in told
    assert "perennial store upgrade" in told
    assert main(["store", "status"]) == REFUSED
    assert place.rows() == before
    assert main(["store", "upgrade"]) == 0
    assert main(["store", "status"]) == 0
    assert kept(before, place.rows())
    assert main(command) == 0
    assert main(["store", "downgrade", "--to", REVISIONS[0]]) == 0
    assert main(command) == REFUSED
    assert main(["store", "upgrade"]) == 0
    assert kept(before, place.rows())
    ledger_holds()


@both
def test_a_newer_database_is_refused_and_not_touched(place, capsys):
    ledger_holds()
    place.run(SET_NEWER)
    before = place.rows()
    for command in (["ledger", "show"], ["store", "upgrade"], ["store", "status"]):
        assert main(command) == REFUSED
        told = capsys.readouterr().err
        assert "9999" in told
        assert f"store downgrade --to {NEWEST}" in told
    assert (revision(), place.rows()) == ("9999", before)


@both
def test_another_tools_revisions_in_the_same_database_stay(place):
    place.run(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('of-mlflow')",
        "CREATE TABLE experiments (id INTEGER)",
    )
    place.load(RELEASED)
    assert main(["store", "upgrade"]) == 0
    assert main(["store", "downgrade", "--to", REVISIONS[0]]) == 0
    with place.engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).all() == [("of-mlflow",)]
        assert connection.execute(text("SELECT count(*) FROM experiments")).scalar() == 0


@both
def test_of_several_at_once_one_upgrades(place, tmp_path):
    place.load(RELEASED)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: database.schema(environment.load()).migrate()[0].revision, range(4)))
    assert sorted(map(str, made)) == [*[NEWEST] * 3, "None"]
    assert len(backups(tmp_path)) == (1 if place.kind == "sqlite" else 0)
    ledger_holds()


@both
def test_a_broken_ledger_is_not_migrated(place, tmp_path):
    place.load(RELEASED)
    place.run("UPDATE perennial_ledger SET entry = replace(entry, 'ann', 'bob') WHERE seq = 2")
    before = place.rows()
    assert main(["store", "upgrade"]) == LedgerBroken.exit_code
    assert (revision(), place.rows(), backups(tmp_path)) == (None, before, [])


@both
def test_a_migration_that_would_change_the_ledger_is_undone(place, tmp_path, monkeypatch):
    place.load(RELEASED)
    before = place.rows()
    run = migration.EnvironmentContext.run_migrations

    def forging(self) -> None:
        run(self)
        self.get_bind().exec_driver_sql("DELETE FROM perennial_ledger WHERE seq = 3")

    monkeypatch.setattr(migration.EnvironmentContext, "run_migrations", forging)
    assert main(["store", "upgrade"]) == LedgerBroken.exit_code
    assert (revision(), place.rows(), backups(tmp_path)) == (None, before, [])


@both
def test_the_printed_sql_does_the_same(place, capsys):
    before = place.load(RELEASED).rows()
    assert main(["store", "upgrade", "--sql"]) == 0
    printed = capsys.readouterr().out
    assert place.rows() == before
    place.run(*(part for part in printed.split(";\n") if part.strip() not in ("BEGIN", "COMMIT")))
    assert main(["store", "status"]) == 0
    assert kept(before, place.rows())


def test_status_creates_nothing_and_says_what_an_upgrade_would_do(place, tmp_path, capsys):
    assert main(["store", "status"]) == 0
    assert "the first use creates it" in capsys.readouterr().out
    assert not list((tmp_path / "state").iterdir())
    place.load(RELEASED)
    before = place.rows()
    assert main(["store", "status"]) == 0, "an SQLite file is upgraded by itself"
    told = capsys.readouterr().out
    assert "made before revisions were recorded" in told
    assert "Feedback by source" in told
    assert place.rows() == before


def test_an_unknown_revision_and_the_wrong_direction_are_refused(place, capsys):
    place.load(RELEASED)
    assert main(["store", "downgrade", "--to", REVISIONS[0]]) == REFUSED
    ledger_holds()
    assert main(["store", "upgrade", "--to", "0815"]) == UsageError.exit_code
    assert "0001, 0002" in capsys.readouterr().err
    assert main(["store", "upgrade", "--to", REVISIONS[0]]) == UsageError.exit_code
    assert f"store downgrade --to {REVISIONS[0]}" in capsys.readouterr().err


def test_a_full_disk_leaves_the_old_file(place, tmp_path, monkeypatch):
    """The copy comes first; where it cannot be made, nothing is migrated."""
    before = place.load(RELEASED).rows()
    import perennial.adapters.sql.database as module

    def full(file: Path, revision: str | None) -> Path:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(module, "_back_up", full)
    assert main(["ledger", "show"]) != 0
    assert (revision(), place.rows()) == (None, before)


def test_an_emergency_rollback_reads_who_acts_from_a_newer_file(place, tmp_path):
    """It must not stop at a revision: it needs a token and what is out of use, and writes nothing."""
    place.load(RELEASED)
    ledger_holds()
    place.run(SET_NEWER)
    reads = database.quick_reads(environment.load())
    assert reads.find("t1").account == "ann"
    assert len(reads.rows("test_failure_predictor", kinds=("release.opened",))) == 1


@pytest.mark.parametrize("place", [POSTGRES], indirect=True)
def test_nothing_starts_over_an_older_server_database(place, tmp_path, monkeypatch):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(supervisor, "check_ports", lambda settings: None)
    place.load(RELEASED)
    assert main(["local", "up"]) == REFUSED
    assert not supervisord.running(environment.load())
