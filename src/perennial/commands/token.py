"""Command `token`: sign people in on the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import click

from perennial import settings as environment
from perennial.core.governance.identity import PEOPLE, Role


@click.group()
def token() -> None:
    """Issue, list and revoke tokens that sign people in on the command line."""


@token.command()
@click.argument("account")
@click.option("--role", type=click.Choice([role.value for role in PEOPLE]), required=True)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def issue(account: str, role: str, days: float, as_json: bool) -> None:
    """Issue a token; it is shown only once. Everybody who can write to the database can issue tokens."""
    import secrets

    from perennial.commands.identity import actor
    from perennial.flows.governance.identity import issue as flow
    from perennial.wiring import database

    settings = environment.load()
    issued, text = flow(
        account, Role(role), timedelta(days=days), actor(settings), settings.accounts,
        database.tokens(settings), database.store(settings).ledger, _now(), secrets.token_hex,
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps({"id": issued.id, "token": text, "expires": issued.expires_at.isoformat()}))
        return
    until = f"{issued.expires_at:%Y-%m-%d %H:%M} UTC"
    click.echo(f"{issued.account}, {issued.role}, until {until}; shown only once:")
    click.echo(text)


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List all issued tokens, without their secrets."""
    from perennial.commands.tables import print_table
    from perennial.wiring import database

    now = _now()
    rows = [
        {
            "id": token.id,
            "account": token.account,
            "role": token.role.value,
            "state": token.state(now),
            "issued": token.issued_at.isoformat(timespec="seconds"),
            "by": token.issued_by,
            "expires": token.expires_at.isoformat(timespec="seconds"),
        }
        for token in database.tokens(environment.load()).all()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        click.echo("no token was issued yet: perennial token issue ACCOUNT --role approver")
    else:
        print_table(list(rows[0]), [list(row.values()) for row in rows])


@token.command()
@click.argument("token_id")
def revoke(token_id: str) -> None:
    """Revoke a token by its id in `perennial token list`."""
    from perennial.commands.identity import actor
    from perennial.flows.governance.identity import revoke as flow
    from perennial.wiring import database

    settings = environment.load()
    revoked = flow(
        token_id, actor(settings), database.tokens(settings), database.store(settings).ledger, _now()
    )
    click.echo(f"the token {revoked.id} of {revoked.account} is revoked")


def _now() -> datetime:
    return datetime.now(UTC)
