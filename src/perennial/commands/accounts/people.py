"""Command `people`: who signs in at the issuer, and the end of their sessions."""

from __future__ import annotations

import click

from perennial import settings as environment
from perennial.commands.output import JSON, now, print_records, print_text
from perennial.core.governance.people import Why


@click.group()
def people() -> None:
    """Show people who sign in at the issuer (OpenID Connect), and end their sessions."""


@people.command("list")
@JSON
def list_(as_json: bool) -> None:
    """List everybody who has signed in, with the role of the last sign-in."""
    from perennial.wiring import people as wiring

    view, _ = wiring.people(environment.load())
    rows = [
        {
            "account": person.account,
            "role": person.role.value if person.active else "none",
            "signed_in": person.signed_in.isoformat(timespec="seconds"),
            "subject": person.subject,
            "issuer": person.issuer,
        }
        for person in sorted(view.all().values(), key=lambda person: person.account)
    ]
    print_records(rows, as_json, "nobody has signed in at an issuer yet: docs/guide/identity.md")


@people.command()
@click.argument("account")
def end(account: str) -> None:
    """End all sessions of a person and the tokens made in them; other tokens count again from the next sign-in on.

    The admin's password comes from PERENNIAL_ADMIN_PASSWORD or a prompt. Take the group away at the issuer first:
    who still has it may sign in again.
    """
    _end(account, Why.ENDED)
    print_text(f"all sessions of {account} have ended")


@people.command()
@click.argument("account")
def release(account: str) -> None:
    """Let the name of a person go: whoever signs in with it next gets it. Ends the sessions and all tokens, too.

    For people who come back from another issuer, or as another subject. Approvals that were given under this name
    stay what they are, and so does what an admin gave the account in MLflow by hand: delete it there.
    The admin's password comes from PERENNIAL_ADMIN_PASSWORD or a prompt.
    """
    _end(account, Why.RELEASED)
    print_text(f"{account} belongs to the next person who signs in with this name")


def _end(account: str, why: Why) -> None:
    from perennial.commands.identity import admin
    from perennial.flows.governance.people import end as flow
    from perennial.wiring import people as wiring

    settings = environment.load()
    view, ledger = wiring.people(settings)
    flow(account, admin(settings), why, view, ledger, now())
