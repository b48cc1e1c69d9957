"""Every request to MLflow's server passes here: default deny by route, method and role.

Two places, since MLflow serves some routes by FastAPI and mounts the rest, by Flask, behind them: what is closed is
refused before either sees it; what needs a role is refused once MLflow knows the account.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.routing import Match, Mount

from perennial.core.governance.tracking_rules import (
    Access,
    access_of,
    experiment_refusal,
    route_refusal,
    version_refusal,
)
from perennial.tracking_server.sessions import FOLDER

if TYPE_CHECKING:
    from flask import Flask, Response

    from perennial.tracking_server.store import Caller

Scope = MutableMapping[str, Any]


class ClosedRoutes:
    """ASGI middleware that refuses with 403 what no rule opens, whatever MLflow would do with it.

    Args:
        pages: where people sign in at an issuer, below FOLDER; None: there are none.
    """

    def __init__(
        self, app: Callable[..., Awaitable[None]], pages: Callable[..., Awaitable[None]] | None = None
    ) -> None:
        self._app = app
        self._pages = None if pages is None else Mount(FOLDER, pages)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if self._pages is not None and scope["type"] == "http":
            match, more = self._pages.matches(scope)
            if match is Match.FULL:
                scope.update(more)
                await self._pages.handle(scope, receive, send)
                return
        if scope["type"] == "http" and scope["method"] != "OPTIONS":
            access = access_of(scope["method"], scope["path"])
            if access is None or access is Access.CLOSED:
                await _refuse(send, f"{scope['method']} {scope['path']} is not open on this server")
                return
        await self._app(scope, receive, send)


async def _refuse(send: Any, why: str) -> None:
    body = why.encode("ascii", "backslashreplace")
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def guard_roles(app: Flask, caller: Callable[[], Caller], bucket: str | None) -> None:
    """Refuse, after MLflow's own sign-in, what the caller's roles do not allow.

    Args:
        app: whose routes are guarded; MLflow's authentication is registered on it already.
        bucket: s3 address below which the server places artifacts; None: in a folder.
    """
    from flask import make_response, request

    bodies = {
        "/mlflow/experiments/create": experiment_refusal,
        "/mlflow/model-versions/create": partial(version_refusal, bucket=bucket),
    }

    def check() -> Response | None:
        if access_of(request.method, request.path) is Access.OPEN or request.method == "OPTIONS":
            return None
        who = caller()
        why = route_refusal(request.method, request.path, who.roles, who.admin)
        return make_response(why, 403) if why else None

    def check_body() -> Response | None:
        for route, refusal in bodies.items():
            if request.path.endswith(route):
                why = refusal(request.get_json(force=True, silent=True))
                return make_response(why, 403) if why else None
        return None

    app.before_request(check)
    # Before MLflow's own rules, which fail with a 500 over a malformed source.
    app.before_request_funcs[None].insert(0, check_body)
