"""Sign a test's command line in: a real token in the database that the environment names."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import pytest

from perennial import settings as environment
from perennial.core.governance.identity import Role
from perennial.flows.governance.identity import issue
from perennial.wiring import database


def sign_in(monkeypatch: pytest.MonkeyPatch, account: str, role: Role = Role.APPROVER) -> None:
    """From here on commands act as this account."""
    monkeypatch.delenv("PERENNIAL_TOKEN", raising=False)
    settings, now = environment.load(), datetime.now(UTC)
    _, text = issue(
        account, role, timedelta(days=1), "a test", (), database.tokens(settings),
        database.store(settings).ledger, now, secrets.token_hex,
    )  # fmt: skip
    monkeypatch.setenv("PERENNIAL_TOKEN", text)
