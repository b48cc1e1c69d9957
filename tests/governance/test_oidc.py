"""What the claims of an issuer mean, and what the ledger says about sessions."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.core.events import LedgerRow
from perennial.core.governance import people
from perennial.core.governance.identity import NAME, Role
from perennial.core.governance.oidc import (
    ENDPOINTS,
    account_name,
    is_safe_address,
    local_path,
    origin_of,
    problem_of,
    read_roles,
    role_of,
    signing_algorithms,
)
from perennial.core.governance.people import SignedInFact, Why
from perennial.errors import NotAllowed, SettingsError
from perennial.settings import Settings

NOW = datetime(2026, 1, 5, tzinfo=UTC)
ISSUER = {"oidc_issuer": "https://issuer.example", "oidc_client_id": "perennial"}
ROLES = "approver=ml-leads,operator=ml-ops,operator=on-call,viewer=/teams/ml"


def oidc(**more):
    return Settings(**{**ISSUER, "oidc_roles": ROLES, **more}).oidc


@pytest.mark.parametrize(
    ("claims", "more", "role"),
    [
        ({"groups": ["ml-leads", "all"]}, {}, Role.APPROVER),
        ({"groups": ["/teams/ml", "on-call"]}, {}, Role.OPERATOR),
        ({"groups": "/teams/ml"}, {}, Role.VIEWER),
        ({"realm_access": {"roles": ["ml-ops"]}}, {"oidc_roles_claim": "realm_access.roles"}, Role.OPERATOR),
        ({"https://x/groups": ["ml-ops"]}, {"oidc_roles_claim": "https://x/groups"}, Role.OPERATOR),
        ({"email": "ann@x.org", "email_verified": True},
         {"oidc_roles_claim": "email", "oidc_roles": "approver=ann@x.org"}, Role.APPROVER),
    ],
)  # fmt: skip
def test_the_strongest_role_of_a_group_counts(claims, more, role):
    assert role_of(claims, oidc(**more)) is role


@pytest.mark.parametrize(
    "claims",
    [{}, {"groups": []}, {"groups": ["ML-LEADS"]}, {"groups": {"ml-leads": True}}, {"groups": [["ml-leads"]]},
     {"groups": None}, {"groups": "ml-leads,ml-ops"}],
)  # fmt: skip
def test_who_is_in_no_group_is_refused(claims):
    with pytest.raises(NotAllowed, match="claim groups"):
        role_of(claims, oidc())


def test_an_address_that_the_issuer_did_not_verify_gives_nothing():
    of_mail = oidc(oidc_roles_claim="email", oidc_name_claim="email", oidc_roles="approver=ann@x.org")
    for mark in ({}, {"email_verified": False}, {"email_verified": "true"}):
        with pytest.raises(NotAllowed):
            role_of({"email": "ann@x.org", **mark}, of_mail)
        with pytest.raises(NotAllowed, match="not verified"):
            account_name({"email": "ann@x.org", **mark}, of_mail)


def test_a_name_is_kept_where_it_can_be_one():
    assert account_name({"preferred_username": "ann-b"}, oidc()) == "ann-b"
    named = account_name({"email": "Ann.B@x.org", "email_verified": True}, oidc(oidc_name_claim="email"))
    assert named.startswith("ann-b-x-org-")


@pytest.mark.parametrize("name", ["admin", "training", "release", "perennial", "gate", "policy", "ben"])
def test_a_local_account_is_nobodys(name):
    with pytest.raises(NotAllowed, match="local account"):
        account_name({"preferred_username": name}, oidc(people="ben:approver"))


@given(first=st.text(min_size=1), second=st.text(min_size=1))
def test_different_names_make_different_accounts(first, second):
    accounts = []
    for text in (first, second):
        try:
            accounts.append(account_name({"preferred_username": text}, oidc()))
        except NotAllowed:
            assert not text.strip() or text in oidc().taken
            return
    assert all(NAME.fullmatch(account) for account in accounts)
    assert (accounts[0] == accounts[1]) == (first == second)


@pytest.mark.parametrize(
    ("address", "path"),
    [("/", "/"), ("/a?b=c#d", "/a?b=c#d"), ("http://here:1/a", "/a"), (None, "/"), ("", "/"), ("a", "/"),
     ("//evil", "/"), ("/\\evil", "/"), ("\\\\evil", "/"), ("https://evil/", "/"), ("http://here:1//evil", "/"),
     ("http://here:1.evil/", "/"), ("http://here:1@evil/", "/"), ("/\t/evil", "/"), ("\n//evil", "/"),
     ("javascript:alert(1)", "/"), ("/a\r\nSet-Cookie: b", "/")],
)  # fmt: skip
def test_nobody_is_sent_to_another_server(address, path):
    assert local_path(address, "http://here:1") == path


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"oidc_roles": ROLES}, "PERENNIAL_OIDC_ROLES is set without PERENNIAL_OIDC_ISSUER"),
        (ISSUER, "needs PERENNIAL_OIDC_ROLES"),
        ({"oidc_issuer": "https://i", "oidc_roles": ROLES}, "needs PERENNIAL_OIDC_CLIENT_ID"),
        ({**ISSUER, "oidc_roles": "admin=root"}, "PERENNIAL_OIDC_ROLES: 'admin=root'"),
        ({**ISSUER, "oidc_roles": "viewer=a,approver=a"}, "two roles"),
        ({**ISSUER, "oidc_roles": " "}, "nobody could sign in"),
        ({**ISSUER, "oidc_roles": ROLES, "oidc_issuer": "http://issuer.example"}, "neither https nor on loopback"),
        ({**ISSUER, "oidc_roles": ROLES, "oidc_scopes": "email"}, "lacks openid"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_told(settings, named):
    with pytest.raises(SettingsError, match=named):
        _ = Settings(**settings).oidc


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://MLflow.Example.org:443/x", "https://mlflow.example.org"),
        ("http://localhost:80", "http://localhost"),
        ("http://127.0.0.1:5050", "http://127.0.0.1:5050"),
        ("https://h:4430", "https://h:4430"),
        ("https://[::1]:443/", "https://[::1]"),
    ],
)
def test_an_origin_is_written_as_browsers_do(address, origin):
    assert origin_of(address) == origin


GOOD = {
    "issuer": "https://i.example", "code_challenge_methods_supported": ["plain", "S256"],
    "id_token_signing_alg_values_supported": ["none", "HS256", "ES256", "RS256"],
    **{name: f"https://i.example/{name}" for name in ENDPOINTS},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({}, None),
        ({"code_challenge_methods_supported": None, "id_token_signing_alg_values_supported": None}, None),
        ({"issuer": "https://i.example/"}, "calls itself something else"),
        ({"jwks_uri": None}, "names no jwks_uri"),
        ({"token_endpoint": "http://i.example/token"}, "names an address that is neither https nor on loopback"),
        ({"userinfo_endpoint": "http://i.example/who"}, "names an address that is neither https nor on loopback"),
        ({"code_challenge_methods_supported": ["plain"]}, "offers no PKCE with S256"),
        ({"id_token_signing_alg_values_supported": ["none", "HS256"]}, "signs with other algorithms"),
    ],
)  # fmt: skip
def test_an_issuer_that_describes_itself_wrongly_is_none(changed, problem):
    wrong = problem_of({**GOOD, **changed}, "https://i.example")
    assert (wrong and wrong[0].partition(":")[0]) == problem
    assert signing_algorithms(GOOD) == ["RS256", "ES256"]


def test_browsers_reach_the_pages_safely():
    assert not is_safe_address("http://127.0.0.1.evil.example/")
    assert not is_safe_address("https://[half")
    assert Settings(**ISSUER, oidc_roles=ROLES).sign_in_url("mlflow") == "http://127.0.0.1:5050"
    with pytest.raises(SettingsError, match="neither https"):
        Settings(airflow_server="http://airflow:8080").sign_in_url("airflow")
    own = Settings(airflow_server="http://airflow:8080", oidc_airflow_url="https://airflow.x.org/")
    assert own.sign_in_url("airflow") == "https://airflow.x.org"


def test_people_of_the_issuer_have_no_password_here():
    settings = Settings(**ISSUER, oidc_roles=ROLES, people="ann:approver")
    assert [account.name for account in settings.accounts] == ["admin", "training", "release"]
    assert settings.approvers == ("role:approver",)
    assert read_roles(ROLES)["on-call"] is Role.OPERATOR


class Story:
    """Entries of the ledger, one after the other, and what they make of the people."""

    def __init__(self) -> None:
        self.rows: list[LedgerRow] = []

    def _add(self, entry) -> int:
        self.rows.append(LedgerRow(seq=len(self.rows) + 1, entry=entry, previous="", hash=""))
        return len(self.rows)

    def enters(self, account="ann", role=Role.APPROVER, subject="s1", issuer="https://i") -> int:
        fact = SignedInFact(account=account, role=role, issuer=issuer, subject=subject, server="mlflow")
        return self._add(people.signed_in(NOW, fact))

    def leaves(self, why: Why, account="ann") -> None:
        self._add(people.signed_out(NOW, account, account, why))

    @property
    def ann(self):
        return people.fold({}, self.rows)["ann"]


def test_a_session_lasts_through_further_sign_ins_with_the_same_role():
    story = Story()
    first, second = story.enters(), story.enters()
    assert story.ann.holds(first)
    assert story.ann.holds(second)


def test_a_changed_role_and_a_sign_out_end_earlier_sessions():
    story = Story()
    first = story.enters()
    second = story.enters(role=Role.VIEWER)
    assert not story.ann.holds(first)
    assert story.ann.holds(second)
    story.leaves(Why.ASKED)
    assert not story.ann.holds(second)
    assert story.ann.active
    third = story.enters(role=Role.VIEWER)
    assert story.ann.holds(third)


@pytest.mark.parametrize("why", [Why.NO_ROLE, Why.ENDED])
def test_a_person_without_a_role_has_no_session_until_the_next_sign_in(why):
    story = Story()
    first = story.enters()
    story.leaves(why)
    assert not story.ann.active
    assert not story.ann.holds(first)
    second = story.enters()
    assert story.ann.holds(second)
    assert not story.ann.holds(first)


def test_a_name_stays_with_its_subject_until_an_admin_releases_it():
    story = Story()
    story.enters()
    story.enters(subject="s2")
    story.enters(issuer="https://other")
    assert (story.ann.subject, story.ann.issuer) == ("s1", "https://i")
    story.leaves(Why.RELEASED)
    story.enters(subject="s2")
    assert story.ann.subject == "s2"
