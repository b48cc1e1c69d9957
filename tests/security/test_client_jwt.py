"""JWTs of clients: verified by Envoy, with rights by model that the model server checks."""

from __future__ import annotations

import base64
import hmac
import json
import subprocess
import time
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from envoy_split_stack import MODEL, SplitStack
from grpc_side.calls import Caller, message
from hypothesis import given
from hypothesis import strategies as st
from one_server import CONTEXT, Server
from starlette.testclient import TestClient
from tiny_models import tensor_body, tiny_version

from perennial.cli import main
from perennial.core.governance.client_keys import Right, client_of
from perennial.errors import SettingsError
from perennial.flows.governance.client_keys import add_key
from perennial.installation import HERE
from perennial.serving import headers
from perennial.serving.access.client_keys import ClientKeys, refuse_open_door
from perennial.serving.access.door import Door
from perennial.serving.feedback_inbox import FeedbackInbox
from perennial.settings import Settings
from perennial.wiring import database

ISSUER, AUDIENCE = "https://issuer.example", "perennial"
KEY, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
RIGHTS = {"predict": ["tiny"], "explain": ["tiny"], "feedback": ["tiny"]}
INFER, PREDICT = "/v2/models/tiny/infer", "/v1/models/tiny/predict"
ENTITY = {"entities": [{"test_id": "t1", "suite": "s"}], "context": CONTEXT}
LABELS = {"labels": [{"prediction_id": "p1", "label": 1}]}


def claims(**changes) -> dict:
    given = {"iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "exp": int(time.time()) + 600}
    return {name: value for name, value in {**given, "perennial": RIGHTS, **changes}.items() if value != ""}


def token(key=KEY, kid="k1", **changes) -> str:
    return jwt.encode(claims(**changes), key, algorithm="ES256", headers={"kid": kid})


PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _jwk(key) -> dict:
    return json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))


def _coordinates() -> bytes:
    return base64.urlsafe_b64decode(f"{_jwk(KEY)['x']}==") + base64.urlsafe_b64decode(f"{_jwk(KEY)['y']}==")


def handmade(head: dict, sign) -> str:
    """A token that PyJWT refuses to make."""
    parts = [json.dumps(part).encode() for part in ({"typ": "JWT", "kid": "k1", **head}, claims())]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (text + b"." + base64.urlsafe_b64encode(sign(text)).rstrip(b"=")).decode()


def symmetric(secret: bytes) -> str:
    """A token that is valid where a server takes its public key for a shared secret."""
    return handmade({"alg": "HS256"}, lambda text: hmac.digest(secret, text, "sha256"))


def jwks(folder, key=KEY):
    path = folder / "jwks.json"
    path.write_text(json.dumps({"keys": [{**_jwk(key), "kid": "k1", "alg": "ES256", "use": "sig"}]}))
    return path


