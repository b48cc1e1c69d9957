"""The addresses `login`, `callback` and `logout` of a server, below a path of their own (Starlette)."""

from __future__ import annotations

import html
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from perennial.adapters.oidc.client import OidcClient
from perennial.core.governance.oidc import local_path, origin_of
from perennial.errors import IssuerUnavailable, NotAllowed, NotSignedIn, PerennialError

LOG = logging.getLogger(__name__)
MINUTES = 10
"""Time to sign in at the issuer."""
NEXT = "next"
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{text}</p>{more}</body></html>"""
GUARD = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; form-action 'self'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def sign_in_pages(
    client: OidcClient,
    address: str,
    server: str,
    key: str,
    enter: Callable[[Mapping[str, Any], Response], None],
    leave: Callable[[Request, Response], None],
    more: Mapping[str, Callable[[Request], Awaitable[Response]]],
) -> Starlette:
    """Return the app with the pages.

    Args:
        address: at which browsers reach the folder of these pages.
        server: its name, for the cookie: cookies of all ports of a machine share one place.
        key: signs that cookie, which keeps state, nonce and verifier of a sign-in that was begun.
        enter: takes the verified claims, begins a session and sets its cookie; runs in a thread.
        leave: ends the session of a request and deletes its cookie; runs in a thread.
        more: further pages by name.
    """

    origin = origin_of(address)

    async def login(request: Request) -> Response:
        request.session[NEXT] = local_path(request.query_params.get(NEXT), origin)
        return _guarded(await client.redirect(request, f"{address}/callback"))

    async def callback(request: Request) -> Response:
        claims = await client.claims(request)
        answer = RedirectResponse(local_path(request.session.pop(NEXT, None), origin), 303)
        await run_in_threadpool(enter, claims, answer)
        request.session.clear()
        return _guarded(answer)

    async def logout(request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            # A link or picture of another page; a person decides whether all sessions end.
            return page("Sign out?", "Another page led here.", link=f"{address}/logout", does="Sign out")
        here = f"{address}/signed-out"
        try:
            there = await client.end_session(here)
        except IssuerUnavailable as error:  # a person who leaves is not kept signed in by that
            LOG.warning("sign-out at %s: %s", server, error.message)
            there = None
        answer = RedirectResponse(there or here, 303)
        await run_in_threadpool(leave, request, answer)
        request.session.clear()
        return _guarded(answer)

    async def signed_out(request: Request) -> Response:
        return page("Signed out", "Your sessions here have ended.", link=f"{address}/login")

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, PerennialError)  # noqa: S101 registered for these only
        LOG.warning("sign-in at %s: %s", server, error.message)
        request.session.clear()
        # What others said of it stays in the log: an answer of the issuer may hold anything.
        if isinstance(error, NotAllowed):
            return page("Not allowed", f"{error.message}. {error.hint}", 403, link=f"{address}/login")
        if isinstance(error, IssuerUnavailable | NotSignedIn):
            text = f"{error.message.partition(':')[0]}. {error.hint}"
            return page("Not signed in", text, error.http_status, link=f"{address}/login")
        return page("Failed", "This server could not do it; its log says why.", 503)

    path = urlsplit(address).path or "/"
    session = Middleware(
        SessionMiddleware, secret_key=key, session_cookie=f"perennial_{server}_sign_in", path=path,
        max_age=MINUTES * 60, https_only=address.startswith("https:"),
    )  # fmt: skip
    routes = [
        Route("/login", login), Route("/callback", callback), Route("/logout", logout),
        Route("/signed-out", signed_out),
        *(Route(f"/{name}", own, methods=["GET", "POST"]) for name, own in more.items()),
    ]  # fmt: skip
    return Starlette(routes=routes, middleware=[session], exception_handlers={PerennialError: refused})


def page(
    title: str, text: str, status: int = 200, link: str | None = None, more: str = "", does: str = "Sign in"
) -> Response:
    """Return a small page without scripts.

    Args:
        text: is escaped.
        more: HTML.
        does: what the link does.
    """
    if link is not None:
        more += f'<p><a href="{html.escape(link)}">{does}</a></p>'
    body = PAGE.format(title=html.escape(title), text=html.escape(text), more=more)
    return _guarded(HTMLResponse(body, status))


def _guarded(answer: Response) -> Response:
    answer.headers.update(GUARD)
    return answer
