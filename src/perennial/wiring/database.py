"""Adapters of our one SQL database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.settings import Settings, load

if TYPE_CHECKING:
    from perennial import ports
    from perennial.core.version import VersionRef

SQLITE = "sqlite:///"


def store(settings: Settings | None = None):
    """ReleaseStore, Intents, Ledger and FeedbackStore in one: they share transactions.

    Returns an object with the attributes `releases`, `intents`, `ledger`, `feedback`.
    """
    from perennial.adapters.sql.store import SqlStore

    settings = settings or load()
    return SqlStore(settings.database)


def tokens(settings: Settings | None = None) -> ports.TokenStore:
    from perennial.adapters.sql.tokens import SqlTokens

    return SqlTokens((settings or load()).database)


def quick_reads(settings: Settings):
    """`find` of TokenStore and `rows` of Ledger in one, as fast as the database allows."""
    if settings.database.startswith(SQLITE):
        from perennial.adapters.sql.sqlite_reads import SqliteReads

        return SqliteReads(Path(settings.database.removeprefix(SQLITE)))
    from types import SimpleNamespace

    return SimpleNamespace(find=tokens(settings).find, rows=store(settings).ledger.rows)


def champions(model: str, settings: Settings) -> Sequence[tuple[VersionRef, str]]:
    from perennial.core.release.phase import Phase

    found = store(settings).releases.latest(model)
    return [(one.candidate, one.release_id) for one in found if one.phase is Phase.SUCCEEDED]
