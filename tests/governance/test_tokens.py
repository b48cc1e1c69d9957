"""Tokens of the command line: issued once, kept as a hash, expiring, revocable, and bound to a role."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from signed_in import sign_in

from perennial import account_file, installation
from perennial import settings as environment
from perennial.cli import main
from perennial.core.governance.identity import MACHINES, Account, Role
from perennial.core.governance.secret_text import name_in
from perennial.core.governance.tokens import MARK
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


KNOWN = (
    *MACHINES,
    Account(name="ann", role=Role.APPROVER),
    Account(name="olga", role=Role.OPERATOR),
    Account(name="vic", role=Role.VIEWER),
)
ADMIN = "the password of the admin"


def made(store, account="ann", role=Role.APPROVER, days=1.0, known=KNOWN, count=[0]) -> str:  # noqa: B006
    count[0] += 1
    return issue(
        account, role, timedelta(days=days), "root", known, store,
        database.store(environment.load()).ledger, NOW, lambda n: f"{count[0]:0{2 * n}x}",
    )[1]  # fmt: skip


def test_a_token_signs_its_account_in(store):
    text = made(store)
    assert signed_in(text + "\n", KNOWN, store, NOW).name == "ann"
    assert who_steers(text, "approve", KNOWN, store, NOW).name == "ann"


@pytest.mark.parametrize(
    "text", ["", "ann", "pn_", "pn__x", "pn_000000000001_", "pn_unknown_secret", "a_b_c"]
)
def test_what_is_no_token_signs_nobody_in(store, text):
    made(store)
    with pytest.raises(NotSignedIn):
        signed_in(text, KNOWN, store, NOW)


def test_another_secret_under_a_known_id_is_refused(store):
    text = made(store)
    with pytest.raises(NotSignedIn, match="no token that was issued"):
        signed_in(text[:-1] + ("0" if text[-1] != "0" else "1"), KNOWN, store, NOW)


def test_it_expires_and_is_revoked(store):
    text = made(store, days=1)
    assert signed_in(text, KNOWN, store, NOW + timedelta(hours=23))
    with pytest.raises(NotSignedIn, match="expired"):
        signed_in(text, KNOWN, store, NOW + timedelta(days=1))
    first = store.revoke(name_in(MARK, text), NOW)
    assert store.revoke(name_in(MARK, text), NOW + timedelta(hours=1)) == first
    with pytest.raises(NotSignedIn, match="revoked"):
        signed_in(text, KNOWN, store, NOW)
    assert store.revoke("nobody", NOW) is None


def test_a_role_that_may_not_is_told_which_may(store):
    with pytest.raises(NotAllowed, match="needs approver"):
        who_steers(made(store, "olga", Role.OPERATOR), "rollback", KNOWN, store, NOW)
    assert who_steers(made(store, "olga", Role.OPERATOR), "pause", KNOWN, store, NOW).name == "olga"
    with pytest.raises(NotAllowed):
        who_steers(made(store, "vic", Role.VIEWER), "pause", KNOWN, store, NOW)
    with pytest.raises(NotSignedIn, match="nobody is signed in"):
        who_steers(None, "approve", KNOWN, store, NOW)


@pytest.mark.parametrize(("account", "role"), [
    ("training", Role.APPROVER), ("vic", Role.APPROVER), ("Ann", Role.APPROVER), ("ann", Role.TRAINING),
    ("ann", Role.ADMIN), ("ghost4", Role.APPROVER), ("admin", Role.ADMIN), ("../x", Role.VIEWER),
])  # fmt: skip
def test_nobody_gets_a_role_that_the_account_has_not(store, account, role):
    with pytest.raises(UsageError):
        made(store, account, role)


def test_who_leaves_the_people_loses_the_tokens(store, monkeypatch):
    def setup(people: str) -> list[str]:
        monkeypatch.setenv("PERENNIAL_PEOPLE", people)
        assert main(["local", "setup"]) == 0
        return [one.account for one in store.all() if one.state(datetime.now(UTC)) == "active"]

    setup("ann:approver,ben:approver,cat:approver")
    for account in ("ann", "ben", "cat"):
        sign_in(monkeypatch, account)
    assert setup("ann:approver,ben:approver,cat:approver") == ["ann", "ben", "cat"]
    assert setup("ann:viewer,cat:approver") == ["cat"]
    assert setup("ann:viewer,ben:approver,cat:approver") == ["cat"], "what is revoked stays so"
    facts = [row.entry for row in database.store(environment.load()).ledger.rows(kinds=("token.revoked",))]
    assert [(one.actor, one.payload["account"]) for one in facts] == [
        ("accounts", "ann"),
        ("accounts", "ben"),
    ]


def test_the_database_holds_no_secret(store, tmp_path):
    text = made(store)
    content = b"".join(path.read_bytes() for path in tmp_path.glob("perennial.db*"))
    assert name_in(MARK, text).encode() in content
    assert text.rpartition("_")[2].encode() not in content
    with sqlite3.connect(tmp_path / "perennial.db") as connection:
        assert connection.execute("SELECT count(*) FROM perennial_token").fetchone() == (1,)


@pytest.fixture
def admin(store, monkeypatch):
    """An installation with accounts, and the admin's password at hand."""
    monkeypatch.setenv("PERENNIAL_PEOPLE", "ann:approver,ben:approver")
    monkeypatch.setenv("PERENNIAL_PASSWORDS", json.dumps({"admin": ADMIN}))
    assert main(["local", "setup"]) == 0
    monkeypatch.setenv("PERENNIAL_ADMIN_PASSWORD", ADMIN)


