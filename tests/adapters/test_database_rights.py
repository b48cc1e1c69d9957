"""The table of rights of database roles: documented as it is, and as narrow as it is meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from postgres_server import admitted

from perennial.adapters.sql.database import Database
from perennial.adapters.sql.rights import RIGHTS, admit, statements
from perennial.adapters.sql.schema import metadata
from perennial.adapters.sql.tokens import SqlTokens
from perennial.adapters.sql.version_numbers import SqlVersionNumbers
from perennial.commands.store.schema import store
from perennial.core.governance.database_use import DatabaseUse
from perennial.core.version import Change
from perennial.errors import StoreUnavailable, UsageError

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "production.md"


def test_the_guide_has_the_table():
    rows = [f"| table | {' | '.join(DatabaseUse)} |", "| --- | --- | --- | --- |"]
    for table in sorted(metadata.sorted_tables, key=lambda table: table.name):
        cells = [", ".join(RIGHTS[use].get(table, ("-",))) for use in DatabaseUse]
        rows.append(f"| `{table.name}` | {' | '.join(cells)} |")
    assert "\n".join(rows) in GUIDE.read_text()


def test_every_table_is_named_for_the_plant_and_nobody_changes_the_ledger():
    """A new table fails here until somebody says who may do what with it."""
    assert set(RIGHTS[DatabaseUse.PLANT]) == set(metadata.sorted_tables)
    for granted in RIGHTS.values():
        for table, rights in granted.items():
            assert table.name not in ("perennial_ledger", "perennial_alembic_version") or not {
                right for right in rights if right not in ("SELECT", "INSERT")
            }
    assert set(RIGHTS[DatabaseUse.MACHINE]) & set(RIGHTS[DatabaseUse.RECORDER]) == {
        metadata.tables["perennial_alembic_version"],
        metadata.tables["perennial_tenant"],
    }


@pytest.mark.parametrize("name", ["public", "current_user", "Serving", 'x"; DROP', "a" * 41, ""])
def test_what_is_no_name_of_a_role_is_refused(name):
    with pytest.raises(UsageError):
        list(statements(name, DatabaseUse.PLANT, "perennial", "public"))


def test_sqlite_has_no_roles(tmp_path):
    with pytest.raises(UsageError, match="SQLite has no roles"):
        admit(Database(f"sqlite:///{tmp_path}/p.db"), "plant", DatabaseUse.PLANT)
    for arguments in (["admit", "serving_a", "--as", "machine"], ["admit", "plant"]):
        assert CliRunner().invoke(store, arguments).exit_code == 2


@pytest.mark.server
def test_the_plant_takes_numbers_and_keeps_tokens_and_a_recorder_does_not(postgres):
    plant = admitted(postgres, DatabaseUse.PLANT)
    numbers = [SqlVersionNumbers(url).take("rights", "run", Change.RETRAINED, ()) for url in (plant, plant)]
    assert numbers[0] == numbers[1]
    assert SqlTokens(plant).all() == SqlTokens(postgres).all()
    with pytest.raises(StoreUnavailable, match="permission denied for table perennial_token"):
        SqlTokens(admitted(postgres, DatabaseUse.RECORDER)).all()


@pytest.mark.server
@pytest.mark.parametrize(
    ("role", "more", "named"),
    [("mighty", "ALTER ROLE {0} SUPERUSER", "on perennial_"), ("passing", "ALTER ROLE {0} BYPASSRLS", "BYPASSRLS"),
     ("member", "CREATE ROLE all_of_{0}; GRANT ALL ON perennial_ledger TO all_of_{0}; GRANT all_of_{0} TO {0}",
      "on perennial_ledger")],
)  # fmt: skip
def test_a_role_that_would_keep_more_is_refused_and_gets_nothing(postgres, role, more, named):
    """As a member of another role, whose rights no REVOKE from it takes."""
    owner = Database(postgres)
    owner.prepare()
    with owner.writing() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN; {more.format(role)}")
    with pytest.raises(UsageError, match=named):
        admit(owner, role, DatabaseUse.MACHINE)
    with owner.reading() as connection:
        granted = "SELECT count(*) FROM information_schema.role_table_grants WHERE grantee = %s"
        assert connection.exec_driver_sql(granted, (role,)).scalar_one() == 0
