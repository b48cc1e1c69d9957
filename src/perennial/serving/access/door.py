"""The door of a model server: Envoy and the installation itself come in, and clients with a key through Envoy."""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

from perennial.core.governance.client_keys import Right
from perennial.errors import NotAllowed, PerennialError
from perennial.serving import headers
from perennial.serving.access.client_keys import HINT, ClientKeys
from perennial.serving.answers import Json, refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HEALTH = "/livez"
"""Path of the health check, which tells nothing but whether the server has started."""
CLIENT = "perennial.client"
"""Key of the scope with the client's key; absent where no key is required."""
_OF_MODEL = re.compile(r"/v[12]/models/([^/]+)(/.*)?")
_SECRET, _PUBLIC, _BEARER = headers.SECRET.encode(), headers.PUBLIC.encode(), b"Bearer "


class Door:
    """ASGI middleware that refuses who may not ask this server.

    A request without the shared secret of the installation is a 403: Envoy adds the secret to the requests of
    clients and removes theirs. Prometheus, which cannot send every header, may send it as a bearer token for
    `/metrics`. A client's request for a model without a known key is a 401, without the right a 403.

    Args:
        keys: keys of clients; None where no key is required.
        clock: returns the aware UTC time, for the end of a key.
    """

    def __init__(
        self,
        application: Application,
        secret: str,
        keys: ClientKeys | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._application = application
        self._secret = secret.encode()
        self._keys = keys
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != HEALTH:
            given = dict(scope["headers"])
            if not self._knows(given, scope["path"]):
                refused = {"error": "this address is for the router only", "hint": "send requests to Envoy"}
                await Json(refused, status_code=403)(scope, receive, send)
                return
            if self._keys is not None and _PUBLIC in given:
                try:
                    self._sign_in(self._keys, given, scope)
                except PerennialError as error:
                    await refusal(error)(scope, receive, send)
                    return
        await self._application(scope, receive, send)

    def _knows(self, given: Mapping[bytes, bytes], path: str) -> bool:
        said = given.get(_SECRET, b"")
        if not said and path == "/metrics" and _PUBLIC not in given:
            said = _bearer(given)
        return hmac.compare_digest(said, self._secret)

    def _sign_in(self, keys: ClientKeys, given: Mapping[bytes, bytes], scope: Scope) -> None:
        """Put the client's key into the scope; paths without a model need none, and feedback has its own.

        Raises:
            NotSignedIn: there is no valid key.
            NotAllowed: the key does not allow predictions of the model.
        """
        match = _OF_MODEL.fullmatch(scope["path"])
        if match is None:
            return
        client = keys.client(_bearer(given).decode("latin-1"), self._clock())
        if not client.may(Right.PREDICT, match[1]):
            raise NotAllowed(f"the key of {client.name} is not for {match[1]}", hint=HINT)
        scope[CLIENT] = client


def refuse_explanation(scope: Mapping[str, Any], model: str) -> None:
    """Check that the client may ask for explanations.

    Raises:
        NotAllowed: the key lacks the right.
    """
    client = scope.get(CLIENT)
    if client is not None and not client.may(Right.EXPLAIN, model):
        raise NotAllowed(f"the key of {client.name} is not for explanations of {model}", hint=HINT)


def _bearer(given: Mapping[bytes, bytes]) -> bytes:
    return given.get(b"authorization", b"").removeprefix(_BEARER)
