"""Tokens of the command line: issued once, kept as a hash, expiring, revocable, and bound to a role."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from signed_in import sign_in

from perennial import settings as environment
from perennial.cli import main
from perennial.core.governance.identity import Role
from perennial.core.governance.tokens import id_of
from perennial.errors import NotAllowed, NotSignedIn, UsageError
from perennial.flows.governance.identity import issue, signed_in, who_steers
from perennial.wiring import database

MODEL = "test_failure_predictor"
NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.delenv("PERENNIAL_TOKEN", raising=False)
    return database.tokens(environment.load())


def made(store, account="ann", role=Role.APPROVER, days=1.0, known=(), count=[0]) -> str:  # noqa: B006
    count[0] += 1
    return issue(
        account, role, timedelta(days=days), "root", known, store,
        database.store(environment.load()).ledger, NOW, lambda n: f"{count[0]:0{2 * n}x}",
    )[1]  # fmt: skip


def test_a_token_signs_its_account_in(store):
    text = made(store)
    assert signed_in(text + "\n", store, NOW).name == "ann"
    assert who_steers(text, "approve", store, NOW) == "ann"


@pytest.mark.parametrize(
    "text", ["", "ann", "pn_", "pn__x", "pn_000000000001_", "pn_unknown_secret", "a_b_c"]
)
def test_what_is_no_token_signs_nobody_in(store, text):
    made(store)
    with pytest.raises(NotSignedIn):
        signed_in(text, store, NOW)


def test_another_secret_under_a_known_id_is_refused(store):
    text = made(store)
    with pytest.raises(NotSignedIn, match="no token that was issued"):
        signed_in(text[:-1] + ("0" if text[-1] != "0" else "1"), store, NOW)


def test_it_expires_and_is_revoked(store):
    text = made(store, days=1)
    assert signed_in(text, store, NOW + timedelta(hours=23))
    with pytest.raises(NotSignedIn, match="expired"):
        signed_in(text, store, NOW + timedelta(days=1))
    first = store.revoke(id_of(text), NOW)
    assert store.revoke(id_of(text), NOW + timedelta(hours=1)) == first
    with pytest.raises(NotSignedIn, match="revoked"):
        signed_in(text, store, NOW)
    assert store.revoke("nobody", NOW) is None


def test_a_role_that_may_not_is_told_which_may(store):
    with pytest.raises(NotAllowed, match="needs approver"):
        who_steers(made(store, "olga", Role.OPERATOR), "rollback", store, NOW)
    assert who_steers(made(store, "olga", Role.OPERATOR), "pause", store, NOW) == "olga"
    with pytest.raises(NotAllowed):
        who_steers(made(store, "vic", Role.VIEWER), "pause", store, NOW)
    with pytest.raises(NotSignedIn, match="nobody is signed in"):
        who_steers(None, "approve", store, NOW)


@pytest.mark.parametrize(("account", "role"), [
    ("training", Role.APPROVER), ("vic", Role.APPROVER), ("Ann", Role.APPROVER), ("ann", Role.TRAINING),
    ("ann", Role.ADMIN),
])  # fmt: skip
def test_nobody_gets_a_role_that_the_account_has_not(store, account, role):
    with pytest.raises(UsageError):
        made(
            store,
            account,
            role,
            known=environment.load().accounts + environment.Settings(people="vic:viewer").accounts,
        )


def test_who_leaves_the_people_loses_the_tokens(store, monkeypatch):
    def setup(people: str) -> list[str]:
        monkeypatch.setenv("PERENNIAL_PEOPLE", people)
        assert main(["local", "setup"]) == 0
        return [one.account for one in store.all() if one.state(datetime.now(UTC)) == "active"]

    setup("ann:approver,ben:approver,cat:approver")
    for account in ("ann", "ben", "cat", "guest"):
        sign_in(monkeypatch, account)
    assert setup("ann:approver,ben:approver,cat:approver") == ["ann", "ben", "cat", "guest"]
    assert setup("ann:viewer,cat:approver") == ["cat", "guest"], "a guest never was among them"
    assert setup("ann:viewer,ben:approver,cat:approver") == ["cat", "guest"], "what is revoked stays so"
    facts = [row.entry for row in database.store(environment.load()).ledger.rows(kinds=("token.revoked",))]
    assert [(one.actor, one.payload["account"]) for one in facts] == [
        ("accounts", "ann"),
        ("accounts", "ben"),
    ]


def test_the_database_holds_no_secret(store, tmp_path):
    text = made(store)
    content = b"".join(path.read_bytes() for path in tmp_path.glob("perennial.db*"))
    assert id_of(text).encode() in content
    assert text.rpartition("_")[2].encode() not in content
    with sqlite3.connect(tmp_path / "perennial.db") as connection:
        assert connection.execute("SELECT count(*) FROM perennial_token").fetchone() == (1,)


def test_by_command(store, capsys, monkeypatch):
    assert main(["token", "issue", "ann", "--role", "approver", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert main(["token", "list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["id"], row["account"], row["role"], row["state"]) == (told["id"], "ann", "approver", "active")
    assert told["token"] not in str(row)
    assert main(["token", "revoke", told["id"]]) == 0
    assert main(["token", "revoke", told["id"]]) == 0, "again changes nothing"
    assert main(["token", "revoke", "nobody"]) == 2
    facts = [row.entry for row in database.store(environment.load()).ledger.rows()]
    assert [(one.kind, one.payload["id"], one.payload["account"]) for one in facts] == [
        ("token.issued", told["id"], "ann"),
        ("token.revoked", told["id"], "ann"),
    ]
    assert told["token"] not in str(facts)
    assert main(["token", "list"]) == 0
    assert "revoked" in capsys.readouterr().out
    assert main(["token", "issue", "training", "--role", "approver"]) == 2


@pytest.mark.parametrize("action", ["approve", "reject", "promote", "abort", "rollback", "pause", "resume"])
def test_steering_needs_a_token_of_the_right_role(store, monkeypatch, capsys, action):
    monkeypatch.setenv("PERENNIAL_ACTOR", "ann")  # a name that one gives oneself is none
    assert main(["release", action, MODEL]) == NotSignedIn.exit_code
    sign_in(monkeypatch, "vic", Role.VIEWER)
    assert main(["release", action, MODEL]) == NotAllowed.exit_code
    monkeypatch.setenv("PERENNIAL_TOKEN", "pn_made_up")
    assert main(["release", action, MODEL]) == NotSignedIn.exit_code
    sign_in(monkeypatch, "ann")
    assert main(["release", action, MODEL]) == 63, "signed in, and there is no release"
    assert "perennial token issue" in capsys.readouterr().err


def test_a_wrong_token_is_never_another_name(store, monkeypatch):
    """Also where a name would do: who gives a token means it."""
    monkeypatch.setenv("PERENNIAL_TOKEN", "pn_made_up")
    assert main(["retrain", MODEL, "--reason", "try"]) == NotSignedIn.exit_code


def test_actor_is_found_in_one_place():
    found = subprocess.run(
        ["grep", "-rln", "getpass", str(environment.HERE / "src")], capture_output=True, text=True, check=True
    )
    assert [line.rpartition("/")[2] for line in found.stdout.split() if line.endswith(".py")] == [
        "identity.py"
    ]
