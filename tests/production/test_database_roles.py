"""Each role of docs/guide/production.md: what the catalogue of PostgreSQL grants it, and what it is refused."""

from __future__ import annotations

from contextlib import ExitStack

import psycopg
import pytest
from backends.servers import PASSWORDS, Postgres
from psycopg import errors

from perennial.adapters.sql import rights
from perennial.adapters.sql.database import Database
from perennial.adapters.sql.schema import metadata
from perennial.core.governance.database_use import DatabaseUse
from perennial.errors import StoreUnavailable, UsageError

pytestmark = pytest.mark.production

OWNERS = ("perennial", "mlflow", "airflow", "optuna")
USERS = {"plant": DatabaseUse.PLANT, "recorder": DatabaseUse.RECORDER, "serving_a": DatabaseUse.MACHINE,
         "serving_b": DatabaseUse.MACHINE}  # fmt: skip
HOME = {**{name: name for name in OWNERS}, **dict.fromkeys(USERS, "perennial")}
"""Role -> the only database to which it may connect."""
REFUSED = (errors.InsufficientPrivilege, errors.FeatureNotSupported)
TO_ALL = (
    "CREATE ROLE other",
    "CREATE DATABASE other",
    "ALTER ROLE postgres_of_us SUPERUSER",
    "ALTER SYSTEM SET log_statement = 'none'",
    "SET ROLE root",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_shadow",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT lo_import('/etc/passwd')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/file-of-postgres'",
    "CREATE EXTENSION dblink",
    "CREATE EXTENSION postgres_fdw",
    "CREATE EXTENSION file_fdw",
    "CREATE LANGUAGE plpython3u",
    "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1' PUBLICATION p",
    "SELECT pg_reload_conf()",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'root'",
    "SELECT pg_create_physical_replication_slot('s')",
    "SELECT pg_switch_wal()",
    "SET session_replication_role = replica",
)
"""Statements that no role may run."""
TO_USERS = (
    "CREATE TABLE mine (id int)",
    "CREATE TEMPORARY TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE EXTENSION pgcrypto",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT pg_advisory_lock(1346458190)",
    "SELECT pg_try_advisory_xact_lock_shared(1, 2)",
    "ALTER TABLE perennial_ledger ADD COLUMN x int",
    "ALTER TABLE perennial_machine DISABLE ROW LEVEL SECURITY",
    "CREATE POLICY p ON perennial_machine USING (true)",
    "CREATE RULE r AS ON INSERT TO perennial_ledger DO INSTEAD NOTHING",
    "DROP TABLE perennial_token",
    "TRUNCATE perennial_ledger",
    "UPDATE perennial_ledger SET entry = '{}'",
    "DELETE FROM perennial_ledger",
    "DELETE FROM perennial_ledger_head",
    "DELETE FROM perennial_release",
    "DELETE FROM perennial_token",
    "DELETE FROM perennial_source_feedback",
    "DELETE FROM perennial_version_number",
    "UPDATE perennial_alembic_version SET version_num = '0001'",
    "LOCK TABLE perennial_ledger IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE perennial_ledger_head IN ACCESS EXCLUSIVE MODE",
    "LOCK TABLE perennial_alembic_version IN ACCESS EXCLUSIVE MODE",
    "SELECT setval('perennial_intent_seq_seq', 1)",
)
"""Statements that no role may run that does not own the tables."""
TO_SOME = {
    "recorder": (
        "SELECT * FROM perennial_token",
        "INSERT INTO perennial_token VALUES ('t', '{}')",
        "SELECT * FROM perennial_release",
        "UPDATE perennial_release SET phase = 'succeeded'",
        "INSERT INTO perennial_intent (id, release_id, body) VALUES ('i', 'r', '{}')",
        "UPDATE perennial_wanted SET body = ''",
        "SELECT * FROM perennial_machine",
    ),
    "serving_a": (
        "SELECT * FROM perennial_ledger",
        "INSERT INTO perennial_ledger VALUES (999, 'm', '{}', '', '')",
        "UPDATE perennial_ledger_head SET seq = 0",
        "SELECT * FROM perennial_token",
        "INSERT INTO perennial_token VALUES ('t', '{}')",
        "INSERT INTO perennial_release VALUES ('r', 'm', 0, 0, 'succeeded', '{}')",
        "UPDATE perennial_release SET phase = 'succeeded'",
        "INSERT INTO perennial_intent (id, release_id, body) VALUES ('i', 'r', '{}')",
        "UPDATE perennial_wanted SET body = ''",
        "INSERT INTO perennial_wanted VALUES ('route', 'm', 99, '{}')",
        "INSERT INTO perennial_machine VALUES ('serving_b.pod-1', 0, '{}')",
        "INSERT INTO perennial_machine_counters VALUES ('serving_b', 'm', '{}')",
        "INSERT INTO perennial_machine_call VALUES ('1', 'serving_a', 0, '{}', NULL)",
        "UPDATE perennial_machine_call SET body = '{}'",
        "LOCK TABLE perennial_machine IN ACCESS EXCLUSIVE MODE",
        "LOCK TABLE perennial_machine_counters IN SHARE MODE",
        "LOCK TABLE perennial_machine_call IN EXCLUSIVE MODE",
        "LOCK TABLE perennial_wanted IN ROW EXCLUSIVE MODE",
        "SELECT 1 FROM perennial_wanted FOR UPDATE",
        "DELETE FROM perennial_machine",
        "UPDATE perennial_machine SET machine = 'serving_a.other'",
        "INSERT INTO perennial_machine VALUES ('serving_b', 0, '{}')",
        "INSERT INTO perennial_machine SELECT 'serving_a.' || n, 0, '{}' FROM generate_series(1, 1000) n",
        "INSERT INTO perennial_machine_counters SELECT 'serving_a', n, '{}' FROM generate_series(1, 6000) n",
        "INSERT INTO perennial_machine VALUES ('serving_a', 0, repeat('x', 5000000))",
        "INSERT INTO perennial_machine_counters VALUES ('serving_a', 'm', repeat('x', 70000))",
    ),
}


