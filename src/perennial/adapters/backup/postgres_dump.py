"""Dumps of PostgreSQL databases with its own pg_dump and pg_restore."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from perennial.adapters.database_address import shown
from perennial.errors import PackageMissing, StoreUnavailable
from perennial.files import PRIVATE, write_text

DEBIAN = Path("/usr/lib/postgresql")
OBJECTS = """
SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
"""


def dump(url: str, target: Path, snapshot: str | None = None) -> None:
    """Write a dump in PostgreSQL's custom format.

    Args:
        snapshot: name that another transaction exported; None: the moment of the call.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    options = [
        "--format=custom",
        "--no-owner",
        "--no-privileges",
        "--lock-wait-timeout=60s",
        f"--file={target}",
    ]
    _run("pg_dump", url, [*options, *([f"--snapshot={snapshot}"] if snapshot else [])])


def load(url: str, source: Path) -> None:
    """Make everything of a dump in an empty database, in one transaction."""
    options = ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]
    _run("pg_restore", url, [*options, str(source)])


def is_empty(url: str) -> bool:
    """Return whether a database has no tables, views or sequences.

    Raises:
        StoreUnavailable: it does not answer.
    """
    try:
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect() as connection:
            return not connection.execute(text(OBJECTS)).scalar_one()
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"{shown(url)}: {error}", hint="does the server run?") from error


def _run(name: str, url: str, options: list[str]) -> None:
    program = shutil.which(name) or next(map(str, sorted(DEBIAN.glob(f"*/bin/{name}"), reverse=True)), None)
    if program is None:
        raise PackageMissing(
            f"{name} is not installed", hint="the client of PostgreSQL: apt install postgresql-client"
        )
    with _signed_in(url) as (address, environment):
        done = subprocess.run(
            [program, *options, f"--dbname={address}"], env=environment, capture_output=True, text=True
        )
    if done.returncode:
        raise StoreUnavailable(
            f"{name} of {shown(url)}: {done.stderr.strip()[-800:]}",
            hint="its version must not be older than the server's; the role must own its database",
        )


@contextmanager
def _signed_in(url: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the address without the password, and an environment that names a file with it."""
    parsed = make_url(url)
    address = parsed._replace(
        drivername="postgresql", password=None
    ).render_as_string()  # `set` keeps a password
    environment = {name: value for name, value in os.environ.items() if name != "PGPASSWORD"}
    if parsed.password is None:
        yield address, environment
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pgpass"
        password = str(parsed.password).replace("\\", "\\\\").replace(":", "\\:")
        write_text(path, f"*:*:*:*:{password}\n", PRIVATE)
        yield address, environment | {"PGPASSFILE": str(path)}
