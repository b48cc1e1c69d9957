"""Whose plant this is: refuse the places of another tenant, and take those of nobody."""

from __future__ import annotations

from pathlib import Path

from perennial import state_folder
from perennial.errors import StoreUnavailable
from perennial.settings import Settings
from perennial.wiring import database


def enter(settings: Settings, *, makes_state: bool) -> None:
    """Refuse the database of another tenant before a command of this tenant's changes anything.

    A database that does not answer is nobody's for now: what uses it looks again, at its first use.

    Args:
        makes_state: mark the state folder, which is this tenant's or empty, as this tenant's.

    Raises:
        OtherTenant: the database is not of this tenant.
    """
    if settings.tenant is None:
        return
    refuse_other_database(settings)
    if makes_state:
        state_folder.mark(settings.state, settings.tenant)


def refuse_other_database(settings: Settings) -> None:
    """Refuse the database of another tenant, where it answers.

    Raises:
        OtherTenant: it is not of this tenant.
    """
    try:
        if settings.database.startswith(database.SQLITE):
            from perennial.adapters.sql.sqlite_reads import SqliteReads

            file = Path(settings.database.removeprefix(database.SQLITE))
            SqliteReads(file, settings.tenant).refuse_other_owner()
        else:
            database.schema(settings).refuse_other_owner()
    except StoreUnavailable:
        return


def claim(settings: Settings, tenant: str) -> None:
    """Make state folder and database of no tenant those of this tenant; again, it changes nothing.

    Raises:
        OtherTenant: one of them is another tenant's; nothing was changed.
        StoreUnavailable: the database does not answer; nothing was changed.
    """
    owner = state_folder.owner_of(settings.state)
    if owner is not None:
        state_folder.refuse_other(f"the state folder {settings.state}", owner, tenant)
    database.schema(settings).claim(tenant)  # first: it may refuse
    state_folder.mark(settings.state, tenant)
