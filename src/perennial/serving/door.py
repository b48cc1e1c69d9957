"""The door of a model server: only Envoy and the installation itself come in."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from perennial.serving import headers
from perennial.serving.answers import Json

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HEALTH = "/livez"
"""Path of the health check, which tells nothing but whether the server has started."""
_SECRET, _PUBLIC, _BEARER = headers.SECRET.encode(), headers.PUBLIC.encode(), b"Bearer "


class Door:
    """ASGI middleware that answers 403 to a request without the shared secret of the installation.

    Envoy adds the secret to the requests of clients and removes their own. Prometheus, which cannot send every
    header, may send it as a bearer token for `/metrics`.
    """

    def __init__(self, application: Application, secret: str) -> None:
        self._application = application
        self._secret = secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != HEALTH and not self._knows(scope):
            refused = {"error": "this address is for the router only", "hint": "send requests to Envoy"}
            await Json(refused, status_code=403)(scope, receive, send)
            return
        await self._application(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = dict(scope["headers"])
        said = given.get(_SECRET, b"")
        if not said and scope["path"] == "/metrics" and _PUBLIC not in given:
            said = given.get(b"authorization", b"").removeprefix(_BEARER)
        return hmac.compare_digest(said, self._secret)
