"""The door of a model server: Envoy and the installation itself come in, and clients with a key through Envoy."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

from perennial.core.governance.client_keys import CLAIM, Client, Right, client_of
from perennial.core.governance.feedback_sources import Source
from perennial.errors import NotAllowed, NotSignedIn, PerennialError
from perennial.serving import headers
from perennial.serving.access.client_keys import HINT, ClientKeys
from perennial.serving.answers import refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HEALTH = "/livez"
"""Path of the health check, which tells nothing but whether the server has started."""
CLIENT = "perennial.client"
"""Key of the scope with the client; absent where none is required."""
FEEDBACK = "/v1/feedback"
_REPOSITORY = "/v2/repository/"
_OF_REPOSITORY = re.compile(r"/v2/repository/(?:index|models/([^/]+)/(?:load|unload))")
_OF_MODEL = re.compile(r"/v[12]/models/([^/]+)(/.*)?")
_SECRET, _PUBLIC, _BEARER = headers.SECRET.encode(), headers.PUBLIC.encode(), b"Bearer "
_CLAIMS, _OF_SOURCE = headers.CLAIMS.encode(), headers.FEEDBACK_KEY.encode()


class Door:
    """ASGI middleware that refuses who may not ask this server.

    A request without the shared secret of the installation is a 403: Envoy adds the secret to the requests of
    clients and removes theirs. Prometheus, which cannot send every header, may send it as a bearer token for
    `/metrics`. A client's request for a model without a known key or a JWT that Envoy verified is a 401, without the
    right a 403.

    Args:
        keys: keys of clients.
        required: False where predictions need no key; feedback always needs one, or that of a source.
        clock: returns the aware UTC time, for the end of a key.
    """

    def __init__(
        self,
        application: Application,
        secret: str,
        keys: ClientKeys,
        required: bool = True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._application = application
        self._secret = secret.encode()
        self._keys = keys
        self._required = required
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != HEALTH:
            try:
                client = self.admit(dict(scope["headers"]), scope["path"])
            except PerennialError as error:
                await refusal(error)(scope, receive, send)
                return
            if client is not None:
                scope[CLIENT] = client
        await self._application(scope, receive, send)

    def admit(self, given: Mapping[bytes, bytes], path: str) -> Client | None:
        """Return the client of a request; None where it needs none.

        Args:
            given: request headers, lower case.
            path: path of the request; for gRPC, the path in REST of the model that the call names.

        Raises:
            NotSignedIn: there is no valid key and no verified JWT.
            NotAllowed: the request did not come through the router, or the client may not have predictions of the
                model.
        """
        if not self._knows(given, path):
            raise NotAllowed("this address is for the router only", hint="send requests to Envoy")
        return self._signed_in(given, path) if _PUBLIC in given else None

    def _knows(self, given: Mapping[bytes, bytes], path: str) -> bool:
        said = given.get(_SECRET, b"")
        if not said and path == "/metrics" and _PUBLIC not in given:
            said = _bearer(given)
        return hmac.compare_digest(said, self._secret)

    def _signed_in(self, given: Mapping[bytes, bytes], path: str) -> Client | None:
        """Return the client; other paths need none, and the server checks the key of a source."""
        if path == FEEDBACK and _OF_SOURCE not in given:
            return self._client(given)
        if path.startswith(_REPOSITORY):
            return self._operator(given, path)
        match = _OF_MODEL.fullmatch(path)
        if match is None or not self._required:
            return None
        client = self._client(given)
        if not client.may(Right.PREDICT, match[1]):
            raise NotAllowed(f"{client.name} may not ask {match[1]}", hint=HINT)
        return client

    def _operator(self, given: Mapping[bytes, bytes], path: str) -> Client:
        """Return the client of a call to the model repository, which always needs the right."""
        client = self._client(given)
        match = _OF_REPOSITORY.fullmatch(path)
        model = match[1] if match is not None else None
        if Right.REPOSITORY not in client.grants or not (
            model is None or client.may(Right.REPOSITORY, model)
        ):
            raise NotAllowed(f"{client.name} lacks the right {Right.REPOSITORY.value!r}", hint=HINT)
        return client

    def _client(self, given: Mapping[bytes, bytes]) -> Client:
        if _CLAIMS not in given:
            return self._keys.client(_bearer(given).decode("latin-1"), self._clock())
        try:
            # Envoy leaves the padding out; more than is needed does no harm.
            claims = json.loads(base64.urlsafe_b64decode(given[_CLAIMS] + b"=="))
        except ValueError:
            claims = None
        client = client_of(claims) if isinstance(claims, dict) else None
        if client is None:
            raise NotSignedIn(
                f"the JWT has no text `sub`, or its claim `{CLAIM}` is no rights by model",
                hint='"perennial": {"predict": ["MODEL"]}',
            )
        return client


def feedback_source(scope: Mapping[str, Any]) -> Source | None:
    """Return the client as a source of feedback; None where there is none.

    Raises:
        NotAllowed: the client lacks the right.
    """
    client: Client | None = scope.get(CLIENT)
    if client is None:
        return None
    if Right.FEEDBACK not in client.grants:
        raise NotAllowed(f"{client.name} may not send feedback", hint=HINT)
    return Source(name=client.name, models=client.grants[Right.FEEDBACK])


def refuse_explanation(scope: Mapping[str, Any], model: str) -> None:
    """Check that the client may ask for explanations.

    Raises:
        NotAllowed: the key lacks the right.
    """
    client = scope.get(CLIENT)
    if client is not None and not client.may(Right.EXPLAIN, model):
        raise NotAllowed(f"{client.name} may not ask for explanations of {model}", hint=HINT)


def allowed_models(scope: Mapping[str, Any]) -> Callable[[str], bool]:
    """Return which models a client may see in the repository; every model for the installation itself."""
    return visible(scope.get(CLIENT))


def visible(client: Client | None) -> Callable[[str], bool]:
    """Return which models a client may see in the repository."""
    return lambda model: client is None or client.may(Right.REPOSITORY, model)


def _bearer(given: Mapping[bytes, bytes]) -> bytes:
    return given.get(b"authorization", b"").removeprefix(_BEARER)