@pytest.mark.server
def test_envoy_hands_on_the_claims_of_verified_tokens_only(tmp_path):
    good = token()
    head, body, signature = good.split(".")
    forged = base64.urlsafe_b64encode(json.dumps(claims(sub="boss")).encode()).decode().rstrip("=")
    bad = {
        "expired": token(exp=int(time.time()) - 3600),
        "without an end": token(exp=""),
        "not yet": token(nbf=int(time.time()) + 3600),
        "audience": token(aud="another"),
        "no audience": token(aud=""),
        "issuer": token(iss="https://elsewhere.example"),
        "none": jwt.encode(claims(), None, algorithm="none", headers={"kid": "k1"}),
        "wrong key": token(OTHER),
        "none, in other letters": handmade({"alg": "nOnE"}, lambda text: b""),
        "symmetric with the public key as a file": symmetric(PEM),
        "symmetric with the public key's text": symmetric(PEM.strip()),
        "symmetric with the coordinates": symmetric(_coordinates()),
        "unknown kid": token(kid="k2"),
        "wrong key under an unknown kid": token(OTHER, kid="k2"),
        "key in the token": jwt.encode(claims(), OTHER, "ES256", headers={"jwk": _jwk(OTHER), "kid": "k1"}),
        "address of a key": jwt.encode(
            claims(), OTHER, "ES256", headers={"jku": "https://elsewhere.example"}
        ),
        "changed": f"{head}.{forged}.{signature}",
        "cut": f"{head}.{body}.",
        "an API key": "pc_shop_00",
    }
    with SplitStack(tmp_path, jwt=(ISSUER, AUDIENCE, jwks(tmp_path))) as stack:
        answers = stack.ask([{"authorization": f"Bearer {text}"} for text in (good, *bad.values())])
        first, *others = [answer.get("claims", "") for answer in answers]
        assert json.loads(base64.urlsafe_b64decode(first + "=="))["sub"] == "shop"
        assert dict(zip(bad, others, strict=True)) == dict.fromkeys(bad, "")
        for beside in (bad["wrong key"], bad["none"]):
            (both,) = stack.ask([{"authorization": f"Bearer {good}, Bearer {beside}"}])
            assert both.get("claims", "") in ("", first)
        (sent,) = stack.ask([{headers.CLAIMS: first}])
        assert sent.get("claims", "") == "", "a client cannot send claims itself"
        assert stack.router.differences() == ()


