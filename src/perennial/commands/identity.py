"""Find who acts on the command line, and why."""

from __future__ import annotations

import getpass
import sys
from datetime import UTC, datetime

import click

from perennial import account_file
from perennial.core.assets import Reason
from perennial.core.governance.identity import SignedIn
from perennial.errors import NotSignedIn
from perennial.settings import Settings

reason_option = click.option(
    "--reason",
    type=click.Choice([reason.value for reason in Reason]),
    default=Reason.PERSON.value,
    show_default=True,
    envvar="PERENNIAL_REASON",
    show_envvar=True,
)
reason_text_option = click.option(
    "--reason-text", default="", envvar="PERENNIAL_REASON_TEXT", show_envvar=True
)
"""Why a training runs; the DAGs hand it on in the environment."""


def actor(settings: Settings) -> str:
    """Return the actor for the ledger: the account of PERENNIAL_TOKEN, else PERENNIAL_ACTOR, else the login name.

    Raises:
        NotSignedIn: there is a token, but it is not valid.
    """
    if not settings.token:
        return settings.actor or getpass.getuser()
    from perennial.flows.governance.identity import signed_in
    from perennial.wiring import database
    from perennial.wiring.people import known_accounts

    known = known_accounts(settings)
    return signed_in(settings.token, known, database.tokens(settings), datetime.now(UTC)).name


def steering_actor(settings: Settings, action: str) -> SignedIn:
    """Return the account of PERENNIAL_TOKEN if it may give the command `action`. PERENNIAL_ACTOR does not count.

    Raises:
        NotSignedIn: there is no valid token.
        NotAllowed: the account's role does not allow the action.
    """
    from perennial.flows.governance.identity import who_steers
    from perennial.wiring import database
    from perennial.wiring.people import known_accounts

    known = known_accounts(settings)
    return who_steers(settings.token, action, known, database.tokens(settings), datetime.now(UTC))


def admin(settings: Settings) -> str:
    """Return the admin's account, after a check of PERENNIAL_ADMIN_PASSWORD, or of the password typed at a prompt.

    Raises:
        NotSignedIn: no password was given, or it is not the admin's.
        SettingsError: there is no accounts file.
    """
    password = settings.admin_password
    if password is None and sys.stdin.isatty():
        password = click.prompt("password of the account admin", hide_input=True, err=True)
    if password is None:
        raise NotSignedIn(
            "tokens are issued by the admin only: no password is given", hint="PERENNIAL_ADMIN_PASSWORD"
        )
    name = account_file.admin_of(settings.accounts_file, password)
    if name is None:
        raise NotSignedIn("that is not the admin's password", hint="PERENNIAL_ADMIN_PASSWORD")
    return name
