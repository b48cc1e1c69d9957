"""`perennial token`: sign people in on the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import click

from perennial import settings as environment
from perennial.core.governance.identity import PEOPLE, Role


@click.group()
def token() -> None:
    """Tokens that say who acts on the command line."""


@token.command()
@click.argument("account")
@click.option("--role", type=click.Choice([one.value for one in PEOPLE]), required=True)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def issue(account: str, role: str, days: float, as_json: bool) -> None:
    """Issue a token; it is shown this once. Who can write to our database can issue one."""
    import secrets

    from perennial.commands.identity import actor
    from perennial.flows.governance.identity import issue as flow
    from perennial.wiring import database

    settings = environment.load()
    made, text = flow(
        account, Role(role), timedelta(days=days), actor(settings), settings.accounts,
        database.tokens(settings), database.store(settings).ledger, _now(), secrets.token_hex,
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps({"id": made.id, "token": text, "expires": made.expires_at.isoformat()}))
        return
    click.echo(f"{made.account}, {made.role}, until {made.expires_at:%Y-%m-%d %H:%M} UTC; shown this once:")
    click.echo(text)


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def list_(as_json: bool) -> None:
    """Every token that was issued, without its secret."""
    from perennial.commands.tables import print_table
    from perennial.wiring import database

    now = _now()
    rows = [
        {
            "id": one.id,
            "account": one.account,
            "role": one.role.value,
            "state": one.state(now),
            "issued": one.issued_at.isoformat(timespec="seconds"),
            "by": one.issued_by,
            "expires": one.expires_at.isoformat(timespec="seconds"),
        }
        for one in database.tokens(environment.load()).all()
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
    """End a token at once, by its id of `perennial token list`."""
    from perennial.commands.identity import actor
    from perennial.flows.governance.identity import revoke as flow
    from perennial.wiring import database

    settings = environment.load()
    found = flow(
        token_id, actor(settings), database.tokens(settings), database.store(settings).ledger, _now()
    )
    click.echo(f"the token {found.id} of {found.account} counts no longer")


def _now() -> datetime:
    return datetime.now(UTC)