@pytest.fixture(scope="module")
def admitted(databases: Postgres) -> Postgres:
    """The servers, with our tables made by their owner, who has admitted the other roles."""
    owner = Database(databases.address("perennial"))
    owner.prepare()
    for role, use in USERS.items():
        for _ in range(2):  # the second time changes nothing
            rights.admit(owner, role, use)
    return databases


def connect(databases: Postgres, role: str, database: str | None = None) -> psycopg.Connection:
    address = databases.address(role, database or HOME[role]).replace("+psycopg", "")
    return psycopg.connect(address, autocommit=True)


@pytest.mark.parametrize("role", sorted(PASSWORDS))
def test_a_role_connects_to_one_database(admitted, role):
    for database in (*OWNERS, "postgres", "template1"):
        if database == HOME[role]:
            connect(admitted, role, database).close()
            continue
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            connect(admitted, role, database)


@pytest.mark.parametrize("role", sorted(PASSWORDS))
def test_a_role_has_no_power_over_the_server(admitted, role):
    with connect(admitted, role) as connection:
        attributes = connection.execute(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles "
            "WHERE rolname = current_user"
        ).fetchone()
        assert attributes == (False,) * 5
        member = "SELECT rolname FROM pg_roles WHERE pg_has_role(oid, 'MEMBER') AND rolname <> current_user"
        names = {name for (name,) in connection.execute(member)}
        assert names == ({"pg_database_owner"} if role in OWNERS else set())
        for statement in TO_ALL:
            with pytest.raises((*REFUSED, errors.UndefinedObject, errors.UndefinedFile)) as refused:
                connection.execute(statement)
            if not isinstance(refused.value, REFUSED):  # it would be refused, were it there
                assert statement.startswith(("ALTER ROLE", "CREATE LANGUAGE", "CREATE EXTENSION")), statement
        others = connection.execute(
            "SELECT DISTINCT query FROM pg_stat_activity WHERE usename <> current_user"
        )
        assert {query for (query,) in others} <= {"<insufficient privilege>"}


