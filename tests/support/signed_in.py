"""Sign a test's command line in: a real token in the database that the environment names."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import pytest

from perennial import settings as environment
from perennial.core.governance.identity import Role
from perennial.flows.governance.identity import issue
from perennial.wiring import database


def sign_in(
    monkeypatch: pytest.MonkeyPatch, account: str, role: Role = Role.APPROVER, issuer: str | None = None
) -> None:
    """From here on commands act as this account, which is among the people; an admin of its own issues its token."""
    among_people(monkeypatch, account, role)
    monkeypatch.delenv("PERENNIAL_TOKEN", raising=False)
    settings, now = environment.load(), datetime.now(UTC)
    _, text = issue(
        account, role, timedelta(days=1), issuer or f"admin-of-{account}", settings.accounts, database.tokens(settings),
        database.store(settings).ledger, now, secrets.token_hex,
    )  # fmt: skip
    monkeypatch.setenv("PERENNIAL_TOKEN", text)


def among_people(monkeypatch: pytest.MonkeyPatch, account: str, role: Role) -> None:
    """Add the account to the people of this installation, or give it this role."""
    people = [entry for entry in environment.load().people.split(",") if entry.partition(":")[0] != account]
    monkeypatch.setenv("PERENNIAL_PEOPLE", ",".join([*people, f"{account}:{role}"]))
