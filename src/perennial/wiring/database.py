"""Adapters of the SQL database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.settings import Settings, load

if TYPE_CHECKING:
    from perennial import ports
    from perennial.adapters.sql.database import Database
    from perennial.adapters.sql.store import SqlStore
    from perennial.core.governance.database_use import DatabaseUse
    from perennial.core.version import VersionRef

SQLITE = "sqlite:///"


def store(settings: Settings | None = None) -> SqlStore:
    """Return the ports of `SqlStore`, which share transactions."""
    from perennial.adapters.sql.store import SqlStore

    settings = settings or load()
    return SqlStore(settings.database, settings.tenant)


def schema(settings: Settings) -> Database:
    """Return the database itself, to see and migrate its schema."""
    from perennial.adapters.sql.database import Database

    return Database(settings.database, settings.tenant)


def admit(settings: Settings, role: str, use: DatabaseUse) -> None:
    """Give a role of PostgreSQL the rights of a use, in place of those that it had."""
    from perennial.adapters.sql import rights

    rights.admit(schema(settings), role, use)


def rights() -> Mapping[DatabaseUse, Mapping[str, tuple[str, ...]]]:
    """Return use -> name of a table -> rights there."""
    from perennial.adapters.sql.rights import RIGHTS

    return {use: {table.name: granted for table, granted in given.items()} for use, given in RIGHTS.items()}


def revisions() -> Mapping[str, str]:
    """Return every schema revision of this code with its title, oldest first."""
    from perennial.adapters.sql.migration import titles

    return titles()


def tokens(settings: Settings) -> ports.TokenStore:
    from perennial.adapters.sql.tokens import SqlTokens

    return SqlTokens(settings.database, settings.tenant)


def quick_reads(settings: Settings):
    """Return an object with `find` of TokenStore and `rows` of Ledger that is quick to import."""
    if settings.database.startswith(SQLITE):
        from perennial.adapters.sql.sqlite_reads import SqliteReads

        return SqliteReads(Path(settings.database.removeprefix(SQLITE)), settings.tenant)
    from types import SimpleNamespace

    return SimpleNamespace(find=tokens(settings).find, rows=store(settings).ledger.rows)


def champions(model: str, settings: Settings) -> Sequence[tuple[VersionRef, str]]:
    """Return version and release id of each succeeded release, newest first."""
    from perennial.core.release.phase import Phase

    releases = store(settings).releases.latest(model)
    return [
        (release.candidate, release.release_id) for release in releases if release.phase is Phase.SUCCEEDED
    ]
