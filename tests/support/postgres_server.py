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