@pytest.mark.parametrize(("role", "use"), USERS.items())
def test_the_catalogue_grants_what_the_table_says(admitted, role, use):
    kinds = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
    with connect(admitted, role) as connection:
        held = connection.execute(
            "SELECT c.relname, k, has_table_privilege(c.oid, k) FROM pg_class c, unnest(%s::text[]) k "
            "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'", (list(kinds),)
        ).fetchall()  # fmt: skip
        assert {name for name, *_ in held} == {table.name for table in metadata.sorted_tables}
        whole = {
            (table.name, right)
            for table, granted in rights.RIGHTS[use].items()
            for right in granted
            if "(" not in right
        }
        assert {(name, kind) for name, kind, has in held if has} == whole
        columns = connection.execute(
            "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
            "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 "
            "AND has_column_privilege(c.oid, a.attnum, 'UPDATE') AND NOT has_table_privilege(c.oid, 'UPDATE')"
        ).fetchall()
        named = {
            (table.name, column)
            for table, granted in rights.RIGHTS[use].items()
            for right in granted
            if "(" in right
            for column in right.partition("(")[2].rstrip(")").split(", ")
        }
        assert set(columns) == named
        sequences = connection.execute(
            "SELECT relname FROM (SELECT oid, relname FROM pg_class WHERE relkind = 'S' OFFSET 0) s "
            "WHERE has_sequence_privilege(oid, 'USAGE, SELECT, UPDATE')"
        ).fetchall()
        assert sequences == ([("perennial_intent_seq_seq",)] if use is DatabaseUse.PLANT else [])


@pytest.mark.parametrize(
    ("role", "statement"),
    [(role, statement) for role in ("plant", "recorder", "serving_a") for statement in TO_USERS]
    + [(role, statement) for role, statements in TO_SOME.items() for statement in statements],
)
def test_a_role_that_owns_nothing_is_refused(admitted, role, statement):
    with connect(admitted, role) as connection, pytest.raises(REFUSED):
        connection.execute(f"BEGIN; {statement}")


def test_a_machine_sees_and_writes_rows_of_its_name(admitted):
    with connect(admitted, "serving_b") as other:
        other.execute("INSERT INTO perennial_machine VALUES ('serving_b', 7, '{}') ON CONFLICT DO NOTHING")
    with connect(admitted, "serving_a") as own:
        for name in ("serving_a", "serving_a.pod-1"):
            own.execute(
                "INSERT INTO perennial_machine VALUES (%s, 0, '{}') ON CONFLICT (machine) "
                "DO UPDATE SET seen_us = 1, body = '{}'", (name,)
            )  # fmt: skip
        assert (
            own.execute("UPDATE perennial_machine SET body = '!' WHERE machine = 'serving_b'").rowcount == 0
        )
        names = own.execute("SELECT machine FROM perennial_machine ORDER BY 1").fetchall()
        assert names == [("serving_a",), ("serving_a.pod-1",)]
    with connect(admitted, "plant") as plant:
        assert plant.execute("SELECT count(*) FROM perennial_machine").fetchone() == (3,)
        assert plant.execute("DELETE FROM perennial_machine").rowcount == 3


def test_a_machine_has_few_connections(admitted):
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(admitted, "serving_a"))
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            connect(admitted, "serving_a")


def test_rights_are_replaced_and_only_the_owner_gives_them(admitted):
    owner = Database(admitted.address("perennial"))
    rights.admit(owner, "recorder", DatabaseUse.PLANT)
    rights.admit(owner, "recorder", DatabaseUse.RECORDER)
    with connect(admitted, "recorder") as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute("SELECT * FROM perennial_token")
    with pytest.raises(UsageError, match="owns the tables"):
        rights.admit(owner, "perennial", DatabaseUse.PLANT)
    with pytest.raises(StoreUnavailable, match=r"must be owner|permission denied"):
        rights.admit(Database(admitted.address("plant", "perennial")), "recorder", DatabaseUse.PLANT)
    with pytest.raises(StoreUnavailable, match="does not exist"):
        rights.admit(owner, "nobody", DatabaseUse.PLANT)
