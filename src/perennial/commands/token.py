"""Command `token`: sign people in on the command line."""

from __future__ import annotations

from datetime import timedelta

import click

from perennial import settings as environment
from perennial.commands.output import JSON, now, print_json, print_records, print_text
from perennial.core.governance.identity import PEOPLE, Role
from perennial.core.governance.tokens import MAX_AGE


@click.group()
def token() -> None:
    """Issue, list and revoke tokens that sign people in on the command line."""


@token.command()
@click.argument("account")
@click.option("--role", type=click.Choice([role.value for role in PEOPLE]), required=True)
@click.option(
    "--days", type=click.FloatRange(min=0, min_open=True, max=MAX_AGE.days), default=30.0, show_default=True
)
@JSON
def issue(account: str, role: str, days: float, as_json: bool) -> None:
    """Issue a token to an account that exists; it is shown only once.

    The admin's password comes from PERENNIAL_ADMIN_PASSWORD or a prompt.
    """
    import secrets

    from perennial.commands.identity import admin
    from perennial.flows.governance.identity import issue as flow
    from perennial.wiring import database
    from perennial.wiring.people import known_accounts

    settings = environment.load()
    issued, text = flow(
        account, Role(role), timedelta(days=days), admin(settings), known_accounts(settings),
        database.tokens(settings), database.store(settings).ledger, now(), secrets.token_hex,
    )  # fmt: skip
    if as_json:
        print_json({"id": issued.id, "token": text, "expires": issued.expires_at.isoformat()})
        return
    until = f"{issued.expires_at:%Y-%m-%d %H:%M} UTC"
    print_text(f"{issued.account}, {issued.role}, until {until}; shown only once:")
    print_text(text)


@token.command("list")
@JSON
def list_(as_json: bool) -> None:
    """List all issued tokens, without their secrets."""
    from perennial.wiring import database

    at = now()
    rows = [
        {
            "id": token.id,
            "account": token.account,
            "role": token.role.value,
            "state": token.state(at),
            "issued": token.issued_at.isoformat(timespec="seconds"),
            "by": token.issued_by,
            "expires": token.expires_at.isoformat(timespec="seconds"),
        }
        for token in database.tokens(environment.load()).all()
    ]
    print_records(rows, as_json, "no token was issued yet: perennial token issue ACCOUNT --role approver")


@token.command()
@click.argument("token_id")
def revoke(token_id: str) -> None:
    """Revoke a token by its id in `perennial token list`."""
    from perennial.commands.identity import actor
    from perennial.flows.governance.identity import revoke as flow
    from perennial.wiring import database

    settings = environment.load()
    ledger = database.store(settings).ledger
    revoked = flow(token_id, actor(settings), database.tokens(settings), ledger, now())
    print_text(f"the token {revoked.id} of {revoked.account} is revoked")