@pytest.mark.server
def test_a_token_comes_in_by_grpc_over_tls(tmp_path):
    command = ["make", "--silent", "-C", str(tmp_path), "-f", str(HERE / "Makefile"), "dev-certificates"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    certificate, key = (tmp_path / ".perennial" / "tls" / name for name in ("cert.pem", "key.pem"))
    options = {"jwt": (ISSUER, AUDIENCE, jwks(tmp_path)), "tls": (certificate, key)}
    with SplitStack(tmp_path, **options) as stack, Caller(stack.port, certificate.read_bytes()) as caller:
        for text, subject in ((token(), "shop"), (token(OTHER), None)):
            caller.infer(message(MODEL), authorization=f"Bearer {text}", x_perennial_claims="e30")
            given = stack.calls["stable"].seen[-1].get(headers.CLAIMS)
            assert (given and json.loads(base64.urlsafe_b64decode(given + "=="))["sub"]) == subject


class Doors:
    """A server behind its door, as Envoy asks it for a client."""

    def __init__(self, folder, required: bool = True) -> None:
        self.server = Server(folder / "serving")
        self.server.hold(tiny_version(folder, "tiny", "1.0.0", bias=0.0, service="tiny_service"))
        self.keys = ClientKeys(folder / "client-keys.json")
        self.client = TestClient(Door(self.server.client.app, "inside", self.keys, required))

    def ask(self, path=INFER, body=None, given=None, **sent) -> int:
        if given is not None:
            raw = given if isinstance(given, bytes) else json.dumps(given).encode()
            sent[headers.CLAIMS] = base64.urlsafe_b64encode(raw).decode().rstrip("=")
        known = {headers.SECRET: "inside", headers.PUBLIC: "true", **sent}
        return self.client.post(path, json=body or tensor_body(), headers=known).status_code

    def labelled(self) -> list:
        received, _ = FeedbackInbox(self.server.folder / "feedback").pending()
        return [(one.source, one.models) for one in received]


@pytest.fixture
def doors(tmp_path):
    return Doors(tmp_path)


def test_rights_by_model_of_a_token(doors):
    explain = {**ENTITY, "explain": True}
    assert doors.ask(given=claims()) == 200
    assert doors.ask(PREDICT, explain, claims()) == 400, "allowed; this version has no background"
    assert doors.ask(PREDICT, explain, claims(perennial={"predict": ["*"]})) == 403
    assert doors.ask(given=claims(perennial={"predict": ["*"]})) == 200
    for refused in ({"predict": ["other"]}, {"explain": ["*"]}, {}):
        assert doors.ask(given=claims(perennial=refused)) == 403, refused
    assert doors.ask("/v1/feedback", LABELS, claims(perennial={"predict": ["*"]})) == 403
    for broken in (
        claims(sub=""),
        claims(sub=7),
        claims(perennial="all"),
        claims(perennial={"predict": "tiny"}),
        [],
        b"\xff",
    ):
        assert doors.ask(given=broken) == 401, broken
    assert doors.ask() == 401


def test_labels_of_a_client_are_those_of_a_source_of_its_name(doors):
    def given(rights, models) -> str:
        ledger = database.store(Settings(home=doors.server.folder)).ledger
        return add_key(
            "shop", rights, models, None, "ann", doors.keys, ledger, datetime.now(UTC),
            lambda n: "0" * 2 * n, taken=(),
        )  # fmt: skip

    key = given([Right.PREDICT], ["tiny"])
    assert doors.ask("/v1/feedback", LABELS, authorization=f"Bearer {key}") == 403
    key = given([Right.FEEDBACK], ["tiny"])
    assert doors.ask("/v1/feedback", LABELS, authorization=f"Bearer {key}") == 200
    assert doors.ask(authorization=f"Bearer {key}") == 403, "labels are no predictions"
    assert doors.ask("/v1/feedback", LABELS, claims()) == 200
    assert doors.ask("/v1/feedback", LABELS, claims(sub="A User", perennial={"feedback": ["*"]})) == 200
    assert doors.ask("/v1/feedback", LABELS) == 401
    assert doors.ask("/v1/feedback", LABELS, authorization="Bearer pc_shop_00") == 401
    (_, models), (source, _), (hashed, every) = doors.labelled()
    assert (models, source, every) == (("tiny",), "jwt-shop", ())
    assert hashed.startswith("jwt-")
    assert len(hashed) == 24


def test_without_required_keys_labels_still_need_one(tmp_path):
    doors = Doors(tmp_path, required=False)
    assert doors.ask() == 200
    assert doors.ask("/v1/feedback", LABELS) == 401
    assert doors.ask("/v1/feedback", LABELS, claims()) == 200


def test_no_token_passes_for_a_key():
    assert client_of(claims(sub="shop")).name != "shop"
    long = client_of(claims(sub="x" * 100))
    assert long.name == client_of(claims(sub="x" * 100)).name != client_of(claims(sub="x" * 101)).name


SUBJECTS = (
    st.text(min_size=1)
    | st.from_regex(r"[a-z][a-z0-9-]{0,40}", fullmatch=True)
    | st.from_regex(r"[0-9a-f]{19,21}", fullmatch=True)
    | st.text(min_size=1).map(lambda subject: client_of({"sub": subject}).name.removeprefix("jwt-"))
)


@given(st.lists(SUBJECTS, unique=True, min_size=2), st.integers(1, 3))
def test_no_subject_takes_the_name_of_another(subjects, rounds):
    """A subject that was the hash of another had its name, and its labels counted as the other's."""
    for _ in range(rounds):
        names = [client_of({"sub": subject}).name for subject in subjects]
        assert len(set(names)) == len(names)
        subjects = list({*subjects, *(name.removeprefix("jwt-") for name in names)})


def test_the_settings_go_together(tmp_path, monkeypatch):
    path = jwks(tmp_path)
    whole = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_keys": path}
    assert Settings(**whole).jwt == (ISSUER, AUDIENCE, path)
    assert Settings().jwt is None
    for missing in whole:
        with pytest.raises(SettingsError, match="go together"):
            _ = Settings(**{**whole, missing: None}).jwt
    path.write_text("{}")
    with pytest.raises(SettingsError, match="no JWKS file"):
        _ = Settings(**whole).jwt
    jwks(tmp_path)
    refuse_open_door(Settings(home=tmp_path, host="0.0.0.0", **whole))  # noqa: S104
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    assert main(["key", "add", "lab", "--right", "feedback"]) == 0
