"""People who sign in at an issuer, and the pages where they do."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from perennial.core.events import SystemActor
from perennial.core.governance.identity import Account
from perennial.settings import Settings
from perennial.wiring import database

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from perennial.flows.governance.people import People, SignInDesk
    from perennial.ports import Ledger


def known_accounts(settings: Settings, rows: Callable[..., Any] | None = None) -> tuple[Account, ...]:
    """Return the accounts that may have tokens: those of the file and, with an issuer, who signed in there.

    Args:
        rows: `rows` of a Ledger; that of the database by default.
    """
    from perennial.core.governance import people as rules
    from perennial.flows.governance.people import holders

    oidc = settings.oidc
    if oidc is None:
        return settings.accounts
    read = rows or database.store(settings).ledger.rows
    people = rules.fold({}, read("", kinds=rules.KINDS))
    return (*settings.accounts, *holders(people, oidc.issuer))


def people(settings: Settings) -> tuple[People, Ledger]:
    """Return a view on the people in the ledger, and the ledger."""
    from perennial.flows.governance.people import People

    ledger = database.store(settings).ledger
    return People(ledger, time.monotonic), ledger


def desk(
    settings: Settings,
    server: SystemActor,
    view: People,
    ledger: Ledger,
    is_foreign: Callable[[str], bool],
) -> SignInDesk:
    """Return where verified claims become an account of a server."""
    from perennial.flows.governance.people import SignInDesk

    oidc = settings.oidc
    assert oidc is not None  # noqa: S101 asked for with an issuer only
    return SignInDesk(oidc, server, view, ledger, is_foreign, lambda: datetime.now(UTC), time.monotonic)


def pages(
    settings: Settings,
    server: SystemActor,
    address: str,
    key: str,
    enter: Callable[[Mapping[str, Any], Response], None],
    leave: Callable[[Request, Response], None],
    more: Mapping[str, Callable[[Request], Awaitable[Response]]],
) -> Starlette:
    """Return the pages `login`, `callback` and `logout`; the arguments are those of `sign_in_pages`."""
    from perennial.adapters.oidc.client import OidcClient
    from perennial.adapters.oidc.pages import sign_in_pages

    oidc = settings.oidc
    assert oidc is not None  # noqa: S101
    client = OidcClient(oidc, settings.verify_others)
    return sign_in_pages(client, address, server.value, key, enter, leave, more)
