"""A PostgreSQL of our own on a free loopback port."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from serving_stack import free_ports
from sqlalchemy import make_url, text

from perennial.adapters.sql.database import Database
from perennial.adapters.sql.rights import admit
from perennial.core.governance.database_use import DatabaseUse

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@contextmanager
def running_postgres() -> Iterator[str]:
    """Start a server and return the address of its database; it and its files are gone after the block."""
    folder = Path("/tmp") / f"perennial-postgres-{uuid4().hex[:8]}"  # its socket path must be short
    folder.mkdir(mode=0o700)
    as_user = []
    if os.geteuid() == 0:  # it refuses to run as root
        shutil.chown(folder, "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    (port,) = free_ports(1)
    run = {"check": True, "cwd": folder, "stdout": subprocess.DEVNULL}
    bin_ = BINARIES[-1]
    data = folder / "data"
    subprocess.run([*as_user, bin_ / "initdb", "-D", data, "-U", "perennial", "-A", "trust", "-N"], **run)
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    log = folder / "log"
    subprocess.run([*as_user, bin_ / "pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start"], **run)
    try:
        yield f"postgresql+psycopg://perennial@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*as_user, bin_ / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **run)
        shutil.rmtree(folder)


def admitted(url: str, use: DatabaseUse) -> str:
    """Return the address of our database by a role that owns nothing, with the rights of a use; makes the tables first.

    Args:
        url: address by a role that may make roles.
    """
    owner, role = Database(url), f"only_{use}"
    owner.prepare()
    with owner.writing() as connection:
        known = text("SELECT 1 FROM pg_roles WHERE rolname = :role")
        if connection.execute(known, {"role": role}).scalar() is None:
            connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
    admit(owner, role, use)
    return make_url(url).set(username=role).render_as_string(hide_password=False)
