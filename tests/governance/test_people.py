"""`perennial people`, and tokens of people who sign in at an issuer."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta

import pytest

from perennial import account_file
from perennial import settings as environment
from perennial.cli import main
from perennial.core.events import Event
from perennial.core.governance import people
from perennial.core.governance.identity import Role
from perennial.core.governance.people import SignedInFact, Why
from perennial.errors import NotSignedIn, UsageError
from perennial.flows.governance.identity import issue, who_steers
from perennial.local import supervisor
from perennial.wiring import database
from perennial.wiring.people import known_accounts

ISSUER = "https://issuer.example"


@pytest.fixture
def settings(tmp_path, monkeypatch) -> environment.Settings:
    """An installation with an issuer, where ann and vic have signed in."""
    given = {
        "home": tmp_path, "oidc_issuer": ISSUER, "oidc_client_id": "perennial",
        "oidc_roles": "approver=a,viewer=v",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(f"PERENNIAL_{name.upper()}", str(value))
    monkeypatch.delenv("PERENNIAL_TOKEN", raising=False)
    settings = environment.load()
    supervisor.set_up(settings, lambda line: None)
    password = account_file.read(settings.accounts_file)["admin"].password
    monkeypatch.setenv("PERENNIAL_ADMIN_PASSWORD", password)
    for name, role in (("ann", Role.APPROVER), ("vic", Role.VIEWER)):
        sign_in(settings, name, name, role)
    return settings


def listed(capsys) -> dict[str, str]:
    capsys.readouterr()
    assert main(["people", "list", "--json"]) == 0
    return {row["account"]: row["role"] for row in json.loads(capsys.readouterr().out)}


def test_an_admin_ends_sessions_and_releases_names(settings, capsys, monkeypatch):
    assert listed(capsys) == {"ann": "approver", "vic": "viewer"}
    assert main(["people", "end", "ann"]) == 0
    assert listed(capsys) == {"ann": "none", "vic": "viewer"}
    assert main(["people", "release", "vic"]) == 0
    assert listed(capsys) == {"ann": "none"}
    assert main(["people", "end", "nobody"]) == UsageError.exit_code
    monkeypatch.setenv("PERENNIAL_ADMIN_PASSWORD", "a guess at the password")
    assert main(["people", "release", "ann"]) == NotSignedIn.exit_code
    rows = database.store(settings).ledger.rows("", kinds=(Event.SIGNED_OUT,))
    assert [(row.entry.actor, row.entry.payload["account"]) for row in rows] == [
        ("admin", "ann"),
        ("admin", "vic"),
    ]


def sign_in(settings, account: str, subject: str, role: Role = Role.APPROVER) -> None:
    fact = SignedInFact(account=account, role=role, issuer=ISSUER, subject=subject, server="mlflow")
    database.store(settings).ledger.append(people.signed_in(datetime.now(UTC), fact))


def issued(settings, issuer: str) -> str:
    """The text of a token of ann."""
    return issue(
        "ann", Role.APPROVER, timedelta(hours=1), issuer, known_accounts(settings), database.tokens(settings),
        database.store(settings).ledger, datetime.now(UTC), secrets.token_hex,
    )[1]  # fmt: skip


def holds(settings, text: str) -> bool:
    try:
        who_steers(text, "approve", known_accounts(settings), database.tokens(settings), datetime.now(UTC))
    except NotSignedIn:
        return False
    return True


def leave(settings, why: Why) -> None:
    entry = people.signed_out(datetime.now(UTC), "ann", "ann", why)
    database.store(settings).ledger.append(entry)


@pytest.mark.parametrize(
    ("why", "own", "of_admin"),
    [(Why.ASKED, False, True), (Why.ENDED, False, True), (Why.RELEASED, False, False)],
)
def test_a_token_ends_with_its_session_and_with_the_name(settings, why, own, of_admin):
    made, given = issued(settings, "ann"), issued(settings, "admin")
    sign_in(settings, "ann", "ann")  # a second session beside the first ends nothing
    assert (holds(settings, made), holds(settings, given)) == (True, True)
    leave(settings, why)
    sign_in(settings, "ann", "another" if why is Why.RELEASED else "ann")
    assert (holds(settings, made), holds(settings, given)) == (own, of_admin)
    assert holds(settings, issued(settings, "ann"))


def test_a_role_that_comes_back_revives_no_token(settings):
    made = issued(settings, "ann")
    for role in (Role.VIEWER, Role.APPROVER):
        sign_in(settings, "ann", "ann", role)
        assert not holds(settings, made)


def test_a_token_ends_with_the_role_of_its_person(settings, monkeypatch, capsys):
    ledger, tokens, now = database.store(settings).ledger, database.tokens(settings), datetime.now(UTC)
    text = issue(
        "ann", Role.APPROVER, timedelta(hours=1), "ann", known_accounts(settings), tokens, ledger, now, "ab".__mul__
    )[1]  # fmt: skip
    monkeypatch.setenv("PERENNIAL_TOKEN", text)
    assert main(["release", "approve", "no-model"]) not in (0, NotSignedIn.exit_code)
    supervisor.set_up(
        settings, lambda line: None
    )  # accounts that left the file lose tokens, this one did not
    assert main(["release", "approve", "no-model"]) != NotSignedIn.exit_code
    main(["people", "end", "ann"])
    capsys.readouterr()
    assert main(["release", "approve", "no-model"]) == NotSignedIn.exit_code
    assert "no account ann with the role approver" in capsys.readouterr().err
