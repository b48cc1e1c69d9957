"""SQL for PostgreSQL: a database for each part, owned by a role that connects to no other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from perennial.core.tenants.tenant import PARTS, Tenant

MARK = "perennial tenant "
"""Beginning of the comment on a tenant's roles: a role without it is somebody else's, and is not changed."""
CONNECTIONS = 60
"""Connections of one role: a tenant that opens more is refused, and does not use up the server's."""


def statements(passwords: Mapping[str, str]) -> list[str]:
    """Return the statements for an empty server; docs/guide/production.md shows them for one plant.

    Args:
        passwords: role, which is also the name of its database -> password.
    """
    return [*_roles(passwords), *_databases(passwords), _closed(list(passwords))]


def script(tenant: Tenant, passwords: Mapping[str, str]) -> str:
    """Return a script for psql and a superuser. Given again, or after it was stopped, it makes what is missing.

    It refuses roles and databases of these names that are not this tenant's, before it changes anything.

    Args:
        passwords: part or user (`PARTS`, `USERS`) -> password.
    """
    by_role = {tenant.role(part): password for part, password in passwords.items()}
    names = ", ".join(_text(role) for role in by_role)
    mark = _text(MARK + tenant.name)
    lines = [
        r"\set ON_ERROR_STOP on",
        "DO $check$ BEGIN",
        f"  IF EXISTS (SELECT FROM pg_roles WHERE rolname IN ({names})",
        f"      AND shobj_description(oid, 'pg_authid') IS DISTINCT FROM {mark}) THEN",
        f"    RAISE EXCEPTION 'a role of % is not of the tenant {tenant.name}: take another name', ARRAY[{names}];",
        "  END IF;",
        f"  IF EXISTS (SELECT FROM pg_database WHERE datname IN ({names}) AND pg_get_userbyid(datdba) <> datname) THEN",
        f"    RAISE EXCEPTION 'a database of % has another owner: take another name', ARRAY[{names}];",
        "  END IF;",
        "END $check$;",
    ]
    for role, create in zip(by_role, _roles(by_role), strict=True):
        # One transaction: a role without its comment would be refused when the script is given again.
        lines += [
            "BEGIN;",
            f"{_unless('pg_roles', 'rolname', role, create)}",
            f"COMMENT ON ROLE {_name(role)} IS {mark};",
            "COMMIT;",
            f"ALTER ROLE {_name(role)} PASSWORD {_text(by_role[role])} CONNECTION LIMIT {CONNECTIONS};",
        ]
    owners = [tenant.role(part) for part in PARTS]
    for role, create in zip(owners, _databases(owners), strict=True):
        lines.append(_unless("pg_database", "datname", role, create))
    return "\n".join([*lines, _closed(owners), *hardening(tenant.name)]) + "\n"


def hardening(owner: str) -> list[str]:
    """Return the lines that take from all others what PostgreSQL lets everybody do who may connect to a database.

    Args:
        owner: role that owns the database of its name.
    """
    return [
        rf"\connect {owner}",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC;",
        "DO $$ DECLARE f regprocedure; BEGIN",
        "  FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace",
        "    AND (proname ~ 'advisory.*lock' OR proname IN ('lo_creat', 'lo_create', 'lo_from_bytea')) LOOP",
        "    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);",
        f"    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO {_name(owner)}', f);",
        "  END LOOP;",
        "END $$;",
    ]


def _roles(passwords: Mapping[str, str]) -> list[str]:
    return [f"CREATE ROLE {_name(role)} LOGIN PASSWORD {_text(word)};" for role, word in passwords.items()]


def _databases(roles: Iterable[str]) -> list[str]:
    return [f"CREATE DATABASE {_name(role)} OWNER {_name(role)};" for role in roles]


def _closed(roles: Sequence[str]) -> str:
    """Return the statement that keeps every other role out: by default everybody may connect to each database."""
    names = ", ".join([*(_name(role) for role in roles), "postgres", "template1"])
    return f"REVOKE ALL ON DATABASE {names} FROM PUBLIC;"


def _unless(catalogue: str, column: str, name: str, create: str) -> str:
    """Return what runs a statement where there is no such role or database; DO cannot create a database."""
    missing = f"NOT EXISTS (SELECT FROM {catalogue} WHERE {column} = {_text(name)})"
    return rf"SELECT {_text(create.removesuffix(';'))} WHERE {missing} \gexec"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