def test_by_command(admin, capsys, monkeypatch):
    capsys.readouterr()
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
        ["grep", "-rln", "getpass", str(installation.HERE / "src")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.rpartition("/")[2] for line in found.stdout.split() if line.endswith(".py")] == [
        "identity.py"
    ]


@pytest.mark.parametrize("password", [None, "", "the password of nobody", ADMIN + " "])
def test_who_has_not_the_admin_password_issues_nothing(admin, store, monkeypatch, password):
    monkeypatch.delenv("PERENNIAL_ADMIN_PASSWORD")
    if password is not None:
        monkeypatch.setenv("PERENNIAL_ADMIN_PASSWORD", password)
    assert main(["token", "issue", "ann", "--role", "approver"]) == NotSignedIn.exit_code
    assert list(store.all()) == []


def test_the_password_of_another_account_issues_nothing(admin, store, monkeypatch):
    accounts = account_file.read(environment.load().accounts_file)
    for name in set(accounts) - {"admin"}:
        monkeypatch.setenv("PERENNIAL_ADMIN_PASSWORD", accounts[name].password)
        assert main(["token", "issue", "ann", "--role", "approver"]) == NotSignedIn.exit_code
    assert list(store.all()) == []


def test_a_token_has_a_longest_age(admin, store):
    assert main(["token", "issue", "ann", "--role", "approver", "--days", "91"]) == 2
    with pytest.raises(UsageError, match="at most 90 days"):
        made(store, days=90.1)
    text = made(store, days=90)
    forever = store.find(name_in(MARK, text)).model_copy(update={"expires_at": NOW + timedelta(days=4000)})
    assert forever.state(NOW + timedelta(days=89)) == "active"
    assert forever.state(NOW + timedelta(days=90)) == "expired", "also one that was stored otherwise"


def test_a_token_of_an_account_that_is_gone_signs_nobody_in(store):
    text = made(store)
    with pytest.raises(NotSignedIn, match="no account ann with the role approver"):
        signed_in(text, MACHINES, store, NOW)
    with pytest.raises(NotSignedIn):
        signed_in(text, (*MACHINES, Account(name="ann", role=Role.VIEWER)), store, NOW)
