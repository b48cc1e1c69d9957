"""Who acts on the command line: the one place that says so."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime

from perennial.settings import Settings


def actor(settings: Settings) -> str:
    """For the record: the account of PERENNIAL_TOKEN, else PERENNIAL_ACTOR, else the login name.

    Raises:
        NotSignedIn: there is a token, and it does not count.
    """
    if not settings.token:
        return settings.actor or getpass.getuser()
    from perennial.flows.governance.identity import signed_in
    from perennial.wiring import database

    return signed_in(settings.token, database.tokens(settings), datetime.now(UTC)).name


def steering_actor(settings: Settings, action: str) -> str:
    """The account of PERENNIAL_TOKEN, if it may say this to a release; a name that one gives oneself is none.

    Raises:
        NotSignedIn: no token, or one that does not count.
        NotAllowed: the role of its account does not allow it.
    """
    from perennial.flows.governance.identity import who_steers
    from perennial.wiring import database

    return who_steers(settings.token, action, database.tokens(settings), datetime.now(UTC))
