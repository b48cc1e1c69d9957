"""PostgreSQL that lets roles in by the certificates of `perennial certificates`, and their renewal."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from backends.servers import Postgres
from inside.certificates import LIFE, InsideCertificates
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from perennial.adapters.sql.database import Database
from perennial.wiring import certificates

pytestmark = pytest.mark.production
ROLES = ("perennial", "mlflow")


@pytest.fixture(scope="module")
def inside(databases: Postgres, tmp_path_factory) -> InsideCertificates:
    """Certificates that are due, of two roles and of the server, which takes nothing else any more."""
    made = InsideCertificates(tmp_path_factory.mktemp("inside") / "certificates")
    names = certificates.wanted(made.settings, made.authority, {"postgres": ("127.0.0.1",)}, ROLES)
    made.authority.renew(names, datetime.now(UTC) - timedelta(days=6), LIFE)
    show(databases, made)
    hosts = databases.folder / "data" / "pg_hba.conf"
    local = "host all root 127.0.0.1/32 scram-sha-256\n"  # the superuser of the tests
    hosts.write_text(f"{local}hostssl all all 127.0.0.1/32 cert\n")
    files = {"ssl_cert_file": "tls.crt", "ssl_key_file": "tls.key", "ssl_ca_file": "ca.crt"}
    for name, value in {"ssl": "on", **files}.items():
        databases.sql(f"ALTER SYSTEM SET {name} = '{value}';")
    databases.sql("SELECT pg_reload_conf();")
    return made


def show(server: Postgres, inside: InsideCertificates) -> None:
    """Give the files of the server's certificate to it."""
    data = server.folder / "data"
    owner = data.stat()
    for path in (inside.folder / "server-postgres").glob("[a-z]*"):
        copied = Path(shutil.copyfile(path, data / path.name))
        copied.chmod(0o600)
        os.chown(copied, owner.st_uid, owner.st_gid)


def address(server: Postgres, inside: InsideCertificates, role: str, shown: str | None) -> str:
    """The address of a role, without a password; `shown` is the folder of the certificate."""
    url = make_url(server.address("perennial")).set(username=role, password=None)
    query = {"sslmode": "verify-full", "sslrootcert": str(inside.folder / "database-perennial" / "ca.crt")}
    if shown is not None:
        query |= {
            "sslcert": str(inside.folder / shown / "tls.crt"),
            "sslkey": str(inside.folder / shown / "tls.key"),
        }
    return url.update_query_dict(query).render_as_string(hide_password=False)


def serial(url: str) -> int:
    """The serial number of the certificate by which the server knows this connection."""
    asked = text("SELECT client_serial FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    engine = create_engine(url)
    with engine.connect() as connection:
        number = connection.execute(asked).scalar_one()
    engine.dispose()
    return int(number)


def test_our_store_works_without_a_password(databases, inside):
    Database(address(databases, inside, "perennial", "database-perennial")).prepare()


@pytest.mark.parametrize(
    ("role", "shown", "said"),
    [
        ("perennial", None, "connection requires a valid client certificate"),
        ("perennial", "database-mlflow", "certificate authentication failed"),
        ("perennial", "operator", "certificate authentication failed"),
        ("perennial", "server-postgres", "unsuitable certificate purpose|unsupported certificate"),
    ],
)
def test_no_certificate_or_that_of_another_role_is_refused(databases, inside, role, shown, said):
    with pytest.raises(OperationalError, match=said):
        serial(address(databases, inside, role, shown))


def test_both_sides_are_renewed_without_a_restart(databases, inside):
    url = address(databases, inside, "perennial", "database-perennial")
    assert serial(url) == inside.serial("database-perennial")
    engine = create_engine(url)
    with engine.connect() as kept:
        before = inside.serial("database-perennial"), inside.serial("server-postgres")
        inside.renew()
        show(databases, inside)
        databases.sql("SELECT pg_reload_conf();")
        assert serial(url) == inside.serial("database-perennial")
        assert not {inside.serial("database-perennial"), inside.serial("server-postgres")} & set(before)
        assert kept.execute(text("SELECT 1")).scalar_one() == 1
    engine.dispose()


def test_a_server_of_another_authority_gets_no_query(databases, inside, tmp_path):
    stranger = InsideCertificates(tmp_path / "certificates")
    names = certificates.wanted(stranger.settings, stranger.authority, {"postgres": ("127.0.0.1",)}, ROLES)
    stranger.authority.renew(names, datetime.now(UTC), LIFE)
    show(databases, stranger)
    databases.sql("SELECT pg_reload_conf();")
    with pytest.raises(OperationalError, match="certificate verify failed"):
        serial(address(databases, inside, "perennial", "database-perennial"))
