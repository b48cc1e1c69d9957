"""Find who acts on the command line."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime

from perennial.settings import Settings


def actor(settings: Settings) -> str:
    """Return the actor for the ledger: the account of PERENNIAL_TOKEN, else PERENNIAL_ACTOR, else the login name.

    Raises:
        NotSignedIn: there is a token, but it is not valid.
    """
    if not settings.token:
        return settings.actor or getpass.getuser()
    from perennial.flows.governance.identity import signed_in
    from perennial.wiring import database

    return signed_in(settings.token, database.tokens(settings), datetime.now(UTC)).name


def steering_actor(settings: Settings, action: str) -> str:
    """Return the account of PERENNIAL_TOKEN if it may steer a release by `action`. PERENNIAL_ACTOR does not count.

    Raises:
        NotSignedIn: there is no valid token.
        NotAllowed: the account's role does not allow the action.
    """
    from perennial.flows.governance.identity import who_steers
    from perennial.wiring import database

    return who_steers(settings.token, action, database.tokens(settings), datetime.now(UTC))
