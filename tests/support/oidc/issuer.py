"""An OpenID Connect issuer on Authlib's server side, with a page that asks for a name; a process of its own.

`/control` takes the people and what the issuer does wrong: tests of attacks need tokens that no honest one gives.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import httpx

CLIENT, SECRET = "perennial", "secret-of-the-client"
PAGE = """<!doctype html><title>Issuer</title><form method="post">
<input name="login" aria-label="Name"><button>Sign in</button></form>"""


class Client:
    """The only client; its addresses are on loopback."""

    client_id = CLIENT

    def get_client_id(self) -> str:
        return CLIENT

    def get_default_redirect_uri(self) -> None:
        return None

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, address: str) -> bool:
        return address.startswith(("http://127.0.0.1:", "http://testserver/")) and address.endswith(
            "/callback"
        )

    def check_client_secret(self, secret: str) -> bool:
        return secret == SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, kind: str) -> bool:
        return kind == "code"

    def check_grant_type(self, kind: str) -> bool:
        return kind == "authorization_code"


def create_app(address: str):
    from authlib.integrations.flask_oauth2 import AuthorizationServer
    from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
    from authlib.oauth2.rfc7636 import CodeChallenge
    from authlib.oidc.core import UserInfo
    from authlib.oidc.core.grants import OpenIDCode
    from flask import Flask, jsonify, redirect, request
    from joserfc import jwt
    from joserfc.jwk import RSAKey

    app = Flask(__name__)
    keys = [RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"})]
    withdrawn = list(keys)
    stranger = RSAKey.generate_key(2048, {"kid": "k1", "use": "sig"})
    people: dict[str, dict] = {}
    codes: dict[str, SimpleNamespace] = {}
    wrong: dict = {}

    def signs() -> RSAKey:
        return (withdrawn if wrong.get("withdrawn") else keys)[-1]

    class Tokens(OpenIDCode):
        def exists_nonce(self, nonce, request) -> bool:
            return any(code.nonce == nonce for code in codes.values())

        def resolve_client_private_key(self, client):
            return stranger if wrong.get("forged") else signs()

        def get_client_claims(self, client) -> dict:
            return {"iss": address, "aud": [CLIENT]}

        def generate_user_info(self, user, scope) -> UserInfo:
            hidden = wrong.get("userinfo_only", ())
            return UserInfo({name: value for name, value in user.items() if name not in hidden})

        def encode_id_token(self, token, request) -> str:
            if wrong.get("no_token"):
                return ""
            made = super().encode_id_token(token, request)
            if not wrong.keys() & {"claims", "seconds", "alg"}:
                return made
            head, body, _ = made.split(".")
            times = {name: int(time.time()) + later for name, later in wrong.get("seconds", {}).items()}
            claims = {**json.loads(_decoded(body)), **wrong.get("claims", {}), **times}
            claims = {name: value for name, value in claims.items() if value is not None}
            if wrong.get("alg") == "none":
                return f"{_encoded({'alg': 'none'})}.{_encoded(claims)}."
            if wrong.get("alg") == "HS256":  # signed with what everybody knows: the public key
                text = f"{_encoded({'alg': 'HS256', 'kid': 'k1'})}.{_encoded(claims)}"
                mac = hmac.digest(keys[-1].as_pem(private=False), text.encode(), "sha256")
                return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
            return jwt.encode(json.loads(_decoded(head)), claims, keys[-1], ["RS256"])

        def get_encode_header(self, client) -> dict:
            return {"alg": "RS256", "kid": signs().kid}

    class CodeGrant(AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic"]  # noqa: RUF012 as Authlib has it

        def save_authorization_code(self, code, request) -> None:
            data = request.payload.data
            uri, scope, nonce = request.payload.redirect_uri, request.payload.scope, data.get("nonce")
            codes[code] = SimpleNamespace(
                code=code, user=request.user, nonce=nonce, code_challenge=data["code_challenge"],
                code_challenge_method=data["code_challenge_method"], get_redirect_uri=lambda: uri,
                get_scope=lambda: scope, get_nonce=lambda: nonce, get_auth_time=lambda: int(time.time()),
                get_acr=lambda: None, get_amr=lambda: None,
            )  # fmt: skip

        def query_authorization_code(self, code, client):
            return codes.get(code)

        def delete_authorization_code(self, code) -> None:
            codes.pop(code.code, None)

        def authenticate_user(self, code):
            return code.user

    issued: dict[str, dict] = {}

    def save_token(token, request) -> None:
        issued[token["access_token"]] = request.user

    server = AuthorizationServer(app, lambda name: Client() if name == CLIENT else None, save_token)
    server.register_grant(CodeGrant, [Tokens(), CodeChallenge(required=True)])

    @app.get("/.well-known/openid-configuration")
    def description():
        return jsonify(
            wrong["whole"]
            if "whole" in wrong
            else {
                "issuer": wrong.get("issuer", address),
                "authorization_endpoint": f"{address}/authorize",
                "token_endpoint": f"{address}/token",
                "userinfo_endpoint": f"{address}/userinfo",
                "jwks_uri": f"{address}/keys",
                "end_session_endpoint": f"{address}/logout",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
                "code_challenge_methods_supported": ["S256"],
                **wrong.get("description", {}),
            }
        )

    @app.get("/keys")
    def public_keys():
        return jsonify(wrong.get("keys", {"keys": [key.as_dict(private=False) for key in keys]}))

    @app.route("/authorize", methods=["GET", "POST"])
    def authorize():
        if request.method == "GET":
            return PAGE
        user = people.get(request.form["login"])
        grant = server.get_consent_grant(end_user=user)
        return server.create_authorization_response(grant_user=user, grant=grant)

    @app.post("/token")
    def token():
        return server.create_token_response()

    @app.get("/userinfo")
    def userinfo():
        user = issued.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        return jsonify({**user, **wrong.get("userinfo", {})}) if user else ("", 401)

    @app.get("/logout")
    def logout():
        return redirect(request.args["post_logout_redirect_uri"])

    @app.post("/control")
    def control():
        given = request.get_json()
        people.update(given.get("people", {}))
        if "wrong" in given:
            wrong.clear()
            wrong.update(given["wrong"])
        if given.get("rotate"):
            withdrawn[:] = keys
            keys[:] = [RSAKey.generate_key(2048, {"kid": f"k{time.time_ns()}", "use": "sig"})]
        return jsonify({})

    return app


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "==")


def _encoded(value: dict) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


class Issuer:
    """The process, and what tests say to it."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.settings = {
            "oidc_issuer": self.address, "oidc_client_id": CLIENT, "oidc_client_secret": SECRET,
            "oidc_roles": "approver=ml-leads,operator=ml-ops,viewer=ml",
        }  # fmt: skip
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(port)],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while not self._answers():
            assert self._process.poll() is None, "the issuer ended"
            assert time.monotonic() < deadline, "the issuer does not answer"
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.address}/keys", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def person(self, name: str, *groups: str, **more: object) -> None:
        """Add or change a person; the subject stays the same."""
        claims = {"sub": f"subject-of-{name}", "preferred_username": name, "groups": list(groups), **more}
        self.control(people={name: claims})

    def control(self, **given: object) -> None:
        httpx.post(f"{self.address}/control", json=given, trust_env=False).raise_for_status()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)


class Browser:
    """Cookies and redirects of a browser, without its pages."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        http.headers["Accept"] = "text/html"

    def to_issuer(self, login: str = "/oidc/login") -> str:
        """Begin a sign-in; return the address at the issuer to which it leads."""
        answer = self.http.get(login)
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    def agree(self, there: str, name: str) -> str:
        """Sign in at the issuer; return the address of the callback with its code."""
        answer = httpx.post(there, data={"login": name}, trust_env=False, timeout=60)
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    def sign_in(self, name: str, login: str = "/oidc/login") -> httpx.Response:
        """Sign in; return the answer of the callback."""
        return self.http.get(self.agree(self.to_issuer(login), name))


if __name__ == "__main__":
    from werkzeug.serving import make_server

    PORT = int(sys.argv[1])
    make_server("127.0.0.1", PORT, create_app(f"http://127.0.0.1:{PORT}"), threaded=True).serve_forever()
