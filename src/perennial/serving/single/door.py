"""Who may ask a model server by itself: this machine, and for what on the plant needs a key, a client with it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from perennial.core.governance.client_keys import Client
from perennial.errors import NotAllowed
from perennial.serving import headers
from perennial.serving.access.client_keys import ClientKeys
from perennial.serving.access.door import Application, Door, Receive, Scope, Send
from perennial.serving.answers import refusal
from perennial.settings import LOOPBACKS

_CLAIMS = headers.CLAIMS.encode()


class OpenDoor(Door):
    """ASGI middleware of a port that only those reach who may ask for predictions, so that no secret is needed.

    No router verifies a JWT here: for what on the plant needs a key, only API keys count.
    """

    def __init__(self, application: Application, keys: ClientKeys) -> None:
        super().__init__(application, "", keys, required=False)

    def admit(self, given: Mapping[bytes, bytes], path: str) -> Client | None:
        return self._signed_in({name: value for name, value in given.items() if name != _CLAIMS}, path)


class LocalDoor(OpenDoor):
    """ASGI middleware that lets this machine ask for predictions, and refuses what a page of another origin sends.

    Only this machine reaches the port; but so does every page that a browser here shows, by its address or by a name
    that its owner lets point here.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_foreign(dict(scope["headers"])):
            error = NotAllowed(
                "this server answers this machine only", hint="ask it as http://127.0.0.1:PORT"
            )
            await refusal(error)(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


def _is_foreign(given: Mapping[bytes, bytes]) -> bool:
    host = given.get(b"host", b"").decode("latin-1")
    origin = given.get(b"origin")
    return (origin is not None and origin.decode("latin-1") != f"http://{host}") or _name(
        host
    ) not in LOOPBACKS


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
