"""Authorization code flow with PKCE: what leads to the issuer, and what it says about who came back (Authlib)."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import httpx2
from authlib.integrations.base_client.errors import MismatchingStateError
from authlib.integrations.starlette_client import OAuth, OAuthError, StarletteOAuth2App
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import Response

from perennial.core.governance.oidc import LEEWAY, WELL_KNOWN, Oidc, claim, problem_of, signing_algorithms
from perennial.errors import IssuerUnavailable, NotSignedIn

SECONDS = 10.0
"""Longest wait for an answer of the issuer."""
KEPT = 3600.0
"""Seconds for which its description is kept, without its keys."""


class OidcClient:
    """This installation as a client of an issuer.

    Args:
        trusted: authorities of its certificate.
    """

    def __init__(self, oidc: Oidc, trusted: ssl.SSLContext) -> None:
        self._oidc, self._trusted = oidc, trusted
        self._made: tuple[float, StarletteOAuth2App] | None = None

    async def redirect(self, request: Request, back: str) -> Response:
        """Return the answer that leads to the issuer; the session keeps state, nonce and verifier.

        Args:
            back: address of the callback, as registered at the issuer.

        Raises:
            IssuerUnavailable: the issuer does not describe itself, or describes another.
        """
        app = await self._app()
        try:
            return await app.authorize_redirect(request, back)
        except RuntimeError as error:
            raise self._down(error) from error

    async def claims(self, request: Request) -> Mapping[str, Any]:
        """Return the verified claims about who came back to the callback.

        Raises:
            NotSignedIn: the state is not that of this browser, or the token does not hold.
            IssuerUnavailable: the issuer does not answer, or answers with something else.
        """
        app = await self._app()
        # Authlib keeps the keys with the description: one that the issuer has withdrawn since would still count.
        app.server_metadata.pop("jwks", None)
        options = {
            "iss": {"essential": True, "value": self._oidc.issuer},
            "aud": {"essential": True, "value": self._oidc.client_id},
        }
        try:
            token = await app.authorize_access_token(request, claims_options=options, leeway=LEEWAY)
        except MismatchingStateError as error:
            raise NotSignedIn(
                "this sign-in was not begun by this browser, took too long, or is over", hint="sign in again"
            ) from error
        except OAuthError as error:
            raise NotSignedIn(f"the issuer refuses: {error.error}", hint="sign in again") from error
        except JoseError as error:
            raise NotSignedIn(f"the issuer's token does not hold: {error}", hint="sign in again") from error
        except (httpx2.HTTPError, ValueError, RuntimeError) as error:
            raise self._down(error) from error
        if "userinfo" not in token:
            raise NotSignedIn("the issuer gave no ID token", hint="PERENNIAL_OIDC_SCOPES: openid")
        return await self._complete(app, token)

    async def end_session(self, after: str) -> str | None:
        """Return the address at which the issuer ends its own session; None where it has none.

        Args:
            after: address to which it sends the browser then, as registered there.

        Raises:
            IssuerUnavailable: as for `redirect`.
        """
        metadata = await (await self._app()).load_server_metadata()
        address = metadata.get("end_session_endpoint")
        if not address:
            return None
        query = urlencode({"client_id": self._oidc.client_id, "post_logout_redirect_uri": after})
        return f"{address}{'&' if '?' in address else '?'}{query}"

    async def _complete(self, app: StarletteOAuth2App, token: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the claims, with those of the userinfo endpoint where the roles are only there."""
        claims = token["userinfo"]
        missing = [
            path for path in (self._oidc.roles_claim, self._oidc.name_claim) if claim(claims, path) is None
        ]
        if not missing or not app.server_metadata.get("userinfo_endpoint"):
            return claims
        try:
            more = await app.userinfo(token=token)
        except (OAuthError, httpx2.HTTPError, ValueError) as error:
            raise self._down(error) from error
        if more.get("sub") != claims["sub"]:
            raise NotSignedIn("the issuer describes somebody else", hint="sign in again")
        return {**more, **claims}

    async def _app(self) -> StarletteOAuth2App:
        """Return Authlib's client of this issuer, which knows its description.

        Raises:
            IssuerUnavailable: the issuer does not describe itself, or describes another.
        """
        if self._made is not None and time.monotonic() - self._made[0] < KEPT:
            return self._made[1]
        oidc = self._oidc
        app: StarletteOAuth2App = OAuth().register(
            "perennial",
            client_id=oidc.client_id,
            client_secret=oidc.client_secret,
            server_metadata_url=oidc.issuer.rstrip("/") + WELL_KNOWN,
            client_kwargs={
                "scope": oidc.scopes,
                "code_challenge_method": "S256",
                "token_endpoint_auth_method": "client_secret_basic" if oidc.client_secret else "none",
                "timeout": SECONDS,
                "verify": self._trusted,
            },
        )
        try:
            metadata = await app.load_server_metadata()
        except (httpx2.HTTPError, ValueError) as error:
            raise self._down(error) from error
        wrong = problem_of(metadata, oidc.issuer)
        if wrong is not None:
            raise IssuerUnavailable(f"the issuer {wrong[0]}", hint=wrong[1])
        # Authlib takes the issuer's word for what it may sign with, `none` included.
        metadata["id_token_signing_alg_values_supported"] = signing_algorithms(metadata)
        self._made = time.monotonic(), app
        return app

    def _down(self, error: Exception) -> IssuerUnavailable:
        return IssuerUnavailable(
            f"the issuer does not answer as one: {self._oidc.issuer}: {type(error).__name__}: {error}",
            hint="perennial doctor; is PERENNIAL_OIDC_ISSUER right, and does PERENNIAL_TLS_CA hold its authority?",
        )
