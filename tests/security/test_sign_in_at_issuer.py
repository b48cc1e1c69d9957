"""Sign-in at a real issuer: what is accepted, and tokens, states and addresses that are not."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from oidc.issuer import CLIENT, Browser, Issuer
from serving_stack import free_ports
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from perennial.core.events import Event
from perennial.core.governance.identity import Role
from perennial.core.governance.oidc import ENDPOINTS, Oidc
from perennial.core.governance.people import Why
from perennial.core.governance.tokens import Token
from perennial.errors import IssuerUnavailable, NotSignedIn
from perennial.flows.governance import identity
from perennial.flows.governance.people import end
from perennial.settings import Settings
from perennial.tracking_server import sessions
from perennial.tracking_server.route_guard import ClosedRoutes
from perennial.wiring import database
from perennial.wiring import people as wiring

ORIGIN = {"origin": "http://127.0.0.1:5050"}
COOKIE, KEY = sessions.COOKIE, "k" * 32


class Pages:
    """The pages of MLflow's server, in front of a server that knows nothing of them."""

    def __init__(self, folder, issuer: Issuer, **more) -> None:
        self.settings = Settings(home=folder, **{**issuer.settings, **more})
        self.people, self.ledger = wiring.people(self.settings)
        self.address = self.settings.sign_in_url("mlflow")
        self.sessions = self.of(self.settings.oidc)
        self.admitted: list[str] = []
        pages = sessions.pages(
            self.settings, self.sessions, self.people, self.ledger, KEY, lambda name: name == "made-in-mlflow",
            lambda person: self.admitted.append(person.account),
        )  # fmt: skip
        self.app = ClosedRoutes(PlainTextResponse("behind"), pages)

    def of(self, oidc: Oidc) -> sessions.Sessions:
        return sessions.Sessions(oidc, self.people, KEY, self.address)

    def browser(self) -> Browser:
        return Browser(TestClient(self.app, self.address, follow_redirects=False))

    def who(self, browser: Browser):
        return self.sessions.read(browser.http.cookies.get(COOKIE))

    def entries(self, kind: Event, account: str) -> list[dict]:
        rows = self.ledger.rows("", kinds=(kind,))
        return [row.entry.payload for row in rows if row.entry.payload["account"] == account]


@pytest.fixture(scope="module")
def made(tmp_path_factory, issuer) -> Pages:
    return Pages(tmp_path_factory.mktemp("pages"), issuer)


@pytest.fixture
def pages(made, issuer) -> Pages:
    issuer.control(wrong={})
    issuer.person("ann", "ml-leads")
    return made


def test_a_person_signs_in_and_out(pages):
    browser = pages.browser()
    there = browser.to_issuer("/oidc/login?next=/%23/models")
    query = {name: value for name, (value,) in parse_qs(urlsplit(there).query).items()}
    assert query["code_challenge_method"] == "S256"
    assert query["response_type"] == "code"
    assert {"state", "nonce", "code_challenge"} < set(query)
    answer = browser.http.get(browser.agree(there, "ann"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/#/models")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    person = pages.who(browser).person
    assert (person.account, person.role, pages.admitted[-1]) == ("ann", Role.APPROVER, "ann")
    entry = pages.entries(Event.SIGNED_IN, "ann")[-1]
    assert (entry["account"], entry["subject"], entry["server"]) == ("ann", "subject-of-ann", "mlflow")
    kept = browser.http.cookies.get(COOKIE)
    left = browser.http.get("/oidc/logout")
    assert left.status_code == 303
    assert left.headers["location"].startswith(pages.settings.oidc_issuer)
    assert pages.sessions.read(kept) is None  # a stolen copy, too
    assert pages.entries(Event.SIGNED_OUT, "ann")[-1]["why"] == Why.ASKED


@pytest.mark.parametrize(
    "wrong",
    [
        {"forged": True},
        {"alg": "none"},
        {"alg": "HS256"},
        {"seconds": {"exp": -300}},
        {"claims": {"exp": None}},
        {"claims": {"iss": "https://evil.example"}},
        {"claims": {"iss": None}},
        {"claims": {"aud": "another"}},
        {"claims": {"aud": ["another"]}},
        {"claims": {"aud": [CLIENT, "another"], "azp": "another"}},
        {"claims": {"aud": None}},
        {"claims": {"sub": None}},
        {"claims": {"nonce": "of-another-sign-in"}},
        {"claims": {"nonce": None}},
        {"seconds": {"iat": 3600}},
        {"seconds": {"nbf": 3600}},
        {"no_token": True},
    ],
    ids=str,
)
def test_a_token_that_does_not_hold_signs_nobody_in(pages, issuer, wrong):
    issuer.person("eve", "ml-leads")
    issuer.control(wrong=wrong)
    browser = pages.browser()
    answer = browser.sign_in("eve")
    assert answer.status_code == 401, answer.text
    assert COOKIE not in browser.http.cookies
    assert not pages.entries(Event.SIGNED_IN, "eve")


def test_a_new_key_of_the_issuer_is_taken_at_once(pages, issuer):
    assert pages.browser().sign_in("ann").status_code == 303
    issuer.control(rotate=True)
    assert pages.browser().sign_in("ann").status_code == 303


def test_a_key_that_the_issuer_has_withdrawn_signs_nobody_in(pages, issuer):
    assert pages.browser().sign_in("ann").status_code == 303
    issuer.control(rotate=True, wrong={"withdrawn": True})
    assert pages.browser().sign_in("ann").status_code == 401


def test_a_callback_counts_once_and_in_its_own_browser(pages):
    browser, other = pages.browser(), pages.browser()
    back = browser.agree(browser.to_issuer(), "ann")
    other.to_issuer()
    assert other.http.get(back).status_code == 401  # somebody is lured into the account of another
    assert browser.http.get(back.replace("state=", "state=x")).status_code == 401
    back = browser.agree(browser.to_issuer(), "ann")
    begun = dict(browser.http.cookies)
    assert browser.http.get(back).status_code == 303
    assert browser.http.get(back).status_code == 401
    browser.http.cookies.update(begun)  # with the cookie of then: the issuer takes no code twice
    assert browser.http.get(back).status_code == 401


def test_what_the_issuer_says_is_not_shown(pages):
    browser = pages.browser()
    browser.to_issuer()
    answer = browser.http.get(
        "/oidc/callback?error=access_denied&error_description=<script>alert(1)</script>"
    )
    assert answer.status_code == 401
    assert "script" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_ends_no_sessions(pages, site):
    browser = pages.browser()
    browser.sign_in("ann")
    answer = browser.http.get("/oidc/logout", headers={"sec-fetch-site": site})
    assert ">Sign out</a>" in answer.text
    assert pages.who(browser) is not None
    assert browser.http.get("/oidc/logout", headers={"sec-fetch-site": "same-origin"}).status_code == 303
    assert pages.who(browser) is None


@pytest.mark.parametrize("next_", ["https://evil.example/", "//evil.example", "/\\evil.example"])
def test_a_sign_in_leads_to_no_other_server(pages, next_):
    browser = pages.browser()
    answer = browser.sign_in("ann", f"/oidc/login?next={quote(next_)}")
    assert answer.headers["location"] == "/"


def test_a_long_address_to_come_back_to_leaves_room_for_the_sign_in(pages):
    answer = pages.browser().http.get(f"/oidc/login?next=/{'x' * 5000}")
    assert len(answer.headers["set-cookie"]) < 4096  # browsers drop a larger one, and nobody could sign in


def test_who_has_no_role_is_refused_and_loses_what_was_open(pages, issuer):
    issuer.person("vic", "ml")
    browser = pages.browser()
    browser.sign_in("vic")
    assert pages.who(browser).person.role is Role.VIEWER
    issuer.person("vic", "others")
    answer = pages.browser().sign_in("vic")
    assert answer.status_code == 403
    assert "PERENNIAL_OIDC_ROLES" in answer.text
    assert pages.who(browser) is None
    (refused,) = pages.entries(Event.SIGN_IN_REFUSED, "vic")
    assert refused["subject"] == "subject-of-vic"


def test_a_changed_role_counts_at_the_next_sign_in(pages, issuer):
    old, new = pages.browser(), pages.browser()
    old.sign_in("ann")
    issuer.person("ann", "ml")
    new.sign_in("ann")
    assert pages.who(old) is None
    assert pages.who(new).person.role is Role.VIEWER


def test_nobody_gets_the_account_of_another(pages, issuer):
    pages.browser().sign_in("ann")
    issuer.person("ann2", "ml-leads", preferred_username="ann")
    for name in ("admin", "approver", "made-in-mlflow"):
        issuer.person(name, "ml-leads")
    for name in ("ann2", "admin", "approver", "made-in-mlflow"):
        assert pages.browser().sign_in(name).status_code == 403, name
    issuer.person("ann", "ml-leads", preferred_username="annie")  # a new name there is no second person here
    browser = pages.browser()
    browser.sign_in("ann")
    assert pages.who(browser).person.account == "ann"


def test_groups_of_the_userinfo_endpoint_count_for_the_same_person_only(pages, issuer):
    issuer.control(wrong={"userinfo_only": ["groups"]})
    assert pages.browser().sign_in("ann").status_code == 303
    issuer.control(wrong={"userinfo_only": ["groups"], "userinfo": {"sub": "somebody-else"}})
    assert pages.browser().sign_in("ann").status_code == 401


def test_a_session_ends_and_belongs_to_its_issuer(pages):
    browser = pages.browser()
    browser.sign_in("ann")
    cookie = browser.http.cookies.get(COOKIE)
    assert pages.sessions.read(cookie[:-2] + "xx") is None
    oidc = pages.settings.oidc
    time.sleep(1.1)  # the stamp of a cookie has whole seconds
    assert pages.of(oidc.model_copy(update={"hours": 1e-9})).read(cookie) is None
    assert pages.of(oidc.model_copy(update={"issuer": "https://issuer.example"})).read(cookie) is None
    assert pages.who(browser).person.account == "ann"
    end("ann", "admin", Why.ENDED, pages.people, pages.ledger, datetime.now(UTC))
    assert pages.who(browser) is None


def test_a_person_makes_a_token_for_the_command_line(pages, issuer):
    browser = pages.browser()
    assert browser.http.get("/oidc/token").status_code == 401
    browser.sign_in("ann")
    assert "<form" in browser.http.get("/oidc/token").text
    assert browser.http.post("/oidc/token", headers={"origin": "http://127.0.0.1:8080"}).status_code == 403
    text = browser.http.post("/oidc/token", headers=ORIGIN).text
    made = next(word.partition("<")[0] for word in text.split() if word.startswith("pn"))
    tokens, now = database.tokens(pages.settings), datetime.now(UTC)
    known = wiring.known_accounts(pages.settings)
    signed_in = identity.who_steers(made, "approve", known, tokens, now)
    assert (signed_in.name, signed_in.issued_by) == ("ann", "ann")
    (token,) = tokens.all()
    assert isinstance(token, Token)
    assert (token.expires_at - now).total_seconds() <= 8 * 3600
    issuer.person("ann", "ml")
    pages.browser().sign_in("ann")
    with pytest.raises(NotSignedIn):
        identity.who_steers(made, "approve", wiring.known_accounts(pages.settings), tokens, now)


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "https://evil.example"},
        *(
            {"description": {name: f"http://evil.example/{name}"}}
            for name in (*ENDPOINTS, "userinfo_endpoint", "end_session_endpoint")
        ),
        None,
    ],
    ids=str,
)
def test_an_issuer_that_is_none_signs_nobody_in(tmp_path, issuer, wrong):
    issuer.control(wrong=wrong or {})
    more = {} if wrong else {"oidc_issuer": f"http://127.0.0.1:{free_ports(1)[0]}"}
    answer = Pages(tmp_path, issuer, **more).browser().http.get("/oidc/login")
    assert answer.status_code == IssuerUnavailable.http_status
    assert "evil" not in answer.text
